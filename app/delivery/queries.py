"""Reads of the ledger."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select

from app.clients.models import Client
from app.delivery.models import Attempt, Delivery, DeliveryStatus, Run, RunStatus


def may_send(now: datetime) -> ColumnElement[bool]:
    """Whether a run may hand out work: prepared, not held, its mail server there, its last moment ahead."""
    return and_(
        Run.status == RunStatus.SENDING,
        Run.held_at.is_(None),
        or_(Run.resume_at.is_(None), Run.resume_at <= now),
        or_(Run.last_moment.is_(None), Run.last_moment > now),
    )


def is_due(now: datetime) -> ColumnElement[bool]:
    """Whether a delivery waits to be sent now."""
    return and_(
        Delivery.status == DeliveryStatus.PENDING,
        or_(Delivery.not_before.is_(None), Delivery.not_before <= now),
    )


def unfinished_runs() -> Select[Run]:
    return select(Run).where(Run.status != RunStatus.DONE)


def next_run(now: datetime) -> Select[int, int, str]:
    """The run to be served next: of those that may send, the one whose last claim is the oldest; id, pending, fault."""
    return (
        select(Run.id, Run.pending, Run.fault)
        .where(may_send(now), Run.pending > 0)
        .order_by(Run.last_claim.nulls_first(), Run.id)
        .limit(1)
    )


def next_moments(now: datetime) -> Select[datetime | None, datetime | None]:
    """Two moments: when the first of the runs that rest goes on, and when the first with work left ends."""
    resting = case((Run.resume_at > now, Run.resume_at))
    open_runs = (Run.status == RunStatus.SENDING, Run.pending > 0)
    going_on = select(func.min(resting)).where(*open_runs, Run.held_at.is_(None))
    ending = select(func.min(Run.last_moment)).where(*open_runs)
    return select(going_on.scalar_subquery(), ending.scalar_subquery())


def claimed(claim_id: int) -> Select[Any]:
    """What a claim holds, in order: the fields of a `Recipient`, the attempts so far, and the client's status."""
    return (
        select(
            Delivery.id,
            Client.id,
            Delivery.email,
            Client.first_name,
            Client.last_name,
            Client.patronymic,
            Client.birth_year,
            Client.attributes,
            Delivery.attempts,
            Client.status,
        )
        .outerjoin(Client, Client.id == Delivery.client_id)
        .where(Delivery.claim_id == claim_id)
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


def overdue_runs(now: datetime) -> Select[int]:
    """Ids of runs whose last moment is over with messages still waiting. Held ones are no exception."""
    return select(Run.id).where(Run.status == RunStatus.SENDING, Run.pending > 0, Run.last_moment <= now)


def next_try(run_id: int) -> Select[datetime | None]:
    """When the first of the run's waiting messages may be tried again."""
    return select(func.min(Delivery.not_before)).where(
        Delivery.run_id == run_id, Delivery.status == DeliveryStatus.PENDING
    )
