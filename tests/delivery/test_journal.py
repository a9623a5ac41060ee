"""The journal, and what is settled by it, over a real Redis."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import select, text, update

from app import clock
from app.clients.models import Client, ClientStatus
from app.config import Settings
from app.delivery import journal, service
from app.delivery.journal import Journal, JournalAway, JournalSealed
from app.delivery.models import Attempt, Claim, Delivery, DeliveryStatus, Run, Stage
from app.delivery.service import Batch, LostClaim
from app.delivery.transport import Answer, Reply
from app.extensions import db
from app.mailings import jobs
from app.queue import connection
from dev.servers import free_port
from tests.delivery.conftest import assert_reconciles
from tests.waiting import PATIENCE_SECONDS

PlannedRun = Callable[..., Run]


@pytest.fixture
def redis(context: None) -> Redis:
    connection().flushdb()
    return connection()


@pytest.fixture
def writer(redis: Redis) -> Iterator[Journal]:
    made = Journal(redis)
    yield made
    made.close()


def accepted(delivery_id: int, words: str = "2.0.0 queued") -> Answer:
    return Answer(delivery_id, Stage.BODY, Reply.ACCEPTED, 250, words, "2.0.0")


def read_when(name: str, redis: Redis, condition: Callable[[journal.Story], bool]) -> journal.Story:
    """Nobody waits for Redis while a journal is written, so a test has to."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while not condition(story := journal.read(name, redis)):
        assert time.monotonic() < ends, story
    return story


def test_it_tells_what_was_begun_and_what_was_answered(writer: Journal, redis: Redis) -> None:
    name = writer.open()
    writer.begin(1)
    writer.note(accepted(1, "2.0.0 queued as ключ"))
    writer.begin(2)
    story = read_when(name, redis, lambda story: len(story.begun) == 2)
    assert story.is_whole
    assert story.begun == {1, 2}
    assert story.answers[1].reply == "2.0.0 queued as ключ"
    assert (story.answers[1].kind, story.answers[1].stage, story.answers[1].code) == (Reply.ACCEPTED, Stage.BODY, 250)


def test_the_last_answers_are_written_without_a_further_message(writer: Journal, redis: Redis) -> None:
    name = writer.open()
    writer.begin(1)
    writer.note(accepted(1))
    writer.flush()
    assert read_when(name, redis, lambda story: bool(story.answers)).answers.keys() == {1}


def test_a_journal_that_nobody_needs_goes_with_the_next(writer: Journal, redis: Redis) -> None:
    first = writer.open()
    writer.recorded(first)
    second = writer.open()
    assert redis.keys("golub:journal:*") == [f"golub:journal:{second}".encode()]
    assert 0 < redis.ttl(f"golub:journal:{second}") <= journal.KEEP_SECONDS
    writer.recorded(second)
    writer.close()
    assert redis.keys("golub:journal:*") == []


def test_who_is_sealed_stops_within_the_time_of_a_proof(
    writer: Journal, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "PROOF_SECONDS", 0.02)
    name = writer.open()
    writer.begin(1)
    journal.seal([name], redis)
    time.sleep(0.03)
    with pytest.raises(JournalSealed):
        writer.begin(2)


def test_a_proof_is_shorter_than_the_wait_for_it() -> None:
    assert journal.SEAL_SECONDS > 3 * journal.PROOF_SECONDS


def test_a_journal_that_was_flushed_away_is_not_written_on(
    writer: Journal, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "PROOF_SECONDS", 0.0)
    name = writer.open()
    writer.begin(1)
    redis.flushdb()
    with pytest.raises(JournalSealed):
        writer.begin(2)
    assert not journal.read(name, redis).is_whole


def test_a_journal_of_a_redis_that_was_started_anew_is_not_whole(writer: Journal, redis: Redis) -> None:
    name = writer.open()
    run_id, slash, token = name.partition("/")
    redis.rename(f"golub:journal:{name}", f"golub:journal:before{slash}{token}")
    assert not journal.read(f"before/{token}", redis).is_whole
    assert run_id != "before"


def test_nothing_begins_without_redis() -> None:
    away = Journal(Redis(port=free_port(), retry=Retry(NoBackoff(), 0)))
    with pytest.raises(JournalAway):
        away.open()


# ── Settling what a dead worker held ──


def held(writer: Journal, limit: int = 50) -> tuple[Batch, str]:
    """A claim with a journal, as of a worker."""
    found = service.claim(
        size=limit,
        grant=lambda waiting: min(limit, waiting),
        worker="dead",
        lease=timedelta(minutes=2),
        open_journal=writer.open,
    )
    assert found
    batch, moves = found
    service.move(moves)
    db.session.commit()
    return batch, db.session.scalars(select(Claim.journal).where(Claim.id == batch.claim_id)).one()


def die(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease runs out, and the sweep comes by."""
    monkeypatch.setattr(journal, "SEAL_SECONDS", 0.0)
    db.session.execute(update(Claim).values(leased_until=clock.now() - timedelta(seconds=1)))
    db.session.commit()
    assert jobs.recover_claims() == 1


def statuses() -> list[DeliveryStatus]:
    return list(db.session.scalars(select(Delivery.status).order_by(Delivery.id)))


def test_only_the_message_in_flight_is_unknown(
    planned_run: PlannedRun, writer: Journal, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned_run(5)
    batch, name = held(writer)
    first, second, third, *_ = (claimed.delivery_id for claimed in batch.deliveries)
    writer.begin(first)
    writer.note(accepted(first))
    writer.note(Answer(second, Stage.RCPT, Reply.REFUSED, 550, "5.2.2 full", "5.2.2"))
    writer.begin(third)
    read_when(name, redis, lambda story: third in story.begun)
    die(monkeypatch)
    pending = DeliveryStatus.PENDING
    assert statuses() == [DeliveryStatus.SENT, DeliveryStatus.FAILED, DeliveryStatus.UNKNOWN, pending, pending]
    assert_reconciles(run.id)
    replies = list(db.session.scalars(select(Attempt.reply).order_by(Attempt.delivery_id)))
    assert replies == ["2.0.0 queued", "5.2.2 full", service.WORKER_DIED]
    assert redis.keys("golub:journal:*") == []
    assert jobs.recover_claims() == 0


def test_what_was_begun_is_unknown_although_its_recipient_unsubscribed_since(
    planned_run: PlannedRun, writer: Journal, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have arrived before. What was not begun, they don't get."""
    run = planned_run(2)
    batch, name = held(writer)
    writer.begin(batch.deliveries[0].delivery_id)
    read_when(name, redis, lambda story: bool(story.begun))
    db.session.execute(update(Client).values(status=ClientStatus.UNSUBSCRIBED))
    die(monkeypatch)
    run = assert_reconciles(run.id)
    assert (run.unknown, run.skipped) == (1, 1)


def test_a_claim_that_cannot_be_settled_holds_back_no_other(
    planned_run: PlannedRun, writer: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = planned_run(2)
    first, _ = held(writer, 1)
    held(writer, 1)
    recover = service.recover

    def fail_for_one(claim_id: int, *others: Any) -> list[int]:
        if claim_id == first.claim_id:
            db.session.execute(text("SELECT * FROM nowhere"))
        return recover(claim_id, *others)

    monkeypatch.setattr(service, "recover", fail_for_one)
    die(monkeypatch)
    run = assert_reconciles(run.id)
    assert (run.sending, run.pending) == (1, 1)
    assert db.session.scalars(select(Claim.id)).all() == [first.claim_id]
    assert "claim.not_recovered" in caplog.text
    monkeypatch.setattr(service, "recover", recover)
    assert jobs.recover_claims() == 1
    assert assert_reconciles(run.id).pending == 2


def test_a_worker_that_died_before_it_began_anything_costs_nothing(
    planned_run: PlannedRun, writer: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned_run(3)
    held(writer)
    die(monkeypatch)
    assert assert_reconciles(run.id).pending == 3


def test_without_its_journal_a_whole_claim_is_unknown_and_nothing_is_sent_twice(
    planned_run: PlannedRun, writer: Journal, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned_run(3)
    held(writer)
    redis.flushdb()
    die(monkeypatch)
    assert assert_reconciles(run.id).unknown == 3


def test_answers_are_believed_even_in_a_journal_that_lost_its_beginning(
    planned_run: PlannedRun, writer: Journal, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned_run(3)
    batch, name = held(writer)
    first = batch.deliveries[0].delivery_id
    writer.note(accepted(first))
    writer.flush()
    read_when(name, redis, lambda story: bool(story.answers))
    redis.lpop(f"golub:journal:{name}")
    die(monkeypatch)
    run = assert_reconciles(run.id)
    assert (run.sent, run.unknown) == (1, 2)


def test_a_claim_leased_for_longer_than_anybody_would_is_of_a_clock_set_back(
    planned_run: PlannedRun, writer: Journal, settings: Settings
) -> None:
    planned_run(1)
    held(writer)
    assert db.session.scalars(service.expired_claims(settings)).all() == []
    db.session.execute(update(Claim).values(leased_until=clock.now() + timedelta(hours=1)))
    assert len(db.session.scalars(service.expired_claims(settings)).all()) == 1


def test_the_answer_of_a_worker_that_was_taken_for_dead_settles_the_unknown(
    planned_run: PlannedRun, writer: Journal, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned_run(2)
    batch, name = held(writer)
    slow, other = batch.deliveries
    writer.begin(slow.delivery_id)
    read_when(name, redis, lambda story: bool(story.begun))
    die(monkeypatch)
    assert assert_reconciles(run.id).unknown == 1
    outcomes = [service.outcome_of(slow, accepted(slow.delivery_id), settings), service.untried(other)]
    with pytest.raises(LostClaim):
        service.record(batch, outcomes)
    db.session.rollback()
    assert service.correct_unknown(outcomes) == 1
    db.session.commit()
    run = assert_reconciles(run.id)
    assert (run.sent, run.unknown, run.pending) == (1, 0, 1)


def test_a_worker_that_hands_back_between_seal_and_settling_is_right(
    planned_run: PlannedRun, writer: Journal, redis: Redis, settings: Settings
) -> None:
    run = planned_run(1)
    batch, name = held(writer)
    journal.seal([name], redis)
    [claimed] = batch.deliveries
    service.move(service.record(batch, [service.outcome_of(claimed, accepted(claimed.delivery_id), settings)]))
    db.session.commit()
    service.recover(batch.claim_id, settings, redis)
    db.session.commit()
    assert assert_reconciles(run.id).sent == 1


def test_an_unreadable_journal_leaves_the_claim_for_later(
    planned_run: PlannedRun, writer: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned_run(1)
    held(writer)
    db.session.execute(update(Claim).values(leased_until=clock.now() - timedelta(seconds=1)))
    db.session.commit()
    away = Redis(port=free_port(), retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(jobs, "connection", lambda: away)
    assert jobs.recover_claims() == 0
    assert assert_reconciles(run.id).sending == 1
