from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest

from bench import baselines, sinks
from bench.baselines import Way
from bench.sinks import Sink
from dev.servers import free_port

pytestmark = pytest.mark.one_database


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with sinks.own_sink() as made:
        yield made


@pytest.mark.parametrize("way", Way)
def test_each_way_sends_exactly_so_many(way: Way, sink: Sink) -> None:
    before = sink.accepted()
    assert baselines.rate(way, sink, 25) > 0
    assert sink.accepted() == before + 25


def test_what_stands_before_the_sink_slows_it_down(sink: Sink) -> None:
    with sinks.delay_proxy(sink.port, 50) as port:
        # smtplib waits for four replies a message.
        assert baselines.rate(Way.SMTPLIB, sink, 5, port) <= 1 / (4 * 0.05)


def test_a_way_whose_messages_did_not_all_arrive_gives_no_rate(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "SETTLE_SECONDS", 0.1)
    forgetful = Sink("forgetful", sink.port, lambda: 0)
    with pytest.raises(RuntimeError, match="sent 3 messages, and forgetful took 0"):
        baselines.rate(Way.SMTPLIB, forgetful, 3)


def test_a_way_that_fails_says_why(sink: Sink) -> None:
    with pytest.raises(RuntimeError, match="ConnectionRefusedError"):
        baselines.rate(Way.SMTPLIB, sink, 3, free_port())


def test_the_ready_made_are_multipart_of_8_kb_and_each_its_own() -> None:
    made = baselines.ready_made(2000)
    assert len(set(made)) == len(made) == baselines.DISTINCT
    assert all(abs(len(content) - baselines.MESSAGE_BYTES) < 400 for content in made)
    message = message_from_bytes(made[7], policy=default)
    assert isinstance(message, EmailMessage)
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    plain = message.get_body(("plain",))
    assert plain is not None
    assert "client7, this spring" in plain.get_content()
    assert b"\n" not in made[7].replace(b"\r\n", b"")
