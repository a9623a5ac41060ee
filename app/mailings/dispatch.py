"""From what is due to runs: set-based, idempotent, and harmless when several do it at once."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, literal, or_, select

from app import clock
from app.auth.models import User
from app.database import insert_or_ignore
from app.delivery.models import Run
from app.extensions import db
from app.mailings import schedule
from app.mailings.models import Mailing
from app.mailings.status import settle
from app.messages.models import Message

BATCH = 1000


def may_run() -> ColumnElement[bool]:
    """Whether a mailing (joined with its owner) may begin a run; written as the partial index has it."""
    return and_(
        Mailing.next_run_at.is_not(None),
        Mailing.paused_at.is_(None),
        Mailing.disabled_at.is_(None),
        Mailing.deleted_at.is_(None),
        ~User.is_stopped,
    )


def dispatch_due(sender: str) -> list[int] | None:
    """Begin a run of every mailing that is due, at most BATCH of them, and return the runs' ids.

    Occurrences that were missed collapse into the latest one. Call again until it returns None: nothing is due.
    An empty list means that all of a batch were over already.
    """
    now = clock.now()
    due = db.session.scalars(
        select(Mailing)
        .join(User, User.id == Mailing.owner_id)
        .where(may_run(), Mailing.next_run_at <= now)
        .order_by(Mailing.next_run_at, Mailing.id)
        .limit(BATCH)
        .with_for_update(of=Mailing, skip_locked=True)
    ).all()
    if not due:
        return None
    _collapse_missed(due, now)
    not_over = or_(Mailing.end_at.is_(None), Mailing.end_at > now)
    runs = _begin(and_(Mailing.id.in_([mailing.id for mailing in due]), not_over), Mailing.next_run_at, sender)
    for mailing in due:
        mailing.next_run_at = next_run_after(mailing, now)
    settle([mailing.id for mailing in due])
    return runs


def _collapse_missed(due: Sequence[Mailing], now: datetime) -> None:
    """Let `next_run_at` be the occurrence that the run stands for: only after downtime is that not so already."""
    for mailing in due:
        window = (mailing.start_at, mailing.end_at, mailing.period, mailing.timezone)
        mailing.next_run_at = schedule.latest_occurrence(*window, until=now) or mailing.next_run_at
    db.session.flush()


def begin_by_hand(mailing: Mailing, sender: str) -> Run:
    """A run of this mailing now, beside its schedule."""
    now = literal(clock.now(), Run.scheduled_for.type)
    return db.session.get_one(Run, _begin(Mailing.id == mailing.id, now, sender)[0])


def _begin(which: ColumnElement[bool], scheduled_for: Any, sender: str) -> list[int]:
    """One run per mailing, with the message frozen as it is now. A run that is there already is left alone."""
    frozen: dict[str, Any] = {
        "mailing_id": Mailing.id,
        "owner_id": Mailing.owner_id,
        "scheduled_for": scheduled_for,
        "last_moment": Mailing.end_at,
        "sender": literal(sender),
        "subject": Message.subject,
        "html": Message.html,
        "text": Message.text,
        "reply_to": User.email,
        # Asked here again: the owner may have been blocked since the mailing was found and locked.
        "held_at": case((User.is_stopped, literal(clock.now(), Run.held_at.type)), else_=None),
    }
    rows = (
        select(*frozen.values())
        .join(Message, Message.id == Mailing.message_id)
        .join(User, User.id == Mailing.owner_id)
        .where(which)
    )
    statement = insert_or_ignore(Run, db.session).from_select(list(frozen), rows)
    return list(db.session.scalars(statement.returning(Run.id)))


def next_run_after(mailing: Mailing, moment: datetime) -> datetime | None:
    window = (mailing.start_at, mailing.end_at, mailing.period, mailing.timezone)
    return next(schedule.occurrences(*window, after=moment), None)


def due_between(first: datetime, last: datetime) -> Select[datetime | None]:
    """The different moments within these two at which some mailing is due."""
    return (
        select(Mailing.next_run_at)
        .join(User, User.id == Mailing.owner_id)
        .where(may_run(), Mailing.next_run_at.between(first, last))
        .distinct()
    )
