"""What changes the ledger. Rows and the run's counters always change together, so the sum holds at every commit."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, bindparam, delete, insert, literal, select, update
from sqlalchemy.orm import InstrumentedAttribute

from app import clock
from app.clients.models import Client, ClientStatus
from app.delivery import policy, queries
from app.delivery.models import (
    FINAL,
    Attempt,
    Claim,
    Delivery,
    DeliveryStatus,
    Run,
    RunStatus,
    SkipReason,
    Stage,
)
from app.delivery.transport import Answer
from app.extensions import db

WORKER_DIED = "The worker that held this message died before it wrote down what became of it."
COUNTERS: dict[DeliveryStatus, InstrumentedAttribute[int]] = {
    status: getattr(Run, status.value) for status in DeliveryStatus
}


class LostClaim(Exception):
    """The lease ended and the sweep has settled these deliveries already."""


@dataclass(frozen=True)
class Claimed:
    """One delivery in this worker's hands."""

    delivery_id: int
    email: str
    attempts: int
    skip_reason: SkipReason | None  # set: it must not be sent any more


@dataclass(frozen=True)
class Batch:
    """What one claim holds."""

    claim_id: int
    run_id: int
    deliveries: Sequence[Claimed]


@dataclass(frozen=True)
class Outcome:
    """What becomes of one claimed delivery. Without an answer nothing was tried."""

    delivery_id: int
    status: DeliveryStatus
    answer: Answer | None = None
    attempts: int = 0
    not_before: datetime | None = None
    skip_reason: SkipReason | None = None


def plan(run: Run, audience: Select[Client]) -> None:
    """Freeze the run's audience: one row per client, in one statement, whatever their number."""
    rows = audience.with_only_columns(literal(run.id), Client.id, Client.email).order_by(None)
    planned = _rowcount(insert(Delivery).from_select(["run_id", "client_id", "email"], rows))
    db.session.execute(
        update(Run)
        .where(Run.id == run.id)
        .values(planned=planned, pending=planned, status=RunStatus.SENDING, started_at=clock.now())
    )
    finish_if_done(run.id)


def claim(run_id: int, *, limit: int, worker: str, lease: timedelta) -> Batch | None:
    """Take up to `limit` due deliveries of a run, or None when there are none or the run may not send now.

    Whether it may is asked in the statement that takes them: a pause holds from the next claim on.
    """
    now = clock.now()
    holder = Claim(run_id=run_id, worker=worker, leased_until=now + lease)
    db.session.add(holder)
    db.session.flush()
    # A CTE, because PostgreSQL may run a subquery with LIMIT … SKIP LOCKED more than once.
    picked = (
        select(Delivery.id)
        .join(Run, Run.id == Delivery.run_id)
        .where(Delivery.run_id == run_id, queries.is_due(now), queries.may_send(now))
        .order_by(Delivery.id)
        .limit(limit)
        .with_for_update(of=Delivery, skip_locked=True)
        .cte("picked")
    )
    # RETURNING, because SQLite counts no rows of a statement that begins with WITH.
    taking = (
        update(Delivery)
        .where(Delivery.id.in_(select(picked.c.id)))
        .values(status=DeliveryStatus.SENDING, claim_id=holder.id)
        .returning(Delivery.id)
        .execution_options(synchronize_session=False)
    )
    taken = len(db.session.scalars(taking).all())
    if not taken:
        db.session.delete(holder)
        return None
    holder.size = taken
    _count(run_id, {DeliveryStatus.PENDING: -taken, DeliveryStatus.SENDING: taken})
    rows = db.session.execute(
        select(Delivery.id, Delivery.email, Delivery.attempts, Client.id, Client.status)
        .outerjoin(Client, Client.id == Delivery.client_id)
        .where(Delivery.claim_id == holder.id)
        .order_by(Delivery.id)
    )
    return Batch(holder.id, run_id, [_claimed(row) for row in rows])


def _claimed(row: Row[int, str, int, int | None, ClientStatus | None]) -> Claimed:
    delivery_id, email, attempts, client_id, client_status = row
    reason = None
    if client_id is None:
        reason = SkipReason.DELETED
    elif client_status is not ClientStatus.ACTIVE:
        reason = SkipReason.SUPPRESSED
    return Claimed(delivery_id, email, attempts, reason)


def renew(batch: Batch, lease: timedelta) -> bool:
    """Hold the claim for another lease; False when it is lost."""
    until = clock.now() + lease
    return _rowcount(update(Claim).where(Claim.id == batch.claim_id).values(leased_until=until)) == 1


def outcome_of(claimed: Claimed, answer: Answer, attempts_max: int) -> Outcome:
    """What the server's answer makes of this delivery."""
    attempts = claimed.attempts + policy.is_charged(answer)
    status = policy.outcome_of(answer, attempts_max - attempts)
    later = clock.now() + policy.retry_delay(attempts) if status is DeliveryStatus.PENDING else None
    return Outcome(claimed.delivery_id, status, answer, attempts, later)


def record(batch: Batch, outcomes: Sequence[Outcome]) -> None:
    """Write down what became of a whole claim, and give the claim back. One outcome for each of its deliveries.

    Raises:
        LostClaim: nothing was written.
    """
    if not _give_back(batch.claim_id):
        raise LostClaim
    now = clock.now()
    db.session.connection().execute(
        update(Delivery)
        .where(Delivery.id == bindparam("row_id"))
        .values(
            status=bindparam("new_status"),
            attempts=bindparam("new_attempts"),
            not_before=bindparam("new_not_before"),
            skip_reason=bindparam("new_skip_reason"),
            finished_at=bindparam("new_finished_at"),
            claim_id=None,
        ),
        [
            {
                "row_id": outcome.delivery_id,
                "new_status": outcome.status,
                "new_attempts": outcome.attempts,
                "new_not_before": outcome.not_before,
                "new_skip_reason": outcome.skip_reason,
                "new_finished_at": now if outcome.status in FINAL else None,
            }
            for outcome in outcomes
        ],
    )
    _write_attempts(batch.run_id, outcomes)
    changes = Counter(outcome.status for outcome in outcomes)
    changes[DeliveryStatus.SENDING] -= len(outcomes)
    _count(batch.run_id, changes)
    finish_if_done(batch.run_id)


def _write_attempts(run_id: int, outcomes: Iterable[Outcome]) -> None:
    rows = [
        {
            "delivery_id": outcome.delivery_id,
            "run_id": run_id,
            "at": outcome.answer.at,
            "stage": outcome.answer.stage,
            "outcome": outcome.status,
            "code": outcome.answer.code,
            "enhanced_code": outcome.answer.enhanced_code,
            # PostgreSQL stores no NUL, and a broken server may send some.
            "reply": outcome.answer.reply.replace("\0", "�"),
        }
        for outcome in outcomes
        if outcome.answer is not None
    ]
    if rows:
        db.session.execute(insert(Attempt), rows)


def wait_for_server(run_id: int, fault: str, until: datetime) -> None:
    """Let the run rest until then, and have its page say why."""
    db.session.execute(update(Run).where(Run.id == run_id).values(fault=fault.replace("\0", "�"), resume_at=until))


def server_is_back(run_id: int) -> None:
    db.session.execute(update(Run).where(Run.id == run_id, Run.resume_at.is_not(None)).values(fault="", resume_at=None))


def skip_pending(run_id: int, reason: SkipReason) -> int:
    """Give up what waits in the run, and return how many those were. What a worker holds is left to its outcome."""
    now = clock.now()
    skipped = _rowcount(
        update(Delivery)
        .where(Delivery.run_id == run_id, Delivery.status == DeliveryStatus.PENDING)
        .values(status=DeliveryStatus.SKIPPED, skip_reason=reason, not_before=None, finished_at=now)
    )
    if skipped:
        _count(run_id, {DeliveryStatus.PENDING: -skipped, DeliveryStatus.SKIPPED: skipped})
    finish_if_done(run_id)
    return skipped


def free_expired_claims() -> list[int]:
    """Settle what dead workers held, and return the ids of the runs concerned.

    Nobody knows which of these messages left, so all of them are `unknown`: never a silent duplicate.
    """
    expired = db.session.scalars(
        select(Claim).where(Claim.leased_until < clock.now()).with_for_update(skip_locked=True).limit(100)
    ).all()
    for lost in expired:
        _declare_unknown(lost)
    return [lost.run_id for lost in expired]


def _declare_unknown(lost: Claim) -> None:
    now = clock.now()
    held = (Delivery.claim_id == lost.id, Delivery.status == DeliveryStatus.SENDING)
    words = (
        literal(now, Attempt.at.type),
        literal(Stage.BODY, Attempt.stage.type),
        literal(DeliveryStatus.UNKNOWN, Attempt.outcome.type),
        literal(WORKER_DIED),
    )
    rows = select(Delivery.id, Delivery.run_id, *words).where(*held)
    columns = ["delivery_id", "run_id", "at", "stage", "outcome", "reply"]
    db.session.execute(insert(Attempt).from_select(columns, rows, include_defaults=False))
    unknown = _rowcount(
        update(Delivery)
        .where(*held)
        .values(status=DeliveryStatus.UNKNOWN, attempts=Delivery.attempts + 1, claim_id=None, finished_at=now)
    )
    _give_back(lost.id)
    if unknown:
        _count(lost.run_id, {DeliveryStatus.SENDING: -unknown, DeliveryStatus.UNKNOWN: unknown})
    finish_if_done(lost.run_id)


def finish_if_done(run_id: int) -> None:
    """Close the run when nothing of it is left to do."""
    db.session.execute(
        update(Run)
        .where(Run.id == run_id, Run.status == RunStatus.SENDING, Run.pending == 0, Run.sending == 0)
        .values(status=RunStatus.DONE, finished_at=clock.now(), fault="", resume_at=None)
    )


def hold(mailing_ids: Sequence[int] | Select[int], *, held: bool) -> None:
    """Stop or free the unfinished runs of these mailings, from the next claim on."""
    unfinished = update(Run).where(Run.mailing_id.in_(mailing_ids), Run.status != RunStatus.DONE)
    if held:
        db.session.execute(unfinished.where(Run.held_at.is_(None)).values(held_at=clock.now()))
    else:
        db.session.execute(unfinished.where(Run.held_at.is_not(None)).values(held_at=None))


def cancel(run: Run) -> None:
    """End a run that its owner no longer wants: what was not sent is skipped."""
    if run.status is RunStatus.PREPARING:
        db.session.execute(
            update(Run)
            .where(Run.id == run.id, Run.status == RunStatus.PREPARING)
            .values(status=RunStatus.DONE, finished_at=clock.now())
        )
    else:
        skip_pending(run.id, SkipReason.CANCELLED)


def _give_back(claim_id: int) -> bool:
    """Delete the claim; False when somebody else has done so, and with it has settled its deliveries."""
    return _rowcount(delete(Claim).where(Claim.id == claim_id)) == 1


def _count(run_id: int, changes: dict[DeliveryStatus, int]) -> None:
    """Move the run's counters in one statement: the database refuses any in between that does not add up."""
    values = {COUNTERS[status]: COUNTERS[status] + change for status, change in changes.items() if change}
    if values:
        db.session.execute(update(Run).where(Run.id == run_id).values(values))


def _rowcount(statement: Any) -> int:
    result = db.session.execute(statement, execution_options={"synchronize_session": False})
    return int(result.rowcount)  # type: ignore[attr-defined]
