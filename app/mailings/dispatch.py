"""From what is due to runs: set-based, idempotent, and harmless when several do it at once."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from flask_babel import force_locale
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    FromClause,
    Select,
    Text,
    and_,
    case,
    exists,
    literal,
    select,
    type_coerce,
    update,
)

from app import clock
from app.auth import outbox
from app.auth.models import LetterKind, User
from app.database import given_rows, insert_or_ignore, rows_parameter
from app.delivery.models import Missed, Run, RunStatus
from app.extensions import db
from app.mailings.misfires import Rule, Verdict, judge
from app.mailings.models import Mailing
from app.mailings.schedule import Schedule
from app.mailings.sender import answers_to, from_header
from app.mailings.status import settle, status_with
from app.mailings.words import clock_time
from app.messages.models import Message

BATCH = 1000
NAMED_IN_LETTER = 20
PLAN = [getattr(Mailing, field.name) for field in fields(Schedule)]


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

    Occurrences that were missed collapse into one, or into none: see `misfires`. Each leaves a row that says why.
    Call again until it returns None: nothing is due. An empty list means that nothing of a batch was begun.
    """
    now = clock.now()
    due = db.session.execute(
        select(Mailing.id, Mailing.next_run_at, Mailing.misfire, Mailing.late_seconds_max, *PLAN)
        .join(User, User.id == Mailing.owner_id)
        .where(may_run(), Mailing.next_run_at <= now)
        .order_by(Mailing.next_run_at, Mailing.id)
        .limit(BATCH)
        .with_for_update(of=Mailing, skip_locked=True)
    ).all()
    if not due:
        return None
    verdicts = {
        mailing_id: judge(Schedule(*plan), Rule(misfire, _seconds(late_max)), due=next_run_at, now=now)
        for mailing_id, next_run_at, misfire, late_max, *plan in due
    }
    _write_missed(verdicts)
    runs = _begin_due(verdicts, sender)
    _set_next_run(verdicts)
    db.session.expire_all()  # these statements went past the session's own objects
    return runs


def _seconds(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _begin_due(verdicts: Mapping[int, Verdict], sender: str) -> list[int]:
    begun = [{"id": key, "moment": verdict.begin} for key, verdict in verdicts.items() if verdict.begin]
    given, parameter = _given(begun)
    return _begin(Mailing.id == given.c.id, given.c.moment, sender, parameter)


def _write_missed(verdicts: Mapping[int, Verdict]) -> None:
    """A row for every occurrence that is not begun. One that has a row already keeps it."""
    end_questions(list(verdicts), Missed.UNANSWERED)
    rows = [
        {"id": key, "moment": moment, "missed": why}
        for key, verdict in verdicts.items()
        for moment, why in verdict.missed
    ]
    if not rows:
        return
    given, parameter = _given(rows, missed=Text())
    values: dict[str, Any] = {
        "mailing_id": Mailing.id,
        "owner_id": Mailing.owner_id,
        "scheduled_for": given.c.moment,
        "missed": type_coerce(given.c.missed, Run.missed.type),
        "status": literal(RunStatus.DONE, Run.status.type),
        "subject": literal(""),
        "html": literal(""),
        "text": literal(""),
        "sender": literal(""),
    }
    # Their ids follow their moments: lists show runs by id.
    found = select(*values.values()).join(Mailing, Mailing.id == given.c.id).order_by(given.c.moment)
    db.session.connection().execute(insert_or_ignore(Run, db.session).from_select(list(values), found), parameter)
    asked = ((key, *verdict.missed[-1]) for key, verdict in verdicts.items() if verdict.missed)
    _ask_owners({key: moment for key, moment, why in asked if why is Missed.ASKED})


def _ask_owners(asked: Mapping[int, datetime]) -> None:
    """One letter to each owner, however many of their mailings were missed."""
    mailings = db.session.scalars(select(Mailing).where(Mailing.id.in_(asked)).order_by(Mailing.owner_id, Mailing.id))
    for owner, theirs in groupby(mailings.all(), key=lambda mailing: mailing.owner):
        with force_locale(owner.locale or "en"):
            lines = [f"{mailing.name}: {clock_time(asked[mailing.id], mailing.timezone)}" for mailing in theirs]
        more = max(0, len(lines) - NAMED_IN_LETTER)
        outbox.write(LetterKind.RUNS_MISSED, owner, mailings=lines[:NAMED_IN_LETTER], more=more)


def end_questions(mailing_ids: Collection[int] | Select[int], why: Missed) -> None:
    """Nobody is asked any more about missed runs of these mailings."""
    asked = update(Run).where(Run.missed == Missed.ASKED, Run.mailing_id.in_(mailing_ids))
    db.session.execute(asked.values(missed=why).execution_options(synchronize_session="fetch"))


def end_late_questions() -> None:
    """Whose mailing has ended can't be sent any more, and whoever is asked could only say no."""
    asks = exists().where(Run.mailing_id == Mailing.id, Run.missed == Missed.ASKED)
    over = select(Mailing.id).where(asks, Mailing.end_at <= clock.now()).order_by(Mailing.id)
    ended = db.session.scalars(over.with_for_update(key_share=True)).all()  # before their runs, as everybody does
    if ended:
        end_questions(ended, Missed.ENDED)
        settle(ended)


def _set_next_run(verdicts: Mapping[int, Verdict]) -> None:
    """The next occurrences of these mailings, which are locked, and the status that follows: in one statement."""
    given, parameter = _given({"id": key, "moment": verdict.next_run_at} for key, verdict in verdicts.items())
    moment = type_coerce(given.c.moment, Mailing.next_run_at.type)
    db.session.connection().execute(
        update(Mailing)
        .where(Mailing.id == given.c.id)
        .values(next_run_at=moment, status=status_with(moment), updated_at=Mailing.updated_at),
        parameter,
    )


def _given(rows: Iterable[Mapping[str, Any]], **types: Any) -> tuple[FromClause, dict[str, str]]:
    """A table of mailings' ids, moments, and other columns of these types; and the parameter that fills it."""
    dialect = db.session.get_bind().dialect.name
    given = given_rows(dialect, {"id": BigInteger(), "moment": DateTime(timezone=True)} | types)
    return given, rows_parameter(dialect, list(rows))


def begin_by_hand(mailing: Mailing, sender: str) -> Run:
    """A run of this mailing now, beside its schedule."""
    now = literal(clock.now(), Run.scheduled_for.type)
    return db.session.get_one(Run, _begin(Mailing.id == mailing.id, now, sender)[0])


def begin_missed(mailing: Mailing, run: Run, sender: str) -> None:
    """Begin a run that was missed: its message is frozen as it is now."""
    message = mailing.message
    # By the same words as all the others: see `_begin`.
    frozen = select(from_header(sender), answers_to(), held_from_the_start()).join(User, User.id == Mailing.owner_id)
    run.sender, run.reply_to, run.held_at = db.session.execute(frozen.where(Mailing.id == mailing.id)).one()
    run.subject, run.html, run.text = message.subject, message.letter_html, message.text
    run.last_moment = mailing.end_at
    run.missed, run.status, run.created_at = None, RunStatus.PREPARING, clock.now()


def _begin(
    which: ColumnElement[bool], scheduled_for: Any, sender: str, parameter: Mapping[str, Any] | None = None
) -> list[int]:
    """One run per mailing, with the message frozen as it is now. A run that is there already is left alone."""
    frozen: dict[str, Any] = {
        "mailing_id": Mailing.id,
        "owner_id": Mailing.owner_id,
        "scheduled_for": scheduled_for,
        "last_moment": Mailing.end_at,
        "sender": from_header(sender),
        "subject": Message.subject,
        "html": Message.letter_html,
        "text": Message.text,
        "reply_to": answers_to(),
        "held_at": held_from_the_start(),
    }
    rows = (
        select(*frozen.values())
        .join(Message, Message.id == Mailing.message_id)
        .join(User, User.id == Mailing.owner_id)
        .where(which)
    )
    statement = insert_or_ignore(Run, db.session).from_select(list(frozen), rows)
    return list(db.session.connection().execute(statement.returning(Run.id), parameter).scalars())


def held_from_the_start() -> ColumnElement[datetime | None]:
    """Asked with the rest: the owner may have been blocked since the mailing was found and locked."""
    return case((User.is_stopped, literal(clock.now(), Run.held_at.type)), else_=None)


def due_between(first: datetime, last: datetime) -> Select[datetime | None]:
    """The different moments within these two at which some mailing is due."""
    return (
        select(Mailing.next_run_at)
        .join(User, User.id == Mailing.owner_id)
        .where(may_run(), Mailing.next_run_at.between(first, last))
        .distinct()
    )
