"""A mailing's status: it follows from its pause, its runs and its next occurrence, here and nowhere else."""

from collections.abc import Collection

from sqlalchemy import Select, exists, func, select

from app.delivery.models import Run, RunStatus
from app.extensions import db
from app.mailings.models import Mailing, MailingStatus


def status_of(mailing: Mailing, runs: int, unfinished: int) -> MailingStatus:
    """The status of a mailing with so many runs, so many of them unfinished."""
    if mailing.paused_at is not None:
        return MailingStatus.PAUSED
    if unfinished:
        return MailingStatus.RUNNING
    if mailing.next_run_at is None:
        return MailingStatus.COMPLETED
    return MailingStatus.SENT if runs else MailingStatus.CREATED


def settle(mailing_ids: Collection[int]) -> None:
    """Bring the status of these mailings in step with their runs."""
    db.session.flush()
    figures = (
        select(
            Mailing,
            func.count(Run.id),
            func.count(Run.id).filter(Run.status != RunStatus.DONE),
            func.max(Run.finished_at),
        )
        .outerjoin(Run, Run.mailing_id == Mailing.id)
        .where(Mailing.id.in_(mailing_ids))
        .group_by(Mailing.id)
    )
    for mailing, runs, unfinished, finished_at in db.session.execute(figures):
        mailing.status = status_of(mailing, runs, unfinished)
        mailing.last_sent_at = finished_at or mailing.last_sent_at
    db.session.flush()


def unsettled() -> Select[int]:
    """Ids of mailings that say they are being sent while no run of theirs is unfinished."""
    unfinished = exists().where(Run.mailing_id == Mailing.id, Run.status != RunStatus.DONE)
    return select(Mailing.id).where(Mailing.status == MailingStatus.RUNNING, ~unfinished)
