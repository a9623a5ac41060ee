"""How connections to a mail server end, and what that means for the messages around the end."""

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.config import Settings
from app.delivery.models import Stage
from app.delivery.smtp import SmtpTransport
from app.delivery.transport import Answer, Reply
from tests.delivery.test_smtp import (
    ENVELOPE_OK,
    GO,
    OK,
    TAKEN,
    begin,
    envelope,
    exchange,
    in_turns,
    one_after_the_other,
)
from tests.scripted import Script, ScriptedServer
from tests.waiting import BUSY_SECONDS

pytestmark = pytest.mark.one_database

NO_SIZE = b"250-test\r\n250 PIPELINING\r\n"
NO_PIPELINING = b"250 test\r\n"
GOOD_BYE = b"421 4.7.0 enough, good-bye\r\n"
NOBODY = b"550 5.1.1 nobody of that name\r\n"
A_GOOD_ONE = in_turns((b"DATA\r\n", ENVELOPE_OK), (b"\r\n.\r\n", TAKEN))


def singly(*turns: tuple[bytes, bytes]) -> Script:
    """Of a server that takes one command at a time."""
    return in_turns(*turns, offers=NO_PIPELINING)


def kinds_of(settings: Settings, *scripts: Script) -> list[Reply]:
    """What becomes of two messages, for which all of these connections are needed."""
    with ScriptedServer(one_after_the_other(*scripts)) as server:
        answers = exchange(settings, server, envelope(1), envelope(2))
        assert server.connections == len(scripts)
    return [answer.kind for answer in answers]


@pytest.mark.parametrize(
    "ending",
    [
        in_turns((b"DATA\r\n", OK + NOBODY + GOOD_BYE)),
        in_turns((b"DATA\r\n", OK + NOBODY + b"554 5.5.1 nobody\r\n" + GOOD_BYE)),
        in_turns((b"DATA\r\n", OK + NOBODY + b"554 5.5.1 nobody\r\n")),
        in_turns((b"DATA\r\n", OK + NOBODY)),
        in_turns((b"DATA\r\n", OK + NOBODY + GO)),
        singly((b"\r\n", OK), (b"\r\n", NOBODY + GOOD_BYE)),
        singly((b"\r\n", OK), (b"\r\n", NOBODY), (b"RSET\r\n", GOOD_BYE)),
        singly((b"\r\n", OK), (b"\r\n", NOBODY)),
    ],
    ids=[
        "421 instead of DATA's",
        "421 behind all",
        "closed behind all",
        "closed instead of DATA's",
        "closed instead of taking an empty body",
        "421 right behind, no pipelining",
        "421 to RSET, no pipelining",
        "closed behind it, no pipelining",
    ],
)
def test_a_connection_that_ends_with_a_refusal_costs_the_next_message_nothing(
    settings: Settings, ending: Script
) -> None:
    assert kinds_of(settings, ending, A_GOOD_ONE) == [Reply.NO_SUCH_ADDRESS, Reply.ACCEPTED]


@pytest.mark.parametrize(
    "ending",
    [
        in_turns((b"DATA\r\n", ENVELOPE_OK), (b"DATA\r\n", TAKEN)),
        in_turns((b"DATA\r\n", ENVELOPE_OK), (b"DATA\r\n", TAKEN + GOOD_BYE)),
        singly((b"\r\n", OK), (b"\r\n", OK), (b"\r\n", GO), (b"\r\n.\r\n", TAKEN)),
        singly((b"\r\n", OK), (b"\r\n", OK), (b"\r\n", GO), (b"\r\n.\r\n", TAKEN + GOOD_BYE)),
        singly((b"\r\n", OK), (b"\r\n", OK), (b"\r\n", GO), (b"\r\n.\r\n", TAKEN), (b"\r\n", GOOD_BYE)),
    ],
    ids=["closed", "421", "closed, no pipelining", "421, no pipelining", "421 to MAIL, no pipelining"],
)
def test_a_connection_that_ends_with_an_accepted_message_costs_the_next_one_nothing(
    settings: Settings, ending: Script
) -> None:
    assert kinds_of(settings, ending, A_GOOD_ONE) == [Reply.ACCEPTED] * 2


def test_a_connection_that_ended_between_two_claims_costs_nothing_however_soon(settings: Settings) -> None:
    ending = in_turns((b"DATA\r\n", ENVELOPE_OK), (b"\r\n.\r\n", TAKEN + GOOD_BYE))
    with ScriptedServer(one_after_the_other(ending, A_GOOD_ONE)) as server:
        transport = SmtpTransport(settings.model_copy(update={"mail_port": server.port}))
        answers = [*transport.send([envelope(1)], begin), *transport.send([envelope(2)], begin)]
        transport.close()
    assert [answer.kind for answer in answers] == [Reply.ACCEPTED] * 2


@pytest.mark.parametrize(("words", "kind"), [(b"", Reply.NONE), (GOOD_BYE, Reply.CLOSING)], ids=["closes", "says 421"])
def test_a_server_that_ends_every_connection_at_once_is_not_asked_for_ever(
    settings: Settings, words: bytes, kind: Reply
) -> None:
    ends_at_once = in_turns((b"DATA\r\n", words))
    assert kinds_of(settings, ends_at_once, ends_at_once) == [kind] * 2


def test_who_is_interrupted_does_not_begin_anew(settings: Settings) -> None:
    """It has to end, not to connect once more."""
    script = in_turns((b"DATA\r\n", ENVELOPE_OK), (b"DATA\r\n", TAKEN), (b"nothing more", b""))
    with ScriptedServer(script) as server:
        transport = SmtpTransport(settings.model_copy(update={"mail_port": server.port}))
        answers: list[Answer] = []
        for answer in transport.send([envelope(1), envelope(2)], begin):
            answers.append(answer)
            transport.interrupt()
        transport.close()
        assert server.connections == 1
    assert [(answer.kind, answer.stage) for answer in answers] == [
        (Reply.ACCEPTED, Stage.BODY),
        (Reply.NONE, Stage.MAIL),
    ]


# ── Writing takes its time, and has an end ──


def test_a_body_has_all_its_time_however_little_the_answer_before_has_left(settings: Settings) -> None:
    def script(connection: socket.socket) -> None:
        in_turns((b"DATA\r\n", OK + OK + b"354"), offers=NO_SIZE)(connection)
        time.sleep(3)
        connection.sendall(b" go")
        time.sleep(0.1)
        connection.sendall(b" on\r\n")
        time.sleep(2.5)  # more than is left of five seconds
        last = b""
        while not last.endswith(b"\r\n.\r\n"):
            last = (last + connection.recv(1 << 20))[-10:]
        connection.sendall(TAKEN)

    with ScriptedServer(script) as server:
        [answer] = exchange(settings, server, envelope(content=large(20_000_000)), timeout=5)
    assert answer.kind is Reply.ACCEPTED


def test_a_server_that_takes_a_body_by_drips_does_not_hold_us_for_ever(settings: Settings) -> None:
    assert seconds_against_drips(settings, lambda connection: connection) < BUSY_SECONDS


def test_nor_does_one_over_tls(settings: Settings, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "right.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "right.pem", certificates / "right.key")
    encrypted = settings.model_copy(update={"mail_use_ssl": True})
    assert seconds_against_drips(encrypted, lambda plain: context.wrap_socket(plain, server_side=True)) < BUSY_SECONDS


def large(size: int) -> bytes:
    return b"Subject: x\r\n\r\n" + (b"x" * 900 + b"\r\n") * (size // 902)


def seconds_against_drips(settings: Settings, dress: Callable[[socket.socket], socket.socket]) -> float:
    """How long a large message takes to fail, of which the server takes a little now and then; our timeout is 1 s."""

    def script(plain: socket.socket) -> None:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        with dress(plain) as connection:
            in_turns((b"DATA\r\n", ENVELOPE_OK), offers=NO_SIZE)(connection)
            ends = time.monotonic() + BUSY_SECONDS + 5
            while time.monotonic() < ends and connection.recv(16384):
                time.sleep(0.005)

    with ScriptedServer(script) as server:
        began = time.monotonic()
        [answer] = exchange(settings, server, envelope(content=large(40_000_000)), timeout=1)
        took = time.monotonic() - began
    assert (answer.kind, answer.stage) == (Reply.NONE, Stage.BODY)
    return took
