"""Reads of the ledger."""

from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select

from app.delivery.models import Claim, Delivery, DeliveryStatus, Run, RunStatus


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


def idle_runs(now: datetime) -> Select[int]:
    """Ids of runs that have work and nobody at it."""
    return (
        select(Run.id)
        .where(may_send(now))
        .where(exists().where(Delivery.run_id == Run.id, is_due(now)))
        .where(~exists().where(Claim.run_id == Run.id))
        .order_by(Run.id)
    )


def overdue_runs(now: datetime) -> Select[int]:
    """Ids of runs whose last moment is over with messages still waiting. Held ones are no exception."""
    return select(Run.id).where(Run.status == RunStatus.SENDING, Run.pending > 0, Run.last_moment <= now)


def claims_of(run_id: int) -> Select[int]:
    """How many workers' claims the run has now."""
    return select(func.count()).where(Claim.run_id == run_id)


def next_try(run_id: int) -> Select[datetime | None]:
    """When the first of the run's waiting messages may be tried again."""
    return select(func.min(Delivery.not_before)).where(
        Delivery.run_id == run_id, Delivery.status == DeliveryStatus.PENDING
    )
