"""Child processes that cannot outlive us, and that leave nothing of their own behind.

Between us and a command stands a small guard, this same file run as a script, at the other end of a socket.
The kernel closes our end however we die, SIGKILL included; the guard sees that and ends the command.

Why not PR_SET_PDEATHSIG alone: it is Linux only, it fires when the *thread* that forked ends, it needs a
`preexec_fn`, which is unsafe beside threads, and it never reaches grandchildren, such as the workers of
gunicorn and RQ. The guard has one thread, is portable, and on Linux adopts every orphan below it (it is a
"subreaper"), so that it can end even those that left the process group.
"""

import contextlib
import ctypes
import os
import pwd
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

GRACE_SECONDS = 15.0  # from the request to end until SIGKILL
ORPHAN_GRACE_SECONDS = 3.0  # the same when our parent died: nobody waits for a graceful end any more
START_SECONDS = 30.0

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


class Tied:
    """A running command and the guard before it."""

    def __init__(self, guard: "subprocess.Popen[bytes]", channel: socket.socket, pid: int) -> None:
        self.pid = pid  # of the command itself, not of its guard
        self._guard = guard
        self._channel = channel

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def fileno(self) -> int:
        """For selectors: becomes readable when the command has ended."""
        return self._channel.fileno()

    def poll(self) -> int | None:
        """The exit code, or None while it runs; 128 + N when signal N ended it."""
        return self._guard.poll()

    def wait(self, seconds: float | None = None) -> int:
        """Wait for the end, and release what we hold. Raises subprocess.TimeoutExpired."""
        code = self._guard.wait(seconds)
        self._channel.close()
        return code

    def end(self) -> None:
        """Ask it to end. After its grace it and all processes below it are killed."""
        self._tell(b"E")

    def kill(self) -> None:
        """Kill it and all processes below it."""
        self._tell(b"K")

    def stop(self, seconds: float = GRACE_SECONDS + 5) -> int:
        """`end()` and wait."""
        self.end()
        try:
            return self.wait(seconds)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            return self.wait()

    def _tell(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # it has ended already, or was waited for
            self._channel.send(word)


def start(
    command: Sequence[str | Path],
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    output: int | IO[bytes] | None = None,
    account: str | None = None,
    end_signal: signal.Signals = signal.SIGTERM,
    grace_seconds: float = GRACE_SECONDS,
) -> Tied:
    """Start `command` in `folder`, in a session of its own, so that Ctrl-C in our terminal does not reach it.

    output: where both its stdout and its stderr go; ours by default.
    account: the user to run as, when we are root.

    Raises:
        OSError: the command cannot be started.
    """
    ours, theirs = socket.socketpair()
    # -I -S: nothing but the standard library, nothing from PYTHON* variables: it starts in milliseconds.
    guard_command = [sys.executable, "-I", "-S", str(Path(__file__).resolve())]
    with theirs:
        guard = subprocess.Popen(
            [*guard_command, str(grace_seconds), end_signal.name, account or "-", *map(str, command)],
            cwd=folder,
            env=environment,
            stdin=theirs.fileno(),
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            start_new_session=True,
        )
    ours.settimeout(START_SECONDS)
    try:
        with ours.makefile("r") as lines:
            answer = lines.readline()
    except TimeoutError:
        answer = "its guard did not answer"
    if not answer.strip().isdecimal():
        ours.close()
        guard.kill()
        guard.wait()
        raise OSError(f"{command[0]} cannot be started: {answer.strip() or 'its guard died'}")
    ours.settimeout(None)
    return Tied(guard, ours, int(answer))


def describe_end(code: int) -> str:
    """'exit code 1', or 'SIGKILL' for what `Tied.wait()` returned."""
    if code > 128 and code - 128 in {int(number) for number in signal.Signals}:
        return signal.Signals(code - 128).name
    return f"exit code {code}"


# From here on: the guard, in a process of its own.


def _guard(grace_seconds: float, end_signal: signal.Signals, account: str | None, command: list[str]) -> int:
    channel = socket.socket(fileno=0)
    woken = _wake_on(signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    try:
        child = _start_child(command, account)
    except OSError as error:
        channel.sendall(f"{error.strerror}\n".encode())
        return 127
    channel.sendall(f"{child.pid}\n".encode())

    listen_to = [channel, woken]
    kill_at: float | None = None

    def end(seconds: float) -> None:
        # Once only: a second SIGTERM is "drop everything" to RQ. And only to the command itself: it ends its
        # own workers, which would otherwise be asked twice.
        nonlocal kill_at
        if kill_at is None:
            kill_at = time.monotonic() + seconds
            child.send_signal(end_signal)

    while child.poll() is None:
        if kill_at is not None and time.monotonic() >= kill_at:
            child.kill()
        timeout = None if kill_at is None else max(0.05, kill_at - time.monotonic())
        ready, _, _ = select.select(listen_to, [], [], timeout)
        if woken in ready and set(woken.recv(64)) - {signal.SIGCHLD}:
            end(grace_seconds)
        if channel in ready:
            word = _receive(channel)
            if word == b"K":
                child.kill()
            elif word == b"E":
                end(grace_seconds)
            else:
                listen_to.remove(channel)
                end(ORPHAN_GRACE_SECONDS)
    _kill_what_is_left(child.pid)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _wake_on(*signals: signal.Signals) -> socket.socket:
    """A socket that the numbers of these signals arrive on, for select()."""
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.detach(), warn_on_full_buffer=False)
    for number in signals:
        signal.signal(number, lambda *_: None)
    return woken


def _start_child(command: list[str], account: str | None) -> "subprocess.Popen[bytes]":
    prctl: Callable[..., int] | None = None
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def end_with_guard() -> None:
        # The second lock on the same door: somebody may kill the guard alone.
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)

    user = pwd.getpwnam(account) if account else None
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
        preexec_fn=end_with_guard,  # noqa: PLW1509  safe: the guard has one thread
    )


def _receive(channel: socket.socket) -> bytes:
    try:
        return channel.recv(1)
    except OSError:  # reset: the other end is gone
        return b""


def _kill_what_is_left(group: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGKILL)
    while True:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:  # none left
            return
        if not ended:
            for pid in _children():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)


def _children() -> list[int]:
    """Our children, adopted ones among them. Empty where there is no /proc, and no adoption either."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            # "pid (name) state parent …", and a name may hold blanks and brackets.
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(stat.parent.name))
    return found


def _main(arguments: list[str]) -> int:
    grace_seconds, end_signal, account, *command = arguments
    return _guard(float(grace_seconds), signal.Signals[end_signal], None if account == "-" else account, command)


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
