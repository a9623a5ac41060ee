"""Keyset paging: a page begins after the last row of the one before, so that page 1,000 is as quick as page 1."""

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from flask_babel import gettext as _
from sqlalchemy import ColumnElement, Select, literal, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from app.errors import NotFound
from app.extensions import db

PAGE_SIZE = 50
LONGEST_CURSOR = 10_000  # two names of 100 letters take 3,200; nobody shall have us parse a novel


Row = TypeVar("Row")


@dataclass(frozen=True)
class Page(Generic[Row]):
    items: Sequence[Row]
    next_cursor: str | None  # None on the last page

    def __iter__(self) -> Iterator[Row]:
        return iter(self.items)

    def __bool__(self) -> bool:
        return bool(self.items)


def paginate(
    query: Select[Row],
    *keys: InstrumentedAttribute[Any],
    cursor: str | None = None,
    descending: bool = False,
    size: int = PAGE_SIZE,
) -> Page[Row]:
    """One page of `query` in the order of `keys`, which must end with a unique column and never be NULL.

    Raises:
        NotFound: for a cursor that no page gave out.
    """
    rows = db.session.scalars(ahead(query, *keys, cursor=cursor, descending=descending, size=size)).all()
    more = len(rows) > size
    return Page(rows[:size], _cursor(rows[size - 1], keys) if more else None)


def ahead(
    query: Select[Row],
    *keys: InstrumentedAttribute[Any],
    cursor: str | None = None,
    descending: bool = False,
    size: int = PAGE_SIZE,
) -> Select[Row]:
    """The rows of that page and one more, which tells that there is another page."""
    if cursor:
        edge = tuple_(*_values(cursor, keys))
        query = query.where(tuple_(*keys) < edge if descending else tuple_(*keys) > edge)
    return query.order_by(*(key.desc() if descending else key.asc() for key in keys)).limit(size + 1)


def _cursor(row: Any, keys: Sequence[InstrumentedAttribute[Any]]) -> str:
    values = [getattr(row, key.key) for key in keys]
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def _values(cursor: str, keys: Sequence[InstrumentedAttribute[Any]]) -> list[ColumnElement[Any]]:
    try:
        if len(cursor) > LONGEST_CURSOR:
            raise ValueError("too long")
        plain = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return [literal(_typed(key, value), key.type) for key, value in zip(keys, plain, strict=True)]
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
        raise NotFound(_("There is no such page.")) from None


def _typed(key: InstrumentedAttribute[Any], value: Any) -> Any:
    """Whoever forges a cursor may look at another page of their own list, and must not reach the database otherwise."""
    kind = key.type.python_type
    if kind is datetime:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("naive")
        return moment.astimezone(UTC)
    if not isinstance(value, kind) or isinstance(value, bool) or (kind is int and not 0 <= value < 2**63):
        raise ValueError("not of the column's type")
    if isinstance(value, str):
        value.encode()  # half characters can't be sent to a database
        if "\x00" in value:
            raise ValueError("PostgreSQL has no such character")
    return value
