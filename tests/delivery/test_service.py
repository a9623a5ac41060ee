"""The ledger: claims, outcomes, leases, and counters that always agree with the rows."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from app import clock
from app.auth.models import User
from app.clients.models import Client, ClientStatus
from app.delivery import service
from app.delivery.models import Attempt, Claim, Delivery, DeliveryStatus, Run, RunStatus, SkipReason, Stage
from app.delivery.service import Batch, LostClaim, Outcome
from app.delivery.transport import Answer
from app.extensions import db
from app.mailings import dispatch
from tests import make
from tests.delivery.conftest import assert_reconciles

LEASE = timedelta(minutes=2)
PlannedRun = Callable[..., Run]


def take(run: Run, limit: int = 50) -> Batch | None:
    batch = service.claim(run.id, limit=limit, worker="test", lease=LEASE)
    db.session.commit()
    return batch


def taken(run: Run, limit: int = 50) -> Batch:
    batch = take(run, limit)
    assert batch is not None
    return batch


def sent(batch: Batch) -> list[Outcome]:
    return [
        Outcome(
            claimed.delivery_id,
            DeliveryStatus.SENT,
            Answer(claimed.delivery_id, Stage.BODY, 250, "2.0.0 queued as 42", "2.0.0"),
            attempts=1,
        )
        for claimed in batch.deliveries
    ]


def test_planning_freezes_one_row_per_client(planned_run: PlannedRun) -> None:
    run = assert_reconciles(planned_run(3).id)
    assert (run.planned, run.pending, run.status) == (3, 3, RunStatus.SENDING)
    addresses = db.session.scalars(select(Delivery.email).order_by(Delivery.id)).all()
    assert addresses == ["client0@example.test", "client1@example.test", "client2@example.test"]


def test_a_run_for_nobody_is_done_at_once(user: User) -> None:
    run = dispatch.begin_by_hand(make.mailing(user), "golub@golub.test")
    service.plan(run, select(Client).where(Client.owner_id == user.id))
    db.session.commit()
    assert assert_reconciles(run.id).status is RunStatus.DONE


def test_a_claim_takes_no_more_than_its_limit_and_nothing_twice(planned_run: PlannedRun) -> None:
    run = planned_run(5)
    first, second = taken(run, 3), taken(run, 3)
    assert (len(first.deliveries), len(second.deliveries)) == (3, 2)
    assert not {c.delivery_id for c in first.deliveries} & {c.delivery_id for c in second.deliveries}
    assert take(run) is None
    assert assert_reconciles(run.id).sending == 5


def test_recording_moves_rows_counters_and_attempts_together(planned_run: PlannedRun) -> None:
    run = planned_run(2)
    batch = taken(run)
    service.record(batch, sent(batch))
    db.session.commit()
    run = assert_reconciles(run.id)
    assert (run.sent, run.status) == (2, RunStatus.DONE)
    assert run.finished_at is not None
    attempt = db.session.scalars(select(Attempt).order_by(Attempt.id)).first()
    assert attempt is not None
    assert (attempt.code, attempt.enhanced_code, attempt.reply) == (250, "2.0.0", "2.0.0 queued as 42")
    assert db.session.scalar(select(func.count()).select_from(Claim)) == 0


def test_a_deferred_delivery_waits_for_its_time(planned_run: PlannedRun) -> None:
    run = planned_run(1)
    batch = taken(run)
    later = clock.now() + timedelta(minutes=1)
    [claimed] = batch.deliveries
    service.record(batch, [Outcome(claimed.delivery_id, DeliveryStatus.PENDING, attempts=1, not_before=later)])
    db.session.commit()
    assert take(run) is None
    assert assert_reconciles(run.id).pending == 1
    db.session.execute(update(Delivery).values(not_before=clock.now()))
    assert taken(run).deliveries[0].attempts == 1


@pytest.mark.parametrize(
    "obstacle",
    [
        {"held_at": clock.now()},
        {"resume_at": clock.now() + timedelta(days=1)},
        {"last_moment": clock.now() - timedelta(seconds=1)},
    ],
    ids=["held", "server away", "ended"],
)
def test_a_run_that_may_not_send_gives_out_nothing(planned_run: PlannedRun, obstacle: dict[str, object]) -> None:
    run = planned_run(2, **obstacle)
    assert take(run) is None
    assert db.session.scalar(select(func.count()).select_from(Claim)) == 0
    assert assert_reconciles(run.id).pending == 2


def test_whoever_unsubscribed_or_was_deleted_meanwhile_is_marked_to_be_skipped(planned_run: PlannedRun) -> None:
    run = planned_run(3)
    first, second, _third = db.session.scalars(select(Client).order_by(Client.id)).all()
    first.status = ClientStatus.UNSUBSCRIBED
    db.session.delete(second)
    db.session.commit()
    reasons = [claimed.skip_reason for claimed in taken(run).deliveries]
    assert reasons == [SkipReason.SUPPRESSED, SkipReason.DELETED, None]


def test_a_dead_workers_claim_becomes_unknown_and_says_so(planned_run: PlannedRun) -> None:
    run = planned_run(2)
    taken(run)
    assert service.free_expired_claims() == []
    db.session.execute(update(Claim).values(leased_until=clock.now() - timedelta(seconds=1)))
    assert service.free_expired_claims() == [run.id]
    db.session.commit()
    run = assert_reconciles(run.id)
    assert (run.unknown, run.status) == (2, RunStatus.DONE)
    attempts = db.session.scalars(select(Attempt)).all()
    assert [attempt.outcome for attempt in attempts] == [DeliveryStatus.UNKNOWN] * 2
    assert {attempt.reply for attempt in attempts} == {service.WORKER_DIED}
    assert service.free_expired_claims() == []


def test_a_lost_claim_can_neither_be_recorded_nor_renewed(planned_run: PlannedRun) -> None:
    run = planned_run(2)
    batch = taken(run)
    assert service.renew(batch, LEASE)
    db.session.execute(update(Claim).values(leased_until=clock.now() - timedelta(seconds=1)))
    service.free_expired_claims()
    db.session.commit()
    assert not service.renew(batch, LEASE)
    with pytest.raises(LostClaim):
        service.record(batch, sent(batch))
    db.session.rollback()
    assert assert_reconciles(run.id).unknown == 2


def test_the_end_skips_what_waits_and_leaves_what_is_in_hand(planned_run: PlannedRun) -> None:
    run = planned_run(3)
    batch = taken(run, 1)
    assert service.skip_pending(run.id, SkipReason.ENDED) == 2
    db.session.commit()
    assert assert_reconciles(run.id).status is RunStatus.SENDING
    service.record(batch, sent(batch))
    db.session.commit()
    run = assert_reconciles(run.id)
    assert (run.sent, run.skipped, run.status) == (1, 2, RunStatus.DONE)


def test_a_cancelled_run_that_was_not_prepared_sends_nothing(user: User) -> None:
    run = dispatch.begin_by_hand(make.mailing(user), "golub@golub.test")
    service.cancel(run)
    db.session.commit()
    assert assert_reconciles(run.id).status is RunStatus.DONE


def test_the_database_refuses_counters_that_do_not_add_up(planned_run: PlannedRun) -> None:
    run = planned_run(1)
    with pytest.raises(IntegrityError):
        db.session.execute(update(Run).where(Run.id == run.id).values(sent=Run.sent + 1))
    db.session.rollback()


def test_a_reply_with_a_nul_is_kept_without_it(planned_run: PlannedRun) -> None:
    run = planned_run(1)
    batch = taken(run)
    [claimed] = batch.deliveries
    answer = Answer(claimed.delivery_id, Stage.RCPT, 550, "no\0body")
    service.record(batch, [service.outcome_of(claimed, answer, attempts_max=10)])
    db.session.commit()
    assert db.session.scalars(select(Attempt.reply)).one() == "no�body"


def test_deleting_a_client_leaves_the_ledger(planned_run: PlannedRun) -> None:
    run = planned_run(1)
    batch = taken(run)
    service.record(batch, sent(batch))
    db.session.delete(db.session.scalars(select(Client)).one())
    db.session.commit()
    delivery = db.session.scalars(select(Delivery).execution_options(populate_existing=True)).one()
    assert (delivery.client_id, delivery.email, delivery.status) == (None, "client0@example.test", DeliveryStatus.SENT)
