"""Deleting that can be taken back: the rows of one deletion share its moment, and stay until a job takes them away."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flask_babel import gettext as _
from sqlalchemy import ColumnElement, Select, update

from app import clock
from app.database import among
from app.errors import RuleBroken
from app.extensions import db

BELATED = timedelta(minutes=1)  # so long a request may take that came in time, by a clock that may be another's
UNDO_FOR = timedelta(minutes=10)  # the button is there for seconds; without scripts it is there as long as the page


@dataclass(frozen=True)
class Deleted:
    """One deletion. moment: its name, by which it can be taken back."""

    moment: datetime
    count: int


Tell = Callable[[Select[Any]], list[str]]
_tellers: dict[Any, Tell] = {}


def tells(model: Any) -> Callable[[Tell], Tell]:
    """Decorates what says in sentences what goes with deleted rows: packages above know who refers to them."""

    def register(function: Tell) -> Tell:
        _tellers[model] = function
        return function

    return register


def what_goes_with(model: Any, which: Select[Any]) -> list[str]:
    """What else the reader has to know before the rows of `which` are deleted."""
    return _tellers[model](which)


def mark_deleted(model: Any, which: Select[Any]) -> Deleted:
    """Delete the rows of `which` for everybody, in one statement; for good only after UNDO_FOR."""
    # Locked in the order of their ids: two that change many at once would else wait in a circle.
    ids = which.with_only_columns(model.id).order_by(None).order_by(model.id).with_for_update(key_share=True, of=model)
    moment = clock.now()
    rows = update(model).where(among(model.id, ids, db.session.get_bind().dialect.name), model.deleted_at.is_(None))
    return Deleted(moment, _changed(rows, model, moment))


def bring_back(model: Any, moment: datetime, *conditions: ColumnElement[bool]) -> int:
    """Take that deletion back, for the rows that fulfil the conditions; how many those were."""
    return _changed(update(model).where(model.deleted_at == moment, *conditions), model, None)


def _changed(rows: Any, model: Any, deleted_at: datetime | None) -> int:
    values: dict[str, Any] = {"deleted_at": deleted_at}
    if hasattr(model, "updated_at"):
        values["updated_at"] = model.updated_at  # nobody has written anything
    db.session.flush()
    result = db.session.execute(rows.values(values), execution_options={"synchronize_session": False})
    db.session.expire_all()
    return int(result.rowcount)  # type: ignore[attr-defined]  # a CursorResult, as of every UPDATE


def moment_of(text: str) -> datetime:
    """The moment of a deletion, as its button sends it.

    Raises:
        RuleBroken: when it is no moment, or too long ago.
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("naive")
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise RuleBroken(_("There is nothing to bring back.")) from None
    if not clock.now() - UNDO_FOR < moment <= clock.now():
        raise RuleBroken(_("It is too late to bring this back."))
    return moment


def for_good(now: datetime) -> datetime:
    """What was deleted before this moment can't be brought back any more."""
    return now - UNDO_FOR - BELATED
