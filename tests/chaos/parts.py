"""The servers around Golub, each a process that a test may kill, and Golub's own processes."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.config import ROOT
from dev import servers, tied
from tests.waiting import PATIENCE_SECONDS, wait_until


class Process:
    """One command that is started, killed, and started again; its log goes on."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.environment = dict(environment)
        self.log = folder / f"{name}.log"
        self._command = [sys.executable, *command]
        self._running: tied.Tied | None = None

    @property
    def pid(self) -> int:
        assert self._running is not None, f"{self.name} does not run"
        return self._running.pid

    @property
    def is_running(self) -> bool:
        return self._running is not None and self._running.poll() is None

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._running = tied.start(self._command, folder=ROOT, environment=self.environment, output=output)

    def kill(self) -> None:
        """SIGKILL to it and to everything below it."""
        if self._running is not None:
            self._running.kill()
            self._running.wait(PATIENCE_SECONDS)

    def terminate(self, *, with_children: bool = False) -> float:
        """SIGTERM; how many seconds it took to end. Fails when it ends badly, or too late.

        with_children: all of its processes hear it at once, as systemd has it by itself (KillMode=control-group).
        """
        assert self._running is not None
        began = time.monotonic()
        for pid in [self._running.pid, *(leaves(self._running.pid) if with_children else [])]:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not self.is_running, lambda: f"{self.name} does not end:\n{self.output}")
        took = time.monotonic() - began
        code = self._running.wait(1)
        assert code == 0, f"{self.name} ended with {tied.describe_end(code)}:\n{self.output}"
        return took

    def stop(self) -> None:
        if self._running is not None:
            self._running.stop()


def children(pid: int) -> list[int]:
    """The processes that this one has started and that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            # "pid (name) state parent …", and a name may hold blanks and brackets.
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(stat.parent.name))
    return sorted(found)


def leaves(pid: int) -> list[int]:
    """The processes below this one that have none below them: of a pool of workers, those that send."""
    below = [leaf for child in children(pid) for leaf in (leaves(child) or [child])]
    return sorted(below)


class MailServer:
    """`tests/chaos/server.py`, and the orders to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = Process("mail", [str(Path(__file__).with_name("server.py")), str(folder)], folder, os.environ)
        self._process.start()
        wait_until((folder / "ports").exists, lambda: self._process.output)
        ports = json.loads((folder / "ports").read_text())
        self.port: int = ports["mail"]
        self._orders = socket.create_connection(("127.0.0.1", ports["orders"]), timeout=10)
        self._answers = self._orders.makefile("r")

    def behave(self, **behaviour: Any) -> None:
        """Behave in this way, see `server.Behaviour`, from now on; without arguments: well."""
        self._order({"is_there": True} | behaviour)

    @property
    def struck(self) -> int:
        """How often the fault has struck since the last order."""
        return self._order({})["struck"]

    @property
    def count(self) -> int:
        """How many messages it has accepted in all."""
        return self._order({})["accepted"]

    def accepted(self, domain: str) -> Counter[str]:
        """How often each recipient of this domain is in the server's record."""
        return Counter(recipient for recipient, _at in self._record(domain))

    def accepted_at(self, domain: str) -> list[float]:
        """When it accepted each of these messages, in seconds since the epoch."""
        return [at for _recipient, at in self._record(domain)]

    def _record(self, domain: str) -> list[tuple[str, float]]:
        lines = [line.split(" ") for line in (self._folder / "accepted").read_text().splitlines()]
        return [(recipient, float(at)) for recipient, _id, at in lines if recipient.endswith(f"@{domain}")]

    def stop(self) -> None:
        self._answers.close()
        self._orders.close()
        self._process.stop()
        assert "Traceback" not in self._process.output, self._process.output

    def _order(self, order: Mapping[str, Any]) -> dict[str, int]:
        self._orders.sendall(json.dumps(order).encode() + b"\n")
        answer: dict[str, int] = json.loads(self._answers.readline())
        return answer


@dataclasses.dataclass
class Redis:
    """A Redis on one port, with an append-only file."""

    folder: Path
    port: int = dataclasses.field(default_factory=servers.free_port)
    server: servers.RunningServer | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *, empty: bool = False) -> None:
        """Start it with what it remembers, or with nothing."""
        if empty:
            for kept in self.folder.glob("appendonly*"):
                shutil.rmtree(kept) if kept.is_dir() else kept.unlink()
        self.server = servers.start_redis(self.folder, socket=None, port=self.port, persistent=True)

    def kill(self) -> None:
        assert self.server is not None
        self.server.process.kill()
        self.server.process.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
