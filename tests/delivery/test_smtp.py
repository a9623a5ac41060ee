"""The SMTP client against real sockets: a well-behaved server, and some that are not."""

import socket
from collections.abc import Iterator

import pytest

from app.config import Settings
from app.delivery.models import Stage
from app.delivery.smtp import SmtpTransport
from app.delivery.transport import Answer, Envelope, TransportAway
from dev.servers import free_port
from tests.scripted import ScriptedServer, talk
from tests.smtp import RecordingSmtp

EHLO = b"250 test\r\n"
OK = b"250 2.1.0 fine\r\n"
GO = b"354 go ahead\r\n"
TAKEN = b"250 2.0.0 taken\r\n"


def envelope(
    number: int = 1, recipient: str = "anna@example.test", content: bytes = b"Subject: x\r\n\r\nHi\r\n"
) -> Envelope:
    return Envelope(number, "golub@golub.test", recipient, content)


@pytest.fixture
def transport(settings: Settings, smtp: RecordingSmtp) -> Iterator[SmtpTransport]:
    made = SmtpTransport(settings)
    yield made
    made.close()


def exchange(settings: Settings, script: ScriptedServer, *envelopes: Envelope) -> list[Answer]:
    """Send to a scripted server."""
    changes = {"mail_port": script.port, "mail_timeout_seconds": 1.0}
    transport = SmtpTransport(settings.model_copy(update=changes))
    try:
        return list(transport.send(envelopes))
    finally:
        transport.close()


def test_many_envelopes_leave_over_one_connection(transport: SmtpTransport, smtp: RecordingSmtp) -> None:
    answers = list(transport.send(envelope(n, f"c{n}@example.test") for n in range(3)))
    assert [(a.delivery_id, a.stage, a.code, a.enhanced_code) for a in answers] == [
        (n, Stage.BODY, 250, "2.0.0") for n in range(3)
    ]
    assert answers[0].reply == "2.0.0 accepted"
    assert smtp.connections == 1
    assert [letter.recipients for letter in smtp.letters] == [[f"c{n}@example.test"] for n in range(3)]


def test_lines_that_begin_with_dots_arrive_as_they_were(transport: SmtpTransport, smtp: RecordingSmtp) -> None:
    content = b"Subject: dots\r\n\r\n.\r\n..two\r\nend.\r\n"
    list(transport.send([envelope(content=content)]))
    assert smtp.letters[0].content.replace(b"\r\n", b"\n") == content.replace(b"\r\n", b"\n")


def test_a_refused_recipient_does_not_harm_the_next(transport: SmtpTransport, smtp: RecordingSmtp) -> None:
    smtp.answer_rcpt = lambda address: "550 5.1.1 no such user" if address.startswith("gone") else None
    refused, taken = transport.send([envelope(1, "gone@example.test"), envelope(2, "here@example.test")])
    assert (refused.stage, refused.code, refused.enhanced_code, refused.reply) == (
        Stage.RCPT,
        550,
        "5.1.1",
        "5.1.1 no such user",
    )
    assert (taken.stage, taken.code) == (Stage.BODY, 250)
    assert smtp.connections == 1
    assert len(smtp.letters) == 1


def test_an_address_outside_ascii_goes_to_a_server_that_takes_it(transport: SmtpTransport, smtp: RecordingSmtp) -> None:
    [answer] = transport.send([envelope(recipient="почта@пример.example")])
    assert answer.code == 250
    assert smtp.letters[0].recipients == ["почта@пример.example"]


def test_an_address_outside_ascii_is_not_asked_of_a_server_without_smtputf8(settings: Settings) -> None:
    with ScriptedServer(talk(EHLO, b"221 bye\r\n")) as server:
        [answer] = exchange(settings, server, envelope(recipient="почта@пример.example"))
    assert (answer.stage, answer.code, answer.enhanced_code) == (Stage.RCPT, 553, "5.6.7")


def test_a_reply_of_several_lines_is_one_reply(settings: Settings) -> None:
    with ScriptedServer(talk(EHLO, OK, OK, GO, b"250-2.0.0 taken\r\n250 as number 42\r\n")) as server:
        [answer] = exchange(settings, server, envelope())
    assert (answer.code, answer.reply) == (250, "2.0.0 taken\nas number 42")


@pytest.mark.parametrize(
    ("answers", "stage"),
    [
        ((EHLO, None), Stage.MAIL),
        ((EHLO, OK, None), Stage.RCPT),
        ((EHLO, OK, OK, None), Stage.DATA),
        ((EHLO, OK, OK, GO, None), Stage.BODY),
        ((EHLO, OK, OK, b"HTTP/1.1 200 OK\r\n"), Stage.DATA),
        ((EHLO, OK, OK, GO, b"what?\r\n"), Stage.BODY),
        ((EHLO, OK, OK, GO, b"999 strange\r\n"), Stage.BODY),
        ((EHLO, OK, OK, GO, b"250 " + b"x" * 9000 + b"\r\n"), Stage.BODY),
    ],
    ids=["closed at MAIL", "at RCPT", "at DATA", "after the body", "HTTP", "rubbish", "no such code", "endless line"],
)
def test_what_is_no_answer_is_a_broken_connection(
    settings: Settings, answers: tuple[bytes | None, ...], stage: Stage
) -> None:
    with ScriptedServer(talk(*answers)) as server:
        [answer] = exchange(settings, server, envelope())
    assert (answer.stage, answer.code) == (stage, None)
    assert answer.reply


def silent(connection: socket.socket) -> None:
    connection.sendall(b"220 hello\r\n")
    while connection.recv(1000):
        pass


def test_a_server_that_falls_silent_means_away(settings: Settings) -> None:
    with ScriptedServer(silent) as server, pytest.raises(TransportAway, match="timed out"):
        exchange(settings, server, envelope())


def test_421_ends_the_connection_and_the_next_envelope_gets_a_new_one(settings: Settings) -> None:
    with ScriptedServer(talk(EHLO, OK, OK, b"421 4.3.2 closing\r\n")) as server:
        first, second = exchange(settings, server, envelope(1), envelope(2))
        assert server.connections == 2
    assert (first.stage, first.code) == (Stage.DATA, 421)
    assert (second.stage, second.code) == (Stage.DATA, 421)


def test_nobody_listening_means_away(settings: Settings) -> None:
    transport = SmtpTransport(settings.model_copy(update={"mail_port": free_port()}))
    with pytest.raises(TransportAway, match="refused"):
        list(transport.send([envelope()]))


def test_a_server_that_turns_us_away_means_away_with_its_words(settings: Settings) -> None:
    refusing = ScriptedServer(talk(greeting=b"554 5.7.1 you are on a list\r\n"))
    with refusing as server, pytest.raises(TransportAway, match=r"554 5\.7\.1 you are on a list"):
        exchange(settings, server, envelope())


def test_a_long_reply_is_kept_up_to_a_thousand_characters(settings: Settings) -> None:
    lines = b"".join(b"550-5.1.1 " + b"y" * 90 + b"\r\n" for _ in range(30)) + b"550 5.1.1 end\r\n"
    with ScriptedServer(talk(EHLO, OK, lines, OK)) as server:
        [answer] = exchange(settings, server, envelope())
    assert (answer.code, len(answer.reply)) == (550, 1000)
