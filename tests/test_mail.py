"""The service's own letters: what leaves, to whom, and over which connections only."""

import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from flask import Flask

from app.config import Settings
from app.extensions import mail
from app.mail import Message, open_smtp
from tests.scripted import ScriptedServer
from tests.smtp import RecordingSmtp
from tests.waiting import BUSY_SECONDS

pytestmark = pytest.mark.usefixtures("context")


def send(smtp: RecordingSmtp, to: str = "anna@golub.test", **fields: Any) -> EmailMessage:
    """Send one letter, and read it as a mail program would."""
    mail.send_letter(to, **{"subject": "News", "text": "Hello!\n", "html": "<p>Hello!</p>"} | fields)
    (letter,) = smtp.letters
    return letter.message


# What leaves


def test_a_letter_has_two_bodies_and_the_headers_it_needs(smtp: RecordingSmtp) -> None:
    message = send(smtp)
    assert message["Subject"] == "News"
    assert message["From"] == "golub@golub.test"
    assert message["To"] == "anna@golub.test"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"].startswith("<")
    assert abs(message["Date"].datetime.timestamp() - time.time()) < 60
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert smtp.letters[0].sender == "golub@golub.test"
    assert smtp.letters[0].recipients == ["anna@golub.test"]


@pytest.mark.parametrize(
    "text",
    [
        "Привет, мир",
        "голубь 🕊 голубь",
        "Ё" * 300,
        "a" * 300,
        "word " * 60 + "end",
        "=?utf-8?q?no_word?=",
        '"quoted", <odd>; (comment) \\',
    ],
)
def test_a_subject_in_any_script_comes_back_as_it_was(smtp: RecordingSmtp, text: str) -> None:
    message = send(smtp, subject=text)
    assert message["Subject"] == text or "=?" in text
    head = smtp.letters[0].content.split(b"\r\n\r\n")[0]
    assert head.isascii()
    assert max(map(len, head.split(b"\r\n"))) <= 998  # RFC 5322, 2.1.1


@pytest.mark.parametrize(
    "text",
    [
        "Привет!\n.\nтри\n..\n.конец\n",
        "x" * 5000 + "\n",
        "mixed\r\nline\nends\n",
        "\n\nDear Anna,\n",
        "🕊\n",
    ],
)
def test_a_body_comes_back_as_it_was(smtp: RecordingSmtp, text: str) -> None:
    message = send(smtp, text=text, html=f"<pre>{text}</pre>")
    plain, html = (part.get_content().replace("\r\n", "\n") for part in message.iter_parts())
    assert plain == text.replace("\r\n", "\n")
    assert html.strip() == f"<pre>{text}</pre>".replace("\r\n", "\n")
    assert max(map(len, smtp.letters[0].content.split(b"\r\n"))) <= 998


def test_a_name_in_any_script_reads_back() -> None:
    message = Message(
        subject="News",
        recipients=["anna@golub.test"],
        body="Hello!",
        sender="Голубь, почтовый <golub@golub.test>".replace("Голубь, почтовый", '"Голубь, почтовый"'),
        reply_to="office@golub.test",
    )._message()
    (sender,) = message["From"].addresses
    assert (sender.display_name, sender.addr_spec) == ("Голубь, почтовый", "golub@golub.test")
    assert message["Reply-To"] == "office@golub.test"


def test_more_headers_can_be_given(smtp: RecordingSmtp) -> None:
    assert send(smtp, **{"X-Golub": "да"})["X-Golub"] == "да"


LINE_ENDS = ["\n", "\r", "\r\n", "\r\n ", "\n\t"]


@pytest.mark.parametrize("end", LINE_ENDS)
@pytest.mark.parametrize("field", ["to", "subject", "X-Golub", "Reply-To"])
def test_a_newline_in_a_header_is_refused_and_nothing_leaves(smtp: RecordingSmtp, field: str, end: str) -> None:
    bad = f"anna@golub.test{end}Bcc: all@golub.test"
    with pytest.raises(ValueError, match=r"newline|linefeed"):
        send(smtp, **{field: bad})
    assert smtp.letters == []


@pytest.mark.parametrize("end", LINE_ENDS)
@pytest.mark.parametrize("field", ["sender", "reply_to"])
def test_a_newline_in_a_messages_own_fields_is_refused(smtp: RecordingSmtp, field: str, end: str) -> None:
    given = {"subject": "News", "recipients": ["anna@golub.test"], "body": "Hello!"}
    message = Message(**given | {field: f"golub@golub.test{end}Bcc: all@golub.test"})
    with pytest.raises(ValueError, match=r"newline|linefeed"):
        mail.send(message)
    assert smtp.letters == []


@pytest.mark.parametrize("name", ["X-Golub\r\nBcc", "X-Golub\nBcc", "X:Golub", "X Golub", "Х-Голубь", ""])
def test_a_strange_header_name_is_refused(smtp: RecordingSmtp, name: str) -> None:
    with pytest.raises(ValueError, match="name of a header"):
        send(smtp, **{name: "all@golub.test"})
    assert smtp.letters == []


@pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029", "\x00"])
def test_what_else_ends_lines_for_python_ends_no_header(smtp: RecordingSmtp, odd: str) -> None:
    try:
        send(smtp, subject=f"News{odd}Bcc: all@golub.test{odd} {'x' * 100}")
    except ValueError:
        assert smtp.letters == []
        return
    (letter,) = smtp.letters
    assert letter.recipients == ["anna@golub.test"]
    assert letter.message["Bcc"] is None
    for line in letter.content.split(b"\r\n\r\n")[0].splitlines():
        assert not line.lower().startswith(b"bcc")


# To whom


def test_an_international_domain_is_written_in_ascii(smtp: RecordingSmtp) -> None:
    """Any mail server takes it then, and finds the right host: IDNA 2008 keeps the sharp s, Python's codec does not."""
    for to, on_the_wire in (
        ("anna@пример.рф", "anna@xn--e1afmkfd.xn--p1ai"),
        ("anna@faß.de", "anna@xn--fa-hia.de"),
    ):
        smtp.reset()
        message = send(smtp, to)
        assert smtp.letters[0].recipients == [on_the_wire]
        assert message["To"] == on_the_wire


def test_a_local_part_outside_ascii_travels_as_it_is(smtp: RecordingSmtp) -> None:
    message = send(smtp, "жук@пример.рф")
    assert smtp.letters[0].recipients == ["жук@xn--e1afmkfd.xn--p1ai"]
    assert message["To"] == "жук@xn--e1afmkfd.xn--p1ai"


def test_a_server_that_knows_ascii_only_is_not_asked_for_more(app: Flask, settings: Settings) -> None:
    with served(controller(enable_SMTPUTF8=False)) as port, using(app, settings, port):
        mail.send_letter("anna@пример.рф", "News", "Hello!", "<p>Hello!</p>")
        with pytest.raises(smtplib.SMTPNotSupportedError):
            mail.send_letter("жук@golub.test", "News", "Hello!", "<p>Hello!</p>")


def test_a_refused_recipient_is_an_error(smtp: RecordingSmtp) -> None:
    smtp.answer_rcpt = lambda _address: "550 5.1.1 no such user"
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(smtp)


def test_a_refused_letter_is_an_error(smtp: RecordingSmtp) -> None:
    smtp.answer_data = lambda _letter: "451 4.3.0 later"
    with pytest.raises(smtplib.SMTPDataError):
        send(smtp)


# Over which connections


class Taking:
    """Takes every letter."""

    async def handle_DATA(self, _server: SMTP, _session: Session, _envelope: Envelope) -> str:  # noqa: N802
        return "250 2.0.0 accepted"


class OnFreePort(Controller):
    server: Any

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        if self.ssl_context is None:
            super()._trigger_server()
            return
        # Its own look takes the server's context, which Python refuses.
        looking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        looking.check_hostname, looking.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((self.hostname, self.port), 5) as plain, looking.wrap_socket(plain) as door:
            door.recv(1024)


def controller(**options: Any) -> OnFreePort:
    return OnFreePort(Taking(), hostname="127.0.0.1", port=0, **options)


@contextmanager
def served(server: OnFreePort) -> Iterator[int]:
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


@contextmanager
def using(app: Flask, settings: Settings, port: int, **changes: Any) -> Iterator[Settings]:
    """Have the application send there."""
    changed = settings.model_copy(update={"mail_port": port} | changes)
    app.config["SETTINGS"] = changed
    try:
        yield changed
    finally:
        app.config["SETTINGS"] = settings


@contextmanager
def silence(greeting: bytes = b"") -> Iterator[int]:
    """A server that takes connections and says nothing more; its port."""
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _address = listener.accept()
                except OSError:
                    return
                connection.sendall(greeting)
                kept.append(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    for connection in kept:
        connection.close()


@pytest.mark.parametrize("greeting", [b"", b"220 golub.test ESMTP\r\n"])
@pytest.mark.parametrize("encryption", [{}, {"mail_use_tls": True}, {"mail_use_ssl": True}])
def test_a_server_that_never_answers_is_not_waited_for(
    app: Flask, settings: Settings, greeting: bytes, encryption: dict[str, bool]
) -> None:
    begun = time.monotonic()
    with (
        silence(greeting) as port,
        using(app, settings, port, mail_timeout_seconds=1, **encryption),
        pytest.raises(OSError),  # noqa: PT011  a timeout, or what is no TLS
    ):
        mail.send_letter("anna@golub.test", "News", "Hello!", "<p>Hello!</p>")
    assert time.monotonic() - begun < BUSY_SECONDS


def test_a_server_that_is_away_is_an_error(app: Flask, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with using(app, settings, port), pytest.raises(ConnectionRefusedError):
        mail.send_letter("anna@golub.test", "News", "Hello!", "<p>Hello!</p>")


def test_a_server_without_the_encryption_that_is_asked_for_gets_no_password(
    app: Flask, settings: Settings, smtp: RecordingSmtp
) -> None:
    account = {"mail_username": "golub", "mail_password": "password"}
    with (
        using(app, settings, smtp.port, mail_use_tls=True, **account) as changed,
        pytest.raises(smtplib.SMTPNotSupportedError),
    ):
        open_smtp(changed)
    assert smtp.letters == []


class Door:
    """Lets one account in."""

    def __init__(self) -> None:
        self.tried: list[tuple[bytes, bytes]] = []

    def __call__(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, account: Any) -> AuthResult:
        self.tried.append((account.login, account.password))
        return AuthResult(success=account.password == b"password", handled=False)


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
def test_it_logs_in_when_there_is_an_account(app: Flask, settings: Settings) -> None:
    door = Door()
    server = controller(authenticator=door, auth_require_tls=False, auth_required=True)
    with served(server) as port:
        with using(app, settings, port, mail_username="golub", mail_password="password"):
            mail.send_letter("anna@golub.test", "News", "Hello!", "<p>Hello!</p>")
        with (
            using(app, settings, port, mail_username="golub", mail_password="wrong"),
            pytest.raises(smtplib.SMTPAuthenticationError),
        ):
            mail.send_letter("anna@golub.test", "News", "Hello!", "<p>Hello!</p>")
    assert door.tried[0] == (b"golub", b"password")


# Certificates


@pytest.fixture
def trusted(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, on a machine that trusts them."""
    both = certificates / "both.pem"
    both.write_text("".join((certificates / f"{name}.pem").read_text() for name in ("right", "other")))
    monkeypatch.setenv("SSL_CERT_FILE", str(both))
    return certificates


@contextmanager
def encrypted(certificates: Path, name: str, kind: str) -> Iterator[int]:
    """An SMTP server that shows this certificate, at STARTTLS or from the start."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    options: dict[str, Any] = {"ssl_context": context}
    if kind == "mail_use_tls":
        options = {"tls_context": context, "require_starttls": True}
    with served(controller(**options)) as port:
        yield port


@pytest.mark.parametrize("kind", ["mail_use_tls", "mail_use_ssl"])
@pytest.mark.parametrize("name", ["right", "other"])
def test_a_certificate_that_nobody_vouches_for_is_refused(
    app: Flask, settings: Settings, certificates: Path, kind: str, name: str
) -> None:
    with (
        encrypted(certificates, name, kind) as port,
        using(app, settings, port, **{kind: True}),
        pytest.raises(ssl.SSLCertVerificationError, match="self-signed"),
    ):
        mail.send_letter("anna@golub.test", "News", "Hello!", "<p>Hello!</p>")


@pytest.mark.parametrize("kind", ["mail_use_tls", "mail_use_ssl"])
def test_the_certificate_of_another_host_is_refused(app: Flask, settings: Settings, trusted: Path, kind: str) -> None:
    with (
        encrypted(trusted, "other", kind) as port,
        using(app, settings, port, **{kind: True}),
        pytest.raises(ssl.SSLCertVerificationError, match="mismatch"),
    ):
        mail.send_letter("anna@golub.test", "News", "Hello!", "<p>Hello!</p>")


@pytest.mark.parametrize("kind", ["mail_use_tls", "mail_use_ssl"])
def test_a_good_certificate_is_taken(app: Flask, settings: Settings, trusted: Path, kind: str) -> None:
    with encrypted(trusted, "right", kind) as port, using(app, settings, port, **{kind: True}):
        mail.send_letter("anna@golub.test", "News", "Hello!", "<p>Hello!</p>")


@pytest.mark.parametrize("drips", ["the greeting", "its abilities"])
def test_a_server_that_drips_bytes_holds_nobody(settings: Settings, drips: str) -> None:
    def drip(connection: socket.socket) -> None:
        if drips == "its abilities":
            connection.sendall(b"220 test ESMTP\r\n")
            connection.recv(1000)
        for _ in range(400):
            connection.sendall(b"2")
            time.sleep(0.1)

    with ScriptedServer(drip) as server:
        slow = {"mail_port": server.port, "mail_timeout_seconds": 1, "mail_username": "u", "mail_password": "p"}
        began = time.monotonic()
        with pytest.raises((OSError, smtplib.SMTPException)):
            open_smtp(settings.model_copy(update=slow))
        assert time.monotonic() - began < BUSY_SECONDS
