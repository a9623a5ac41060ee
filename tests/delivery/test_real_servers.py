"""The SMTP client against Postfix, Exim and OpenSMTPD themselves: what they accepted is what lies in their mailbox."""

import re
import smtplib
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest

from app.config import Settings
from app.delivery.models import Stage
from app.delivery.smtp import SmtpTransport
from app.delivery.transport import Answer, Envelope, NotAnyMore, Reply, TransportAway
from tests.mail_servers import SERVERS, Exim, Limits, MailServer, NoMailServer, OpenSMTPD, Postfix

pytestmark = pytest.mark.one_database

MANY = 500
MARKS = re.compile(rb"^X-Number: (\d+)\nX-Body-Bytes: (\d+)$", re.MULTILINE)
BODIES = (
    "Hello!\r\n",
    ".\r\n..\r\n.one\r\n...three\r\nlast.\r\n.\r\n",
    f"{'long ' * 199}end\r\n.{'y' * 997}\r\n",  # 998 each without CRLF, the most that RFC 5322, 2.1.1 allows
    "Здравствуйте, Анна! ¿Qué tal? 你好 🕊\r\n" * 20,
    "\r\n\r\nFrom the top\r\n>From below\r\n\r\n \t\r\n\r\n",
)


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[type[MailServer]], MailServer]]:
    """A function that gives the running server of that kind: each is started once, when it is first asked for."""
    running: dict[type[MailServer], MailServer] = {}
    with ExitStack() as stack:

        def give(kind: type[MailServer]) -> MailServer:
            if kind not in running:
                running[kind] = stack.enter_context(started(kind))
            return running[kind]

        yield give


@contextmanager
def started(kind: type[MailServer], limits: Limits | None = None) -> Iterator[MailServer]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(kind(limits))
        except NoMailServer as error:
            pytest.skip(str(error))
        yield server


@pytest.fixture(params=SERVERS, ids=lambda kind: kind.__name__)
def server(request: pytest.FixtureRequest, servers: Callable[[type[MailServer]], MailServer]) -> MailServer:
    """Each of the three in turn, with its mailbox empty."""
    running = servers(request.param)
    running.empty()
    return running


def envelope(number: int, recipient: str = "", body: str = "", size: int = 0) -> Envelope:
    """A letter that knows its number, and how long its body is with LF. size: at least so many bytes."""
    text = (body or BODIES[number % len(BODIES)]) + "filling up\r\n" * (size // 12)
    length = len(text.encode()) - text.count("\r")
    lines = (
        f"X-Number: {number}",
        f"X-Body-Bytes: {length}",
        f"Message-ID: <{number}@golub.test>",
        "Date: Sat, 21 Nov 2026 09:00:00 +0000",
        "From: Golub <golub@golub.test>",
        f"To: Client {number} <c{number}@clients.test>",
        "Subject: News",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        text,
    )
    return Envelope(number, "golub@golub.test", recipient or f"c{number}@clients.test", "\r\n".join(lines).encode())


def is_whole(raw: bytes) -> bool:
    marks = MARKS.search(raw)
    return marks is not None and len(raw.partition(b"\n\n")[2]) >= int(marks[2])


@dataclass
class Sending:
    """What a client was told, and what it told: the answers, and whose body began to leave, in order."""

    answers: list[Answer] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)
    away: bool = False

    def numbers(self, *kinds: Reply) -> list[int]:
        return [answer.delivery_id for answer in self.answers if answer.kind in kinds]


class Client:
    """The transport as the engine uses it."""

    def __init__(self, settings: Settings, server: MailServer, per_connection: int = 10 * MANY) -> None:
        changes = {"mail_server": "127.0.0.1", "mail_port": server.port, "mail_timeout_seconds": 10.0}
        self.transport = SmtpTransport(settings.model_copy(update=changes | {"mail_per_connection": per_connection}))

    def send(self, envelopes: Iterable[Envelope], begin: Callable[[int], None] = lambda _number: None) -> Sending:
        sending = Sending()

        def begun(number: int) -> None:
            begin(number)
            sending.begun.append(number)

        try:
            for answer in self.transport.send(envelopes, begun):
                sending.answers.append(answer)
        except TransportAway:
            sending.away = True
        return sending


@pytest.fixture
def client(settings: Settings, server: MailServer) -> Iterator[Client]:
    made = Client(settings, server)
    yield made
    made.transport.close()


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ports of all servers that were connected to while the test ran."""
    made: list[int] = []
    connect = smtplib.SMTP.connect

    def counting(smtp: smtplib.SMTP, host: str = "localhost", port: int = 0, **more: object) -> object:
        made.append(port)
        return connect(smtp, host, port, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(smtplib.SMTP, "connect", counting)
    return made


def arrived(server: MailServer, count: int) -> dict[int, bytes]:
    """What lies in the mailbox, by number. Fails when one lies there twice."""
    by_number: dict[int, bytes] = {}
    for raw in server.accepted(count, is_whole):
        marks = MARKS.search(raw)
        assert marks
        number = int(marks[1])
        assert number not in by_number, f"{number} is there twice"
        by_number[number] = raw
    return by_number


def assert_arrived(server: MailServer, envelopes: Iterable[Envelope]) -> None:
    """These lie in the mailbox, no others, each once, and byte for byte as they were sent."""
    sent = {envelope.delivery_id: envelope.content.replace(b"\r\n", b"\n") for envelope in envelopes}
    there = arrived(server, len(sent))
    assert there.keys() == sent.keys()
    # Before a letter the server puts lines of its own, and changes none of ours.
    assert [number for number, content in sent.items() if not there[number].endswith(b"\n" + content)] == []


def test_it_offers_what_these_tests_are_about(server: MailServer) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, timeout=10) as smtp:
        smtp.ehlo()
        offered = set(smtp.esmtp_features)
    assert server.offers <= offered
    assert not server.offers_not & offered


def test_many_letters_over_one_connection_arrive_once_and_as_they_were_sent(
    server: MailServer, client: Client, connections: list[int]
) -> None:
    envelopes = [envelope(number) for number in range(MANY)]
    sending = client.send(envelopes)
    assert Counter(answer.kind for answer in sending.answers) == {Reply.ACCEPTED: MANY}
    assert {(answer.stage, answer.code) for answer in sending.answers} == {(Stage.BODY, 250)}
    assert [answer.delivery_id for answer in sending.answers] == sending.begun == list(range(MANY))
    assert len(connections) == 1
    assert_arrived(server, envelopes)


def test_refused_recipients_between_the_others_harm_nobody(
    server: MailServer, client: Client, connections: list[int]
) -> None:
    refused = {0, 7, 8, 9, 20, 29}  # the first, some in a row, the last
    envelopes = [envelope(number, f"c{number}@elsewhere.example" if number in refused else "") for number in range(30)]
    sending = client.send(envelopes)
    assert [answer.delivery_id for answer in sending.answers] == list(range(30))
    refusals = [answer for answer in sending.answers if answer.delivery_id in refused]
    assert {(answer.stage, (answer.code or 0) // 100) for answer in refusals} == {(Stage.RCPT, 5)}
    assert all(answer.reply for answer in refusals)
    taken = [envelope for envelope in envelopes if envelope.delivery_id not in refused]
    assert sending.begun == sending.numbers(Reply.ACCEPTED) == [envelope.delivery_id for envelope in taken]
    assert len(connections) == 1
    assert_arrived(server, taken)


def test_a_letter_that_is_too_large_is_refused_and_the_next_one_taken(server: MailServer, client: Client) -> None:
    envelopes = [envelope(1), envelope(2, size=server.limits.size + 1000), envelope(3), envelope(4)]
    sending = client.send(envelopes)
    taken, refused, *others = sending.answers
    assert (refused.kind, (refused.code or 0) // 100) == (Reply.REFUSED, 5)
    assert [answer.kind for answer in (taken, *others)] == [Reply.ACCEPTED] * 3
    assert_arrived(server, [envelopes[0], *envelopes[2:]])


def test_a_letter_just_below_the_limit_is_taken(server: MailServer, client: Client) -> None:
    large = envelope(1, size=server.limits.size - 3000)
    assert client.send([large]).numbers(Reply.ACCEPTED) == [1]
    assert_arrived(server, [large])


def test_an_address_outside_ascii_is_taken_where_smtputf8_is_offered(server: MailServer, client: Client) -> None:
    envelopes = [envelope(1), envelope(2, "анна@clients.test"), envelope(3)]
    sending = client.send(envelopes)
    if "smtputf8" in server.offers:
        assert sending.numbers(Reply.ACCEPTED) == [1, 2, 3]
        assert_arrived(server, envelopes)
    else:
        assert sending.numbers(Reply.ACCEPTED) == [1, 3]
        [refused] = [answer for answer in sending.answers if answer.kind is not Reply.ACCEPTED]
        assert (refused.stage, refused.code, refused.enhanced_code) == (Stage.RCPT, 553, "5.6.7")
        assert_arrived(server, [envelopes[0], envelopes[2]])


def test_a_letter_whose_beginning_is_forbidden_does_not_leave(server: MailServer, client: Client) -> None:
    def begin(number: int) -> None:
        if number == 3:
            raise NotAnyMore

    envelopes = [envelope(number) for number in range(1, 6)]
    with pytest.raises(NotAnyMore):
        client.send(envelopes, begin)
    assert client.send(envelopes[3:]).numbers(Reply.ACCEPTED) == [4, 5]
    assert_arrived(server, [envelopes[0], envelopes[1], *envelopes[3:]])


def test_a_server_that_goes_away_and_comes_back_gets_each_letter_once(server: MailServer, client: Client) -> None:
    envelopes = {number: envelope(number) for number in range(60)}

    def until_it_stops() -> Iterator[Envelope]:
        for number, letter in envelopes.items():
            if number == 20:
                server.stop()
            yield letter

    first = client.send(until_it_stops())
    assert first.away
    unknown = set(first.begun) - set(first.numbers(Reply.ACCEPTED))
    assert len(unknown) <= 1
    assert client.send([envelope(99)]).away

    server.start()
    rest = [letter for number, letter in envelopes.items() if number not in first.begun]
    second = client.send(rest)
    assert second.numbers(Reply.ACCEPTED) == second.begun == [letter.delivery_id for letter in rest]

    accepted = {*first.numbers(Reply.ACCEPTED), *second.begun}
    there = arrived(server, len(accepted))
    assert accepted <= there.keys() <= accepted | unknown
    assert accepted | unknown == envelopes.keys()


@pytest.mark.parametrize("kind", [Exim, OpenSMTPD], ids=lambda kind: kind.__name__)
def test_a_server_that_takes_so_many_letters_a_connection_gets_all_over_several(
    settings: Settings, kind: type[MailServer], connections: list[int]
) -> None:
    """Exim says 421 then, OpenSMTPD 452 and goes on saying so."""
    with started(kind, Limits(messages=10)) as server:
        client = Client(settings, server)
        waiting = {number: envelope(number) for number in range(35)}
        connections.clear()
        while waiting:
            sending = client.send(list(waiting.values()))
            client.transport.close()  # as a worker does at the end of its slice
            assert not sending.away
            assert sending.begun
            assert sending.begun == sending.numbers(Reply.ACCEPTED)
            assert not sending.numbers(Reply.REFUSED, Reply.OUR_FAULT, Reply.NO_SUCH_ADDRESS)
            for number in sending.begun:
                del waiting[number]
        assert 4 <= len(connections) <= 8
        assert_arrived(server, [envelope(number) for number in range(35)])


@pytest.mark.parametrize("kind", [Exim, OpenSMTPD], ids=lambda kind: kind.__name__)
def test_whoever_knows_that_limit_is_never_turned_away(
    settings: Settings, kind: type[MailServer], connections: list[int]
) -> None:
    with started(kind, Limits(messages=10)) as server:
        client = Client(settings, server, per_connection=10)
        connections.clear()
        envelopes = [envelope(number) for number in range(35)]
        sending = client.send(envelopes)
        client.transport.close()
        assert sending.numbers(Reply.ACCEPTED) == sending.begun == list(range(35))
        assert len(connections) == 4
        assert_arrived(server, envelopes)


def test_a_rate_that_postfix_limits_means_later_and_loses_nothing(settings: Settings, connections: list[int]) -> None:
    with started(Postfix, Limits(messages=10)) as server:
        client = Client(settings, server)
        connections.clear()
        sending = client.send(envelope(number) for number in range(15))
        client.transport.close()
        assert sending.numbers(Reply.ACCEPTED) == sending.begun == list(range(10))
        later = [answer for answer in sending.answers if answer.delivery_id >= 10]
        assert {(answer.kind, answer.stage, answer.enhanced_code) for answer in later} == {
            (Reply.LATER, Stage.MAIL, "4.7.1")
        }
        assert len(connections) == 2  # it might have been a limit of the first one
        assert_arrived(server, [envelope(number) for number in range(10)])


def test_a_server_that_hangs_up_after_too_many_errors_costs_the_connection_only(
    settings: Settings, connections: list[int]
) -> None:
    """Postfix says 421 and closes; what was on its way to it then resets the connection, and may take the 421 along."""
    with started(Postfix, Limits(errors=5)) as server:
        client = Client(settings, server)
        connections.clear()
        envelopes = [envelope(number, "" if number == 8 else f"c{number}@elsewhere.example") for number in range(10)]
        sending = client.send(envelopes)
        client.transport.close()
        assert [answer.delivery_id for answer in sending.answers] == list(range(10))
        closed = sending.numbers(Reply.CLOSING, Reply.NONE)
        assert len(closed) <= 3
        assert 2 <= len(connections) <= 5
        refused = [answer for answer in sending.answers if answer.delivery_id not in {8, *closed}]
        assert {(answer.stage, answer.code, answer.enhanced_code) for answer in refused} == {(Stage.RCPT, 554, "5.7.1")}
        assert sending.begun == sending.numbers(Reply.ACCEPTED) == [8]
        assert_arrived(server, [envelopes[8]])


def test_this_postfix_forbids_to_pipeline_before_it_was_offered(
    servers: Callable[[type[MailServer]], MailServer],
) -> None:
    said = talk(servers(Postfix), b"EHLO me.test\r\nMAIL FROM:<golub@golub.test>\r\n")
    assert b"5.5.0 Error: SMTP protocol synchronization" in said


def test_this_postfix_takes_a_bare_newline_for_no_end(servers: Callable[[type[MailServer]], MailServer]) -> None:
    server = servers(Postfix)
    server.empty()
    said = talk(
        server,
        b"EHLO me.test\r\n",
        b"MAIL FROM:<golub@golub.test>\r\nRCPT TO:<a@clients.test>\r\nDATA\r\n",
        b"X-Number: 1\r\n\r\nOne\n.\r\nRSET\r\n.\r\nQUIT\r\n",
    )
    after_go_ahead = said.partition(b"\r\n354 ")[2].splitlines()[1:]
    assert [line[:3] for line in after_go_ahead] == [b"250", b"221"]
    [letter] = server.accepted(1)
    assert letter.endswith(b"RSET\n")


def talk(server: MailServer, *parts: bytes) -> bytes:
    """Say these, one after the other's answer, and give all that it says until it hangs up."""
    said = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        for part in parts:
            said += connection.recv(4096)
            connection.sendall(part)
        while more := connection.recv(4096):
            said += more
    return said
