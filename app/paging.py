"""Keyset paging: a page begins after the last row of the one before, so that page 1,000 is as quick as page 1."""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from flask_babel import gettext as _
from sqlalchemy import ColumnElement, Select, func, literal, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from app.errors import NotFound
from app.extensions import db

PAGE_SIZE = 50
COUNTED = 10_000  # what a list counts up to: nobody waits for the exact number of a million
NEVER = datetime(9999, 12, 31, tzinfo=UTC)  # where a moment that is not known stands in an order
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


@dataclass(frozen=True)
class Order:
    """A way to sort a list, which ends with a unique column. descending: the first click sorts so."""

    keys: tuple[InstrumentedAttribute[Any], ...]
    descending: bool = False


@dataclass(frozen=True)
class Sorting:
    """How a list is sorted now. word: as the address says it, "name", or "-name" for descending; "" as usual."""

    column: str
    descending: bool
    word: str
    orders: Mapping[str, Order]

    @property
    def keys(self) -> tuple[InstrumentedAttribute[Any], ...]:
        return self.orders[self.column].keys

    def turned(self, column: str) -> str:
        """The word for what a click on this column's heading asks for: its order, the same upside down, the usual."""
        descending = self.orders[column].descending
        if column == self.column:
            if self.descending != descending and column != next(iter(self.orders)):
                return ""
            descending = not self.descending
        return f"-{column}" if descending else column


def sorting(asked: str, orders: Mapping[str, Order]) -> Sorting:
    """What the address asks for. The first order is the usual one, and takes the place of what does not exist."""
    column, descending = asked.removeprefix("-"), asked.startswith("-")
    usual = next(iter(orders))
    if column not in orders:
        column, descending = usual, orders[usual].descending
    is_usual = column == usual and descending == orders[usual].descending
    return Sorting(column, descending, "" if is_usual else asked, orders)


def count_some(query: Select[Any], key: InstrumentedAttribute[Any]) -> int:
    """How many rows `query` has, or COUNTED + 1 where there are more than COUNTED."""
    some = query.with_only_columns(key).order_by(None).limit(COUNTED + 1)
    return db.session.scalar(select(func.count()).select_from(some.subquery())) or 0


def paginate(
    query: Select[Row],
    *keys: InstrumentedAttribute[Any],
    cursor: str | None = None,
    descending: bool = False,
    size: int = PAGE_SIZE,
) -> Page[Row]:
    """One page of `query` in the order of `keys`, which must end with a unique column.

    Of the keys only moments may be NULL, which means never: they come after all others.

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
        here, edge = tuple_(*map(_sorted_by, keys)), tuple_(*_values(cursor, keys))
        query = query.where(here < edge if descending else here > edge)
    return query.order_by(*(_sorted_by(key).desc() if descending else _sorted_by(key).asc() for key in keys)).limit(
        size + 1
    )


def _sorted_by(key: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    if not key.property.columns[0].nullable:
        return key.expression
    return func.coalesce(key, literal(NEVER, key.type))


def _cursor(row: Any, keys: Sequence[InstrumentedAttribute[Any]]) -> str:
    values = [getattr(row, key.key) for key in keys]
    values = [NEVER if value is None else value for value in values]
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
