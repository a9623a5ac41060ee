"""Each occurrence gives exactly one run, or one row that says why not: whoever dispatches, and whatever the clock does.

The same with real schedulers, workers and a Redis that goes away: tests/chaos/test_occurrences.py.
"""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from rq_scheduler import Scheduler
from sqlalchemy import select

from app import clock, queue
from app.auth.models import User
from app.config import Settings
from app.delivery.models import Run, RunStatus
from app.extensions import db
from app.mailings import jobs, service
from app.mailings.models import Audience, Mailing, Misfire
from app.mailings.schedule import Period, Schedule, occurrences_between
from app.mailings.service import Draft
from tests import make
from tests.processes import running

# rq-scheduler asks for the time in a way that Python 3.12 no longer likes.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning")

NOON = datetime(2027, 3, 20, 12, 0, tzinfo=UTC)  # a week before the clocks of Berlin change
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MAILINGS = 60
PROCESSES = 2
THREADS = 4  # of each process
# What a process does that was told the moment and waits for it, with all of its threads.
DISPATCHER = """
import sys, threading, time
from app.mailings import jobs
from app.queue import application

def dispatch():
    with application().app_context():
        time.sleep(max(0, float(sys.argv[1]) - time.time()))
        print(f"begun {jobs.begin_due_runs()}\\n", end="", flush=True)

application()
threads = [threading.Thread(target=dispatch) for _ in range(int(sys.argv[2]))]
for thread in threads:
    thread.start()
"""


@pytest.fixture
def user(context: None) -> User:
    return make.user("owner@golub.test", timezone="Europe/Berlin")


def plan(user: User, start_at: datetime, period: Period = Period.ONCE, **fields: object) -> Mailing:
    """As the form does it, committed, with its alarm."""
    schedule = Schedule(start_at=start_at, end_at=None, period=period, timezone="Europe/Berlin")
    mailing = service.create(user, Draft("News", make.message(user).id, Audience.ALL, None, (), schedule))
    for name, value in fields.items():
        setattr(mailing, name, value)
    db.session.commit()
    jobs.announce(mailing)
    return mailing


def runs_of(mailing: Mailing) -> list[Run]:
    return list(db.session.scalars(select(Run).where(Run.mailing_id == mailing.id).order_by(Run.scheduled_for)))


def alarms() -> list[tuple[str, datetime]]:
    """Ids and moments of the alarms that are set, the next one first."""
    scheduler = Scheduler(queue.QUEUE_NAME, connection=queue.connection())
    return [(job.id, at.replace(tzinfo=UTC)) for job, at in scheduler.get_jobs(with_times=True)]


class SetClock:
    """A clock that a test sets, and that runs on by a millisecond whenever somebody looks."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    made = SetClock(NOON)
    monkeypatch.setattr(clock, "now", made)
    return made


# ── Several at once ────────────────────────────────────────────────────────────────────────────────────────


def planned_for_now(user: User) -> None:
    start = clock.now() - timedelta(seconds=1)
    message = make.message(user)
    for n in range(MAILINGS):
        make.mailing(user, message=message, start_at=start, period=Period.DAILY if n % 2 else Period.ONCE)
    db.session.commit()


def assert_begun_once() -> None:
    db.session.rollback()
    found = db.session.execute(select(Run.mailing_id, Run.scheduled_for, Run.missed)).all()
    starts = dict(db.session.execute(select(Mailing.id, Mailing.start_at)).all())
    assert sorted(found) == sorted((number, start, None) for number, start in starts.items())


def test_threads_that_dispatch_at_the_same_instant(app: Flask, user: User) -> None:
    planned_for_now(user)

    def dispatch() -> int:
        with app.app_context():
            return jobs.begin_due_runs()

    with ThreadPoolExecutor(8) as pool:
        begun = [future.result(60) for future in [pool.submit(dispatch) for _ in range(8)]]
    assert sum(begun) == MAILINGS
    assert_begun_once()


def test_processes_that_dispatch_at_the_same_instant(settings: Settings, user: User, tmp_path: Path) -> None:
    planned_for_now(user)
    at = str(time.time() + 4)  # they have started by then
    with ExitStack() as stack:
        processes = [
            stack.enter_context(running(settings, tmp_path / f"log{n}", "-c", DISPATCHER, at, str(THREADS)))
            for n in range(PROCESSES)
        ]
        for process in processes:
            assert process.wait() == 0, process.output
    said = [line.split() for process in processes for line in process.output.splitlines() if line.startswith("begun ")]
    assert len(said) == PROCESSES * THREADS
    assert sum(int(words[1]) for words in said) == MAILINGS
    assert_begun_once()


# ── The clock steps ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("misfire", Misfire)
@pytest.mark.parametrize("seed", range(3))
def test_a_clock_that_jumps_about_loses_and_doubles_nothing(
    user: User, set_clock: SetClock, seed: int, misfire: Misfire
) -> None:
    """It runs on for two weeks, and is wrong by hours or days now and then."""
    chance = random.Random(seed)  # noqa: S311  the same jumps each time
    daily = plan(user, NOON + HOUR, Period.DAILY, misfire=misfire)
    weekly = plan(user, NOON + 2 * HOUR, Period.WEEKLY, misfire=misfire)
    once = plan(user, NOON + 3 * DAY, misfire=misfire)
    latest = true = NOON
    for _ in range(40):
        true += chance.choice([timedelta(minutes=10), HOUR, 18 * HOUR])
        set_clock.now = true + chance.choice([timedelta(0), timedelta(0), timedelta(0), HOUR, -HOUR, 2 * DAY, -3 * DAY])
        latest = max(latest, set_clock.now)
        jobs.begin_due_runs()
        assert all(run.scheduled_for <= latest for run in db.session.scalars(select(Run))), "too early"
        finish_all()
    assert_all_accounted_for([daily, weekly, once], latest)
    if misfire is Misfire.LATE:
        assert all(any(run.missed is None for run in runs_of(mailing)) for mailing in (daily, weekly, once))


def finish_all() -> None:
    """As if the workers had sent everything by now."""
    for run in db.session.scalars(select(Run).where(Run.status != RunStatus.DONE)):
        run.status = RunStatus.DONE
    db.session.commit()


def assert_all_accounted_for(mailings: list[Mailing], latest: datetime) -> None:
    """For each occurrence until the latest moment that the clock has shown exactly one row."""
    for mailing in mailings:
        runs = runs_of(mailing)
        due = list(occurrences_between(mailing.schedule, mailing.start_at, latest))
        assert [run.scheduled_for for run in runs] == due
        assert mailing.next_run_at is None or mailing.next_run_at > latest


def test_a_clock_set_back_does_not_run_anything_again(user: User, set_clock: SetClock) -> None:
    daily = plan(user, NOON + HOUR, Period.DAILY)
    set_clock.now = NOON + HOUR
    assert jobs.begin_due_runs() == 1
    finish_all()
    for back in (timedelta(seconds=5), HOUR, DAY):
        set_clock.now = NOON + HOUR - back
        assert jobs.begin_due_runs() == 0
    set_clock.now = NOON + HOUR + timedelta(seconds=1)
    assert jobs.begin_due_runs() == 0
    assert [run.scheduled_for for run in runs_of(daily)] == [NOON + HOUR]
    assert daily.next_run_at == NOON + HOUR + DAY


def test_nothing_begins_before_its_moment(user: User, set_clock: SetClock) -> None:
    plan(user, NOON + HOUR)
    set_clock.now = NOON + HOUR - timedelta(milliseconds=2)
    assert jobs.begin_due_runs() == 0
    assert jobs.begin_due_runs() == 1, "the clock has run on to the very moment"


# ── Alarms ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_however_many_share_an_instant_there_is_one_alarm(user: User) -> None:
    start = clock.now().replace(microsecond=0) + HOUR
    for n in range(12):
        plan(user, start - timedelta(milliseconds=80 * n))  # an alarm rings on the next whole second
    plan(user, start + timedelta(seconds=1))
    assert [at for _id, at in alarms()] == [start, start + timedelta(seconds=1)]


def test_a_moved_start_gets_an_alarm_of_its_own_and_the_old_one_does_no_harm(user: User, set_clock: SetClock) -> None:
    mailing = plan(user, NOON + HOUR)
    schedule = Schedule(start_at=NOON + 2 * HOUR, end_at=None, period=Period.ONCE, timezone="Europe/Berlin")
    service.edit(mailing, Draft("News", mailing.message_id, Audience.ALL, None, (), schedule))
    db.session.commit()
    jobs.announce(mailing)
    assert [at for _id, at in alarms()] == [NOON + HOUR, NOON + 2 * HOUR]
    set_clock.now = NOON + HOUR  # the old alarm rings
    jobs.dispatch_due()
    assert runs_of(mailing) == []
    set_clock.now = NOON + 2 * HOUR
    jobs.dispatch_due()
    assert [run.scheduled_for for run in runs_of(mailing)] == [NOON + 2 * HOUR]


def test_the_sweep_sets_the_alarms_again_that_redis_forgot(user: User, set_clock: SetClock) -> None:
    near = [NOON + timedelta(seconds=seconds) for seconds in (10, 10, 40, 119)]
    for start in near:
        plan(user, start)
    plan(user, NOON + HOUR)  # its turn comes when it is near
    queue.connection().flushdb()
    assert alarms() == []
    jobs.sweep()
    again = alarms()
    assert [at for _id, at in again] == sorted(set(near))
    jobs.sweep()
    assert alarms() == again


def test_a_periodic_mailing_has_its_next_alarm_before_it_is_due(user: User, set_clock: SetClock) -> None:
    plan(user, NOON + HOUR, Period.DAILY)
    set_clock.now = NOON + HOUR
    jobs.dispatch_due()
    queue.connection().flushdb()
    set_clock.now = NOON + HOUR + DAY - jobs.SWEEP_EVERY  # the last sweep before it
    jobs.sweep()
    assert [at for _id, at in alarms()] == [NOON + HOUR + DAY]
