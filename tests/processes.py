"""Golub's own processes, started as an operator starts them, and tied to the test that did."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.config import ROOT, Settings
from dev import tied


def environment(settings: Settings) -> dict[str, str]:
    """These settings as variables: they beat a developer's .env in every point."""
    given = {name.upper(): str(value) for name, value in settings.model_dump().items() if value is not None}
    return {"PATH": str(Path(sys.executable).parent), "PYTHONUNBUFFERED": "1"} | given


class Process:
    """One running command, and what it has written so far."""

    def __init__(self, process: tied.Tied, log: Path) -> None:
        self.pid = process.pid
        self._process = process
        self._log = log

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_for(self, text: str, seconds: float = 20) -> None:
        wait_until(lambda: text in self.output or not self.is_running, seconds, lambda: self.output)
        assert text in self.output, self.output

    def end(self, seconds: float) -> int:
        """Ask it to end, as Ctrl-C or systemd does; its exit code."""
        self._process.end()
        return self.wait(seconds)

    def wait(self, seconds: float) -> int:
        """Wait until it ends by itself; its exit code."""
        wait_until(lambda: not self.is_running, seconds, lambda: self.output)
        return self._process.wait(1)


@contextmanager
def running(settings: Settings, log: Path, *arguments: str) -> Iterator[Process]:
    """`python …` with these arguments from the project's folder."""
    with (
        log.open("wb") as output,
        tied.start(
            [sys.executable, *arguments], folder=ROOT, environment=environment(settings), output=output
        ) as started,
    ):
        yield Process(started, log)


def wait_until(condition: Callable[[], object], seconds: float = 15, explain: Callable[[], str] = lambda: "") -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"not within {seconds} s: {explain()}"
        time.sleep(0.02)
