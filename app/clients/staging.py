"""Many rows at once into the address book: a table of their own first, then a handful of statements."""

import csv
import io
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    ColumnElement,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    case,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    text,
    true,
    update,
)

from app.clients.columns import Taken
from app.clients.models import BadRow, Client, ClientStatus, KnownClients, client_tag
from app.database import Json, count_if_doubled, insert_or_ignore
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
    Column("client_id", BigInteger),  # filled in here
    **_of_this_connection,
)
given_tag = Table(
    "given_tag",
    _metadata,
    Column("tag_set", Integer, primary_key=True),
    Column("tag_id", Integer, primary_key=True),
    **_of_this_connection,
)
NAMES = ("last_name", "first_name", "patronymic")
TEXTS = (*NAMES, "comment")
SMALL_BOOK, LARGE_BOOK = 100, 1000  # clients of one owner: so few as PostgreSQL believes, so many as there are
COLUMNS = ("email", "email_key", *TEXTS, "birth_year", "attributes")


class Loaded:
    """Rows on their way into an address book. Use it within one transaction, with the owner's tags locked.

    rows: each e-mail key once.  tags: (tag_set, tag id), for all that the rows name.  used: what the file tells of.

    Nobody has counted the rows of these tables, nor maybe those of an address book that has grown a thousandfold a
    minute ago. So the statements leave PostgreSQL no choice: each row asks an index, whatever it believes.
    """

    def __init__(
        self, owner_id: int, rows: Collection[Taken], tags: Collection[tuple[int, int]], used: Collection[str]
    ) -> None:
        self._owner_id = owner_id
        self._has_tags = bool(tags)
        self._used = [name for name in (*TEXTS, "birth_year", "attributes") if name in used]
        self._is_sqlite = db.session.get_bind().dialect.name == "sqlite"
        connection = db.session.connection()
        if self._is_sqlite:
            _metadata.drop_all(connection)
        else:
            db.session.execute(text("SET LOCAL jit = off"))  # it would be asked for by costs that are made up
        _metadata.create_all(connection, checkfirst=False)
        copy_rows(given, ["email", "email_key", *NAMES, "birth_year", "comment", "attributes", "tag_set"], rows)
        copy_rows(given_tag, ["tag_set", "tag_id"], tags)

    def take(self, known: KnownClients, now: datetime) -> tuple[int, int]:
        """Add those who are new, and change those who are `known` as is wanted; how many were added and changed."""
        if known is KnownClients.SKIP:
            added, changed = self._add(now), 0
            if self._has_tags and added:
                # Those who came a moment ago. Not `==`: PostgreSQL would look for them in the index of days, where
                # each of them finds all of them.
                self._find(Client.added_at.is_not_distinct_from(now))
        else:
            self._find()
            changed = self._change(known)
            added = self._add(now)
            if self._has_tags and added:
                self._find()
        if self._has_tags:
            self._tag()
        return added, changed

    def _find(self, *which: ColumnElement[bool]) -> None:
        """Note who is in the address book."""
        _know_the_book(self._owner_id)
        is_there = Client.deleted_at.is_(None)
        same = (Client.owner_id == self._owner_id, Client.email_key == given.c.email_key, is_there, *which)
        found = select(Client.id).where(*same).scalar_subquery()
        db.session.execute(update(given).where(given.c.client_id.is_(None)).values(client_id=found))

    def _add(self, now: datetime) -> int:
        rows = select(
            literal(self._owner_id),
            *(given.c[name] for name in COLUMNS),
            literal(ClientStatus.ACTIVE, Client.status.type),
            literal(now, Client.added_at.type),
        ).where(given.c.client_id.is_(None))
        names = ["owner_id", *COLUMNS, "status", "added_at"]
        result = db.session.execute(insert_or_ignore(Client.__table__, db.session).from_select(names, rows))
        added = int(result.rowcount)  # type: ignore[attr-defined]  # a CursorResult, as of every INSERT
        count_if_doubled(db.session, "client", added)
        return added

    def _change(self, known: KnownClients) -> int:
        """Change the known clients; of how many something changes, tags among it."""
        new = {name: self._new_value(name, known) for name in self._used}
        differs = [self._plain(getattr(Client, name)).is_distinct_from(value) for name, value in new.items()]
        is_known = and_(Client.id == given.c.client_id, self._is_found())
        any_change = or_(false(), *differs)
        if self._has_tags:
            worn = exists().where(client_tag.c.client_id == Client.id, client_tag.c.tag_id == given_tag.c.tag_id)
            worn = worn.correlate(Client, given_tag)
            missing = select(given_tag.c.tag_id).where(given_tag.c.tag_set == given.c.tag_set, ~worn)
            any_change = or_(any_change, missing.correlate(given, Client).exists())
        changed = db.session.scalar(select(func.count()).select_from(Client, given).where(is_known, any_change)) or 0
        if changed and new:
            statement = update(Client).values(new).where(is_known, or_(*differs))
            db.session.execute(statement.execution_options(synchronize_session=False))
        return changed

    def _is_found(self) -> ColumnElement[bool]:
        """The same as the join says, in the words that make PostgreSQL go by the ids."""
        if self._is_sqlite:
            return true()
        ids = func.array(select(given.c.client_id).correlate(None).scalar_subquery(), type_=ARRAY(BigInteger))
        return Client.id == func.any(ids)

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

    def _tag(self) -> None:
        worn = select(given.c.client_id, given_tag.c.tag_id).join(given_tag, given_tag.c.tag_set == given.c.tag_set)
        rows = worn.where(given.c.client_id.is_not(None))
        db.session.execute(insert_or_ignore(client_tag, db.session).from_select(["client_id", "tag_id"], rows))


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
            # In one piece: after each, the thread that reads ahead would have the interpreter for a while.
            cursor.copy_expert(f"COPY {table.name} ({', '.join(names)}) FROM STDIN ({options})", lines, 1 << 22)
    finally:
        cursor.close()


def _know_the_book(owner_id: int) -> None:
    """Let PostgreSQL count the clients when it takes a large address book for a small one.

    Where it believes that this owner has a client or two, as most may have, all indexes that begin with the owner seem
    alike to it, and by most of them each row of a file would be compared with the whole address book.
    """
    if db.session.get_bind().dialect.name == "sqlite":
        return
    explain = text("EXPLAIN (FORMAT JSON) SELECT 1 FROM client WHERE owner_id = :owner_id")
    [answer] = db.session.scalars(explain, {"owner_id": owner_id}).one()
    if answer["Plan"]["Plan Rows"] >= SMALL_BOOK:
        return
    some = select(Client.id).where(Client.owner_id == owner_id).limit(LARGE_BOOK).subquery()
    if db.session.scalar(select(func.count()).select_from(some)) == LARGE_BOOK:
        db.session.execute(text("ANALYZE (SKIP_LOCKED) client (owner_id, email_key)"))
