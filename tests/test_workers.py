"""`worker.py` and `scheduler.py` as an operator runs them: killed, stopped, and left without Redis."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from redis import Redis
from rq import Queue, Worker
from rq_scheduler import Scheduler

from app import clock, queue
from app.auth.jobs import send_letter
from app.auth.models import Letter, LetterKind
from app.config import Settings
from app.extensions import db
from app.mailings.jobs import SWEEP_EVERY
from dev import servers
from tests import make
from tests.processes import Process, running
from tests.smtp import RecordingSmtp

pytestmark = pytest.mark.one_database

SWEEP = b"periodic-sweep"
HOURLY = {b"periodic-erase_closed_accounts", b"periodic-forget_old_logins"}
PERIODIC = {SWEEP, b"periodic-flush_views", b"periodic-tend_imports", b"periodic-bury_deleted"} | HOURLY
LATEST_SECONDS = 1.3  # after its second, on an idle machine; a busy one gets this much more:
BUSY_SECONDS = 30.0


@pytest.fixture
def redis(app: Flask, settings: Settings) -> Iterator[Redis]:
    """The suite's Redis; `app` empties it after the test, when no process is left."""
    with Redis.from_url(settings.redis_url) as client:
        yield client


@contextmanager
def workers(settings: Settings, folder: Path, count: int) -> Iterator[Process]:
    with running(settings, folder / "worker.log", "worker.py", "--count", str(count)) as process:
        yield process


@contextmanager
def scheduler(settings: Settings, folder: Path, name: str = "scheduler") -> Iterator[Process]:
    with running(settings, folder / f"{name}.log", "scheduler.py") as process:
        process.wait_for("scheduler.started")
        yield process


def pids(redis: Redis) -> set[int]:
    """Of the workers that said they are there, dead ones among them."""
    return {worker.pid for worker in Worker.all(connection=redis) if worker.pid}


def set_alarm(app: Flask, at: datetime, letter: int = 0) -> None:
    with app.app_context():
        queue.alarm(at, send_letter, letter)


def queued(redis: Redis) -> list[str]:
    return [name for name in Queue(queue.QUEUE_NAME, connection=redis).job_ids if name.encode() not in PERIODIC]


def scheduled(redis: Redis) -> list[bytes]:
    return redis.zrange(Scheduler.scheduled_jobs_key, 0, -1)  # type: ignore[return-value]


def next_sweep(redis: Redis) -> float:
    """When, in seconds since the epoch; 0 when nobody planned one."""
    return float(redis.zscore(Scheduler.scheduled_jobs_key, SWEEP) or 0)


def new_letter(app: Flask, address: str) -> int:
    with app.app_context():
        letter = Letter(kind=LetterKind.VERIFY, user_id=make.user(address, verified_at=None).id)
        db.session.add(letter)
        db.session.flush()
        number = letter.id
        db.session.commit()
        return number


# Workers


def test_workers_register_work_and_end(
    app: Flask, settings: Settings, smtp: RecordingSmtp, redis: Redis, tmp_path: Path
) -> None:
    letter = new_letter(app, "anna@golub.test")
    with workers(settings, tmp_path, 2) as process:
        process.until(lambda: len(pids(redis)) == 2)
        with app.app_context():
            queue.enqueue(send_letter, letter)
        process.until(lambda: smtp.to("anna@golub.test"))
        assert process.end() == 0
    assert "Traceback" not in process.output
    assert pids(redis) == set()
    assert len(smtp.letters) == 1


def test_a_killed_worker_is_replaced(app: Flask, settings: Settings, redis: Redis, tmp_path: Path) -> None:
    with workers(settings, tmp_path, 2) as process:
        process.until(lambda: len(pids(redis)) == 2)
        before = pids(redis)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        process.until(lambda: pids(redis) - before)
        (new,) = pids(redis) - before
        os.kill(new, 0)  # it is there
        assert process.is_running
        assert process.end() == 0
    assert "Traceback" not in process.output


def test_workers_wait_for_redis_to_come_back(
    app: Flask, settings: Settings, smtp: RecordingSmtp, own_redis: "OwnRedis", tmp_path: Path
) -> None:
    letter = new_letter(app, "anna@golub.test")
    own_redis.start()
    with workers(own_redis.settings, tmp_path, 1) as process:
        process.until(lambda: len(pids(own_redis.client)) == 1)
        own_redis.stop()
        time.sleep(1)
        own_redis.start()
        with own_redis.used_by(app):
            queue.enqueue(send_letter, letter)
        process.until(lambda: smtp.to("anna@golub.test"))
        assert process.end() == 0
    assert len(smtp.letters) == 1


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_a_senseless_count_is_one_line(settings: Settings, tmp_path: Path, count: str) -> None:
    with running(settings, tmp_path / "log", "worker.py", "--count", count) as process:
        assert process.wait() == 2
    assert "--count" in process.output
    assert "Traceback" not in process.output


def test_in_production_every_line_of_theirs_is_json(
    app: Flask, settings: Settings, smtp: RecordingSmtp, redis: Redis, tmp_path: Path
) -> None:
    production = settings.model_copy(update={"app_env": "production", "secret_key": "0123456789abcdef" * 4})
    letter = new_letter(app, "anna@golub.test")
    with workers(production, tmp_path, 1) as worker, scheduler(production, tmp_path) as planner:
        worker.until(lambda: len(pids(redis)) == 1)
        with app.app_context():
            queue.enqueue(send_letter, letter)
        worker.until(lambda: "letter.sent" in worker.output)
        assert planner.end() == 0
        assert worker.end() == 0
    said = [json.loads(line) for line in (worker.output + planner.output).splitlines()]
    assert {"worker.started", "letter.sent", "worker.stopped", "scheduler.started"} <= {line["event"] for line in said}
    assert "anna@golub.test" not in worker.output


# The scheduler


def test_the_scheduler_ends_when_asked(app: Flask, settings: Settings, redis: Redis, tmp_path: Path) -> None:
    with scheduler(settings, tmp_path) as process:
        process.until(lambda: SWEEP in scheduled(redis))
        with app.app_context():
            assert queue.scheduler_alive()
        assert process.end() == 0
    assert "Traceback" not in process.output
    assert not redis.exists(Scheduler.scheduler_lock_key)
    with app.app_context():
        assert not queue.scheduler_alive()


def test_an_alarm_is_never_early_and_hardly_late(app: Flask, settings: Settings, redis: Redis, tmp_path: Path) -> None:
    with scheduler(settings, tmp_path) as process:
        for microsecond in (0, 999_999):
            at = clock.now().replace(microsecond=microsecond) + timedelta(seconds=2)
            due = clock.whole_second_after(at)
            set_alarm(app, at, microsecond)
            process.until(lambda: queued(redis))
            late = (clock.now() - due).total_seconds()
            redis.delete("rq:queue:default")
            assert 0 <= late < LATEST_SECONDS + BUSY_SECONDS, f"{late} s after its second"


def test_the_sweep_is_back_after_a_flush(app: Flask, settings: Settings, redis: Redis, tmp_path: Path) -> None:
    with scheduler(settings, tmp_path) as process:
        process.until(lambda: SWEEP in scheduled(redis))
        redis.flushall()
        process.until(lambda: SWEEP in scheduled(redis))
        assert process.is_running


def test_the_sweep_does_not_wait_for_a_clock_that_was_set_back(
    app: Flask, settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    with scheduler(settings, tmp_path) as process:
        process.until(lambda: next_sweep(redis) > time.time())
        redis.zadd(Scheduler.scheduled_jobs_key, {SWEEP: time.time() + 3600})
        process.until(lambda: next_sweep(redis) < time.time() + 60)


def test_the_sweep_comes_at_once_when_redis_is_back(own_redis: "OwnRedis", tmp_path: Path) -> None:
    """What was planned meanwhile has no alarm."""
    own_redis.start()
    with scheduler(own_redis.settings, tmp_path) as process:
        process.until(lambda: next_sweep(own_redis.client) > time.time())
        turn = time.time() + 1.9 * SWEEP_EVERY.total_seconds()
        own_redis.client.zadd(Scheduler.scheduled_jobs_key, {SWEEP: turn})
        own_redis.client.delete("rq:queue:default")
        own_redis.stop()
        process.wait_for("redis.away")
        own_redis.start()
        process.until(lambda: SWEEP in own_redis.client.lrange("rq:queue:default", 0, -1))
        assert next_sweep(own_redis.client) < turn


def test_without_workers_sweeps_do_not_pile_up(app: Flask, settings: Settings, redis: Redis, tmp_path: Path) -> None:
    with scheduler(settings, tmp_path) as process:
        process.until(lambda: next_sweep(redis) > time.time())
        for _ in range(2):
            redis.zadd(Scheduler.scheduled_jobs_key, {SWEEP: time.time() - 1})
            process.until(lambda: next_sweep(redis) > time.time())
        waiting = redis.lrange("rq:queue:default", 0, -1)
        assert sorted(waiting) == sorted(PERIODIC)  # type: ignore[type-var]


def test_two_schedulers_do_no_harm(
    app: Flask, settings: Settings, smtp: RecordingSmtp, redis: Redis, tmp_path: Path
) -> None:
    letter = new_letter(app, "anna@golub.test")
    with ExitStack() as stack:
        for name in ("first", "second"):
            stack.enter_context(scheduler(settings, tmp_path, name))
        worker = stack.enter_context(workers(settings, tmp_path, 2))
        worker.until(lambda: len(pids(redis)) == 2)
        for seconds in (1, 2):
            set_alarm(app, clock.now() + timedelta(seconds=seconds), letter)
        worker.until(lambda: set(scheduled(redis)) == PERIODIC and not queued(redis))
        worker.until(lambda: smtp.to("anna@golub.test"))
        time.sleep(1)  # for a second letter, if there were one
    assert len(smtp.letters) == 1


def test_one_of_two_schedulers_is_enough(app: Flask, settings: Settings, redis: Redis, tmp_path: Path) -> None:
    with scheduler(settings, tmp_path, "first") as first, scheduler(settings, tmp_path, "second") as second:
        os.kill(first.pid, signal.SIGKILL)
        set_alarm(app, clock.now() + timedelta(seconds=1))
        # Killed with the lock in its hand, it would hold the other one up until the lock ends.
        second.until(lambda: queued(redis))


# The scheduler without Redis


class OwnRedis:
    """A Redis on a port of its own that can be stopped and started again, and remembers."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._folder = folder
        self._port = servers.free_port()
        self._server: servers.RunningServer | None = None
        self.settings = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{self._port}/0"})
        self.client = Redis.from_url(self.settings.redis_url)

    def start(self) -> None:
        self._server = servers.start_redis(self._folder, socket=None, port=self._port, persistent=True)

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()

    @contextmanager
    def used_by(self, app: Flask) -> Iterator[None]:
        """An application context in which jobs and alarms go there."""
        before = app.config["SETTINGS"]
        app.config["SETTINGS"] = self.settings
        try:
            with app.app_context():
                yield
        finally:
            app.config["SETTINGS"] = before


@pytest.fixture
def own_redis(app: Flask, settings: Settings, tmp_path: Path) -> Iterator[OwnRedis]:
    own = OwnRedis(settings, tmp_path)
    yield own
    own.stop()
    own.client.close()


def test_the_scheduler_waits_for_redis_and_says_so_once(app: Flask, own_redis: OwnRedis, tmp_path: Path) -> None:
    own_redis.start()
    with scheduler(own_redis.settings, tmp_path) as process:
        process.until(lambda: SWEEP in scheduled(own_redis.client))
        own_redis.stop()
        process.wait_for("redis.away")
        time.sleep(2.5)
        assert process.is_running
        own_redis.start()
        process.wait_for("redis.back")
        with own_redis.used_by(app):
            queue.alarm(clock.now() + timedelta(seconds=1), send_letter, 0)
        process.until(lambda: queued(own_redis.client))
        assert process.end() == 0
    assert process.output.count("redis.away") == 1
    assert process.output.count("redis.back") == 1
    assert "Traceback" not in process.output


def test_the_scheduler_may_start_before_redis_and_end_without_it(own_redis: OwnRedis, tmp_path: Path) -> None:
    with scheduler(own_redis.settings, tmp_path) as process:
        process.wait_for("redis.away")
        own_redis.start()
        process.wait_for("redis.back")
        own_redis.stop()
        process.until(lambda: process.output.count("redis.away") == 2)
        assert process.end() == 0
    assert "Traceback" not in process.output
