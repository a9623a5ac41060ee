"""Sending over SMTP (RFC 5321), one kept connection, one command at a time."""

import contextlib
import re
import smtplib
from collections.abc import Iterable, Iterator

from app.config import Settings
from app.delivery.models import Stage
from app.delivery.transport import LONGEST_REPLY, Answer, Envelope, TransportAway
from app.mail import open_smtp

ENHANCED_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?=\s|$)")  # RFC 3463, 2
LEADING_DOT = re.compile(rb"^\.", re.MULTILINE)
SERVICE_CLOSES = 421
GO_AHEAD = 354


class _Broken(Exception):
    """The connection is of no more use; the text says why."""


class SmtpTransport:
    """Opens its connection at the first envelope and keeps it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._smtp: smtplib.SMTP | None = None

    def send(self, envelopes: Iterable[Envelope]) -> Iterator[Answer]:
        for envelope in envelopes:
            yield self._send_one(self._connection(), envelope)

    def close(self) -> None:
        if self._smtp is not None:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                self._smtp.quit()
            self._drop()

    def _drop(self) -> None:
        if self._smtp is not None:
            self._smtp.close()
            self._smtp = None

    def _connection(self) -> smtplib.SMTP:
        if self._smtp is None:
            try:
                self._smtp = open_smtp(self._settings)
                self._smtp.ehlo_or_helo_if_needed()
            except (smtplib.SMTPException, OSError) as error:
                self._drop()
                raise TransportAway(_words(error)) from error
            self._smtp.command_encoding = "utf-8"  # RFC 6531: an address may be in any script
        return self._smtp

    def _send_one(self, smtp: smtplib.SMTP, envelope: Envelope) -> Answer:
        stage = Stage.MAIL
        try:
            options = []
            if not envelope.recipient.isascii():
                if not smtp.has_extn("smtputf8"):
                    # Nothing is asked of a server that has said already what it can't do (RFC 6531, 3.2).
                    return Answer(
                        envelope.delivery_id,
                        Stage.RCPT,
                        553,
                        "This mail server takes no addresses outside ASCII (it does not offer SMTPUTF8).",
                        "5.6.7",
                    )
                options = ["SMTPUTF8", "BODY=8BITMIME"]
            for stage, command, expected in (
                (Stage.MAIL, " ".join([f"MAIL FROM:<{envelope.sender}>", *options]), 2),
                (Stage.RCPT, f"RCPT TO:<{envelope.recipient}>", 2),
                (Stage.DATA, "DATA", 3),
            ):
                code, reply = _ask(smtp, command)
                if code // 100 != expected:
                    return self._refused(smtp, envelope, stage, code, reply)
            stage = Stage.BODY
            smtp.send(LEADING_DOT.sub(b"..", envelope.content) + b".\r\n")
            code, reply = _read_reply(smtp)
        except (_Broken, smtplib.SMTPException, OSError) as error:
            self._drop()
            return Answer(envelope.delivery_id, stage, None, _words(error))
        if code == SERVICE_CLOSES:
            self._drop()
        return _answer(envelope, stage, code, reply)

    def _refused(self, smtp: smtplib.SMTP, envelope: Envelope, stage: Stage, code: int, reply: str) -> Answer:
        """The transaction ends here; the connection may go on with the next one, unless the server hangs up."""
        try:
            if code == SERVICE_CLOSES:
                self._drop()
            else:
                _ask(smtp, "RSET")
        except (_Broken, smtplib.SMTPException, OSError):
            self._drop()
        return _answer(envelope, stage, code, reply)


def _ask(smtp: smtplib.SMTP, command: str) -> tuple[int, str]:
    smtp.putcmd(command)
    return _read_reply(smtp)


def _read_reply(smtp: smtplib.SMTP) -> tuple[int, str]:
    """One reply, which must be SMTP: three digits from 200 to 599."""
    code, reply = smtp.getreply()
    text = reply.decode("utf-8", "replace")
    if not 200 <= code <= 599:
        raise _Broken(f"The server answered what is no SMTP: {text!r}")
    return code, text


def _answer(envelope: Envelope, stage: Stage, code: int, reply: str) -> Answer:
    found = ENHANCED_CODE.match(reply)
    return Answer(envelope.delivery_id, stage, code, reply[:LONGEST_REPLY], found[0] if found else None)


def _words(error: BaseException) -> str:
    """An error as one line for people."""
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return f"{error.smtp_code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}"[
            :LONGEST_REPLY
        ]
    return (str(error) or type(error).__name__)[:LONGEST_REPLY]
