"""The HTTP transport against real sockets: a service that keeps its promise, and some that don't."""

import gzip
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.config import Settings
from app.delivery.http_api import HttpTransport, idempotency_key, wait_of
from app.delivery.models import Stage
from app.delivery.smtp import SmtpTransport
from app.delivery.transport import LONGEST_REPLY, Answer, Envelope, NotAnyMore, Reply, TransportAway
from app.delivery.transports import open_transport
from dev.servers import free_port
from tests.http_api import HttpAnswer, RecordingHttpApi, refusal
from tests.scripted import Script, ScriptedServer
from tests.waiting import BUSY_SECONDS, PATIENCE_SECONDS

pytestmark = pytest.mark.one_database

TOKEN = "a-token-that-nobody-sees"
TAKEN = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"id": "x"}'
BAD_CHUNK = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n{"id": "x"}\r\nzz\r\n'
)
NOW = datetime(2026, 7, 27, 12, 0, tzinfo=UTC)


def envelope(
    number: int = 1, recipient: str = "anna@example.test", content: bytes = b"Subject: x\r\n\r\nHi\r\n"
) -> Envelope:
    return Envelope(number, "golub@golub.test", recipient, content)


@pytest.fixture(scope="module")
def service() -> Iterator[RecordingHttpApi]:
    with RecordingHttpApi() as service:
        yield service


@pytest.fixture
def api(service: RecordingHttpApi) -> RecordingHttpApi:
    """A sending service that has received nothing yet."""
    service.reset()
    return service


@pytest.fixture
def transport_to(settings: Settings) -> Iterator[Callable[..., HttpTransport]]:
    """A function that makes a transport to that address; it waits patiently for an answer."""
    made: list[HttpTransport] = []

    def to(url: str, **changes: object) -> HttpTransport:
        changes = {"send_api_url": url, "send_api_token": TOKEN, "mail_timeout_seconds": PATIENCE_SECONDS} | changes
        made.append(HttpTransport(settings.model_copy(update=changes)))
        return made[-1]

    yield to
    for transport in made:
        transport.close()


@pytest.fixture
def transport(transport_to: Callable[..., HttpTransport], api: RecordingHttpApi) -> HttpTransport:
    return transport_to(api.url)


class Begun(list[int]):
    """Notes what began to leave."""

    def __call__(self, delivery_id: int) -> None:
        self.append(delivery_id)


def send(transport: HttpTransport, *envelopes: Envelope) -> list[Answer]:
    """Send, and see that each one that was answered had begun."""
    begun = Begun()
    answers = list(transport.send(envelopes, begun))
    assert begun == [answer.delivery_id for answer in answers]
    return answers


def read_request(connection: socket.socket) -> bytes | None:
    """One whole request; None when the client hung up instead."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (part := connection.recv(65536)):
            return None
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    [length] = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def say(*answers: bytes | None, pause: float = 0) -> Script:
    """Answer each request with these bytes, in pieces of one byte with a pause between; None: close instead."""

    def script(connection: socket.socket) -> None:
        for answer in answers:
            if read_request(connection) is None or answer is None:
                return
            if not pause:
                connection.sendall(answer)
                continue
            drip(connection, answer, pause)

    return script


def drip(connection: socket.socket, text: bytes, pause: float) -> None:
    for place in range(len(text)):
        connection.sendall(text[place : place + 1])
        time.sleep(pause)


def exchange(to: Callable[..., HttpTransport], script: Script, *envelopes: Envelope) -> list[Answer]:
    with ScriptedServer(script) as server:
        transport = to(f"http://127.0.0.1:{server.port}/")
        try:
            return send(transport, *envelopes)
        finally:
            transport.close()


# What is asked


def test_a_message_is_one_json_post(transport: HttpTransport, api: RecordingHttpApi) -> None:
    content = b"Subject: x\r\n\r\n.\r\n\xd0\x9f\xff\x00\r\n"
    [answer] = send(transport, envelope(content=content))
    [posted] = api.messages
    assert (posted.sender, posted.recipient, posted.content) == ("golub@golub.test", "anna@example.test", content)
    assert posted.headers["authorization"] == f"Bearer {TOKEN}"
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["accept-encoding"] == "identity"
    assert (answer.delivery_id, answer.stage, answer.kind, answer.code) == (1, Stage.BODY, Reply.ACCEPTED, 202)
    assert answer.reply == f"HTTP 202 Accepted: id message-{posted.key}"


def test_without_a_token_no_account_is_named(
    transport_to: Callable[..., HttpTransport],
    api: RecordingHttpApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    send(transport_to(api.url, send_api_token=""), envelope())
    assert "authorization" not in api.messages[0].headers


def test_the_proxy_of_the_environment_is_not_asked(
    transport: HttpTransport, api: RecordingHttpApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
    send(transport, envelope())
    assert len(api.messages) == 1


@pytest.mark.parametrize("recipient", ["почта@xn--e1afmkfd.example", "用户@example.test", "o'brien+a@example.test"])
def test_an_address_in_any_script_arrives_as_it_is(
    transport: HttpTransport, api: RecordingHttpApi, recipient: str
) -> None:
    send(transport, envelope(recipient=recipient))
    assert api.messages[0].recipient == recipient


def test_cookies_are_not_kept(transport: HttpTransport, api: RecordingHttpApi) -> None:
    headers = {"Content-Type": "application/json", "Set-Cookie": "session=1; Path=/"}
    api.answer = lambda _posted: HttpAnswer(200, b'{"id": "x"}', headers)
    send(transport, envelope(1), envelope(2))
    assert "cookie" not in api.messages[1].headers


# The idempotency key


def test_a_message_has_the_same_key_at_each_try(
    transport_to: Callable[..., HttpTransport], api: RecordingHttpApi
) -> None:
    api.answer = lambda _posted: refusal(503)
    for _ in range(2):
        send(transport_to(api.url), envelope(content=f"Date: {time.monotonic()}\r\n\r\n".encode()))
    first, second = api.requests
    assert first.key == second.key
    assert first.key.startswith("golub-1-")
    assert first.content != second.content


def test_what_was_taken_without_an_answer_is_taken_once_when_it_is_sent_again(
    transport: HttpTransport, api: RecordingHttpApi
) -> None:
    api.answer = lambda _posted: HttpAnswer(200, b"what?")
    [unknown] = send(transport, envelope())
    [again] = send(transport, envelope())
    assert (unknown.kind, again.kind) == (Reply.NONE, Reply.NONE)
    assert (len(api.requests), len(api.messages)) == (2, 1)


def test_no_two_deliveries_have_one_key() -> None:
    here, there = "https://golub.test", "https://other.test"
    keys = [
        idempotency_key(here, envelope(1)),
        idempotency_key(here, envelope(11)),
        idempotency_key(here, envelope(1, "boris@example.test")),
        idempotency_key(there, envelope(1)),
        idempotency_key(here, Envelope(1, "other@golub.test", "anna@example.test", b"")),
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(key) < 64 and key.isascii() for key in keys)


# What is answered


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, Reply.ACCEPTED),
        (201, Reply.ACCEPTED),
        (202, Reply.ACCEPTED),
        (301, Reply.OUR_FAULT),
        (304, Reply.OUR_FAULT),
        (400, Reply.REFUSED),
        (401, Reply.OUR_FAULT),
        (403, Reply.OUR_FAULT),
        (404, Reply.REFUSED),
        (407, Reply.OUR_FAULT),
        (413, Reply.REFUSED),
        (422, Reply.REFUSED),
        (429, Reply.LATER),
        (451, Reply.REFUSED),
        (500, Reply.LATER),
        (503, Reply.LATER),
        (599, Reply.LATER),
        (600, Reply.NONE),
        (999, Reply.NONE),
    ],
)
def test_a_status_is_a_kind_of_answer(
    transport: HttpTransport, api: RecordingHttpApi, status: int, kind: Reply
) -> None:
    body = b"" if status == 304 else b'{"id": "x"}'
    api.answer = lambda _posted: HttpAnswer(status, body, {"Content-Type": "application/json"}, "Words")
    [answer] = send(transport, envelope())
    assert (answer.stage, answer.kind, answer.code) == (Stage.BODY, kind, status)
    assert answer.reply.startswith(f"HTTP {status} Words")


@pytest.mark.parametrize(
    ("content_type", "body", "word"),
    [
        ("application/json", b"", "no JSON"),
        ("application/json", b"OK", "no JSON"),
        ("application/json", b"{", "no JSON"),
        ("application/json", b'{"id": "x"', "no JSON"),
        ("application/json", b"\xff\xfe\xff", "no JSON"),
        ("application/json", b"[" * 50_000, "no JSON"),
        ("application/json", b"1" * 50_000, "no JSON"),
        ("application/json", b"null", "no JSON object with an id"),
        ("application/json", b'["id"]', "no JSON object with an id"),
        ("application/json", b"{}", "no JSON object with an id"),
        ("application/json", b'{"id": 7}', "no JSON object with an id"),
        ("application/json", b'{"id": ""}', "no JSON object with an id"),
        ("application/json", b'{"id": " "}', "no JSON object with an id"),
        ("application/json", b'{"error": "no"}', "no JSON object with an id"),
        ("application/json", b'{"id": "x"}' + b" " * 70_000, "longer than 64 kB"),
        ("application/jsonp", b'{"id": "x"}', "application/jsonp"),
        ("text/html; charset=utf-8", b"<h1>Welcome</h1>", "text/html"),
        ("text/plain", b'{"id": "x"}', "text/plain"),
    ],
    ids=range(18),
)
def test_a_2xx_that_is_not_the_promised_json_is_no_answer(
    transport: HttpTransport, api: RecordingHttpApi, content_type: str, body: bytes, word: str
) -> None:
    api.answer = lambda _posted: HttpAnswer(200, body, {"Content-Type": content_type})
    [answer] = send(transport, envelope())
    assert (answer.stage, answer.kind, answer.code) == (Stage.BODY, Reply.NONE, 200)
    assert "not the promised answer" in answer.reply
    assert word in answer.reply


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/problem+JSON"])
def test_json_may_be_named_in_its_ways(transport: HttpTransport, api: RecordingHttpApi, content_type: str) -> None:
    api.answer = lambda _posted: HttpAnswer(200, b'{"id": "x", "more": [1]}', {"Content-Type": content_type})
    assert send(transport, envelope())[0].kind is Reply.ACCEPTED


def test_an_encoded_answer_is_not_unpacked(transport: HttpTransport, api: RecordingHttpApi) -> None:
    bomb = gzip.compress(b'{"id": "' + b"x" * 10_000_000 + b'"}')
    assert len(bomb) < 64 * 1024
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    api.answer = lambda _posted: HttpAnswer(200, bomb, headers)
    [answer] = send(transport, envelope())
    assert (answer.kind, answer.code) == (Reply.NONE, 200)
    assert "encoded" in answer.reply
    api.answer = lambda _posted: HttpAnswer(422, bomb, headers)
    [answer] = send(transport, envelope(2))
    assert (answer.kind, answer.reply) == (Reply.REFUSED, "HTTP 422 Unprocessable Entity")


def test_a_redirect_is_not_followed(transport: HttpTransport, api: RecordingHttpApi) -> None:
    with RecordingHttpApi() as other:
        api.answer = lambda _posted: refusal(307, "", Location=other.url)
        [answer] = send(transport, envelope())
        assert (answer.kind, answer.code) == (Reply.OUR_FAULT, 307)
        assert answer.reply.endswith(other.url)
        assert "SEND_API_URL" in answer.reply
        assert not other.connections


def test_the_words_of_the_service_are_one_line_that_can_be_shown(
    transport: HttpTransport, api: RecordingHttpApi
) -> None:
    api.answer = lambda _posted: refusal(422, "no such\r\n\tmailbox\0\x1b[31m\u202e ёж")
    assert send(transport, envelope())[0].reply == "HTTP 422 Unprocessable Entity: no such mailbox [31m ёж"


def test_long_words_are_kept_up_to_a_thousand_characters(transport: HttpTransport, api: RecordingHttpApi) -> None:
    api.answer = lambda _posted: refusal(500, "ы" * 200_000)
    [answer] = send(transport, envelope())
    assert (answer.kind, len(answer.reply)) == (Reply.LATER, LONGEST_REPLY)


def test_an_answer_without_words_is_its_status(transport: HttpTransport, api: RecordingHttpApi) -> None:
    api.answer = lambda _posted: refusal(429)
    assert send(transport, envelope())[0].reply == "HTTP 429 Too Many Requests"


# Retry-After


def test_a_wait_that_the_service_names_is_handed_on(transport: HttpTransport, api: RecordingHttpApi) -> None:
    api.answer = lambda posted: refusal(429 if posted.recipient < "b" else 503, "slowly", Retry_After="90")
    answers = send(transport, envelope(1, "anna@example.test"), envelope(2, "boris@example.test"))
    assert [(answer.kind, answer.retry_after) for answer in answers] == [(Reply.LATER, timedelta(seconds=90))] * 2


@pytest.mark.parametrize("status", [200, 307, 401, 422])
def test_only_who_says_later_names_a_wait(transport: HttpTransport, api: RecordingHttpApi, status: int) -> None:
    api.answer = lambda _posted: refusal(status, "", Retry_After="90")
    assert send(transport, envelope())[0].retry_after is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("0", 1),
        ("86400", 86400),
        ("86401", 86400),
        ("9" * 5000, 86400),
        ("Mon, 27 Jul 2026 12:01:30 GMT", 90),
        ("Mon, 27 Jul 2026 15:01:30 +0300", 90),
        ("Mon, 27 Jul 2026 12:01:30 -0000", 90),
        ("Monday, 27-Jul-26 12:01:30 GMT", 90),
        ("Mon, 27 Jul 2020 12:00:00 GMT", 1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86400),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("1e3", None),
        ("٣", None),
        ("90, 120", None),
        ("Mon, 99 Jul 2026 99:99:99 GMT", None),
        ("Mon, 27 Jul 99999 12:01:30 GMT", None),
        ("Mon, 27 Jul 2026 12:01:30 +9999", None),
    ],
)
def test_a_wait_is_seconds_or_a_date_within_a_day(text: str, seconds: int | None) -> None:
    assert wait_of(text, NOW) == (None if seconds is None else timedelta(seconds=seconds))


# Rubbish


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"",
        b"\r\n",
        b"250 2.0.0 OK\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-More: " + b"y" * 300_000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: smtp\r\nConnection: upgrade\r\n\r\n",
        b"\0" * 300_000,
    ],
    ids=range(12),
)
def test_what_is_no_http_is_no_answer(transport_to: Callable[..., HttpTransport], answer: bytes | None) -> None:
    [found] = exchange(transport_to, say(answer), envelope())
    assert (found.stage, found.kind, found.code) == (Stage.BODY, Reply.NONE, None)
    assert found.reply


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"id": "x"}', Reply.NONE),
        (BAD_CHUNK, Reply.NONE),
        (b"HTTP/1.1 503 Full\r\nContent-Length: 99\r\n\r\nfull", Reply.LATER),
        (b"HTTP/1.1 422 No\r\nContent-Length: 99\r\n\r\nno", Reply.REFUSED),
    ],
    ids=["200", "200 in bad chunks", "503", "422"],
)
def test_a_body_that_breaks_off_promises_nothing_and_a_refusal_needs_none(
    transport_to: Callable[..., HttpTransport], answer: bytes, kind: Reply
) -> None:
    first, second = exchange(transport_to, say(answer), envelope(1), envelope(2))
    assert first.kind is second.kind is kind
    assert first.code == int(answer[9:12])


def test_an_answer_in_single_bytes_chunks_and_with_1xx_before_is_an_answer(
    transport_to: Callable[..., HttpTransport],
) -> None:
    chunked = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'6\r\n{"id":\r\n5\r\n "x"}\r\n0\r\n\r\n'
    )
    answers = exchange(transport_to, say(chunked, chunked, pause=0.0005), envelope(1), envelope(2))
    assert [(answer.kind, answer.reply) for answer in answers] == [(Reply.ACCEPTED, "HTTP 200 OK: id x")] * 2


def test_what_was_said_too_much_is_not_the_answer_to_the_next(transport_to: Callable[..., HttpTransport]) -> None:
    """A service that answers twice must not make a message `sent` that it has not seen."""

    def twice(connection: socket.socket) -> None:
        if read_request(connection):
            connection.sendall(TAKEN * 2)
            connection.recv(65536)

    first, second, third = exchange(transport_to, twice, envelope(1), envelope(2), envelope(3))
    assert (first.kind, second.kind, third.kind) == (Reply.ACCEPTED, Reply.NONE, Reply.ACCEPTED)
    assert second.code is None


def test_a_refusal_may_come_before_all_is_sent(transport_to: Callable[..., HttpTransport]) -> None:
    def hasty(connection: socket.socket) -> None:
        connection.recv(10)
        connection.sendall(b"HTTP/1.1 413 Too Big\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    big = b"Subject: x\r\n\r\n" + b"y" * 5_000_000 + b"\r\n"
    [answer] = exchange(transport_to, hasty, envelope(content=big))
    assert (answer.kind, answer.code) == (Reply.REFUSED, 413)


# The connection


def test_two_hundred_messages_leave_over_one_connection(transport: HttpTransport, api: RecordingHttpApi) -> None:
    answers = send(transport, *(envelope(number, f"c{number}@example.test") for number in range(200)))
    assert {answer.kind for answer in answers} == {Reply.ACCEPTED}
    assert [message.recipient for message in api.messages] == [f"c{number}@example.test" for number in range(200)]
    assert api.connections == 1


def test_refusals_do_not_end_the_connection(transport: HttpTransport, api: RecordingHttpApi) -> None:
    api.answer = lambda posted: refusal(422, "no") if posted.recipient.startswith("gone") else HttpAnswer(429)
    send(transport, envelope(1, "gone@example.test"), envelope(2), envelope(3))
    assert api.connections == 1


def test_a_message_begins_when_the_one_before_is_answered(transport: HttpTransport, api: RecordingHttpApi) -> None:
    events: list[str] = []

    def envelopes() -> Iterable[Envelope]:
        for number in (1, 2):
            events.append(f"taken {number}")
            yield envelope(number)

    answers = transport.send(envelopes(), lambda number: events.append(f"begun {number} {len(api.requests)}"))
    events.extend(f"answered {answer.delivery_id}" for answer in answers)
    assert events == ["taken 1", "begun 1 0", "answered 1", "taken 2", "begun 2 1", "answered 2"]


def test_a_connection_that_was_closed_while_idle_costs_no_message(
    transport: HttpTransport, api: RecordingHttpApi
) -> None:
    for number in range(3):
        [answer] = send(transport, envelope(number))
        assert answer.kind is Reply.ACCEPTED
        api.hang_up()
        time.sleep(0.05)  # the end of the connection is on its way
    assert (len(api.messages), api.connections) == (3, 3)


@pytest.mark.parametrize(
    "ending",
    [TAKEN.replace(b"\r\n", b"\r\nConnection: close\r\n", 1), TAKEN.replace(b"HTTP/1.1", b"HTTP/1.0", 1)],
    ids=["Connection: close", "HTTP/1.0"],
)
def test_a_service_that_keeps_no_connection_gets_a_new_one_each_time(
    transport_to: Callable[..., HttpTransport], ending: bytes
) -> None:
    with ScriptedServer(say(ending)) as server:
        answers = send(transport_to(f"http://127.0.0.1:{server.port}/"), envelope(1), envelope(2))
        assert {answer.kind for answer in answers} == {Reply.ACCEPTED}
        assert server.connections == 2


def test_after_a_lost_answer_the_next_message_gets_a_new_connection(
    transport: HttpTransport, api: RecordingHttpApi
) -> None:
    api.answer = lambda posted: None if posted.recipient.startswith("lost") else HttpAnswer(200, b'{"id": "x"}')
    lost, taken = send(transport, envelope(1, "lost@example.test"), envelope(2))
    assert (lost.kind, lost.stage, lost.code) == (Reply.NONE, Stage.BODY, None)
    assert taken.kind is Reply.ACCEPTED
    assert api.connections == 2


def test_a_closed_transport_opens_again(transport: HttpTransport, api: RecordingHttpApi) -> None:
    send(transport, envelope(1))
    transport.close()
    transport.close()
    send(transport, envelope(2))
    assert api.connections == 2


def test_a_message_that_must_not_leave_does_not(transport: HttpTransport, api: RecordingHttpApi) -> None:
    def stop(number: int) -> None:
        if number == 2:
            raise NotAnyMore

    answers = transport.send([envelope(1), envelope(2)], stop)
    assert next(answers).kind is Reply.ACCEPTED
    with pytest.raises(NotAnyMore):
        next(answers)
    assert len(api.requests) == 1
    send(transport, envelope(3))
    assert (len(api.requests), api.connections) == (2, 2)


# Nobody there


def assert_away(transport: HttpTransport, match: str) -> None:
    begun = Begun()
    with pytest.raises(TransportAway, match=match):
        list(transport.send([envelope()], begun))
    assert not begun


def test_a_service_that_is_not_there_is_away(transport_to: Callable[..., HttpTransport]) -> None:
    assert_away(transport_to(f"http://127.0.0.1:{free_port()}/"), "refused")


def test_a_name_that_can_have_no_address_is_away(transport_to: Callable[..., HttpTransport]) -> None:
    assert_away(transport_to(f"http://{'x' * 70}.invalid/"), "label")


def test_a_service_that_goes_away_between_two_messages_is_away(transport_to: Callable[..., HttpTransport]) -> None:
    begun = Begun()
    with RecordingHttpApi() as api:
        answers = transport_to(api.url).send([envelope(1), envelope(2)], begun)
        assert next(answers).kind is Reply.ACCEPTED
    with pytest.raises(TransportAway, match="refused"):
        next(answers)
    assert begun == [1]


def test_a_service_that_never_shakes_hands_is_away_in_time(transport_to: Callable[..., HttpTransport]) -> None:
    def silent(connection: socket.socket) -> None:
        while connection.recv(1000):
            pass

    with ScriptedServer(silent) as server:
        started = time.monotonic()
        assert_away(transport_to(f"https://127.0.0.1:{server.port}/", mail_timeout_seconds=1), "timed out")
        assert time.monotonic() - started < BUSY_SECONDS


# Slow


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Slow: " + b"y" * 4000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 160,
    ],
    ids=["silence", "dripping headers", "dripping 1xx"],
)
def test_an_answer_that_takes_too_long_is_none(transport_to: Callable[..., HttpTransport], answer: bytes) -> None:
    def slow(connection: socket.socket) -> None:
        say(answer, pause=0.01)(connection)
        connection.recv(1)

    with ScriptedServer(slow) as server:
        transport = transport_to(f"http://127.0.0.1:{server.port}/", mail_timeout_seconds=1)
        started = time.monotonic()
        [found] = send(transport, envelope())
        assert 0.9 < time.monotonic() - started < BUSY_SECONDS
        assert (found.kind, found.code, found.reply) == (Reply.NONE, None, "timed out")


def test_a_body_that_drips_is_waited_for_no_longer_than_a_whole_answer(
    transport_to: Callable[..., HttpTransport],
) -> None:
    def dripping(connection: socket.socket) -> None:
        say(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n")(connection)
        drip(connection, b" " * 4000, 0.01)

    with ScriptedServer(dripping) as server:
        transport = transport_to(f"http://127.0.0.1:{server.port}/", mail_timeout_seconds=1)
        started = time.monotonic()
        [found] = send(transport, envelope())
        assert time.monotonic() - started < BUSY_SECONDS
        assert (found.kind, found.code) == (Reply.NONE, 200)
        assert "timed out" in found.reply


def test_a_service_that_does_not_read_is_not_waited_for(transport_to: Callable[..., HttpTransport]) -> None:
    done = threading.Event()
    with ScriptedServer(lambda _connection: (done.wait(PATIENCE_SECONDS), None)[1]) as server:
        transport = transport_to(f"http://127.0.0.1:{server.port}/", mail_timeout_seconds=1)
        started = time.monotonic()
        [found] = send(transport, envelope(content=b"y" * 30_000_000))
        assert time.monotonic() - started < BUSY_SECONDS
        assert (found.kind, found.code) == (Reply.NONE, None)
        done.set()


def test_no_more_than_64_kb_of_an_answer_are_read(transport_to: Callable[..., HttpTransport]) -> None:
    sent = 0

    def endless(connection: socket.socket) -> None:
        nonlocal sent
        read_request(connection)
        connection.sendall(b"HTTP/1.1 500 Oh\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            connection.sendall(b"y" * 1000)
            sent += 1000

    [answer] = exchange(transport_to, endless, envelope())
    assert (answer.kind, answer.code) == (Reply.LATER, 500)
    assert sent < 20_000_000  # what the kernel keeps for us is little more


# Interrupted


def interrupted_after(transport: HttpTransport, seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, transport.interrupt)
    timer.start()
    return timer


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"],
    ids=["before it", "in the headers", "in the body"],
)
def test_a_wait_for_an_answer_can_be_interrupted(transport_to: Callable[..., HttpTransport], answer: bytes) -> None:
    def waiting(connection: socket.socket) -> None:
        say(answer)(connection)
        connection.recv(1)

    with ScriptedServer(waiting) as server:
        transport = transport_to(f"http://127.0.0.1:{server.port}/", mail_timeout_seconds=PATIENCE_SECONDS)
        timer = interrupted_after(transport, 0.2)
        started = time.monotonic()
        [found] = send(transport, envelope())
        assert time.monotonic() - started < BUSY_SECONDS
        timer.join()
    assert (found.stage, found.kind) == (Stage.BODY, Reply.NONE)
    assert "broke the wait for an answer off" in found.reply


def test_writing_can_be_interrupted(transport_to: Callable[..., HttpTransport]) -> None:
    done = threading.Event()
    with ScriptedServer(lambda _connection: (done.wait(PATIENCE_SECONDS), None)[1]) as server:
        transport = transport_to(f"http://127.0.0.1:{server.port}/", mail_timeout_seconds=PATIENCE_SECONDS)
        timer = interrupted_after(transport, 0.3)
        [found] = send(transport, envelope(content=b"y" * 30_000_000))
        timer.join()
        done.set()
    assert found.kind is Reply.NONE


def test_an_interruption_while_nothing_is_sent_costs_no_message(
    transport: HttpTransport, api: RecordingHttpApi
) -> None:
    transport.interrupt()
    assert send(transport, envelope(1))[0].kind is Reply.ACCEPTED
    transport.interrupt()
    assert send(transport, envelope(2))[0].kind is Reply.ACCEPTED
    transport.close()
    transport.interrupt()
    assert send(transport, envelope(3))[0].kind is Reply.ACCEPTED
    assert len(api.messages) == 3


def test_what_is_interrupted_while_it_connects_does_not_leave(
    transport: HttpTransport, api: RecordingHttpApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = socket.create_connection

    def meanwhile(*args: Any, **options: Any) -> socket.socket:
        transport.interrupt()
        return connect(*args, **options)

    monkeypatch.setattr(socket, "create_connection", meanwhile)
    assert_away(transport, "broke the wait")
    assert not api.requests


# TLS


def encrypted(certificates: Path, name: str) -> RecordingHttpApi:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    return RecordingHttpApi(context)


def test_messages_leave_over_one_encrypted_connection(
    transport_to: Callable[..., HttpTransport], certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "right.pem"))
    with encrypted(certificates, "right") as api:
        transport = transport_to(api.url)
        answers = send(transport, *(envelope(number, content=b"y" * 100_000) for number in range(5)))
        assert {answer.kind for answer in answers} == {Reply.ACCEPTED}
        assert (len(api.messages), api.connections) == (5, 1)
        api.hang_up()
        time.sleep(0.05)
        assert send(transport, envelope(6))[0].kind is Reply.ACCEPTED


def test_an_encrypted_wait_can_be_interrupted(
    transport_to: Callable[..., HttpTransport], certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "right.pem"))
    done = threading.Event()
    with encrypted(certificates, "right") as api:
        api.answer = lambda _posted: (done.wait(PATIENCE_SECONDS), None)[1]
        transport = transport_to(api.url, mail_timeout_seconds=PATIENCE_SECONDS)
        timer = interrupted_after(transport, 0.3)
        [found] = send(transport, envelope())
        timer.join()
        done.set()
    assert found.kind is Reply.NONE


def test_a_certificate_that_nobody_vouches_for_is_away(
    transport_to: Callable[..., HttpTransport], certificates: Path
) -> None:
    with encrypted(certificates, "right") as api:
        assert_away(transport_to(api.url), "self-signed")
        assert not api.requests


def test_the_certificate_of_another_host_is_away(
    transport_to: Callable[..., HttpTransport], certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "other.pem"))
    with encrypted(certificates, "other") as api:
        assert_away(transport_to(api.url), "mismatch")
        assert not api.requests


# The token


@pytest.mark.parametrize("status", [200, 307, 401, 422, 500])
def test_the_token_is_neither_logged_nor_kept(
    transport: HttpTransport, api: RecordingHttpApi, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """Not even when the service repeats it."""
    caplog.set_level(logging.DEBUG)
    body = json.dumps({"id": f"of {TOKEN}"}).encode()
    headers = {"Content-Type": "application/json", "Location": f"/?key={TOKEN}"}
    api.answer = lambda _posted: HttpAnswer(status, body, headers, "Words")
    [answer] = send(transport, envelope())
    assert "[hidden]" in answer.reply
    assert TOKEN not in repr(answer)
    sent = [record for record in caplog.records if "send_request" in record.getMessage()]
    assert not any(TOKEN in record.getMessage() for record in sent)


def test_the_token_is_in_no_fault(transport_to: Callable[..., HttpTransport], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(TransportAway) as caught:
        list(transport_to(f"http://127.0.0.1:{free_port()}/").send([envelope()], Begun()))
    assert TOKEN not in repr(caught.value)
    assert TOKEN not in caplog.text


# Which way


def test_mailings_leave_through_the_sending_service_when_there_is_one(
    settings: Settings, api: RecordingHttpApi
) -> None:
    by_http = open_transport(settings.model_copy(update={"send_api_url": api.url}))
    [answer] = by_http.send([envelope()], Begun())
    by_http.close()
    assert answer.kind is Reply.ACCEPTED
    assert isinstance(open_transport(settings), SmtpTransport)
