"""Many rows at once into the address book: a table of their own first, then a handful of statements."""

import csv
import io
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    text,
    update,
)

from app.clients.columns import Taken
from app.clients.models import BadRow, Client, ClientStatus, KnownClients, client_tag
from app.database import Json, insert_or_ignore
from app.extensions import db

_metadata = MetaData()
_of_this_connection: dict[str, Any] = {"prefixes": ["TEMPORARY"], "postgresql_on_commit": "DROP"}
given = Table(
    "given_client",
    _metadata,
    Column("email", Text, nullable=False),
    Column("email_key", Text, nullable=False),
    Column("last_name", Text, nullable=False),
    Column("first_name", Text, nullable=False),
    Column("patronymic", Text, nullable=False),
    Column("birth_year", Integer),
    Column("comment", Text, nullable=False),
    Column("attributes", Json, nullable=False),
    Column("tag_set", Integer, nullable=False),
    **_of_this_connection,
)
given_tag = Table(
    "given_tag",
    _metadata,
    Column("tag_set", Integer, primary_key=True),
    Column("tag_id", Integer, primary_key=True),
    **_of_this_connection,
)
TEXTS = ("last_name", "first_name", "patronymic", "comment")
COLUMNS = ("email", "email_key", *TEXTS, "birth_year", "attributes")


class Loaded:
    """Rows on their way into an address book. Use it within one transaction, with the owner's tags locked.

    rows: each e-mail key once.  tags: (tag_set, tag id), for all that the rows name.  used: what the file tells of.
    """

    def __init__(
        self, owner_id: int, rows: Collection[Taken], tags: Collection[tuple[int, int]], used: Collection[str]
    ) -> None:
        self._owner_id = owner_id
        self._size = len(rows)
        self._has_tags = bool(tags)
        self._used = [name for name in (*TEXTS, "birth_year", "attributes") if name in used]
        self._is_sqlite = db.session.get_bind().dialect.name == "sqlite"
        connection = db.session.connection()
        _metadata.drop_all(connection) if self._is_sqlite else _plan_by_keys()
        _metadata.create_all(connection, checkfirst=False)
        copy_rows(given, [column.name for column in given.columns], rows)
        copy_rows(given_tag, ["tag_set", "tag_id"], tags)

    def take(self, known: KnownClients, now: datetime) -> tuple[int, int]:
        """Add those who are new, and change those who are `known` as is wanted; how many were added and changed."""
        changed = 0 if known is KnownClients.SKIP else self._count_changes(known)
        added = self._add(now)
        if changed:
            self._change(known)
        if self._has_tags:
            self._tag(None if changed or known is not KnownClients.SKIP else now)
        return added, changed

    def _same_client(self) -> ColumnElement[bool]:
        return and_(Client.owner_id == self._owner_id, Client.email_key == given.c.email_key)

    def _add(self, now: datetime) -> int:
        # On SQLite a SELECT without WHERE would be read together with the ON CONFLICT after it.
        rows = select(
            literal(self._owner_id),
            *(given.c[name] for name in COLUMNS),
            literal(ClientStatus.ACTIVE, Client.status.type),
            literal(now, Client.added_at.type),
        ).where(given.c.email_key != "")
        names = ["owner_id", *COLUMNS, "status", "added_at"]
        result = db.session.execute(insert_or_ignore(Client.__table__, db.session).from_select(names, rows))
        return int(result.rowcount)  # type: ignore[attr-defined]  # a CursorResult, as of every INSERT

    def _count_changes(self, known: KnownClients) -> int:
        """Of how many known clients something will change. Asked before, for then only the known ones are there."""
        new = self._new_values(known)
        changes = [self._plain(getattr(Client, name)).is_distinct_from(new[name]) for name in self._used]
        if self._has_tags:
            worn = exists().where(client_tag.c.client_id == Client.id, client_tag.c.tag_id == given_tag.c.tag_id)
            changes.append(exists().where(given_tag.c.tag_set == given.c.tag_set, ~worn))
        query = select(func.count()).select_from(given).join(Client, self._same_client()).where(or_(*changes))
        return db.session.scalar(query) or 0 if changes else 0

    def _change(self, known: KnownClients) -> None:
        new = self._new_values(known)
        if not new:
            return
        changes = or_(*(self._plain(getattr(Client, name)).is_distinct_from(new[name]) for name in self._used))
        statement = update(Client).values(new).where(self._same_client(), changes)
        db.session.execute(statement.execution_options(synchronize_session=False))

    def _new_values(self, known: KnownClients) -> dict[str, ColumnElement[Any]]:
        """What the columns of a known client become."""
        return {name: self._new_value(name, known) for name in self._used}

    def _new_value(self, name: str, known: KnownClients) -> ColumnElement[Any]:
        old, new = getattr(Client, name), given.c[name]
        over, under = (new, old) if known is KnownClients.UPDATE else (old, new)
        if name == "birth_year":
            return func.coalesce(over, under)
        if name == "attributes":
            return func.json_patch(under, over, type_=Text) if self._is_sqlite else under.op("||")(over)
        return case((over != "", over), else_=under)

    def _plain(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """The column as `_new_value` writes it: SQLite's JSON is text, and may have other blanks in it."""
        if self._is_sqlite and column.key == "attributes":
            return func.json(column, type_=Text)
        return column

    def _tag(self, added_at: datetime | None) -> None:
        """Put the tags on the clients; with `added_at` only on those who came then, which is now."""
        worn = (
            select(Client.id, given_tag.c.tag_id)
            .join(given, self._same_client())
            .join(given_tag, given_tag.c.tag_set == given.c.tag_set)
            .where(given.c.email_key != "")
        )
        if added_at is not None:
            worn = worn.where(Client.added_at == added_at)
        db.session.execute(insert_or_ignore(client_tag, db.session).from_select(["client_id", "tag_id"], worn))


def _plan_by_keys() -> None:
    """Nobody has counted the new table's rows: PostgreSQL could think of reading the whole address book for them."""
    for setting in ("enable_hashjoin", "enable_mergejoin", "jit"):
        db.session.execute(text(f"SET LOCAL {setting} = off"))


def keep_bad_rows(import_id: int, bad: Iterable[tuple[int, str, str]]) -> None:
    """bad: number, e-mail and reason of each."""
    columns = ["import_id", "number", "email", "reason"]
    copy_rows(BadRow.__table__, columns, [(import_id, *row) for row in bad])


def copy_rows(table: Any, names: Sequence[str], rows: Collection[Sequence[Any]]) -> None:
    """Write the rows in the quickest way that the database has. Texts are without NUL; JSON comes as text."""
    if not rows:
        return
    cursor: Any = db.session.connection().connection.cursor()
    try:
        if isinstance(cursor, sqlite3.Cursor):
            places = ", ".join("?" for _ in names)
            cursor.executemany(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({places})", rows)  # noqa: S608  our own names
        else:
            lines = io.StringIO()
            csv.writer(lines).writerows(rows)
            lines.seek(0)
            texts = [name for name in names if isinstance(table.c[name].type, Text | db.String)]
            options = f"FORMAT csv, FORCE_NOT_NULL ({', '.join(texts)})" if texts else "FORMAT csv"
            cursor.copy_expert(f"COPY {table.name} ({', '.join(names)}) FROM STDIN ({options})", lines, 1 << 16)
    finally:
        cursor.close()
