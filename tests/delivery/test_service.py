"""The ledger: claims, outcomes, leases, and counters that always agree with the rows."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import current_app
from sqlalchemy import Connection, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from app import clock
from app.auth.models import User
from app.clients.models import Client, ClientStatus
from app.delivery import service
from app.delivery.models import Attempt, Claim, Delivery, DeliveryStatus, Run, RunStatus, SkipReason, Stage
from app.delivery.service import Batch, LostClaim, Outcome
from app.delivery.transport import Answer, Reply
from app.extensions import db
from app.mailings import dispatch
from tests import make
from tests.delivery.conftest import assert_reconciles

LEASE = timedelta(minutes=2)
PlannedRun = Callable[..., Run]


def take(limit: int = 50) -> Batch | None:
    found = service.claim(
        size=limit, grant=lambda waiting: min(limit, waiting), worker="test", lease=LEASE, open_journal=lambda: ""
    )
    if found:
        service.move(found[1])
    db.session.commit()
    return found[0] if found and found[0].deliveries else None


def taken(limit: int = 50) -> Batch:
    batch = take(limit)
    assert batch is not None
    return batch


def record(batch: Batch, outcomes: list[Outcome]) -> list[int]:
    ended = service.move(service.record(batch, outcomes))
    db.session.commit()
    return ended


def answered(batch: Batch, kind: Reply, code: int | None, reply: str, stage: Stage = Stage.RCPT) -> list[Outcome]:
    """What each delivery of the batch becomes by such an answer."""
    enhanced = reply.partition(" ")[0] if reply[:1] in "245" else None
    answers = [(c, Answer(c.delivery_id, stage, kind, code, reply, enhanced)) for c in batch.deliveries]
    return [service.outcome_of(claimed, answer, current_app.config["SETTINGS"]) for claimed, answer in answers]


def sent(batch: Batch) -> list[Outcome]:
    return answered(batch, Reply.ACCEPTED, 250, "2.0.0 queued as 42", Stage.BODY)


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


def test_attempts_of_a_first_big_run_are_not_checked_row_by_row(planned_run: PlannedRun, user: User) -> None:
    """PostgreSQL checks foreign keys by a plan that each connection makes once, and we keep connections for long."""
    if db.engine.dialect.name == "sqlite":
        return  # checks by the primary key, always
    run = planned_run(100)
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as autovacuum:
        autovacuum.execute(text("ANALYZE delivery"))
    with db.engine.connect() as courier:
        attempt_all(courier, run)
        db.session.execute(insert(Client), [named(user, f"new{number}@example.test") for number in range(3000)])
        big = dispatch.begin_by_hand(make.mailing(user), "golub@golub.test")
        service.plan(big, select(Client).where(Client.email.like("new%")))
        db.session.commit()
        attempt_all(courier, big)
        seen = text("SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'delivery'")
        assert courier.scalar(seen) < 10 * 3000
        courier.rollback()


def attempt_all(connection: Connection, run: Run) -> None:
    ids = connection.scalars(select(Delivery.id).where(Delivery.run_id == run.id)).all()
    fields = {"run_id": run.id, "owner_id": run.owner_id, "stage": Stage.BODY, "outcome": DeliveryStatus.SENT}
    connection.execute(insert(Attempt), [{"delivery_id": key, **fields} for key in ids])


def named(owner: User, email: str) -> dict[str, object]:
    return {"owner_id": owner.id, "email": email, "email_key": email}


def test_a_claim_takes_no_more_than_its_limit_and_nothing_twice(planned_run: PlannedRun) -> None:
    run = planned_run(5)
    first, second = taken(3), taken(3)
    assert (len(first.deliveries), len(second.deliveries)) == (3, 2)
    assert not {c.delivery_id for c in first.deliveries} & {c.delivery_id for c in second.deliveries}
    assert take() is None
    assert assert_reconciles(run.id).sending == 5


def test_recording_moves_rows_counters_and_attempts_together(planned_run: PlannedRun) -> None:
    run = planned_run(2)
    batch = taken()
    record(batch, sent(batch))
    run = assert_reconciles(run.id)
    assert (run.sent, run.status) == (2, RunStatus.DONE)
    assert run.finished_at is not None
    attempt = db.session.scalars(select(Attempt).order_by(Attempt.id)).first()
    assert attempt is not None
    assert (attempt.code, attempt.enhanced_code, attempt.reply) == (250, "2.0.0", "2.0.0 queued as 42")
    assert db.session.scalar(select(func.count()).select_from(Claim)) == 0


def test_of_an_answer_that_is_too_long_as_much_is_kept_as_there_is_room_for(planned_run: PlannedRun) -> None:
    run = planned_run(1)
    record(batch := taken(), answered(batch, Reply.REFUSED, 550, "5.0.0 " + "x" * 2000))
    assert assert_reconciles(run.id).failed == 1
    assert len(db.session.scalars(select(Attempt.reply)).one()) == 1000


def test_a_deferred_delivery_waits_for_its_time(planned_run: PlannedRun) -> None:
    run = planned_run(1)
    batch = taken()
    later = clock.now() + timedelta(minutes=1)
    [claimed] = batch.deliveries
    record(batch, [Outcome(run.id, claimed.delivery_id, DeliveryStatus.PENDING, attempts=1, not_before=later)])
    assert take() is None
    assert assert_reconciles(run.id).pending == 1
    db.session.execute(update(Delivery).values(not_before=clock.now()))
    assert taken().deliveries[0].attempts == 1


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
    assert take() is None
    assert db.session.scalar(select(func.count()).select_from(Claim)) == 0
    assert assert_reconciles(run.id).pending == 2


def test_whoever_unsubscribed_or_was_deleted_meanwhile_is_marked_to_be_skipped(planned_run: PlannedRun) -> None:
    planned_run(3)
    first, second, _third = db.session.scalars(select(Client).order_by(Client.id)).all()
    first.status = ClientStatus.UNSUBSCRIBED
    db.session.delete(second)
    db.session.commit()
    reasons = [claimed.skip_reason for claimed in taken().deliveries]
    assert reasons == [SkipReason.SUPPRESSED, SkipReason.DELETED, None]


def test_a_lost_claim_can_neither_be_recorded_nor_renewed(planned_run: PlannedRun) -> None:
    run = planned_run(2)
    batch = taken()
    assert service.renew(batch, LEASE)
    record(batch, [service.untried(claimed) for claimed in batch.deliveries])
    assert not service.renew(batch, LEASE)
    with pytest.raises(LostClaim):
        service.record(batch, sent(batch))
    db.session.rollback()
    assert assert_reconciles(run.id).pending == 2


def test_whose_address_does_not_exist_gets_nothing_any_more(planned_run: PlannedRun) -> None:
    planned_run(1)
    batch = taken()
    record(batch, answered(batch, Reply.NO_SUCH_ADDRESS, 550, "5.1.1 no such user"))
    assert db.session.scalars(select(Client.status)).one() is ClientStatus.BOUNCED


def test_who_unsubscribed_meanwhile_does_not_become_a_bounce(planned_run: PlannedRun) -> None:
    planned_run(1)
    batch = taken()
    db.session.execute(update(Client).values(status=ClientStatus.UNSUBSCRIBED))
    record(batch, answered(batch, Reply.NO_SUCH_ADDRESS, 550, "5.1.1 no such user"))
    assert db.session.scalars(select(Client.status)).one() is ClientStatus.UNSUBSCRIBED


def test_what_is_our_fault_is_charged_to_nobody(planned_run: PlannedRun) -> None:
    run = planned_run(1)
    for _ in range(5):  # and nothing was accepted meanwhile
        batch = taken()
        record(batch, answered(batch, Reply.OUR_FAULT, 554, "5.7.1 relay access denied"))
        db.session.execute(update(Delivery).values(not_before=None))
    assert assert_reconciles(run.id).pending == 1
    assert db.session.scalars(select(Delivery.attempts)).one() == 0


def test_what_the_server_says_to_one_recipient_only_is_theirs_after_all(planned_run: PlannedRun) -> None:
    run = planned_run(2)
    for _ in range(2):
        batch = taken(1)
        record(batch, answered(batch, Reply.OUR_FAULT, 550, "5.7.1 we know your kind"))
        db.session.execute(update(Delivery).values(not_before=None))
    others = taken(2)
    refused, accepted = others.deliveries
    record(
        others,
        [
            service.untried(refused),
            *sent(Batch(others.claim_id, [accepted], others.journal)),
        ],
    )
    batch = taken(1)
    record(batch, answered(batch, Reply.OUR_FAULT, 550, "5.7.1 we know your kind"))
    run = assert_reconciles(run.id)
    assert (run.sent, run.failed, run.status) == (1, 1, RunStatus.DONE)


@pytest.mark.parametrize("status", [DeliveryStatus.FAILED, DeliveryStatus.UNKNOWN])
def test_what_failed_or_is_unknown_can_be_sent_again(planned_run: PlannedRun, status: DeliveryStatus) -> None:
    run = planned_run(3)
    batch = taken(2)
    record(batch, answered(batch, Reply.REFUSED, 554, "5.0.0 no"))
    batch = taken(1)
    record(batch, answered(batch, Reply.NONE, None, "gone", Stage.BODY))
    run = assert_reconciles(run.id)
    assert (run.failed, run.unknown, run.status) == (2, 1, RunStatus.DONE)
    run.last_moment = clock.now()
    db.session.commit()
    count = run.failed if status is DeliveryStatus.FAILED else run.unknown
    assert service.resend(run.id, status) == count
    db.session.commit()
    run = assert_reconciles(run.id)
    assert (run.pending, run.status, run.finished_at, run.last_moment) == (count, RunStatus.SENDING, None, None)
    batch = taken()
    record(batch, sent(batch))
    assert assert_reconciles(run.id).sent == count
    assert db.session.scalar(select(func.count()).select_from(Attempt)) == 3 + count
    assert service.resend(run.id, status) == 0


def test_whoever_gets_nothing_any_more_is_not_sent_to_again(planned_run: PlannedRun) -> None:
    run = planned_run(2)
    batch = taken()
    record(batch, answered(batch, Reply.REFUSED, 554, "5.0.0 no"))
    first = db.session.scalars(select(Client).order_by(Client.id)).first()
    assert first
    first.status = ClientStatus.UNSUBSCRIBED
    assert service.resend(run.id, DeliveryStatus.FAILED) == 1


def test_an_end_that_is_still_ahead_binds_what_is_sent_again(planned_run: PlannedRun) -> None:
    ahead = clock.now() + timedelta(hours=1)
    run = planned_run(1, last_moment=ahead)
    batch = taken()
    record(batch, answered(batch, Reply.REFUSED, 554, "5.0.0 no"))
    service.resend(run.id, DeliveryStatus.FAILED)
    db.session.commit()
    assert assert_reconciles(run.id).last_moment == ahead


def test_small_runs_share_a_claim_and_big_ones_do_not(planned_run: PlannedRun) -> None:
    runs = [planned_run(count) for count in (2, 3, 9, 1)]
    shared = taken(5)
    assert [claimed.run_id for claimed in shared.deliveries] == [runs[0].id] * 2 + [runs[1].id] * 3
    big = taken(5)
    assert {claimed.run_id for claimed in big.deliveries} == {runs[2].id}
    record(shared, sent(shared))
    for run in runs:
        assert_reconciles(run.id)
    assert [db.session.get_one(Run, run.id).status for run in runs[:2]] == [RunStatus.DONE] * 2


def test_what_was_sent_is_not_sent_again(planned_run: PlannedRun) -> None:
    run = planned_run(1)
    with pytest.raises(ValueError, match="sent"):
        service.resend(run.id, DeliveryStatus.SENT)


def test_the_end_skips_what_waits_and_leaves_what_is_in_hand(planned_run: PlannedRun) -> None:
    run = planned_run(3)
    batch = taken(1)
    assert service.skip_pending(run.id, SkipReason.ENDED) == 2
    db.session.commit()
    assert assert_reconciles(run.id).status is RunStatus.SENDING
    record(batch, sent(batch))
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
    planned_run(1)
    batch = taken()
    [claimed] = batch.deliveries
    answer = Answer(claimed.delivery_id, Stage.RCPT, Reply.REFUSED, 550, "no\0body")
    record(batch, [service.outcome_of(claimed, answer, current_app.config["SETTINGS"])])
    assert db.session.scalars(select(Attempt.reply)).one() == "no�body"


def test_deleting_a_client_leaves_the_ledger(planned_run: PlannedRun) -> None:
    planned_run(1)
    batch = taken()
    service.record(batch, sent(batch))
    db.session.delete(db.session.scalars(select(Client)).one())
    db.session.commit()
    delivery = db.session.scalars(select(Delivery).execution_options(populate_existing=True)).one()
    assert (delivery.client_id, delivery.email, delivery.status) == (None, "client0@example.test", DeliveryStatus.SENT)
