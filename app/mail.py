"""The service's own letters: Flask-Mail with a timeout, verified certificates and headers that refuse newlines."""

import contextlib
import re
import smtplib
import socket
import ssl
import threading
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import Any

import flask_mail
import idna
from flask import current_app

from app.config import Settings

TIMEOUTS_TO_CONNECT = 3  # in all: greeting, encryption and log-in together
HEADER_NAME = re.compile(r"[!-9;-~]+")  # RFC 5322, 2.2


def envelope_address(email: str) -> str:
    """The address as every mail server takes it: with its domain in ASCII (IDNA 2008)."""
    local, at, domain = email.rpartition("@")
    if domain.isascii():
        return email
    return f"{local}{at}{idna.encode(domain, uts46=True).decode()}"


class _Punctual(smtplib.SMTP):
    """smtplib's timeout is one for each read: a server that drips its greeting would hold us for ever."""

    deadline: threading.Timer

    def connect(self, *arguments: Any, **options: Any) -> tuple[int, bytes]:
        self.deadline = threading.Timer(TIMEOUTS_TO_CONNECT * self.timeout, self._cut)
        self.deadline.daemon = True
        self.deadline.start()
        try:
            return super().connect(*arguments, **options)
        except BaseException:
            self.deadline.cancel()
            raise

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            if self.sock is not None:
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class _Encrypted(_Punctual, smtplib.SMTP_SSL):
    pass


def open_smtp(settings: Settings) -> smtplib.SMTP:
    """A connection to the mail server, encrypted and logged in as the settings say.

    Raises:
        OSError, smtplib.SMTPException: when the server is away, refuses, takes too long, or shows a bad certificate.
    """
    timeout = settings.mail_timeout_seconds
    host, port = settings.mail_server, settings.mail_port
    connection: _Punctual
    if settings.mail_use_ssl:
        # Without a context of ours, smtplib takes any certificate.
        connection = _Encrypted(host, port, timeout=timeout, context=ssl.create_default_context())
    else:
        connection = _Punctual(host, port, timeout=timeout)
    try:
        if settings.mail_use_tls:
            connection.starttls(context=ssl.create_default_context())
        if settings.mail_username and settings.mail_password:
            connection.login(settings.mail_username, settings.mail_password)
    except BaseException:
        connection.close()
        raise
    finally:
        connection.deadline.cancel()
    return connection


class Message(flask_mail.Message):
    """One letter. The standard library writes its headers: it encodes names rightly and refuses newlines."""

    def _message(self) -> EmailMessage:  # type: ignore[override]
        message = EmailMessage(policy=SMTP)
        message["Subject"] = self.subject
        message["From"] = self.sender
        message["To"] = ", ".join(str(recipient) for recipient in self.recipients)
        message["Date"] = formatdate(self.date)
        message["Message-ID"] = self.msgId
        # RFC 3834: no out-of-office notice shall answer a machine's letter.
        message["Auto-Submitted"] = "auto-generated"
        if self.reply_to:
            message["Reply-To"] = self.reply_to
        for name, value in (self.extra_headers or {}).items():
            if not HEADER_NAME.fullmatch(name):  # the standard library looks at values only
                raise ValueError(f"no name of a header: {name!r}")
            message[name] = value
        message.set_content(self.body or "")
        if self.html:
            message.add_alternative(self.html, subtype="html")
        return message


class Connection(flask_mail.Connection):
    def configure_host(self) -> smtplib.SMTP:
        return open_smtp(current_app.config["SETTINGS"])

    def send(self, message: flask_mail.Message, envelope_from: str | tuple[str, str] | None = None) -> None:
        """Hand one letter over. Flask-Mail's own knows no addresses outside ASCII (RFC 6531); smtplib does."""
        if message.has_bad_headers():
            raise ValueError("a newline in a header")  # as of the other headers, not Flask-Mail's BadHeaderError
        if self.host is not None:  # None: MAIL_SUPPRESS_SEND
            letter = message._message()
            self.host.send_message(letter, str(envelope_from or message.sender), list(map(str, message.send_to)))


class Mail(flask_mail.Mail):
    def connect(self) -> Connection:
        return Connection(current_app.extensions["mail"])

    def send_letter(self, to: str, subject: str, text: str, html: str, **headers: Any) -> None:
        """Send one letter now, over a connection of its own. Call it from a job, never inside a request.

        Raises:
            OSError, smtplib.SMTPException: when it could not be handed over.
            ValueError: for a newline in a header, or an address that is none.
        """
        to = envelope_address(to)
        self.send(Message(subject=subject, recipients=[to], body=text, html=html, extra_headers=headers or None))
