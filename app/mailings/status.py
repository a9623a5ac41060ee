"""A mailing's status: it follows from its pause, its runs and its next occurrence, here and nowhere else."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, literal, select, update

from app.delivery.models import Missed, Run, RunStatus
from app.extensions import db
from app.mailings.models import Mailing, MailingStatus


def status_with(next_run_at: ColumnElement[Any]) -> ColumnElement[MailingStatus]:
    """The status of a mailing whose next occurrence is this one, as its pause and its runs are now."""
    of_it = select(Run.id).where(Run.mailing_id == Mailing.id)
    return case(
        (Mailing.paused_at.is_not(None), literal(MailingStatus.PAUSED, Mailing.status.type)),
        (of_it.where(Run.status != RunStatus.DONE).exists(), literal(MailingStatus.RUNNING, Mailing.status.type)),
        (
            and_(next_run_at.is_(None), ~of_it.where(Run.missed == Missed.ASKED).exists()),
            literal(MailingStatus.COMPLETED, Mailing.status.type),
        ),
        (of_it.where(Run.missed.is_(None)).exists(), literal(MailingStatus.SENT, Mailing.status.type)),
        else_=literal(MailingStatus.CREATED, Mailing.status.type),
    )


def settle(mailing_ids: Collection[int]) -> None:
    """Bring the status of these mailings in step with their runs, and the moment at which the last one was done."""
    db.session.flush()
    finished_at = select(func.max(Run.finished_at)).where(Run.mailing_id == Mailing.id).scalar_subquery()
    # Locked in the order of their ids: two that settle many at once would else wait in a circle.
    theirs = select(Mailing.id).where(Mailing.id.in_(mailing_ids)).order_by(Mailing.id)
    db.session.execute(
        update(Mailing)
        # The ids for a second time, or PostgreSQL reads the whole table to find a thousand.
        .where(Mailing.id.in_(mailing_ids), Mailing.id.in_(theirs.with_for_update(key_share=True)))
        .values(
            status=status_with(Mailing.next_run_at.expression),
            last_sent_at=func.coalesce(finished_at, Mailing.last_sent_at),
            updated_at=Mailing.updated_at,
        )
        .execution_options(synchronize_session="fetch")
    )


def unsettled() -> Select[int]:
    """Ids of mailings that say they are being sent while no run of theirs is unfinished."""
    unfinished = exists().where(Run.mailing_id == Mailing.id, Run.status != RunStatus.DONE)
    return select(Mailing.id).where(Mailing.status == MailingStatus.RUNNING, ~unfinished)
