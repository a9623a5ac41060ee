"""One kept HTTP/1.1 connection that knows when a request begins to leave, and when a wait has been long enough.

httpx speaks HTTP through httpcore, and httpcore reaches the network through a backend that may be replaced. Ours tells
the moment before the first byte leaves, holds one deadline over a whole answer (httpx's own timeouts begin anew with
every byte that drips in), and can be interrupted by another thread.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import httpcore
import httpx

FAULTS = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException)
KEEP_IDLE_SECONDS = 5  # many servers close what was idle for longer
PIECE = 16 * 1024  # bytes that are written at once: the deadline is looked at between them


class HttpConnection(httpx.BaseTransport):
    """What sends httpx's requests, one after the other. It opens its connection when it needs one, and keeps it.

    Proxies and accounts from the environment or ~/.netrc are not used. Certificates are verified.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._wire = _Wire(timeout_seconds)
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=1,
            keepalive_expiry=KEEP_IDLE_SECONDS,
            network_backend=self._wire,
        )

    @property
    def has_begun(self) -> bool:
        """Whether a byte of the last request may have left."""
        return self._wire.has_begun

    @property
    def is_interrupted(self) -> bool:
        """Whether `interrupt` was called since the last request was handed over."""
        return self._wire.is_interrupted

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, and give the answer once its headers are there. Close it, read or not.

        The request's extension `begin` is called right before its first byte leaves; what it raises comes through,
        and nothing has left then. Connecting may take `timeout_seconds`, and so may everything from there to the
        answer's last byte.

        Raises:
            one of FAULTS, also while the answer is read: with `has_begun` nobody knows whether the request arrived.
        """
        self._wire.start(request.extensions["begin"])
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method, str(request.url), headers=request.headers.raw, content=request.read(), extensions={}
            )
        )
        if not self._wire.has_heard:
            # What a server said too much to the request before is no answer to this one.
            answer.close()
            raise httpcore.RemoteProtocolError("The service answered before it was asked.")
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer), extensions=dict(answer.extensions)
        )

    def interrupt(self) -> None:
        """From another thread: break the connection off, so that whoever waits for an answer waits no longer."""
        self._wire.interrupt()

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    """The answer's body as it comes."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


class _Wire(httpcore.NetworkBackend):
    """Opens the connection, and knows how far the present request is."""

    def __init__(self, timeout_seconds: float) -> None:
        self._plain = httpcore.SyncBackend()
        self._timeout_seconds = timeout_seconds
        self._ends = 0.0
        self._begin: Callable[[], None] = lambda: None
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()  # nobody shuts a socket down that another thread is closing
        self.has_begun = False
        self.has_heard = False
        self.is_interrupted = False

    def start(self, begin: Callable[[], None]) -> None:
        """A new request is about to be sent."""
        self._begin = begin
        self.has_begun = self.has_heard = self.is_interrupted = False
        self._ends = time.monotonic() + self._timeout_seconds

    def begin(self) -> None:
        """The next byte is the request's."""
        if self.has_begun:
            return
        if self.is_interrupted:  # while it connected: there was nothing to break off yet
            raise httpcore.ConnectError("interrupted")
        self._begin()
        self.has_begun = True
        self._ends = time.monotonic() + self._timeout_seconds

    def seconds_left(self, timeout: float | None, too_late: type[httpcore.TimeoutException]) -> float:
        """What may be waited for now, when so much is asked for (None: without an end)."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise too_late("timed out")
        return left if timeout is None else min(left, timeout)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left = self.seconds_left(timeout, httpcore.ConnectTimeout)
        try:
            stream = self._plain.connect_tcp(host, port, left, local_address, socket_options)
        except UnicodeError as error:  # a name that is none in the DNS
            raise httpcore.ConnectError(str(error)) from error
        return _Stream(stream, self)

    def hold(self, connected: socket.socket) -> None:
        with self._lock:
            self._socket = connected

    def let_go(self, stream: httpcore.NetworkStream) -> None:
        with self._lock:
            self._socket = None
            stream.close()

    def interrupt(self) -> None:
        with self._lock:
            self.is_interrupted = True
            if self._socket is not None:
                with suppress(OSError):
                    # Not SSLSocket.shutdown, which forgets the encryption under the hands of whoever reads.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Stream(httpcore.NetworkStream):
    """An open connection."""

    def __init__(self, inner: httpcore.NetworkStream, wire: _Wire) -> None:
        self._inner = inner
        self._wire = wire
        wire.hold(inner.get_extra_info("socket"))

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._inner.read(max_bytes, self._wire.seconds_left(timeout, httpcore.ReadTimeout))
        self._wire.has_heard = True
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._wire.begin()
        for start in range(0, len(buffer), PIECE):
            self._inner.write(buffer[start : start + PIECE], self._wire.seconds_left(timeout, httpcore.WriteTimeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._wire.seconds_left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._wire)

    def close(self) -> None:
        self._wire.let_go(self._inner)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
