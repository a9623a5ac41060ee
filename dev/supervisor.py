"""One parent for several processes: shows their lines under their names, restarts what dies, ends all of it.

Everything happens in one thread, in `_turn()`: a line has come, a part has ended, it is time to start one
again, or a signal asks to stop. No locks, and no order of events that could not be read off the code.
"""

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self, TextIO

from dev import tied

COLOURS = (36, 33, 32, 35, 34, 31)
FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 30.0
STEADY_SECONDS = 60.0  # what lived this long begins again with the first delay
READ_BYTES = 65536
IMPATIENT_AFTER_SECONDS = 1.0  # `timeout` and some process managers send one signal twice at once
OWN_NAME = "golub"


class Stopping(Exception):
    """Leaves the `with` block of a supervisor, which ends its parts and swallows this."""


class StepFailed(RuntimeError):
    """A step that the rest depends on went wrong; its output has been shown."""


@dataclass(frozen=True)
class Part:
    """Something to keep running. address: what the table says about where it is found."""

    name: str
    command: Sequence[str]
    address: str = ""


@dataclass
class _Child:
    part: Part
    restarts: bool
    process: tied.Tied | None = None  # None: it has ended
    output: int = -1  # our end of the pipe that it writes to
    unfinished: bytes = b""  # the last line, as far as it has come
    started_at: float = 0.0
    delay: float = 0.0
    restart_at: float | None = None
    exit_code: int = 0
    paint: Callable[[str], str] = field(default=str)


class Supervisor:
    """Use it in a `with` block: the block's end ends every part, the last one started first.

    Within the block SIGINT, SIGTERM and SIGHUP stop it; a second one kills whatever is still there.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        out: TextIO | None = None,
        *,
        grace_seconds: float = tied.GRACE_SECONDS,
        first_delay_seconds: float = FIRST_DELAY_SECONDS,
        name_width: int = 9,
    ) -> None:
        self._folder = folder
        self._environment = environment
        self._out = out or sys.stdout
        self._coloured = self._out.isatty() and not os.environ.get("NO_COLOR")
        self._grace_seconds = grace_seconds
        self._first_delay_seconds = first_delay_seconds
        self._name_width = name_width
        self._children: dict[str, _Child] = {}  # in the order of their start
        self._stop_asked_at: float | None = None
        self._hurry = False
        self._closing = False

    def __enter__(self) -> Self:
        self._selector = selectors.DefaultSelector()
        woken, waker = socket.socketpair()
        waker.setblocking(False)
        self._sockets = (woken, waker)
        self._selector.register(woken, selectors.EVENT_READ, lambda: woken.recv(READ_BYTES))
        self._old_wakeup = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        self._old_handlers = {number: signal.signal(number, self._note_signal) for number in stops}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            self._stop_all()
        finally:
            for number, handler in self._old_handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._old_wakeup)
            self._selector.close()
            for end in self._sockets:
                end.close()
        return isinstance(error, Stopping)

    def say(self, text: str) -> None:
        """Show lines of our own among those of the parts."""
        for line in text.splitlines():
            self._show(OWN_NAME, str, line)

    def show_table(self, rows: Sequence[Sequence[str]]) -> None:
        """Show rows in aligned columns, without a prefix, so that they stand out."""
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        self._print("\n" + "\n".join(f"  {line.rstrip()}" for line in lines) + "\n")

    def start(self, part: Part, ready: Callable[[], bool] | None = None, seconds: float = 30) -> None:
        """Start a part and keep it running from now on; return when it is `ready`.

        Raises:
            StepFailed: it was not ready within `seconds`.
            Stopping: a signal came meanwhile.
        """
        self._spawn(self._adopt(part, restarts=True))
        if ready is not None and not self.wait_for(ready, seconds):
            raise StepFailed(f"'{part.name}' was not ready within {seconds:.0f} s.")

    def run_step(self, name: str, command: Sequence[str]) -> None:
        """Run a command to its end, its lines shown under `name`.

        Raises:
            StepFailed: it ended with another exit code than 0.
            Stopping: a signal came meanwhile.
        """
        child = self._adopt(Part(name, command), restarts=False)
        self._spawn(child)
        while child.process is not None:
            self._turn()
        del self._children[name]
        if child.exit_code != 0:
            raise StepFailed(f"'{name}' ended with {tied.describe_end(child.exit_code)}.")

    def wait_for(self, ready: Callable[[], bool], seconds: float) -> bool:
        """Go on supervising until `ready()`; False when that took too long. Raises Stopping."""
        give_up = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > give_up:
                return False
            self._turn(0.1)
        return True

    def watch(self) -> None:
        """Go on supervising until a signal asks to stop; raises Stopping then."""
        while True:
            self._turn()

    def pids(self) -> list[tuple[Part, int | None]]:
        """Every part in the order of its start, and its process, or None while it is down."""
        children = self._children.values()
        return [(child.part, child.process.pid if child.process else None) for child in children]

    def _note_signal(self, _number: int, _frame: FrameType | None) -> None:
        # Only a note: the byte on the wakeup socket ends the select(), and `_turn()` does the rest.
        now = time.monotonic()
        if self._stop_asked_at is None:
            self._stop_asked_at = now
        elif now - self._stop_asked_at > IMPATIENT_AFTER_SECONDS:
            self._hurry = True

    def _turn(self, seconds: float | None = None) -> None:
        """Wait for the next thing to happen, at most `seconds`, and deal with it."""
        now = time.monotonic()
        due = [child.restart_at for child in self._children.values() if child.restart_at is not None]
        limits = [max(0.0, at - now) for at in due] + ([] if seconds is None else [seconds])
        for key, _ in self._selector.select(min(limits, default=None)):
            if key.fileobj in self._selector.get_map():  # an event before it may have closed it
                key.data()
        if self._stop_asked_at is not None and not self._closing:
            raise Stopping
        for child in list(self._children.values()):
            if child.restart_at is not None and time.monotonic() >= child.restart_at:
                self._spawn(child)

    def _adopt(self, part: Part, *, restarts: bool) -> _Child:
        colour = COLOURS[len(self._children) % len(COLOURS)]
        paint = (lambda text: f"\x1b[{colour}m{text}\x1b[0m") if self._coloured else str
        child = self._children[part.name] = _Child(part, restarts, paint=paint)
        return child

    def _spawn(self, child: _Child) -> None:
        output, theirs = os.pipe()
        try:
            process = tied.start(
                child.part.command,
                folder=self._folder,
                environment=self._environment,
                output=theirs,
                grace_seconds=self._grace_seconds,
            )
        except OSError as error:
            os.close(output)
            raise StepFailed(f"'{child.part.name}': {error}") from None
        finally:
            os.close(theirs)
        os.set_blocking(output, False)
        child.process, child.output, child.unfinished = process, output, b""
        child.started_at, child.restart_at = time.monotonic(), None
        self._selector.register(output, selectors.EVENT_READ, lambda: self._read(child))
        self._selector.register(process, selectors.EVENT_READ, lambda: self._bury(child, process))

    def _read(self, child: _Child) -> bool:
        """Show what it wrote; False when there is no more for now."""
        try:
            data = os.read(child.output, READ_BYTES)
        except BlockingIOError:
            return False
        *lines, child.unfinished = (child.unfinished + data).split(b"\n")
        for line in lines:
            self._show(child.part.name, child.paint, line.decode(errors="replace").rstrip("\r"))
        if not data and child.output in self._selector.get_map():
            self._selector.unregister(child.output)  # closed by the child, and so readable for ever
        return bool(data)

    def _bury(self, child: _Child, process: tied.Tied) -> None:
        """A part has ended: show its last lines, and plan its next start."""
        self._selector.unregister(process)
        child.exit_code = process.wait()
        while self._read(child):
            pass
        if child.unfinished:
            self._show(child.part.name, child.paint, child.unfinished.decode(errors="replace"))
        if child.output in self._selector.get_map():
            self._selector.unregister(child.output)
        os.close(child.output)
        child.process = None
        if child.restarts and not self._closing:
            self._plan_restart(child)

    def _plan_restart(self, child: _Child) -> None:
        steady = time.monotonic() - child.started_at >= STEADY_SECONDS
        child.delay = (
            self._first_delay_seconds if steady or not child.delay else min(child.delay * 2, LONGEST_DELAY_SECONDS)
        )
        child.restart_at = time.monotonic() + child.delay
        end = tied.describe_end(child.exit_code)
        self.say(f"{child.part.name} ended with {end}; it starts again in {child.delay:g} s.")

    def _stop_all(self) -> None:
        self._closing = True
        for child in self._children.values():
            child.restart_at = None
        for child in reversed(self._children.values()):
            self._stop(child)

    def _stop(self, child: _Child) -> None:
        if child.process is None:
            return
        child.process.end()
        give_up = time.monotonic() + self._grace_seconds + 5  # its guard kills it before that
        while child.process is not None and time.monotonic() < give_up:
            if self._hurry:
                child.process.kill()
            self._turn(0.2)

    def _show(self, name: str, paint: Callable[[str], str], line: str) -> None:
        self._print(f"{paint(f'{name:<{self._name_width}} |')} {line}")

    def _print(self, text: str) -> None:
        # When the terminal or the reader of a pipe is gone, there is still something to stop in good order.
        with contextlib.suppress(OSError):
            print(text, file=self._out, flush=True)
