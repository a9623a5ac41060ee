"""What SQLite and PostgreSQL must be told to behave alike, and column types that both understand."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from time import monotonic
from typing import Any

import orjson
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Enum,
    FromClause,
    Index,
    Insert,
    Integer,
    MetaData,
    Select,
    String,
    Text,
    bindparam,
    cast,
    column,
    event,
    func,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Session, registry

from app.clock import UtcDateTime

# Constraints need names, or a migration on SQLite could never drop one.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
SQLITE_BUSY_SECONDS = 30
STEPS_BETWEEN_LOOKS = 20_000  # of SQLite's machine: a millisecond or so
QUERY_CANCELED, LOCK_NOT_AVAILABLE = "57014", "55P03"  # PostgreSQL's error codes
MANY_ROWS = 1000  # added at once: from here on it matters what PostgreSQL takes a table for


class Base(DeclarativeBase):
    """All tables of Golub."""

    registry = registry(metadata=MetaData(naming_convention=NAMING), type_annotation_map={datetime: UtcDateTime})


# SQLite gives an increasing id to INTEGER keys alone; PostgreSQL's ledgers outgrow 32 bits.
BigId = BigInteger().with_variant(Integer, "sqlite")
Json = JSON().with_variant(postgresql.JSONB(), "postgresql")


def key_type(length: int) -> String:
    """A text that is compared byte by byte, whatever the database's language: its index finds beginnings, too."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def partial_index(name: str, *columns: str, where: str, **options: Any) -> Index:
    """An index over the few rows that a query looks for, on both databases."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where), **options)


def enum_type(kind: type[StrEnum]) -> Enum:
    """A column of the enum's values as text: readable in psql, and new members need no ALTER TYPE."""
    return Enum(
        kind,
        native_enum=False,
        length=20,
        values_callable=lambda members: [member.value for member in members],
        validate_strings=True,
    )


def insert_or_ignore(table: Any, session: Any) -> Insert:
    """INSERT that leaves a row alone whose unique key is there already, on both databases."""
    build = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    return build(table).on_conflict_do_nothing()


def among(key: Any, ids: Select[Any], dialect: str) -> ColumnElement[bool]:
    """`key IN ids`, for changing many rows: PostgreSQL collects the ids and asks the key's index for each.

    With IN it may believe that they are few, where nobody has counted the table since a mass change, and compare all
    with all.
    """
    if dialect == "sqlite":
        return key.in_(ids)
    return key == func.any(func.array(ids.scalar_subquery(), type_=ARRAY(BigInteger)))


def count_if_doubled(session: Any, table: str, added: int) -> None:
    """Let PostgreSQL count a table to which so many rows were `added` by this transaction, if it has doubled by them.

    Autovacuum would do it within a minute or more. Until then each connection checks foreign keys into the table by
    the plan it once made; where that was made for a hundred rows, every check reads the whole table.
    """
    if added < MANY_ROWS or session.get_bind().dialect.name == "sqlite":
        return
    believed = session.scalar(
        text("SELECT reltuples FROM pg_class WHERE oid = CAST(:name AS regclass)"), {"name": table}
    )
    if added > believed:
        session.execute(text(f"ANALYZE (SKIP_LOCKED) {table}"))  # whoever holds that lock is counting it, or will


def given_rows(dialect: str, types: Mapping[str, Any]) -> FromClause:
    """A table to update or insert from, whose rows come as the parameter `rows`, however many: see `rows_parameter`.

    types: SQLAlchemy types of the columns by name, as PostgreSQL shall read them.
    """
    if dialect == "sqlite":
        each = func.json_each(bindparam("rows")).table_valued("value")
        fields = [func.json_extract(each.c.value, f"$.{name}").label(name) for name in types]
        return select(*fields).subquery("given")
    columns = [column(name, kind) for name, kind in types.items()]
    document = cast(bindparam("rows", type_=Text()), postgresql.JSON)
    return func.json_to_recordset(document).table_valued(*columns).render_derived(name="given", with_types=True)


def rows_parameter(dialect: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The parameter for `given_rows`. Values are None, numbers, texts without NUL, and aware datetimes."""
    if dialect == "sqlite":
        encoded = orjson.dumps(rows, default=_sqlite_moment, option=orjson.OPT_PASSTHROUGH_DATETIME)
    else:
        encoded = orjson.dumps(rows)
    return {"rows": encoded.decode()}


def _sqlite_moment(moment: Any) -> str:
    """As `UtcDateTime` stores it there."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


# A page view only reads: it must not wait for SQLite's one writer. Whoever may write takes the write lock at the
# beginning: a reader that turns writer half-way would fail at once, whatever the busy timeout.
only_reads: ContextVar[bool] = ContextVar("only_reads", default=False)


def tame_sqlite(engine: Engine) -> None:
    """WAL, foreign keys, waiting for locks, and transactions that begin when SQLAlchemy says so."""

    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # pysqlite must not begin transactions of its own
        for pragma in (
            f"busy_timeout = {SQLITE_BUSY_SECONDS * 1000}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if only_reads.get() else "BEGIN IMMEDIATE")


def give_way(session: Session) -> None:
    """Have this transaction wait for no row longer than PostgreSQL waits before it looks for circles: see `is_held`.

    So that of two that wait for each other it is always this one which fails, and no worker with answers in hand.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET LOCAL lock_timeout = '500ms'"))  # deadlock_timeout is a second


def is_held(error: OperationalError) -> bool:
    """Whether a statement failed because somebody else holds a row that it wants."""
    return getattr(error.orig, "pgcode", None) == LOCK_NOT_AVAILABLE


class TookTooLong(Exception):
    """A question to the database was not answered in the time that it was given."""


@contextmanager
def time_limit(session: Session, seconds: float) -> Iterator[None]:
    """Each statement inside may take so long; the transaction goes on whatever becomes of them.

    Raises:
        TookTooLong: when one took longer. What stood in the session before it is still there.
    """
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    try:
        with session.begin_nested():
            (_limit_sqlite if is_sqlite else _limit_postgresql)(session.connection(), seconds)
            yield
            if not is_sqlite:
                session.execute(text("SET LOCAL statement_timeout TO DEFAULT"))
                session.execute(text("SET LOCAL jit TO DEFAULT"))
    except OperationalError as error:
        if getattr(error.orig, "pgcode", None) == QUERY_CANCELED or str(error.orig) == "interrupted":
            raise TookTooLong from None
        raise
    finally:
        if is_sqlite:
            _sqlite_of(session.connection()).set_progress_handler(None, 0)


def _limit_sqlite(connection: Connection, seconds: float) -> None:
    ends_at = monotonic() + seconds
    _sqlite_of(connection).set_progress_handler(lambda: monotonic() > ends_at, STEPS_BETWEEN_LOOKS)


def _sqlite_of(connection: Connection) -> sqlite3.Connection:
    found = connection.connection.driver_connection
    assert isinstance(found, sqlite3.Connection)  # noqa: S101  for mypy: only SQLite gets here
    return found


def _limit_postgresql(connection: Connection, seconds: float) -> None:
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {round(seconds * 1000)}")
    connection.exec_driver_sql("SET LOCAL jit = off")  # compiling alone takes about a second
