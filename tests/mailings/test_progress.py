"""How a run gets on, measured over a real Redis."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import current_app
from redis import Redis
from rq import Queue, Worker

from app import clock, queue
from app.auth.models import User
from app.config import Settings
from app.delivery import pace
from app.delivery.models import Delivery, DeliveryStatus, Run, RunStatus
from app.extensions import db
from app.mailings import progress
from app.mailings.models import Mailing
from app.mailings.progress import Limit, Progress
from tests import make

# Three seconds into a bucket: what was counted ten seconds before is that of thirteen.
NOW = datetime(2030, 5, 6, 12, 0, 3, tzinfo=UTC)
NOWHERE = Redis.from_url("redis://127.0.0.1:1")  # nothing listens there

Look = Callable[..., Progress]


@pytest.fixture(autouse=True)
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


@pytest.fixture
def user(context: None) -> User:
    return make.user("owner@golub.test")


@pytest.fixture
def mailing(user: User) -> Mailing:
    return make.mailing(user)


@pytest.fixture
def worker(context: None) -> Iterator[None]:
    alive = Worker([Queue(queue.QUEUE_NAME, connection=queue.connection())], connection=queue.connection())
    alive.register_birth()
    yield
    alive.register_death()


@pytest.fixture
def a_run(mailing: Mailing) -> Callable[..., Run]:
    """A run that is being sent since five minutes, of which 1,000 messages wait."""

    def make_run(**fields: Any) -> Run:
        fields = {"status": RunStatus.SENDING, "pending": 1000, "started_at": NOW - timedelta(minutes=5)} | fields
        fields["planned"] = sum(fields.get(status.value, 0) for status in DeliveryStatus)
        frozen = {"subject": "News", "html": "", "text": "", "sender": "golub@golub.test"}
        made = Run(mailing_id=mailing.id, owner_id=mailing.owner_id, **{"scheduled_for": NOW} | frozen | fields)
        db.session.add(made)
        db.session.flush()
        return made

    return make_run


@pytest.fixture
def look(context: None) -> Look:
    def look_at(run: Run, redis: Redis | None = None, **changes: Any) -> Progress:
        settings: Settings = current_app.config["SETTINGS"].model_copy(update=changes)
        found = progress.of_run(run, settings, redis or queue.connection(), NOW)
        assert found is not None
        return found

    return look_at


def sent(run: Run, count: int, seconds: float, monkeypatch: pytest.MonkeyPatch, ago: int = 10) -> None:
    """So many messages have left in as many seconds of one connection, some seconds ago."""
    with monkeypatch.context() as then:
        then.setattr(clock, "now", lambda: NOW - timedelta(seconds=ago))
        pace.note(queue.connection(), {run.id: count}, seconds)


def claims(run: Run, count: int) -> None:
    for number in range(1, count + 1):
        held = Delivery(run_id=run.id, email="a@example.test", status=DeliveryStatus.SENDING, claim_id=number)
        db.session.add(held)
    db.session.flush()


def test_what_is_done_has_no_progress(a_run: Callable[..., Run]) -> None:
    run = a_run(status=RunStatus.DONE, pending=0, sent=5)
    assert progress.of_run(run, current_app.config["SETTINGS"], queue.connection(), NOW) is None


def test_a_busy_mail_server_limits_and_the_end_is_foreseen(
    a_run: Callable[..., Run], look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run()
    claims(run, 4)
    sent(run, 130, 20, monkeypatch)
    found = look(run)
    assert found.limit is Limit.SERVER
    assert found.per_second == pytest.approx(10)
    assert found.answer_seconds == pytest.approx(20 / 130)
    assert found.left == timedelta(seconds=100)
    assert found.done_at == NOW + timedelta(seconds=100)
    assert not found.ends_first


def test_an_end_that_comes_first_is_told(
    a_run: Callable[..., Run], look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(last_moment=NOW + timedelta(seconds=30))
    sent(run, 130, 10, monkeypatch)
    assert look(run).ends_first


def test_answers_that_are_counted_all_at_once_are_no_burst(
    a_run: Callable[..., Run], look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run()
    claims(run, 2)
    sent(run, 100, 100, monkeypatch, ago=0)  # a second for each, on one connection
    assert look(run).per_second == pytest.approx(2)


def test_our_own_rate_a_second_limits(a_run: Callable[..., Run], look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run()
    sent(run, 130, 1, monkeypatch)
    found = look(run, mail_per_second=11)
    assert (found.limit, found.rate) == (Limit.RATE_A_SECOND, 11)
    assert look(run, mail_per_second=1000).limit is Limit.RATE_A_SECOND  # connections rest, and nobody else sends


def test_our_own_rate_an_hour_limits_and_says_how_long_it_takes(
    a_run: Callable[..., Run], look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run()
    sent(run, 130, 1, monkeypatch)
    found = look(run, mail_per_hour=500)
    assert (found.limit, found.rate) == (Limit.RATE_AN_HOUR, 500)
    assert found.left == timedelta(hours=2)


def test_others_that_are_being_sent_limit_it(
    a_run: Callable[..., Run], look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run()
    a_run(scheduled_for=NOW + timedelta(hours=1), sending=50)
    sent(run, 130, 1, monkeypatch)
    assert look(run, mail_per_hour=500).limit is Limit.OTHERS


def test_with_nothing_else_in_the_way_we_limit_it_ourselves(
    a_run: Callable[..., Run], look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run()
    sent(run, 130, 1, monkeypatch)
    assert look(run).limit is Limit.OURSELVES


@pytest.mark.parametrize("status", [RunStatus.PREPARING, RunStatus.SENDING])
def test_nobody_works(a_run: Callable[..., Run], look: Look, status: RunStatus) -> None:
    assert look(a_run(status=status)) == Progress(Limit.NO_WORKER)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"held_at": NOW}, Limit.HELD),
        ({"held_at": NOW, "fault": "421 busy", "resume_at": NOW + timedelta(minutes=1)}, Limit.HELD),
        ({"status": RunStatus.PREPARING, "pending": 0}, Limit.PREPARING),
        ({"fault": "421 busy", "resume_at": NOW + timedelta(minutes=1)}, Limit.SERVER_AWAY),
        ({"fault": "421 busy", "resume_at": NOW - timedelta(minutes=1), "sending": 1}, Limit.SERVER_AWAY),
        ({"resume_at": NOW + timedelta(minutes=1)}, Limit.LATER),
        ({"resume_at": NOW - timedelta(minutes=1), "sending": 3}, Limit.SILENCE),
        ({"sending": 100}, Limit.SILENCE),
        ({"sending": 100, "started_at": NOW - timedelta(seconds=5)}, None),
        ({}, Limit.OURSELVES),
    ],
)
def test_what_stands_says_why(
    a_run: Callable[..., Run], look: Look, fields: dict[str, Any], limit: Limit | None
) -> None:
    assert look(a_run(**fields)) == Progress(limit)


def test_without_redis_there_is_no_pace_and_no_error(
    a_run: Callable[..., Run], look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, new = a_run(sending=10), a_run(scheduled_for=NOW + timedelta(hours=1), started_at=NOW)
    with monkeypatch.context() as away:
        away.setattr(queue, "connection", lambda: NOWHERE)
        assert look(slow, NOWHERE, mail_per_second=5) == Progress(Limit.SILENCE)
        assert look(new, NOWHERE) == Progress(None)


def test_the_reads_do_not_grow_with_the_run(
    a_run: Callable[..., Run], look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run()
    for number in range(50):
        db.session.add(Delivery(run_id=run.id, email=f"client{number}@example.test"))
    db.session.flush()
    sent(run, 130, 1, monkeypatch)
    asked: list[str] = []
    scalar = db.session.scalar
    monkeypatch.setattr(db.session, "scalar", lambda query: asked.append(str(query)) or scalar(query))
    look(run)
    assert len(asked) == 2
    # What workers hold is little, and an index holds nothing else.
    assert not any("delivery" in query and "claim_id IS NOT NULL" not in query for query in asked)
