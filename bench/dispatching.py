"""From what is due to runs: a hundred thousand planned mailings, of which ten thousand are due, or none."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from statistics import median

from sqlalchemy import delete, insert, select, text, update

from app import clock
from app.delivery.models import Run
from app.extensions import db
from app.mailings import jobs
from app.mailings.models import Mailing, MailingStatus
from app.mailings.schedule import Period
from bench.figures import Figure
from bench.world import HTML, TEXT, world
from tests import make

KEYS = ("dispatch_10k_due_s", "dispatch_none_due_ms")
PLANNED = 100_000
DUE = 10_000
OWNERS = 100
ROUNDS = 3
LOOKS = 300
NO_SERVER = 1  # a port that nobody is asked at
ZONES = ("UTC", "Europe/Moscow", "America/New_York", "Asia/Kolkata", "Australia/Sydney")
PERIODS = (Period.ONCE, Period.DAILY, Period.WEEKLY, Period.MONTHLY)


def measure() -> dict[str, Figure]:
    """`begin_due_runs`, from its beginning until the last run is committed: on PostgreSQL, beside it on SQLite."""
    ten_thousand, none = _seconds_of("postgresql")
    sqlite_ten_thousand, sqlite_none = _seconds_of("sqlite")
    what = f"{PLANNED:,} planned mailings of {OWNERS} owners, once to monthly, in {len(ZONES)} time zones, PostgreSQL"
    due = f"{what}: {DUE:,} of them due, each with a letter of 8 kB to freeze, median of {ROUNDS} rounds"
    idle = f"{what}: none of them due, median of {LOOKS}"
    return {
        "dispatch_10k_due_s": Figure(round(ten_thousand, 2), "≤ 3", "s", f"{due}; SQLite {sqlite_ten_thousand:.2f} s"),
        "dispatch_none_due_ms": Figure(
            round(none * 1000, 2), "≤ 5", "ms", f"{idle}; SQLite {sqlite_none * 1000:.2f} ms"
        ),
    }


def _seconds_of(database: str) -> tuple[float, float]:
    """With ten thousand due, and with none."""
    with planned(database) as due_ids:
        some = []
        for _ in range(ROUNDS):
            make_due(due_ids)
            some.append(_seconds(_begin_all))
        none = [_seconds(jobs.begin_due_runs) for _ in range(LOOKS)]
    return median(some), median(none)


@contextmanager
def planned(database: str) -> Iterator[list[int]]:
    """An application context in which so many mailings are planned for the next days; ids of those to become due."""
    with world(database, NO_SERVER, log_level="WARNING") as here, here.app.app_context():
        for owner_number in range(OWNERS):
            _plan(owner_number, PLANNED // OWNERS)
        db.session.commit()
        ids = db.session.scalars(select(Mailing.id).order_by(Mailing.id)).all()
        yield list(ids[:: PLANNED // DUE])


def _plan(owner_number: int, count: int) -> None:
    owner = make.user(f"bench{owner_number}@golub.test")
    message = make.message(owner, subject="News for {{ first_name }}", html=HTML, text=TEXT)
    pattern = make.mailing(owner, message=message)
    names = [column.name for column in Mailing.__table__.columns if column.name != "id"]
    row = {name: getattr(pattern, name) for name in names}
    ahead = [clock.now() + timedelta(days=1, seconds=60 * n) for n in range(count)]
    rows = [
        row
        | {"period": PERIODS[n % len(PERIODS)], "timezone": ZONES[n % len(ZONES)], "start_at": at, "next_run_at": at}
        for n, at in enumerate(ahead)
    ]
    db.session.delete(pattern)
    db.session.execute(insert(Mailing), rows)


def make_due(ids: list[int]) -> None:
    """As if their moment had come just now and nothing of them had ever run."""
    now = clock.now()
    db.session.execute(delete(Run))
    db.session.execute(
        update(Mailing)
        .where(Mailing.id.in_(ids))
        .values(start_at=now, next_run_at=now, status=MailingStatus.CREATED)
        .execution_options(synchronize_session=False)
    )
    db.session.commit()
    # What the database does by itself sooner or later, so that it does not do it just now.
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE" if connection.dialect.name == "postgresql" else "ANALYZE"))


def _begin_all() -> None:
    begun = jobs.begin_due_runs()
    if begun != DUE:
        raise RuntimeError(f"{begun} runs have begun, {DUE} mailings were due")


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
