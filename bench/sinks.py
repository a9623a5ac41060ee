"""Where the bench's mail goes: Postfix's smtp-sink, or a sink of our own, and a proxy that makes either far away.

Each is a process of its own, so that it takes no time of the one that is measured, and ends with it.
"""

import asyncio
import contextlib
import mmap
import os
import re
import shutil
import socket
import socketserver
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from dev import debian, tied
from dev.servers import free_port

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0
SETTLE_SECONDS = 10.0
COUNTER_BYTES = 8
MESSAGES = re.compile(rb"mesg=(\d+)")  # in what smtp-sink says with -c
COUNTS_TAIL = 4096  # bytes of its output that hold the last count for certain
OFFER = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 50000000\r\n"
BYE = b"221 2.0.0 bye\r\n"
REPLIES = {b"EHLO": OFFER, b"DATA": b"354 go ahead\r\n", b"QUIT": BYE}
RECEIVE_BYTES = 262_144
END_OF_BODY = b"\r\n.\r\n"


@dataclass(frozen=True)
class Sink:
    """A server on 127.0.0.1 that takes all mail and throws it away."""

    name: str
    port: int
    accepted: Callable[[], int]  # messages since it started

    def wait_for(self, count: int) -> int:
        """`accepted()`, once it is `count` or 10 s have gone by: it counts a moment after it has answered."""
        give_up = time.monotonic() + SETTLE_SECONDS
        while self.accepted() < count and time.monotonic() < give_up:
            time.sleep(0.01)
        return self.accepted()


@contextmanager
def best_sink() -> Iterator[Sink]:
    """Postfix's smtp-sink from PATH, else from its Debian package, else our own."""
    with contextlib.ExitStack() as stack:
        try:
            sink = stack.enter_context(smtp_sink())
        except debian.NoPackage:
            sink = stack.enter_context(own_sink())
        yield sink


@contextmanager
def smtp_sink() -> Iterator[Sink]:
    """Postfix's.

    Raises:
        debian.NoPackage: it is neither on PATH nor to be had as a package.
    """
    with tempfile.TemporaryDirectory(prefix="golub-sink-") as scrap:
        folder = Path(scrap)
        if program := shutil.which("smtp-sink", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
            name, environment = "Postfix's smtp-sink, from PATH", dict(os.environ)
        else:
            debian.unpack("postfix", folder)
            program = str(folder / "usr/sbin/smtp-sink")
            libraries = debian.library_path(folder, "usr/lib/postfix")
            name = "Postfix's smtp-sink, from its Debian package"
            environment = os.environ | {"LD_LIBRARY_PATH": libraries}
        output, port = folder / "counts", free_port()
        account = ["-u", "nobody"] if os.geteuid() == 0 else []  # it refuses to run as root
        with _running([program, "-c", *account, f"127.0.0.1:{port}", "1000"], port, output, environment):
            yield Sink(name, port, lambda: _last_count(output))


def _last_count(output: Path) -> int:
    with output.open("rb") as file:
        file.seek(max(0, output.stat().st_size - COUNTS_TAIL))
        counts = MESSAGES.findall(file.read())
    return int(counts[-1]) if counts else 0


@contextmanager
def own_sink() -> Iterator[Sink]:
    with tempfile.TemporaryDirectory(prefix="golub-sink-") as scrap:
        folder = Path(scrap)
        counter, port = folder / "counter", free_port()
        counter.write_bytes(bytes(COUNTER_BYTES))
        command = [sys.executable, "-m", "bench.sinks", "sink", str(port), str(counter)]
        with _running(command, port, folder / "output", os.environ):
            yield Sink("our own sink", port, lambda: int.from_bytes(counter.read_bytes(), sys.byteorder))


@contextmanager
def delay_proxy(server_port: int, milliseconds: float) -> Iterator[int]:
    """A proxy before a server: what the server says comes so much later, whatever it is. Gives the proxy's port.

    What the client says passes at once. So an exchange takes one delay, and a hundred replies in a row one as well,
    as it is with a server that is far away.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="golub-proxy-") as scrap:
        command = [sys.executable, "-m", "bench.sinks", "proxy", str(port), str(server_port), str(milliseconds)]
        with _running(command, port, Path(scrap) / "output", os.environ):
            yield port


@contextmanager
def _running(command: list[str], port: int, output: Path, environment: Mapping[str, str]) -> Iterator[None]:
    with (
        output.open("wb") as file,
        tied.start(command, folder=ROOT, environment=environment, output=file, grace_seconds=2) as process,
    ):
        give_up = time.monotonic() + START_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{command[0]} does not start: {output.read_text(errors='replace')}")
            time.sleep(0.02)
        yield


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return bool(connection.recv(1))
    except OSError:
        return False


# From here on: what runs in the processes.


class _SinkSession(socketserver.BaseRequestHandler):
    """As little of a server as a client's speed can be measured with (RFC 5321, RFC 2920).

    A thread for each client: for a few of them that costs a third of what asyncio does.
    """

    request: socket.socket
    server: "_OwnSink"

    def handle(self) -> None:
        self._unread = bytearray()
        self._in_body = False
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # the client hung up
            self.request.sendall(b"220 sink ESMTP\r\n")
            while data := self.request.recv(RECEIVE_BYTES):
                self._unread += data
                replies = b"".join(iter(self._next_reply, b""))
                self.request.sendall(replies)
                if replies.endswith(BYE):
                    return

    def _next_reply(self) -> bytes:
        """The reply to what came first and is complete; b"": to nothing yet."""
        if self._in_body:
            return self._end_body()
        end = self._unread.find(b"\r\n")
        if end < 0:
            return b""
        verb = bytes(self._unread[:4]).upper()
        self._in_body = verb == b"DATA"
        # The line's end stays before a body: an empty one is nothing but a dot.
        del self._unread[: end if self._in_body else end + 2]
        return REPLIES.get(verb, b"250 2.0.0 ok\r\n")

    def _end_body(self) -> bytes:
        end = self._unread.find(END_OF_BODY)
        if end < 0:
            del self._unread[: 1 - len(END_OF_BODY)]
            return b""
        del self._unread[: end + len(END_OF_BODY)]
        self._in_body = False
        self.server.count_one()
        return b"250 2.0.0 taken\r\n"


class _OwnSink(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 1000

    def __init__(self, port: int, counter: Path) -> None:
        with counter.open("r+b") as file:
            self._count = memoryview(mmap.mmap(file.fileno(), COUNTER_BYTES)).cast("Q")
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _SinkSession)

    def count_one(self) -> None:
        with self._lock:
            self._count[0] += 1


class _ClientSide(asyncio.Protocol):
    """The proxy's connection with a client. Opens one to the server, and passes on what both say."""

    def __init__(self, server_port: int, delay_seconds: float) -> None:
        self._server_port = server_port
        self._delay = delay_seconds
        self._server: asyncio.Transport | None = None
        self._too_early: list[bytes] = []
        self._coming: deque[bytes | None] = deque()  # None: the server hung up
        self._client: asyncio.Transport
        self._opening: asyncio.Task[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._client = cast("asyncio.Transport", transport)
        self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            self._server, _ = await loop.create_connection(
                lambda: _ServerSide(self.later), "127.0.0.1", self._server_port
            )
        except OSError:
            self._client.close()
            return
        self._server.writelines(self._too_early)
        if self._client.is_closing():
            self._server.close()

    def data_received(self, data: bytes) -> None:
        if self._server is None:
            self._too_early.append(data)
        else:
            self._server.write(data)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._server is not None:
            self._server.close()

    def later(self, chunk: bytes | None) -> None:
        """Pass this on after the delay. In order, even should two timers end at the same moment."""
        self._coming.append(chunk)
        asyncio.get_running_loop().call_later(self._delay, self._pass_on)

    def _pass_on(self) -> None:
        chunk = self._coming.popleft()
        if chunk is None:
            self._client.close()
        elif not self._client.is_closing():
            self._client.write(chunk)


class _ServerSide(asyncio.Protocol):
    def __init__(self, later: Callable[[bytes | None], None]) -> None:
        self._later = later

    def data_received(self, data: bytes) -> None:
        self._later(data)

    def connection_lost(self, _error: Exception | None) -> None:
        self._later(None)


async def _serve(make: Callable[[], asyncio.Protocol], port: int) -> None:
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", port, backlog=1000)
    await server.serve_forever()


def main(arguments: list[str]) -> None:
    match arguments:
        case ["sink", port, counter]:
            _OwnSink(int(port), Path(counter)).serve_forever()
        case ["proxy", port, server_port, milliseconds]:
            asyncio.run(_serve(lambda: _ClientSide(int(server_port), float(milliseconds) / 1000), int(port)))
        case _:
            raise SystemExit("sink PORT COUNTER, or: proxy PORT SERVER_PORT MILLISECONDS")


if __name__ == "__main__":
    main(sys.argv[1:])
