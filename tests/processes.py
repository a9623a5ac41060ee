"""Golub's own processes, started as an operator starts them, and tied to the test that did."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.config import ROOT, Settings
from dev import tied
from tests.waiting import wait_until


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

    def until(self, condition: Callable[[], object]) -> None:
        wait_until(condition, lambda: self.output)

    def wait_for(self, text: str) -> None:
        self.until(lambda: text in self.output or not self.is_running)
        assert text in self.output, self.output

    def end(self) -> int:
        """Ask it to end, as Ctrl-C or systemd does; its exit code."""
        self._process.end()
        return self.wait()

    def wait(self) -> int:
        """Wait until it ends by itself; its exit code."""
        self.until(lambda: not self.is_running)
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
