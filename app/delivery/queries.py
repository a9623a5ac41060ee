"""Reads of the ledger."""

from datetime import datetime

from sqlalchemy import ColumnElement, Select, Text, and_, bindparam, case, cast, func, or_, select

from app.clients.models import Client
from app.delivery.models import Attempt, Delivery, DeliveryStatus, Run, RunStatus

MOST_RUNS = 20  # that one claim takes from
NOW = bindparam("now", type_=Run.resume_at.type)

# Whether a run may hand out work: prepared, neither held nor cancelled, its rest over, its last moment ahead.
MAY_SEND = and_(
    Run.status == RunStatus.SENDING,
    Run.held_at.is_(None),
    Run.cancelled_at.is_(None),
    or_(Run.resume_at.is_(None), Run.resume_at <= NOW),
    or_(Run.last_moment.is_(None), Run.last_moment > NOW),
)
# Whether a delivery waits to be sent now.
IS_DUE = and_(
    Delivery.status == DeliveryStatus.PENDING,
    or_(Delivery.not_before.is_(None), Delivery.not_before <= NOW),
)


def unfinished_runs() -> Select[Run]:
    return select(Run).where(Run.status != RunStatus.DONE)


# The runs to be served next at the moment `now`: of those that may send, the ones whose last claims are the oldest.
NEXT_RUNS = (
    select(Run.id, Run.pending, Run.fault)
    .where(MAY_SEND, Run.pending > 0, Run.id.not_in(bindparam("but", expanding=True)))
    .order_by(Run.last_claim.nulls_first(), Run.id)
    .limit(MOST_RUNS)
)


def next_moments(now: datetime) -> Select[datetime | None, datetime | None]:
    """Two moments: when the first of the runs that rest goes on, and when the first with work left ends."""
    resting = case((Run.resume_at > now, Run.resume_at))
    open_runs = (Run.status == RunStatus.SENDING, Run.pending > 0)
    going_on = select(func.min(resting)).where(*open_runs, Run.held_at.is_(None))
    ending = select(func.min(Run.last_moment)).where(*open_runs)
    return select(going_on.scalar_subquery(), ending.scalar_subquery())


# What a claim holds, in order: the run, the fields of a `Recipient` with its attributes as text, the attempts so far,
# and the client's status.
CLAIMED = (
    select(
        Delivery.run_id,
        Delivery.id,
        Client.id,
        Delivery.email,
        Client.first_name,
        Client.last_name,
        Client.patronymic,
        Client.birth_year,
        cast(Client.attributes, Text),
        Delivery.attempts,
        Client.status,
    )
    # Whoever is deleted is not there, whether for good already or not.
    .outerjoin(Client, and_(Client.id == Delivery.client_id, Client.deleted_at.is_(None)))
    .where(Delivery.claim_id == bindparam("claim"))
    .order_by(Delivery.id)
)


def faults_of(delivery_id: int) -> Select[int]:
    """Ids of the attempts at which a server blamed us, the oldest first: refused for good, and tried again."""
    return (
        select(Attempt.id)
        .where(Attempt.delivery_id == delivery_id, Attempt.outcome == DeliveryStatus.PENDING, Attempt.code >= 500)
        .order_by(Attempt.id)
    )


def sent_after(attempt_id: int) -> Select[int]:
    """Id of an attempt after this one, of anybody's, that was accepted."""
    return select(Attempt.id).where(Attempt.id > attempt_id, Attempt.outcome == DeliveryStatus.SENT).limit(1)


def is_over(now: datetime) -> ColumnElement[bool]:
    """Whether nothing of a run is sent any more. What was cancelled stays so, wherever the clock is set."""
    return or_(Run.last_moment <= now, Run.cancelled_at.is_not(None))


def overdue_runs(now: datetime) -> Select[int]:
    """Ids of runs that are over with messages still waiting. Held ones are no exception."""
    return select(Run.id).where(Run.status == RunStatus.SENDING, Run.pending > 0, is_over(now))


def next_try(run_id: int) -> Select[datetime | None]:
    """When the first of the run's waiting messages may be tried again."""
    return select(func.min(Delivery.not_before)).where(
        Delivery.run_id == run_id, Delivery.status == DeliveryStatus.PENDING
    )
