"""A mail server that is a process of its own, writes down what it accepts, and misbehaves as it is told.

    python server.py FOLDER

It listens on two free ports of 127.0.0.1, one for mail and one for orders, and writes both into FOLDER/ports. An order
is a line of JSON with some fields of `Behaviour`; the answer is a line of JSON that tells what has happened so far, and
the order is in force by then. A line `recipient message-id seconds`, the last since the epoch, is in FOLDER/accepted
before the 250 leaves.

Nothing but the standard library: it starts at once, and handles some thousand messages a second.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import sys
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

EVERYTHING = ["PIPELINING", "8BITMIME", "SIZE 10485760", "ENHANCEDSTATUSCODES"]
RUBBISH = b"\x00\xff<html>is this the right port?</html>\r\n"
MESSAGE_ID = re.compile(rb"^Message-ID:\s*(\S+)", re.IGNORECASE | re.MULTILINE)
ADDRESS = re.compile(r"<([^>]*)>")


@dataclass
class Behaviour:
    """How the server behaves from now on.

    stage: where the fault strikes: greeting, ehlo, mail, rcpt, data, body (it is there, the answer is not), answer
    (right behind it).  fault: hang, close, rubbish, 421, or nothing.  records: whether a body that meets a fault is
    taken nevertheless.  every: each how manieth time that the stage is reached.  times: how often in all.
    """

    is_there: bool = True
    offers: list[str] = field(default_factory=lambda: list(EVERYTHING))
    delay: float = 0.0  # seconds before each answer to a body
    defers_some: bool = False
    refuses_some: bool = False
    fault: str = ""
    stage: str = ""
    records: bool = False
    every: int = 1
    times: int = 1_000_000


def is_deferred(address: str) -> bool:
    """Whether this recipient, one of ten, hears «later» at the first try."""
    return zlib.crc32(b"later " + address.encode()) % 10 == 0


def is_refused(address: str) -> bool:
    """Whether this recipient, one of twenty, is refused for good."""
    return zlib.crc32(b"never " + address.encode()) % 20 == 0


class Gone(Exception):
    """The connection has ended."""


class MailServer:
    def __init__(self, folder: Path) -> None:
        self.behaviour = Behaviour()
        self.changed = asyncio.Event()
        self.accepted = self.connections = self.struck = 0
        self._reached = 0
        self._deferred: set[str] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._listener: asyncio.Server | None = None
        self._port = 0
        self._record = os.open(folder / "accepted", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    async def run(self, folder: Path) -> None:
        await self._open()
        orders = await asyncio.start_server(self._take_orders, "127.0.0.1", 0)
        ports = {"mail": self._port, "orders": orders.sockets[0].getsockname()[1]}
        (folder / "ports.new").write_text(json.dumps(ports))
        (folder / "ports.new").rename(folder / "ports")
        async with orders:
            await orders.serve_forever()

    async def _open(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port, backlog=1000)
            self._port = self._listener.sockets[0].getsockname()[1]

    def _vanish(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for writer in self._writers:
            writer.transport.abort()

    async def _take_orders(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if order := json.loads(line):
                self.behaviour = dataclasses.replace(Behaviour(), **order)
                self._reached = self.struck = 0
                if self.behaviour.is_there:
                    await self._open()
                else:
                    self._vanish()
                self.changed.set()
                self.changed = asyncio.Event()
            told = {"accepted": self.accepted, "connections": self.connections, "struck": self.struck}
            writer.write(json.dumps(told).encode() + b"\n")
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            await Session(self, reader, writer).run()
        except (Gone, OSError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def strikes(self, stage: str) -> bool:
        """Whether the fault strikes, this time that the stage is reached."""
        told = self.behaviour
        if told.fault == "" or told.stage != stage or self.struck >= told.times:
            return False
        self._reached += 1
        if self._reached % told.every:
            return False
        self.struck += 1
        return True

    def record(self, recipient: str, body: bytes) -> None:
        """Write it down, past all buffers: our own end can't undo it."""
        found = MESSAGE_ID.search(body)
        message_id = found[1].decode() if found else "-"
        os.write(self._record, f"{recipient} {message_id} {time.time():.6f}\n".encode())
        self.accepted += 1

    def refusal(self, recipient: str, *, after_body: bool) -> bytes | None:
        """What this recipient hears instead of 250, half of them at RCPT, the others after the body."""
        told = self.behaviour
        if after_body != (zlib.crc32(recipient.encode()) % 2 == 0):
            return None
        if told.refuses_some and is_refused(recipient):
            return b"554 5.6.0 Not this letter." if after_body else b"550 5.1.1 Nobody of that name."
        if told.defers_some and is_deferred(recipient) and recipient not in self._deferred:
            self._deferred.add(recipient)
            return b"451 4.3.2 Try again later."
        return None


class Session:
    """One connection."""

    def __init__(self, server: MailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._unread = bytearray()
        self._answers: list[bytes] = []
        self._recipient = ""

    async def run(self) -> None:
        await self._say("greeting", b"220 chaos.test ESMTP")
        while True:
            line = (await self._line()).decode("utf-8", "replace")
            verb = line[:4].upper()
            if verb == "EHLO":
                await self._say("ehlo", *self._offers())
            elif verb == "MAIL":
                self._recipient = ""
                await self._say("mail", b"250 2.1.0 Sender taken.")
            elif verb == "RCPT":
                await self._take_recipient(line)
            elif verb == "DATA":
                await self._take_body()
            elif verb == "QUIT":
                self._answers.append(b"221 2.0.0 Bye.")
                await self._flush()
                return
            elif verb in ("RSET", "NOOP", "HELO"):
                self._recipient = ""
                self._answers.append(b"250 2.0.0 Done.")
            else:
                self._answers.append(b"500 5.5.2 What is that?")

    def _offers(self) -> list[bytes]:
        lines = ["chaos.test", *self._server.behaviour.offers]
        return [f"250{'-' if line is not lines[-1] else ' '}{line}".encode() for line in lines]

    async def _take_recipient(self, line: str) -> None:
        found = ADDRESS.search(line)
        recipient = found[1] if found else ""
        if refusal := self._server.refusal(recipient, after_body=False):
            self._answers.append(refusal)
            return
        self._recipient = recipient
        await self._say("rcpt", b"250 2.1.5 Recipient taken.")

    async def _take_body(self) -> None:
        if not self._recipient:
            self._answers.append(b"503 5.5.1 For whom?")
            return
        await self._say("data", b"354 Go ahead.")
        body = await self._body()
        recipient, self._recipient = self._recipient, ""
        if self._server.behaviour.delay:
            await self._flush()
            await asyncio.sleep(self._server.behaviour.delay)
        if refusal := self._server.refusal(recipient, after_body=True):
            self._answers.append(refusal)
            return
        if self._server.strikes("body"):
            if self._server.behaviour.records:
                self._server.record(recipient, body)
            await self._suffer()
            return
        self._server.record(recipient, body)
        self._answers.append(b"250 2.0.0 Taken.")
        if self._server.strikes("answer"):
            await self._suffer()

    async def _say(self, stage: str, *lines: bytes) -> None:
        if self._server.strikes(stage):
            await self._suffer()
        else:
            self._answers += lines

    async def _suffer(self) -> None:
        """The fault itself."""
        fault = self._server.behaviour.fault
        if fault == "rubbish":
            await self._flush()
            self._writer.write(RUBBISH)
            return
        if fault == "421":
            self._answers.append(b"421 4.3.2 Closing down.")
        await self._flush()
        if fault == "hang":
            await self._hang()
        raise Gone

    async def _hang(self) -> None:
        """Say nothing until the client has gone, or until we are told to behave otherwise."""
        changed = asyncio.ensure_future(self._server.changed.wait())
        gone = asyncio.ensure_future(self._read_on())
        await asyncio.wait([changed, gone], return_when=asyncio.FIRST_COMPLETED)
        for task in (changed, gone):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await task

    async def _read_on(self) -> None:
        while await self._reader.read(65536):
            pass

    async def _flush(self) -> None:
        if self._answers:
            self._writer.write(b"".join(answer + b"\r\n" for answer in self._answers))
            self._answers.clear()
            await self._writer.drain()

    async def _receive(self) -> None:
        await self._flush()
        data = await self._reader.read(65536)
        if not data:
            raise Gone
        self._unread += data

    async def _line(self) -> bytes:
        while (end := self._unread.find(b"\n")) < 0:
            await self._receive()
        line = bytes(self._unread[:end]).rstrip()
        del self._unread[: end + 1]
        return line

    async def _body(self) -> bytes:
        searched = 0
        while not self._unread.startswith(b".\r\n") and (end := self._unread.find(b"\r\n.\r\n", searched)) < 0:
            searched = max(len(self._unread) - 4, 0)
            await self._receive()
        length = 3 if self._unread.startswith(b".\r\n") else end + 5
        body = bytes(self._unread[:length])
        del self._unread[:length]
        return body


if __name__ == "__main__":
    asyncio.run(MailServer(Path(sys.argv[1])).run(Path(sys.argv[1])))
