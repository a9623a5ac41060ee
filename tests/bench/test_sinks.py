import shutil
import smtplib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import pytest

from bench import sinks
from bench.sinks import Sink
from dev import debian
from tests.scripted import ScriptedServer
from tests.waiting import BUSY_SECONDS, PATIENCE_SECONDS

pytestmark = pytest.mark.one_database

ENVELOPE = b"MAIL FROM:<a@golub.test>\r\nRCPT TO:<b@golub.test>\r\nDATA\r\n"
BODY = b"Subject: x\r\n\r\n..\r\nHi\r\n.\r\n"


@pytest.fixture(params=[sinks.smtp_sink, sinks.own_sink], ids=["smtp-sink", "our own"])
def sink(request: pytest.FixtureRequest) -> Iterator[Sink]:
    make: Callable[[], AbstractContextManager[Sink]] = request.param
    with ExitStack() as stack:
        try:
            made = stack.enter_context(make())
        except debian.NoPackage as error:
            pytest.skip(f"no smtp-sink can be had: {error}")
        yield made


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
    assert read_lines(connection, 1)[0].startswith(b"220")
    return connection


def read_lines(connection: socket.socket, count: int) -> list[bytes]:
    said = b""
    while said.count(b"\r\n") < count:
        more = connection.recv(4096)
        assert more, said
        said += more
    return said.splitlines()


def test_it_offers_what_the_engine_makes_use_of(sink: Sink) -> None:
    with smtplib.SMTP("127.0.0.1", sink.port, timeout=PATIENCE_SECONDS) as smtp:
        smtp.ehlo()
        assert {"pipelining", "8bitmime"} <= set(smtp.esmtp_features)


def test_it_counts_the_messages_of_all_connections(sink: Sink) -> None:
    assert sink.accepted() == 0
    with connect(sink.port) as one, connect(sink.port) as other:
        for connection in (one, other):
            connection.sendall(ENVELOPE + (BODY + ENVELOPE) * 49 + BODY + b"QUIT\r\n")
        for connection in (one, other):
            codes = [line[:3] for line in read_lines(connection, 4 * 50 + 1)]
            assert codes == [b"250", b"250", b"354", b"250"] * 50 + [b"221"]
    assert sink.wait_for(100) == 100


def test_it_counts_what_comes_in_small_pieces_once(sink: Sink) -> None:
    with connect(sink.port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in ENVELOPE + BODY:
            connection.sendall(bytes([byte]))
        assert [line[:3] for line in read_lines(connection, 4)] == [b"250", b"250", b"354", b"250"]
    assert sink.wait_for(1) == 1


def test_it_does_not_count_a_body_without_its_end(sink: Sink) -> None:
    with connect(sink.port) as connection:
        connection.sendall(ENVELOPE + BODY + ENVELOPE)
        read_lines(connection, 7)
        connection.sendall(BODY[:-3])
    with connect(sink.port) as connection:
        connection.sendall(ENVELOPE + BODY)
        read_lines(connection, 4)
    assert sink.wait_for(2) == 2


def test_our_own_takes_a_body_of_nothing() -> None:
    with sinks.own_sink() as sink, connect(sink.port) as connection:
        connection.sendall(ENVELOPE + b".\r\nNOOP\r\n")
        assert [line[:3] for line in read_lines(connection, 5)] == [b"250", b"250", b"354", b"250", b"250"]
        assert sink.accepted() == 1


def test_the_proxy_delays_every_reply_and_changes_none() -> None:
    with sinks.own_sink() as sink, sinks.delay_proxy(sink.port, 100) as port, connect(port) as connection:
        begun = time.monotonic()
        connection.sendall(b"EHLO me.test\r\n")
        assert read_lines(connection, 4) == sinks.OFFER.splitlines()
        once = time.monotonic() - begun
        connection.sendall(b"NOOP\r\n")
        read_lines(connection, 1)
        assert once >= 0.1
        assert time.monotonic() - begun >= 0.2


def test_replies_to_what_was_pipelined_come_after_one_delay() -> None:
    with sinks.own_sink() as sink, sinks.delay_proxy(sink.port, 200) as port:
        connections = [connect(port) for _ in range(5)]
        begun = time.monotonic()
        for connection in connections:
            connection.sendall(ENVELOPE + (BODY + ENVELOPE) * 9 + BODY)
        for connection in connections:
            codes = [line[:3] for line in read_lines(connection, 40)]
            assert codes == [b"250", b"250", b"354", b"250"] * 10
            connection.close()
        assert 0.2 <= time.monotonic() - begun < BUSY_SECONDS  # one after the other would be 40 s
        assert sink.accepted() == 50


def test_the_proxy_passes_on_that_the_server_hung_up() -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(b"220 hello\r\n421 bye\r\n")

    with (
        ScriptedServer(script) as server,
        sinks.delay_proxy(server.port, 50) as port,
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection,
    ):
        assert read_lines(connection, 2) == [b"220 hello", b"421 bye"]
        assert connection.recv(100) == b""


def test_the_best_sink_says_what_it_is() -> None:
    with sinks.best_sink() as sink:
        assert "sink" in sink.name
        assert sink.accepted() == 0


def test_without_a_package_the_best_sink_is_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_to_be_had(_package: str, _folder: object) -> None:
        raise debian.NoPackage("no network")

    monkeypatch.setattr(shutil, "which", lambda *_arguments, **_more: None)
    monkeypatch.setattr(debian, "unpack", none_to_be_had)
    with sinks.best_sink() as sink:
        assert sink.name == "our own sink"
