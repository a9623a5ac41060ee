"""Something is disturbed between the planning and the due moment: each occurrence runs exactly once, and none is early.

Nothing here rings for a sweep or a dispatch: what heals is Golub's own.
"""

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from flask import Flask
from rq_scheduler import Scheduler
from sqlalchemy import select

from app import clock, create_app
from app.auth.models import User
from app.config import ROOT
from app.delivery.models import Run, RunStatus
from app.extensions import db
from app.mailings import jobs, service
from app.mailings.models import Audience, Mailing
from app.mailings.schedule import Period, Schedule
from app.mailings.service import Draft
from tests import make
from tests.chaos.conftest import NewWorld
from tests.chaos.parts import Process
from tests.chaos.world import REDIS_AWAY, Planted, World
from tests.waiting import PATIENCE_SECONDS, wait_until

RECIPIENTS = 2
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
SHIFTED = Path(__file__).with_name("shifted")


class Office:
    """Where mailings are planned as the pages do it, for a world's processes to send."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.app: Flask = create_app(world.settings)
        self.starts: dict[int, datetime] = {}
        with self.app.app_context():
            self._owner_id = make.user(f"{uuid4().hex}@golub.test").id
            db.session.commit()

    def plan(self, at: datetime, period: Period = Period.ONCE) -> Planted:
        """A mailing to some clients of its own: committed, and its alarm set."""
        name = f"o{uuid4().hex[:10]}"
        domain = f"{name}.test"
        before = self.world.mail.count
        with self.app.app_context():
            owner = db.session.get_one(User, self._owner_id)
            chosen = tuple(make.client(owner, f"c{n}@{domain}").id for n in range(RECIPIENTS))
            schedule = Schedule(start_at=at, end_at=None, period=period, timezone="Europe/Moscow")
            draft = Draft(name, make.message(owner).id, Audience.CHOSEN, None, chosen, schedule)
            mailing = service.create(owner, draft)
            db.session.commit()
            jobs.announce(mailing)
            self.starts[mailing.id] = mailing.next_run_at or at
            return Planted(mailing.id, domain, RECIPIENTS, before)

    def assert_each_once(self, planned: list[Planted], explained: tuple[str, ...] = ()) -> None:
        """Once they are sent, and everything has been looked through again: one run each, no letter twice, none early.

        explained: words of exceptions that the disturbance explains.
        """
        for mailing in planned:
            self.world.finish(mailing, PATIENCE_SECONDS, nudge=False)
        self.look_again()
        for mailing in planned:
            self.world.verdict(mailing, explained=explained)  # there, a mailing with two runs is an error
            at = self.starts[mailing.mailing_id]
            assert [run.scheduled_for for run in self.runs(mailing)] == [at]
            assert min(self.world.mail.accepted_at(mailing.domain)) >= at.timestamp(), "a letter left early"

    def look_again(self) -> None:
        """What the next sweep would do, without waiting for it."""
        with self.app.app_context():
            jobs.sweep()
            db.session.rollback()
        wait_until(self._is_idle, self.world.logs)

    def _is_idle(self) -> bool:
        with self.app.app_context():
            unfinished = db.session.scalar(select(Run.id).where(Run.status != RunStatus.DONE).limit(1))
            db.session.rollback()
        return unfinished is None and not self.redis.llen("rq:queue:default")

    def runs(self, mailing: Planted) -> list[Run]:
        with self.app.app_context():
            mine = select(Run).where(Run.mailing_id == mailing.mailing_id).order_by(Run.scheduled_for)
            return list(db.session.scalars(mine))

    @property
    def redis(self) -> redis.Redis:
        return self.world.client()

    def close(self) -> None:
        with self.app.app_context():
            db.engine.dispose()


@contextmanager
def office_of(world: World) -> Iterator[Office]:
    opened = Office(world)
    yield opened
    opened.close()


@pytest.fixture
def office(world: World) -> Iterator[Office]:
    with office_of(world) as opened:
        yield opened


def whole_second(in_seconds: float) -> datetime:
    return clock.whole_second_after(clock.now() + timedelta(seconds=in_seconds))


def test_two_schedulers_begin_each_occurrence_once(world: World, office: Office) -> None:
    second = Process("second", ("scheduler.py",), world.folder, world.scheduler.environment)
    second.start()
    try:
        wait_until(lambda: "scheduler.started" in second.output, lambda: second.output)
        first = whole_second(1.5)
        # Several at the same instant, some between two seconds.
        planned = [office.plan(first + timedelta(milliseconds=250) * (n // 3)) for n in range(9)]
        office.assert_each_once(planned)
        assert "Traceback" not in second.output
    finally:
        second.stop()


def test_a_scheduler_that_was_down_catches_up(world: World, office: Office) -> None:
    world.scheduler.kill()
    planned = [office.plan(whole_second(seconds)) for seconds in (0.5, 0.5, 1.5)]
    time.sleep(3)
    assert [run for mailing in planned for run in office.runs(mailing)] == []
    world.scheduler.start()
    office.assert_each_once(planned)


def test_redis_is_flushed_before_they_are_due(world: World, office: Office) -> None:
    planned = [office.plan(whole_second(seconds)) for seconds in (3, 3, 4)]
    office.redis.flushall()
    office.assert_each_once(planned, REDIS_AWAY)


@pytest.mark.parametrize(
    "empty",
    [
        pytest.param(True, id="and comes back empty"),
        pytest.param(False, id="and comes back with its file", marks=pytest.mark.chaos_full),
    ],
)
def test_redis_is_away_when_they_are_due(world: World, office: Office, empty: bool) -> None:
    planned = [office.plan(whole_second(1))]
    world.redis.stop()
    planned += [office.plan(whole_second(seconds)) for seconds in (1, 4)]  # their alarms can't even be set
    time.sleep(2)
    world.redis.start(empty=empty)
    office.assert_each_once(planned, REDIS_AWAY)


@pytest.fixture
def shifted_office(
    new_world: NewWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Office, Callable[[timedelta], None]]]:
    """An office in a world whose clock can be set, and how to set it: so far from the true one."""
    shift = tmp_path / "shift"
    true_now = clock.now

    def step(by: timedelta) -> None:
        fresh = tmp_path / "fresh"
        fresh.write_text(str(by.total_seconds()))
        fresh.rename(shift)
        monkeypatch.setattr(clock, "now", lambda: true_now() + by)

    step(timedelta(0))
    variables = {"PYTHONPATH": os.pathsep.join(map(str, (SHIFTED, ROOT))), "SHIFT": str(shift)}
    with new_world(variables=variables) as world, office_of(world) as opened:
        yield opened, step


@pytest.mark.chaos_full
def test_the_clock_is_set_forward_by_a_day_and_back(
    shifted_office: tuple[Office, Callable[[timedelta], None]],
) -> None:
    office, step = shifted_office
    daily, later = office.plan(start := whole_second(1), Period.DAILY), office.plan(whole_second(3600))
    wait_for_letters(office, daily, 1)
    assert office.runs(later) == []

    step(DAY + timedelta(hours=2))
    wait_for_letters(office, daily, 2)
    wait_for_letters(office, later, 1)

    step(timedelta(0))
    soon, without_alarm = (office.plan(whole_second(seconds)) for seconds in (1.5, 3.5))
    office.redis.zrem(Scheduler.scheduled_jobs_key, *alarms(office)[1:])
    wait_for_letters(office, soon, 1)
    wait_for_letters(office, without_alarm, 1)  # the sweep does not wait until the clock is where it was

    office.look_again()
    runs = list(itertools.chain(*map(office.runs, (daily, later, soon, without_alarm))))
    assert [run.scheduled_for for run in runs] == [
        start,
        start + DAY,
        *(office.starts[mailing.mailing_id] for mailing in (later, soon, without_alarm)),
    ]
    assert all(run.created_at >= run.scheduled_for and run.missed is None for run in runs)
    for mailing, times in ((daily, 2), (later, 1), (soon, 1), (without_alarm, 1)):
        assert set(office.world.mail.accepted(mailing.domain).values()) == {times}
    with office.app.app_context():
        assert db.session.get_one(Mailing, daily.mailing_id).next_run_at == start + 2 * DAY


def wait_for_letters(office: Office, mailing: Planted, times: int) -> None:
    def have_come() -> bool:
        return office.world.mail.accepted(mailing.domain).total() >= times * RECIPIENTS

    wait_until(have_come, office.world.logs)


def alarms(office: Office) -> list[bytes]:
    """Ids of the alarms that are set, the next one first."""
    found = office.redis.zrange(Scheduler.scheduled_jobs_key, 0, -1)
    return [name for name in found if name.startswith(b"alarm-")]  # type: ignore[union-attr]
