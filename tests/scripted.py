"""An SMTP server that says what a test tells it to, byte for byte: for what a well-behaved server never does."""

import socket
import threading
from collections.abc import Callable
from typing import Self

from tests.waiting import PATIENCE_SECONDS

Script = Callable[[socket.socket], None]


class ScriptedServer:
    """Runs `script` once for each connection, on a free port of 127.0.0.1. The script ends, the connection closes."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.connections = 0
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        # Closing alone would not wake up a thread that waits in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed: the test is over
                return
            self.connections += 1
            with connection:
                connection.settimeout(PATIENCE_SECONDS)
                try:
                    self._script(connection)
                except OSError:  # the client hung up
                    continue


def talk(*answers: bytes | None, greeting: bytes = b"220 test ESMTP\r\n") -> Script:
    """Greet, then give one answer per line or body received. None: close instead. After the last: close."""

    def script(connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        connection.sendall(greeting)
        in_body = False
        for answer in answers:
            while True:
                line = lines.readline()
                if not line:
                    return
                if not in_body or line == b".\r\n":
                    break
            if answer is None:
                return
            in_body = answer.startswith(b"354")
            connection.sendall(answer)
        lines.close()

    return script
