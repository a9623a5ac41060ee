"""Sending over SMTP (RFC 5321): one kept connection and, where the server offers PIPELINING, one round trip a message.

    MAIL, RCPT, DATA of the first  →  ← three replies
    body of the first, MAIL, RCPT, DATA of the second, in one write  →  ← four replies
    body of the second, MAIL, RCPT, DATA of the third …

RFC 2920 allows that: DATA has to be the last command of a group, and the next group may follow the body at once.
"""

import contextlib
import re
import select
import smtplib
import socket
import time
from collections.abc import Iterable, Iterator

from app.config import Settings
from app.delivery.models import Stage
from app.delivery.transport import LONGEST_REPLY, Answer, Begin, Envelope, Reply, TransportAway
from app.mail import open_smtp

LONGEST_REPLY_BYTES = 65536  # RFC 5321, 4.5.3.1.5 asks for 512 a line
QUIT_SECONDS = 2.0
LAST_WORDS_SECONDS = 0.2
ENHANCED_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?=\s|$)")  # RFC 3463, 2
# RFC 5321, 4.2: lines that go on, if any, and the last one. What has come so far may still become that.
WHOLE_REPLY = re.compile(rb"((?:[2-5]\d\d-[^\n]*\n)*)([2-5]\d\d)(?: ([^\r\n]*)|)\r?\n")
ALL_IS_WELL = re.compile(rb"(?:25\d [^\r\n]*\r\n){2}354 [^\r\n]*\r\n")  # to MAIL, RCPT and DATA
PART_OF_REPLY = re.compile(rb"(?:[2-5]\d\d-[^\n]*\n)*(?:[2-5](?:\d(?:\d(?:[ -][^\n]*|\r)?)?)?)?")
UNSAFE = re.compile(r"[\x00-\x20\x7f<>]")  # would end the address, or the command
ENVELOPE_STAGES = (Stage.MAIL, Stage.RCPT, Stage.DATA)
SERVICE_CLOSES = 421
GO_AHEAD = 354
# Who asks for a log-in or refuses ours (RFC 4954, 6), and what our sender's address is refused with (RFC 3463, 3.2).
LOGIN_CODES = frozenset({530, 534, 535, 538})
BAD_SENDER = ("5.1.7", "5.1.8")
# What is wrong with this one message, at MAIL already: too large (RFC 1870), no SMTPUTF8 (RFC 6531).
BAD_MESSAGE = ("5.3.4", "5.6.7")


class _Broken(Exception):
    """The connection is of no more use; the text says why."""


class _Closed(_Broken):
    """The server has ended it."""


class SmtpTransport:
    """Opens its connection at the first envelope and keeps it, for as many messages and seconds as the settings say."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: _Connection | None = None

    def send(self, envelopes: Iterable[Envelope], begin: Begin) -> Iterator[Answer]:
        try:
            yield from self._exchange(envelopes, begin)
        except BaseException:
            # It is in the middle of something: what comes next would be read as the body that the server waits for.
            self._drop()
            raise

    def _exchange(self, envelopes: Iterable[Envelope], begin: Begin) -> Iterator[Answer]:
        source = iter(envelopes)
        envelope = next(source, None)
        asked = False  # MAIL, RCPT and DATA of this envelope have left already, behind the body before it
        while envelope is not None:
            connection = self._connected(is_busy=asked)
            if not asked and (impossible := connection.refuses(envelope)):
                yield impossible
                envelope = next(source, None)
                continue
            following: Envelope | None = None
            stage = Stage.MAIL
            try:
                refusal = connection.ask(envelope, has_left=asked)
                asked = False
                if refusal is None:
                    stage = Stage.BODY
                    if connection.pipelines and connection.sent + 1 < self._settings.mail_per_connection:
                        following = next(source, None)
                    asked = following is not None and connection.refuses(following) is None
                    begin(envelope.delivery_id)
                    code, text = connection.hand_over(envelope, following if asked else None)
                    answer = _answer(envelope, Stage.BODY, code, text)
                else:
                    answer = refusal
            except (_Broken, OSError) as error:
                stage = connection.stage if stage is Stage.MAIL else stage
                answer = connection.last_words(envelope, stage) or Answer(
                    envelope.delivery_id, stage, Reply.NONE, None, _words(error)
                )
                if answer.kind is Reply.NONE and stage is Stage.MAIL and connection.has_run_out(error):
                    # It ended with the message before: nobody has said anything about this one.
                    self._drop()
                    asked = False
                    continue
            if connection.is_meant_by(answer):
                self.close()
                continue
            connection.has_served = True
            if answer.kind in (Reply.CLOSING, Reply.NONE) or connection.is_closing:
                self._drop()
                asked = False
            elif connection.sent >= self._settings.mail_per_connection:
                self.close()
            yield answer
            envelope = following if following is not None else next(source, None)

    def interrupt(self) -> None:
        if (connection := self._connection) is not None:
            connection.interrupt()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.quit()
            self._connection = None

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self, *, is_busy: bool) -> "_Connection":
        """The one that there is, or a new one. is_busy: answers are on their way over it, so it has not idled."""
        idle_seconds = self._settings.mail_idle_seconds
        if self._connection is not None and not is_busy and self._connection.is_stale(idle_seconds):
            self.close()
        if self._connection is None:
            try:
                self._connection = _Connection(self._settings)
            except (smtplib.SMTPException, OSError) as error:
                raise TransportAway(_words(error)) from error
        return self._connection


class _Connection:
    """An open one. After any exception it is of no more use."""

    def __init__(self, settings: Settings) -> None:
        """Raises: OSError, smtplib.SMTPException"""
        self._smtp = open_smtp(settings)
        try:
            self._smtp.ehlo_or_helo_if_needed()
        except BaseException:
            self._smtp.close()
            raise
        offered = self._smtp.esmtp_features
        self.pipelines = "pipelining" in offered
        self._takes_utf8 = "smtputf8" in offered
        self._takes_8bit = "8bitmime" in offered
        self._takes_size = "size" in offered
        size = offered.get("size", "").strip()
        self._size_limit = int(size) if size.isdecimal() else 0  # bytes; 0: none that it would name
        self._socket: socket.socket = self._smtp.sock  # type: ignore[assignment]  # it is connected
        self._timeout = settings.mail_timeout_seconds
        self._unread = b""
        self._at = 0
        self._used_at = time.monotonic()
        self._needs_reset = False
        self._is_interrupted = False
        self.has_served = False  # it has brought an answer to some envelope
        self.is_closing = False  # the server has said 421, or says nothing any more
        self.sent = 0
        self.stage = Stage.MAIL

    def is_stale(self, idle_seconds: float) -> bool:
        """Whether it has idled too long, or the server has closed it meanwhile: nobody is to be blamed for that."""
        if time.monotonic() - self._used_at > max(idle_seconds, 1):
            return True
        # Nobody has asked: what has come is its end, or the 421 before it.
        return self._at < len(self._unread) or bool(select.select([self._socket], [], [], 0)[0])

    def has_run_out(self, error: Exception) -> bool:
        """Whether this error is the mere end of a connection that has served before, as a server may end any."""
        is_end = isinstance(error, _Closed | OSError) and not isinstance(error, TimeoutError)
        return is_end and self.has_served and not self._is_interrupted

    def is_meant_by(self, answer: Answer) -> bool:
        """Some servers say so to all that comes after the last message which they take of one connection."""
        if answer.stage is not Stage.MAIL:
            return False
        return self.sent > 0 if answer.kind is Reply.LATER else answer.kind is Reply.CLOSING and self.has_served

    def refuses(self, envelope: Envelope) -> Answer | None:
        """What we say ourselves, without asking the server about what it can't take."""
        size = len(envelope.content)
        if UNSAFE.search(envelope.recipient) or "@" not in envelope.recipient:
            words = "501 5.1.3 This is no address that a mail server could be asked about."
        elif 0 < self._size_limit < size:
            words = f"552 5.3.4 The letter has {size} bytes; this mail server takes {self._size_limit} at the most."
        elif not self._takes_utf8 and not (envelope.recipient.isascii() and envelope.sender.isascii()):
            words = "553 5.6.7 This mail server takes no addresses outside ASCII (it does not offer SMTPUTF8)."
        else:
            return None
        return _answer(envelope, Stage.RCPT, int(words[:3]), words[4:])

    def ask(self, envelope: Envelope, *, has_left: bool) -> Answer | None:
        """Open a transaction, or give the answer that refuses it. has_left: the commands are on their way already."""
        self.stage = Stage.MAIL
        if not has_left and self.pipelines:
            self._write(self._commands(envelope))
        if self.pipelines or has_left:
            return self._read_group(envelope)
        return self._ask_singly(envelope)

    def hand_over(self, envelope: Envelope, following: Envelope | None) -> tuple[int, str]:
        """Send the body, with the commands of the next message behind it, and read what becomes of this one."""
        body = _stuffed(envelope.content)
        self._write(body if following is None else body + self._commands(following))
        self.sent += 1
        return self._read()

    def last_words(self, envelope: Envelope, stage: Stage) -> Answer | None:
        """The 421 that a server said before it closed, when we noticed that only by writing on."""
        with contextlib.suppress(_Broken, OSError):
            self._timeout = LAST_WORDS_SECONDS
            code, text = self._read()
            if code == SERVICE_CLOSES:
                return _answer(envelope, stage, code, text)
        return None

    def interrupt(self) -> None:
        self._is_interrupted = True
        with contextlib.suppress(OSError):
            # Not SSLSocket.shutdown, which forgets the encryption under the hands of whoever writes.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def quit(self) -> None:
        with contextlib.suppress(OSError, _Broken):
            if not self.is_closing:
                self._timeout = QUIT_SECONDS
                self._write(b"QUIT\r\n")
                self._read()
        self.close()

    def close(self) -> None:
        self._smtp.close()

    def _commands(self, envelope: Envelope) -> bytes:
        lines = [*self._command_lines(envelope), ""]
        if self._needs_reset:
            lines.insert(0, "RSET")
        return "\r\n".join(lines).encode()

    def _command_lines(self, envelope: Envelope) -> tuple[str, str, str]:
        options = f" SIZE={len(envelope.content)}" if self._takes_size else ""
        if self._takes_8bit and not envelope.content.isascii():
            options += " BODY=8BITMIME"
        if not (envelope.recipient.isascii() and envelope.sender.isascii()):
            options += " SMTPUTF8"
        return f"MAIL FROM:<{envelope.sender}>{options}", f"RCPT TO:<{envelope.recipient}>", "DATA"

    def _read_group(self, envelope: Envelope) -> Answer | None:
        """The replies to MAIL, RCPT and DATA. All are read, whatever the first ones say: the server answers each."""
        self._read_reset()
        if found := ALL_IS_WELL.match(self._unread, self._at):
            self._at = found.end()
            return None
        for left, stage in zip((2, 1, 0), ENVELOPE_STAGES, strict=True):
            self.stage = stage
            code, text = self._read()
            if not _goes_on(stage, code):
                self._read_behind_refusal(code, left)
                return _answer(envelope, stage, code, text)
        return None

    def _read_behind_refusal(self, code: int, left: int) -> None:
        """Read so many answers more. The refusal stands, whether they come or not."""
        self._needs_reset = True
        try:
            for _ in range(left):
                if code == SERVICE_CLOSES:
                    break
                code, _text = self._read()
            if code == GO_AHEAD:
                # It wants a body although it has refused to take one for anybody (RFC 2920, 3.1): an empty one.
                self._write(b".\r\n")
                self._read()
        except (_Broken, OSError):
            self.is_closing = True
        self.is_closing |= code == SERVICE_CLOSES

    def _ask_singly(self, envelope: Envelope) -> Answer | None:
        if self._needs_reset:
            self._write(b"RSET\r\n")
            self._read_reset()
        for stage, line in zip(ENVELOPE_STAGES, self._command_lines(envelope), strict=True):
            self.stage = stage
            self._write(f"{line}\r\n".encode())
            code, text = self._read()
            if not _goes_on(stage, code):
                self._needs_reset = True
                return _answer(envelope, stage, code, text)
        return None

    def _read_reset(self) -> None:
        if self._needs_reset:
            self._needs_reset = False
            code, text = self._read()
            if code == SERVICE_CLOSES:
                self._unread, self._at = f"{code} {text}\r\n".encode() + self._unread[self._at :], 0
            elif code // 100 != 2:
                raise _Broken(f"The server would not begin anew: {code} {text}")

    def _write(self, data: bytes) -> None:
        # The answer before has left the socket with what it did not need. It holds for the write as a whole.
        self._socket.settimeout(self._timeout)
        self._socket.sendall(data)
        self._used_at = time.monotonic()

    def _read(self) -> tuple[int, str]:
        """One whole reply: its code, and its text without the codes.

        Raises:
            _Broken: for what is no SMTP, and for more than anybody would say.
            OSError: for a broken connection; TimeoutError when it takes too long as a whole.
        """
        found = WHOLE_REPLY.match(self._unread, self._at)
        if found is None:
            found = self._receive_reply()
        self._at = found.end()
        lines, code = found[1], found[2]
        if not lines:
            return int(code), _readable(found[3])
        if any(line[:3] != code for line in lines.splitlines()):
            raise _Broken(f"The server answered what is no SMTP: {_readable(found[0])!r}")
        texts = [line[4:] for line in lines.splitlines()]
        return int(code), _readable(b"\n".join([*texts, found[3]]))

    def _receive_reply(self) -> "re.Match[bytes]":
        """Wait until the next reply is there as a whole."""
        self._unread, self._at = self._unread[self._at :], 0
        deadline = time.monotonic() + self._timeout
        while (found := WHOLE_REPLY.match(self._unread)) is None:
            if not PART_OF_REPLY.fullmatch(self._unread):
                raise _Broken(f"The server answered what is no SMTP: {_readable(self._unread)!r}")
            if len(self._unread) > LONGEST_REPLY_BYTES:
                raise _Broken("The server's answer has no end.")
            # A server that sends a byte now and then must not hold us for ever.
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self._socket.recv(65536)
            if not data:
                raise _Closed("The server closed the connection.")
            self._unread += data
        if found.end() > LONGEST_REPLY_BYTES:
            raise _Broken("The server's answer has no end.")
        return found


def _goes_on(stage: Stage, code: int) -> bool:
    return code == GO_AHEAD if stage is Stage.DATA else 200 <= code <= 299


def _stuffed(content: bytes) -> bytes:
    """The content as DATA wants it: leading dots doubled, and a lone dot last (RFC 5321, 4.5.2)."""
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return b"".join((b"." if content.startswith(b".") else b"", stuffed, b".\r\n"))


def _answer(envelope: Envelope, stage: Stage, code: int, text: str) -> Answer:
    found = ENHANCED_CODE.match(text)
    enhanced = found[0] if found else None
    kind = kind_of(stage, code, enhanced)
    if kind is Reply.NONE:
        return Answer(envelope.delivery_id, stage, kind, None, f"The server answered out of turn: {code} {text}")
    return Answer(envelope.delivery_id, stage, kind, code, text, enhanced)


def kind_of(stage: Stage, code: int, enhanced: str | None) -> Reply:
    """What a reply to this stage's command means, by its code (RFC 5321, 4.2.1) and enhanced code (RFC 3463)."""
    if code == SERVICE_CLOSES:
        return Reply.CLOSING
    match code // 100:
        case 2 if stage is Stage.BODY:
            return Reply.ACCEPTED
        case 4:
            return Reply.LATER
        case 5:
            return _kind_of_refusal(stage, code, enhanced or "")
    return Reply.NONE


def _kind_of_refusal(stage: Stage, code: int, enhanced: str) -> Reply:
    if code in LOGIN_CODES or enhanced.startswith("5.7.") or enhanced in BAD_SENDER:
        return Reply.OUR_FAULT
    if stage is Stage.MAIL and code != 552 and enhanced not in BAD_MESSAGE:
        return Reply.OUR_FAULT  # at MAIL the server knows nothing but our sender
    return Reply.NO_SUCH_ADDRESS if enhanced.startswith("5.1.") else Reply.REFUSED


def _readable(text: bytes | None) -> str:
    return (text or b"").decode("utf-8", "replace").replace("\r", "")[:LONGEST_REPLY]


def _words(error: BaseException) -> str:
    """An error as one line for people."""
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return f"{error.smtp_code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}"[
            :LONGEST_REPLY
        ]
    return (str(error) or type(error).__name__)[:LONGEST_REPLY]
