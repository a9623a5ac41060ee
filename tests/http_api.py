"""A sending service over HTTP in a thread: it keeps what it accepted, and answers as a test wishes."""

import json
import socket
import ssl
import threading
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Posted:
    """One message as it was posted, with the moment of its arrival (seconds since the epoch)."""

    sender: str
    recipient: str
    content: bytes
    key: str
    headers: dict[str, str]  # names in lower case
    at: float = field(default_factory=time.time)

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.content, policy=default)


@dataclass(frozen=True)
class HttpAnswer:
    """What the service says. It adds Content-Length, and nothing else."""

    status: int = 202
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    phrase: str | None = None  # None: the usual one of the status


def accepted(posted: Posted) -> HttpAnswer:
    """As promised: the message's name here is its key."""
    return HttpAnswer(body=json.dumps({"id": f"message-{posted.key}"}).encode())


def refusal(status: int, text: str = "", **headers: str) -> HttpAnswer:
    """An answer in plain text; `Retry_After` becomes Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpAnswer(status, text.encode(), {"Content-Type": "text/plain"} | named)


class RecordingHttpApi:
    """Listens on a free port of 127.0.0.1. Set `answer` to have it misbehave; None closes without an answer.

    `requests` has everything that was posted, `messages` what was answered with 2xx: one for each key, as a service
    does that keeps its keys.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Posted] = []
        self.messages: list[Posted] = []
        self.connections = 0
        self.answer: Callable[[Posted], HttpAnswer | None] = accepted
        self.taken: dict[str, HttpAnswer] = {}
        self._lock = threading.Lock()
        self._server = _Server(self, tls)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._scheme = "https" if tls else "http"

    def reset(self) -> None:
        self.requests.clear()
        self.messages.clear()
        self.taken.clear()
        self.connections = 0
        self.answer = accepted

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}/v1/messages"

    def to(self, address: str) -> list[Posted]:
        return [message for message in self.messages if message.recipient == address]

    def take(self, posted: Posted) -> HttpAnswer | None:
        """Called in the connections' threads. `answer` may take its time: others are served meanwhile."""
        with self._lock:
            self.requests.append(posted)
            if posted.key in self.taken:
                return self.taken[posted.key]
        answer = self.answer(posted)
        with self._lock:
            if answer is not None and 200 <= answer.status <= 299 and posted.key not in self.taken:
                self.taken[posted.key] = answer
                self.messages.append(posted)
        return answer

    def hang_up(self) -> None:
        """Close every connection that is open, as a service does with idle ones."""
        self._server.hang_up()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self.hang_up()
        self._server.server_close()
        self._thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, api: RecordingHttpApi, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api = api
        self.lock = threading.Lock()
        self.tls = tls
        self._open: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = self.socket.accept()
        if self.tls:
            connection.settimeout(10)  # the handshake follows with the first bytes
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self.lock:
            self.api.connections += 1
            self._open.add(connection)
        return connection, address

    def hang_up(self) -> None:
        with self.lock:
            for connection in self._open:
                try:
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
                except OSError:  # closed already
                    continue
            self._open.clear()

    def shutdown_request(self, request: Any) -> None:
        with self.lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up, or refused our certificate, is not worth a traceback."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        posted = json.loads(self.rfile.read(int(headers["content-length"])))
        message = Posted(
            posted["from"], posted["to"], b64decode(posted["raw"]), headers.get("idempotency-key", ""), headers
        )
        answer = self.server.api.take(message)
        if answer is None:
            self.close_connection = True
            return
        self.send_response_only(answer.status, answer.phrase)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as http.server names it
        """Tests are silent."""
