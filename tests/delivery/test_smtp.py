"""The SMTP client against real sockets: a well-behaved server, and some that are not."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from app.config import Settings
from app.delivery.models import Stage
from app.delivery.smtp import SmtpTransport
from app.delivery.transport import Answer, Envelope, NotAnyMore, Reply, TransportAway
from dev.servers import free_port
from tests.scripted import Script, ScriptedServer, talk
from tests.smtp import RecordingSmtp
from tests.waiting import BUSY_SECONDS, PATIENCE_SECONDS

pytestmark = pytest.mark.one_database

EHLO = b"250 test\r\n"
OK = b"250 2.1.0 fine\r\n"
GO = b"354 go ahead\r\n"
TAKEN = b"250 2.0.0 taken\r\n"


def envelope(
    number: int = 1, recipient: str = "anna@example.test", content: bytes = b"Subject: x\r\n\r\nHi\r\n"
) -> Envelope:
    return Envelope(number, "golub@golub.test", recipient, content)


def begin(_delivery_id: int) -> None:
    """What the engine does here, its own tests see to."""


@pytest.fixture
def transport(settings: Settings, smtp: RecordingSmtp) -> Iterator[SmtpTransport]:
    made = SmtpTransport(settings)
    yield made
    made.close()


def exchange(
    settings: Settings, script: ScriptedServer, *envelopes: Envelope, timeout: float = PATIENCE_SECONDS
) -> list[Answer]:
    """Send to a scripted server. timeout: in seconds, for each answer."""
    changes = {"mail_port": script.port, "mail_timeout_seconds": timeout}
    transport = SmtpTransport(settings.model_copy(update=changes))
    try:
        return list(transport.send(envelopes, begin))
    finally:
        transport.close()


def test_many_envelopes_leave_over_one_connection(transport: SmtpTransport, smtp: RecordingSmtp) -> None:
    answers = list(transport.send((envelope(n, f"c{n}@example.test") for n in range(3)), begin))
    assert [(a.delivery_id, a.stage, a.code, a.enhanced_code) for a in answers] == [
        (n, Stage.BODY, 250, "2.0.0") for n in range(3)
    ]
    assert answers[0].reply == "2.0.0 accepted"
    assert smtp.connections == 1
    assert [letter.recipients for letter in smtp.letters] == [[f"c{n}@example.test"] for n in range(3)]


def test_lines_that_begin_with_dots_arrive_as_they_were(transport: SmtpTransport, smtp: RecordingSmtp) -> None:
    content = b"Subject: dots\r\n\r\n.\r\n..two\r\nend.\r\n"
    list(transport.send([envelope(content=content)], begin))
    assert smtp.letters[0].content.replace(b"\r\n", b"\n") == content.replace(b"\r\n", b"\n")


def test_a_refused_recipient_does_not_harm_the_next(transport: SmtpTransport, smtp: RecordingSmtp) -> None:
    smtp.answer_rcpt = lambda address: "550 5.1.1 no such user" if address.startswith("gone") else None
    refused, taken = transport.send([envelope(1, "gone@example.test"), envelope(2, "here@example.test")], begin)
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
    [answer] = transport.send([envelope(recipient="почта@пример.example")], begin)
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
        ((EHLO, OK, OK, GO, b"250 " + b"x" * 90_000 + b"\r\n"), Stage.BODY),
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
        exchange(settings, server, envelope(), timeout=1)


def test_421_ends_the_connection_and_the_next_envelope_gets_a_new_one(settings: Settings) -> None:
    with ScriptedServer(talk(EHLO, OK, OK, b"421 4.3.2 closing\r\n")) as server:
        first, second = exchange(settings, server, envelope(1), envelope(2))
        assert server.connections == 2
    assert (first.stage, first.code) == (Stage.DATA, 421)
    assert (second.stage, second.code) == (Stage.DATA, 421)


def test_nobody_listening_means_away(settings: Settings) -> None:
    transport = SmtpTransport(settings.model_copy(update={"mail_port": free_port()}))
    with pytest.raises(TransportAway, match="refused"):
        list(transport.send([envelope()], begin))


def test_a_server_that_turns_us_away_means_away_with_its_words(settings: Settings) -> None:
    refusing = ScriptedServer(talk(greeting=b"554 5.7.1 you are on a list\r\n"))
    with refusing as server, pytest.raises(TransportAway, match=r"554 5\.7\.1 you are on a list"):
        exchange(settings, server, envelope())


def test_a_long_reply_is_kept_up_to_a_thousand_characters(settings: Settings) -> None:
    lines = b"".join(b"550-5.1.1 " + b"y" * 90 + b"\r\n" for _ in range(30)) + b"550 5.1.1 end\r\n"
    with ScriptedServer(talk(EHLO, OK, lines, OK)) as server:
        [answer] = exchange(settings, server, envelope())
    assert (answer.code, len(answer.reply)) == (550, 1000)


# ── Pipelining (RFC 2920) ──

PIPELINING = b"250-test\r\n250-PIPELINING\r\n250-SIZE 2000\r\n250 8BITMIME\r\n"
ENVELOPE_OK = OK + OK + GO


def in_turns(*turns: tuple[bytes, bytes], seen: list[bytes] | None = None, offers: bytes = PIPELINING) -> Script:
    """Greet; then wait for what ends so, as one write of the client, and say that."""

    def script(connection: socket.socket) -> None:
        connection.sendall(b"220 test ESMTP\r\n")
        for end, reply in ((b"\r\n", offers), *turns):
            got = b""
            while not got.endswith(end):
                data = connection.recv(65536)
                if not data:
                    return
                got += data
            if seen is not None:
                seen.append(got)
            connection.sendall(reply)

    return script


def one_after_the_other(*scripts: Script) -> Script:
    """Each connection has a script of its own."""
    left = iter(scripts)

    def script(connection: socket.socket) -> None:
        next(left)(connection)

    return script


def test_a_message_costs_one_round_trip(settings: Settings) -> None:
    seen: list[bytes] = []
    script = in_turns(
        (b"DATA\r\n", ENVELOPE_OK),
        (b"DATA\r\n", TAKEN + ENVELOPE_OK),
        (b"\r\n.\r\n", TAKEN),
        (b"QUIT\r\n", OK),
        seen=seen,
    )
    with ScriptedServer(script) as server:
        answers = exchange(settings, server, envelope(1), envelope(2, "boris@example.test"))
    assert [answer.kind for answer in answers] == [Reply.ACCEPTED] * 2
    _ehlo, first, second, third, _quit = seen
    assert first.startswith(b"MAIL FROM:<golub@golub.test> SIZE=18\r\nRCPT TO:<anna@example.test>\r\nDATA\r\n")
    assert second.startswith(b"Subject: x\r\n\r\nHi\r\n.\r\nMAIL FROM:<golub@golub.test>")
    assert b"boris@example.test" in second
    assert third == b"Subject: x\r\n\r\nHi\r\n.\r\n"


def test_each_body_begins_after_its_354_and_is_announced_once(settings: Settings) -> None:
    begun: list[tuple[int, int]] = []
    seen: list[bytes] = []
    script = in_turns((b"DATA\r\n", ENVELOPE_OK), (b"DATA\r\n", TAKEN + ENVELOPE_OK), (b"\r\n.\r\n", TAKEN), seen=seen)
    with ScriptedServer(script) as server:
        transport = SmtpTransport(settings.model_copy(update={"mail_port": server.port}))
        list(transport.send([envelope(1), envelope(2)], lambda number: begun.append((number, len(seen)))))
        transport.close()
    assert begun == [(1, 2), (2, 3)]  # after as many turns of the server


def test_a_recipient_refused_inside_the_pipeline_harms_neither_neighbour(settings: Settings) -> None:
    seen: list[bytes] = []
    refused = TAKEN + OK + b"550 5.1.1 nobody\r\n" + b"554 5.5.1 no valid recipients\r\n"
    script = in_turns(
        (b"DATA\r\n", ENVELOPE_OK),
        (b"DATA\r\n", refused),
        (b"DATA\r\n", OK + ENVELOPE_OK),  # to RSET first
        (b"\r\n.\r\n", TAKEN),
        seen=seen,
    )
    with ScriptedServer(script) as server:
        answers = exchange(settings, server, *map(envelope, (1, 2, 3)))
        assert server.connections == 1
    assert [(a.delivery_id, a.stage, a.kind) for a in answers] == [
        (1, Stage.BODY, Reply.ACCEPTED),
        (2, Stage.RCPT, Reply.NO_SUCH_ADDRESS),
        (3, Stage.BODY, Reply.ACCEPTED),
    ]
    assert seen[3].startswith(b"RSET\r\nMAIL FROM")


def test_a_354_for_nobody_is_given_an_empty_body(settings: Settings) -> None:
    seen: list[bytes] = []
    script = in_turns(
        (b"DATA\r\n", OK + b"550 5.1.1 nobody\r\n" + GO),
        (b".\r\n", b"554 5.5.1 nobody to send it to\r\n"),
        (b"DATA\r\n", OK + ENVELOPE_OK),
        (b"\r\n.\r\n", TAKEN),
        seen=seen,
    )
    with ScriptedServer(script) as server:
        answers = exchange(settings, server, envelope(1), envelope(2))
    assert [a.kind for a in answers] == [Reply.NO_SUCH_ADDRESS, Reply.ACCEPTED]
    assert seen[2] == b".\r\n"


def test_replies_may_come_byte_by_byte(settings: Settings) -> None:
    def script(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for reply in (b"220 test\r\n", PIPELINING, ENVELOPE_OK, b"250-2.0.0 taken\r\n250 2.0.0 as 42\r\n"):
            for byte in reply:
                connection.sendall(bytes([byte]))
            connection.recv(65536)

    with ScriptedServer(script) as server:
        [answer] = exchange(settings, server, envelope())
    assert (answer.kind, answer.reply) == (Reply.ACCEPTED, "2.0.0 taken\n2.0.0 as 42")


def test_421_in_mid_session_ends_it_and_the_next_messages_get_a_new_connection(settings: Settings) -> None:
    closing = in_turns((b"DATA\r\n", ENVELOPE_OK), (b"DATA\r\n", TAKEN + OK + b"421 4.7.0 enough\r\n"))
    fresh = in_turns((b"DATA\r\n", ENVELOPE_OK), (b"\r\n.\r\n", TAKEN))
    scripts = iter((closing, fresh))

    def script(connection: socket.socket) -> None:
        next(scripts)(connection)

    with ScriptedServer(script) as server:
        answers = exchange(settings, server, *map(envelope, (1, 2, 3)))
        assert server.connections == 2
    assert [(a.stage, a.kind) for a in answers] == [
        (Stage.BODY, Reply.ACCEPTED),
        (Stage.RCPT, Reply.CLOSING),
        (Stage.BODY, Reply.ACCEPTED),
    ]


def test_closing_right_after_the_body_leaves_that_message_unknown_and_the_next_unharmed(settings: Settings) -> None:
    one, other = (in_turns((b"DATA\r\n", ENVELOPE_OK), (end, b"")) for end in (b"DATA\r\n", b"\r\n.\r\n"))
    with ScriptedServer(one_after_the_other(one, other)) as server:
        first, second = exchange(settings, server, envelope(1), envelope(2))
        assert server.connections == 2
    assert (first.stage, first.kind) == (Stage.BODY, Reply.NONE)
    assert second.stage is Stage.BODY  # on the second connection the same happens to it


def test_a_reply_whose_lines_have_different_codes_is_no_reply(settings: Settings) -> None:
    script = in_turns((b"DATA\r\n", ENVELOPE_OK), (b"\r\n.\r\n", b"250-2.0.0 taken\r\n550 5.0.0 or not\r\n"))
    with ScriptedServer(script) as server:
        [answer] = exchange(settings, server, envelope())
    assert (answer.kind, answer.stage) == (Reply.NONE, Stage.BODY)


def test_a_reply_out_of_turn_is_no_answer(settings: Settings) -> None:
    script = in_turns((b"DATA\r\n", OK + OK + b"250 2.0.0 what body?\r\n"))
    with ScriptedServer(script) as server:
        [answer] = exchange(settings, server, envelope())
    assert (answer.kind, answer.stage, answer.code) == (Reply.NONE, Stage.DATA, None)


def test_what_is_larger_than_the_server_takes_is_not_asked(settings: Settings) -> None:
    seen: list[bytes] = []
    with ScriptedServer(in_turns((b"QUIT\r\n", OK), seen=seen)) as server:
        [answer] = exchange(settings, server, envelope(content=b"Subject: x\r\n\r\n" + b"x" * 3000 + b"\r\n"))
    assert (answer.kind, answer.code, answer.enhanced_code) == (Reply.REFUSED, 552, "5.3.4")
    assert b"MAIL" not in b"".join(seen)


@pytest.mark.parametrize("address", ["a b@example.test", "a@example.test>\r\nRCPT TO:<b@example.test", "nobody", "<@x"])
def test_an_address_that_would_be_a_command_is_not_sent(settings: Settings, address: str) -> None:
    with ScriptedServer(in_turns((b"QUIT\r\n", OK))) as server:
        [answer] = exchange(settings, server, envelope(recipient=address))
    assert (answer.kind, answer.code) == (Reply.NO_SUCH_ADDRESS, 501)


def test_a_connection_is_renewed_after_so_many_messages(settings: Settings, smtp: RecordingSmtp) -> None:
    transport = SmtpTransport(settings.model_copy(update={"mail_per_connection": 2}))
    answers = list(transport.send(map(envelope, range(5)), begin))
    transport.close()
    assert [answer.kind for answer in answers] == [Reply.ACCEPTED] * 5
    assert smtp.connections == 3


def test_a_limit_of_one_connection_is_no_recipients_fault(settings: Settings) -> None:
    too_many = b"452 4.5.3 too many\r\n" * 3
    full = in_turns((b"DATA\r\n", ENVELOPE_OK), (b"DATA\r\n", TAKEN + too_many), (b"QUIT\r\n", OK))
    fresh = in_turns((b"DATA\r\n", ENVELOPE_OK), (b"\r\n.\r\n", TAKEN))
    scripts = iter((full, fresh))

    def script(connection: socket.socket) -> None:
        next(scripts)(connection)

    with ScriptedServer(script) as server:
        answers = exchange(settings, server, envelope(1), envelope(2))
        assert server.connections == 2
    assert [answer.kind for answer in answers] == [Reply.ACCEPTED] * 2


def test_who_must_not_begin_any_more_breaks_off(settings: Settings) -> None:
    def no(_delivery_id: int) -> None:
        raise NotAnyMore

    seen: list[bytes] = []
    with ScriptedServer(in_turns((b"DATA\r\n", ENVELOPE_OK), (b"\r\n.\r\n", TAKEN), seen=seen)) as server:
        transport = SmtpTransport(settings.model_copy(update={"mail_port": server.port}))
        with pytest.raises(NotAnyMore):
            list(transport.send([envelope(1), envelope(2)], no))
        transport.close()
    assert not any(b"Subject" in data for data in seen)


def test_a_waiting_transport_can_be_interrupted(settings: Settings) -> None:
    waiting = threading.Event()

    def script(connection: socket.socket) -> None:
        in_turns((b"DATA\r\n", ENVELOPE_OK), (b"\r\n.\r\n", b""))(connection)
        waiting.set()
        connection.recv(1)

    with ScriptedServer(script) as server:
        transport = SmtpTransport(settings.model_copy(update={"mail_port": server.port}))
        threading.Thread(target=lambda: waiting.wait(PATIENCE_SECONDS) and transport.interrupt()).start()
        began = time.monotonic()
        [answer] = transport.send([envelope()], begin)
    assert (answer.kind, answer.stage) == (Reply.NONE, Stage.BODY)
    assert time.monotonic() - began < BUSY_SECONDS


def test_a_drip_of_bytes_does_not_hold_us_for_ever(settings: Settings) -> None:
    def script(connection: socket.socket) -> None:
        in_turns((b"DATA\r\n", ENVELOPE_OK), (b"\r\n.\r\n", b"250-2.0.0 "))(connection)
        for _ in range(400):
            time.sleep(0.1)
            connection.sendall(b"x")

    with ScriptedServer(script) as server:
        began = time.monotonic()
        [answer] = exchange(settings, server, envelope(), timeout=1)
    assert answer.kind is Reply.NONE
    assert time.monotonic() - began < BUSY_SECONDS


def test_a_kept_connection_that_the_server_closed_meanwhile_costs_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = in_turns((b"DATA\r\n", ENVELOPE_OK), (b"\r\n.\r\n", TAKEN + b"421 4.4.2 idle too long\r\n"))
    with ScriptedServer(script) as server:
        transport = SmtpTransport(settings.model_copy(update={"mail_port": server.port}))
        [first] = transport.send([envelope(1)], begin)
        later = time.monotonic() + 2
        monkeypatch.setattr("app.delivery.smtp.time.monotonic", lambda: later)
        [second] = transport.send([envelope(2)], begin)
        transport.close()
        assert server.connections == 2
    assert [first.kind, second.kind] == [Reply.ACCEPTED] * 2


def test_a_slow_server_whose_answers_come_one_by_one_keeps_its_connection(settings: Settings) -> None:
    def script(connection: socket.socket) -> None:
        in_turns((b"DATA\r\n", ENVELOPE_OK))(connection)
        connection.recv(65536)
        time.sleep(1.1)
        connection.sendall(TAKEN)
        time.sleep(0.1)
        connection.sendall(ENVELOPE_OK)
        connection.recv(65536)
        connection.sendall(TAKEN)

    with ScriptedServer(script) as server:
        transport = SmtpTransport(settings.model_copy(update={"mail_port": server.port}))
        kinds = []
        for answer in transport.send([envelope(1), envelope(2)], begin):
            kinds.append(answer.kind)
            time.sleep(0.3)  # the next replies are there meanwhile
        transport.close()
        assert (kinds, server.connections) == ([Reply.ACCEPTED] * 2, 1)


def test_a_connection_that_waits_for_a_body_is_never_used_again(settings: Settings) -> None:
    """Whatever stopped the body: the next commands would be read as its text, and sent to its recipient."""

    def fail(_delivery_id: int) -> None:
        raise RuntimeError("the journal is away")

    seen: list[bytes] = []
    with ScriptedServer(in_turns((b"DATA\r\n", ENVELOPE_OK), (b"\r\n.\r\n", TAKEN), seen=seen)) as server:
        transport = SmtpTransport(settings.model_copy(update={"mail_port": server.port}))
        with pytest.raises(RuntimeError):
            list(transport.send([envelope(1)], fail))
        [answer] = transport.send([envelope(2, "boris@example.test")], begin)
        transport.close()
        assert server.connections == 2
    assert answer.kind is Reply.ACCEPTED
    assert not any(b"\r\n.\r\n" in data and b"MAIL FROM" in data for data in seen)
