"""What both databases must do alike, and what SQLite must be told to do at all."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, Select, create_engine, func, insert, literal, select, text
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError, StatementError

from app import clock, web
from app.auth.models import User
from app.auth.roles import Role
from app.clients.models import Client, ClientStatus, Tag, client_tag
from app.database import TookTooLong, enum_type, insert_or_ignore, only_reads, tame_sqlite, time_limit
from app.extensions import db
from tests import make
from tests.waiting import BUSY_SECONDS, PATIENCE_SECONDS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKYO = timezone(timedelta(hours=9))


@pytest.fixture
def person(context: None) -> User:
    made = make.user("owner@golub.test")
    db.session.commit()
    return made


# Moments


@pytest.mark.parametrize(
    "moment",
    [
        NOON,
        NOON.replace(microsecond=1),
        NOON.replace(microsecond=999_999),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1, 1, 2, tzinfo=UTC),
        datetime(9999, 12, 30, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 3, 1, 21, tzinfo=TOKYO),
        datetime(2026, 10, 25, 2, 30, tzinfo=clock.zone("Europe/Berlin"), fold=1),
    ],
)
def test_a_moment_comes_back_as_it_went_in(person: User, moment: datetime) -> None:
    person.verified_at = moment
    db.session.commit()
    db.session.expire_all()
    assert person.verified_at == moment.astimezone(UTC)
    assert person.verified_at.tzinfo is UTC
    assert db.session.scalar(select(User.id).where(User.verified_at == moment)) == person.id


def test_a_naive_moment_is_refused(person: User) -> None:
    person.verified_at = datetime(2026, 3, 1)  # noqa: DTZ001  that is the point
    with pytest.raises(StatementError, match="naive"):
        db.session.commit()
    db.session.rollback()


def test_a_naive_moment_is_refused_in_a_condition(person: User) -> None:
    with pytest.raises(StatementError, match="naive"):
        db.session.execute(select(User).where(User.created_at < datetime(2026, 3, 1)))  # noqa: DTZ001
    db.session.rollback()


def test_no_moment_is_no_moment(person: User) -> None:
    person.verified_at = None
    db.session.commit()
    db.session.expire_all()
    assert person.verified_at is None


def test_moments_are_ordered_as_time_is_whatever_their_zone(person: User) -> None:
    """SQLite keeps them as text: each has to have the same shape."""
    moments = [
        NOON - timedelta(microseconds=1),
        NOON,
        (NOON + timedelta(microseconds=1)).astimezone(TOKYO),
        (NOON + timedelta(microseconds=10)).astimezone(clock.zone("America/New_York")),
        NOON + timedelta(seconds=1),
        (NOON + timedelta(hours=9)).astimezone(TOKYO),
    ]
    for number in (3, 0, 5, 1, 4, 2):
        make.client(person, f"{number}@golub.test", added_at=moments[number])
    db.session.commit()
    found = db.session.scalars(select(Client.added_at).order_by(Client.added_at)).all()
    assert list(found) == moments
    later = select(func.count()).select_from(Client).where(Client.added_at > moments[1].astimezone(TOKYO))
    assert db.session.scalar(later) == 4
    assert db.session.scalar(select(func.max(Client.added_at))) == moments[-1]


# Enums


class Colour(StrEnum):
    RED = "red"


def test_an_enum_is_kept_as_its_value(person: User) -> None:
    person.role = Role.MANAGER
    db.session.commit()
    assert db.session.scalar(text("""SELECT role FROM "user" """)) == "manager"
    db.session.expire_all()
    assert person.role is Role.MANAGER


def test_an_enum_is_found_by_its_value_and_by_its_member(person: User) -> None:
    assert db.session.scalar(select(User.id).where(User.role == Role.USER)) == person.id
    assert db.session.scalar(select(User.id).where(User.role == "user")) == person.id


@pytest.mark.parametrize("value", ["emperor", "USER", "", 1, Colour.RED])
def test_a_strange_value_is_refused(person: User, value: Any) -> None:
    person.role = value
    with pytest.raises(StatementError):
        db.session.commit()
    db.session.rollback()


def test_a_new_member_needs_no_migration() -> None:
    """No CHECK and no type of the database's own knows the members."""
    kind = enum_type(Colour)
    assert not kind.native_enum
    assert not kind.create_constraint
    assert kind.enums == ["red"]


def test_every_value_of_every_enum_fits(app: Flask) -> None:
    for table in db.metadata.tables.values():
        for column in table.columns:
            if values := getattr(column.type, "enums", None):
                assert max(map(len, values)) <= column.type.length, column


# Rows that are there already


def test_a_row_that_is_there_already_is_left_alone(person: User) -> None:
    rows = [{"owner_id": person.id, "name": name} for name in ("vip", "new", "vip")]
    statement = insert_or_ignore(Tag, db.session)
    for _ in range(2):
        db.session.execute(statement, rows)
    db.session.commit()
    assert sorted(db.session.scalars(select(Tag.name))) == ["new", "vip"]


def test_only_a_row_that_is_there_already_is_forgiven(person: User) -> None:
    with pytest.raises(IntegrityError):
        db.session.execute(insert_or_ignore(Tag, db.session), [{"owner_id": person.id, "name": None}])
    db.session.rollback()


# What refers to each other


def test_what_refers_to_nothing_is_refused(person: User) -> None:
    with pytest.raises(IntegrityError):
        db.session.execute(insert(client_tag).values(client_id=10**6, tag_id=10**6))
    db.session.rollback()


def test_what_belongs_to_somebody_goes_with_them(person: User) -> None:
    client = make.client(person)
    client.tags.append(Tag(owner_id=person.id, name="vip"))
    db.session.commit()
    db.session.execute(User.__table__.delete())
    db.session.commit()
    for table in (Client.__table__, Tag.__table__, client_tag):
        assert db.session.scalar(select(func.count()).select_from(table)) == 0


def test_a_check_of_the_database_holds(person: User) -> None:
    make.client(person, birth_year=1900)
    with pytest.raises(IntegrityError):
        make.client(person, "boris@golub.test", birth_year=1899)
    db.session.rollback()


def test_a_savepoint_takes_back_its_own_only(person: User) -> None:
    """pysqlite would commit, or begin nothing, at a savepoint if it were left to itself."""
    make.client(person, "first@golub.test")
    try:
        with db.session.begin_nested():
            make.client(person, "second@golub.test")
            make.client(person, "first@golub.test")
    except IntegrityError:
        make.client(person, "instead@golub.test")
    make.client(person, "third@golub.test")
    db.session.commit()
    found = db.session.scalars(select(Client.email).order_by(Client.email)).all()
    assert list(found) == ["first@golub.test", "instead@golub.test", "third@golub.test"]


def test_json_comes_back_as_it_went_in(person: User) -> None:
    value = {"город": "Псков", "числа": [1, 2.5, None, True], "quote": "'\"\\"}
    client = make.client(person, attributes=value, status=ClientStatus.ACTIVE)
    db.session.commit()
    db.session.expire_all()
    assert client.attributes == value


# SQLite under several hands


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    """An engine of its own, tamed; whichever database the others use."""
    engine = create_engine(f"sqlite:///{tmp_path}/tame.db")
    tame_sqlite(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE counter (value INTEGER NOT NULL)")
        connection.exec_driver_sql("INSERT INTO counter VALUES (0)")
    yield engine
    engine.dispose()


def count_up(engine: Engine) -> None:
    """Read, think, write: what loses counts where two may do it at once."""
    with engine.begin() as connection:
        value: int = connection.exec_driver_sql("SELECT value FROM counter").scalar_one()
        time.sleep(0.005)
        connection.exec_driver_sql("UPDATE counter SET value = ?", (value + 1,))


def value_in(engine: Engine) -> int:
    with engine.connect() as connection:
        value: int = connection.exec_driver_sql("SELECT value FROM counter").scalar_one()
    return value


def test_sqlite_is_tamed_on_every_connection(sqlite: Engine) -> None:
    with sqlite.connect() as first, sqlite.connect() as second:
        for connection in (first, second):
            pragmas = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("foreign_keys", "journal_mode", "busy_timeout", "synchronous")
            }
            assert pragmas == {"foreign_keys": 1, "journal_mode": "wal", "busy_timeout": 30_000, "synchronous": 2}
            connection.rollback()


def test_the_application_tames_its_sqlite(context: None) -> None:
    if db.engine.dialect.name == "sqlite":
        assert db.session.scalar(text("PRAGMA foreign_keys")) == 1
        assert db.session.scalar(text("PRAGMA journal_mode")) == "wal"
    else:
        assert db.session.scalar(text("SHOW standard_conforming_strings")) == "on"


def test_two_writers_wait_for_each_other_and_lose_nothing(sqlite: Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(count_up, sqlite) for _ in range(40)]:
            done.result(timeout=PATIENCE_SECONDS)
    assert value_in(sqlite) == 40


def test_a_reader_does_not_wait_for_a_writer(sqlite: Engine) -> None:
    with sqlite.begin() as writer:
        writer.exec_driver_sql("UPDATE counter SET value = 7")
        token = only_reads.set(True)
        try:
            assert value_in(sqlite) == 0  # whoever waited would be told at last that the database is locked
        finally:
            only_reads.reset(token)
    assert value_in(sqlite) == 7


def test_a_writer_does_not_wait_for_a_reader(sqlite: Engine) -> None:
    token = only_reads.set(True)
    try:
        with sqlite.connect() as reader:
            assert reader.exec_driver_sql("SELECT value FROM counter").scalar_one() == 0
            writer = threading.Thread(target=count_up, args=(sqlite,))
            writer.start()
            writer.join(timeout=PATIENCE_SECONDS)
            assert not writer.is_alive()
            # It sees one state of things as long as its transaction lasts.
            assert reader.exec_driver_sql("SELECT value FROM counter").scalar_one() == 0
    finally:
        only_reads.reset(token)
    assert value_in(sqlite) == 1


def test_whoever_may_write_has_the_lock_from_the_beginning(sqlite: Engine) -> None:
    """A reader that turns writer fails at once when another wrote meanwhile, whatever the timeout."""
    with sqlite.connect() as first:
        first.exec_driver_sql("SELECT value FROM counter").scalar_one()
        with sqlite.connect() as second:
            impatient = second.connection.dbapi_connection
            assert isinstance(impatient, sqlite3.Connection)
            impatient.execute("PRAGMA busy_timeout = 50")
            with pytest.raises(OperationalError, match="locked"):
                second.exec_driver_sql("SELECT value FROM counter")
            impatient.execute("PRAGMA busy_timeout = 30000")
        first.exec_driver_sql("UPDATE counter SET value = 1")
        first.commit()
    assert value_in(sqlite) == 1


def test_a_page_view_only_reads_and_a_post_may_write() -> None:
    app = Flask("reads")
    app.before_request(web._know_whether_we_write)
    app.teardown_request(web._forget_whether_we_write)
    seen = []

    @app.route("/", methods=["GET", "POST", "DELETE"])
    def view() -> str:
        seen.append(only_reads.get())
        return ""

    client = app.test_client()
    for ask in (client.get, client.post, client.head, client.delete, client.get):
        ask("/")
    assert seen == [True, False, True, False, True]
    assert only_reads.get() is False


def test_a_question_that_takes_too_long_is_given_up_and_the_transaction_goes_on(context: None) -> None:
    numbers = select(literal(1).label("n")).cte(recursive=True)
    numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < 10**9))
    endless = select(func.count()).select_from(numbers)
    made = make.user("somebody@golub.test")
    began = time.monotonic()
    with pytest.raises(TookTooLong), time_limit(db.session(), 0.2):
        db.session.scalar(endless)
    assert time.monotonic() - began < BUSY_SECONDS
    with time_limit(db.session(), 0.2):
        assert db.session.scalar(select(func.count()).select_from(User).where(User.id == made.id)) == 1
    # Outside of it there is no limit any more, and what failed otherwise fails as it did.
    assert db.session.scalar(select(func.count()).select_from(numbers_up_to(300_000).subquery())) == 300_000
    with pytest.raises(OperationalError if is_sqlite() else ProgrammingError), time_limit(db.session(), 5):
        db.session.execute(text("SELECT nonsense FROM nowhere"))


def numbers_up_to(last: int) -> Select[Any]:
    numbers = select(literal(1).label("n")).cte(recursive=True)
    return select(numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < last)))


def is_sqlite() -> bool:
    return db.engine.dialect.name == "sqlite"
