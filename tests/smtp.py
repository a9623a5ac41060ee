"""A real SMTP server in a thread that keeps what it accepts, and answers as a test wishes."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, Self, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

ACCEPTED = "250 2.0.0 accepted"


@dataclass(frozen=True)
class Received:
    """One accepted letter, with the moment of its acceptance (seconds since the epoch)."""

    sender: str
    recipients: list[str]
    content: bytes
    at: float = field(default_factory=time.time)

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.content, policy=default)


class RecordingSmtp:
    """Listens on a free port of 127.0.0.1. Set `answer_rcpt` or `answer_data` to have it misbehave."""

    def __init__(self) -> None:
        self.letters: list[Received] = []
        self.connections = 0
        self.answer_rcpt: Callable[[str], str | None] = lambda _address: None  # None: take it
        self.answer_data: Callable[[Received], str] = lambda _letter: ACCEPTED
        self._controller = _Controller(self, hostname="127.0.0.1", port=0, decode_data=False, enable_SMTPUTF8=True)

    def reset(self) -> None:
        self.letters.clear()
        self.connections = 0
        self.answer_rcpt = lambda _address: None
        self.answer_data = lambda _letter: ACCEPTED

    @property
    def port(self) -> int:
        return int(self._controller.server.sockets[0].getsockname()[1])

    def to(self, address: str) -> list[Received]:
        return [letter for letter in self.letters if address in letter.recipients]

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._controller.stop()

    async def handle_EHLO(  # noqa: N802  aiosmtpd looks for these names
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.connections += 1
        return responses

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if refusal := self.answer_rcpt(address):
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        letter = Received(envelope.mail_from or "", list(envelope.rcpt_tos), cast("bytes", envelope.content))
        answer = self.answer_data(letter)
        if answer.startswith("2"):
            self.letters.append(letter)
        return answer


class _Controller(Controller):
    """aiosmtpd's own looks for port 0 literally after binding to a free one."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]  # aiosmtpd has no types

    server: Any
