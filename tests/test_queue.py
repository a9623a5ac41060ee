"""The queue: hints only, so it may lose them, but must not multiply them or take anything down."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from rq import Queue
from rq.job import Job
from rq_scheduler import Scheduler

from app import clock, queue
from app.auth.models import Letter, LetterKind
from app.config import Settings
from app.extensions import db
from tests import make, processes
from tests.smtp import RecordingSmtp

# rq-scheduler asks for the time in a way that Python 3.12 no longer likes.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning")

NOTED: list[tuple[str, tuple[int, ...]]] = []


@queue.job()
def note(*ids: int) -> None:
    NOTED.append(("note", ids))


@queue.job(urgent=True)
def shout(*ids: int) -> None:
    NOTED.append(("shout", ids))


@queue.job()
def note_again(*ids: int) -> None:
    NOTED.append(("note_again", ids))
    if len(NOTED) < 3:
        queue.enqueue(note_again, *ids)


@queue.job()
def stumble() -> None:
    raise RuntimeError("on purpose")


@pytest.fixture(autouse=True)
def _forget(context: None) -> Iterator[None]:
    NOTED.clear()
    yield
    NOTED.clear()


@pytest.fixture
def away(app: Flask, settings: Settings, tmp_path: Path) -> Iterator[None]:
    """Redis is away."""
    app.config["SETTINGS"] = settings.model_copy(update={"redis_url": f"unix://{tmp_path}/nobody.sock?db=0"})
    yield
    app.config["SETTINGS"] = settings


def waiting() -> list[str]:
    """What stands in the queue, first come first."""
    return [str(job.description).split(".")[-1] for job in Queue(queue.QUEUE_NAME, connection=queue.connection()).jobs]


def scheduler() -> Scheduler:
    return Scheduler(queue.QUEUE_NAME, connection=queue.connection())


def alarms() -> list[tuple[str, float]]:
    """Job ids and their moments, in seconds since the epoch."""
    found = queue.connection().zrange(Scheduler.scheduled_jobs_key, 0, -1, withscores=True)
    return [(name.decode(), moment) for name, moment in found]  # type: ignore[union-attr]


def events(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record.msg for record in caplog.records if record.name == "app.queue"]


# Enqueueing


def test_a_job_runs_with_its_ids(run_jobs: Callable[[], None]) -> None:
    queue.enqueue(note, 1, 2)
    queue.enqueue(note)
    run_jobs()
    assert NOTED == [("note", (1, 2)), ("note", ())]


def test_the_same_call_waits_once(run_jobs: Callable[[], None]) -> None:
    for _ in range(5):
        queue.enqueue(note, 1)
    queue.enqueue(note, 2)
    queue.enqueue_many([(note, (1,)), (note, (3,)), (note, (3,)), (shout, (1,))])
    assert queue.queue_depth() == 4
    run_jobs()
    assert sorted(NOTED) == [("note", (1,)), ("note", (2,)), ("note", (3,)), ("shout", (1,))]


def test_ids_that_look_alike_are_different_calls() -> None:
    queue.enqueue(note, 1, 11)
    queue.enqueue(note, 11, 1)
    queue.enqueue(note, 111)
    assert queue.queue_depth() == 3


def test_what_has_run_can_be_queued_again(run_jobs: Callable[[], None]) -> None:
    for _ in range(2):
        queue.enqueue(note, 1)
        run_jobs()
    assert len(NOTED) == 2


def test_what_has_begun_can_be_queued_again(run_jobs: Callable[[], None]) -> None:
    """It may have looked at the state before the change that asks for it."""
    queue.enqueue(note_again, 1)
    run_jobs()
    assert len(NOTED) == 3


def test_what_failed_can_be_queued_again(run_jobs: Callable[[], None]) -> None:
    for _ in range(2):
        queue.enqueue(stumble)
        assert queue.queue_depth() == 1
        with pytest.raises(AssertionError, match="on purpose"):
            run_jobs()
    assert len(list(queue.failed_jobs())) == 2


def test_a_job_that_never_starts_blocks_its_twin_for_a_while_only() -> None:
    queue.enqueue(note, 1)
    assert 0 < queue.connection().ttl(queue.QUEUED_MARK + "note-1") <= queue.QUEUED_MARK_SECONDS  # type: ignore[operator]


def test_urgent_jobs_come_first(run_jobs: Callable[[], None]) -> None:
    queue.enqueue_many((note, (number,)) for number in range(3))
    queue.enqueue(shout, 1)
    assert [line.split("(")[0] for line in waiting()] == ["shout", "note", "note", "note"]
    run_jobs()
    assert NOTED[0] == ("shout", (1,))


def test_nothing_to_enqueue_is_no_work() -> None:
    queue.enqueue_many([])
    queue.enqueue_many(iter(()))
    assert queue.queue_depth() == 0


def test_thousands_are_quick() -> None:
    begun = time.monotonic()
    queue.enqueue_many((note, (number,)) for number in range(3000))
    assert queue.queue_depth() == 3000
    assert time.monotonic() - begun < 15


def test_a_finished_job_leaves_nothing_behind(run_jobs: Callable[[], None]) -> None:
    queue.enqueue(note, 1)
    run_jobs()
    left = {key.decode() for key in queue.connection().scan_iter("*")}
    assert not [key for key in left if key.startswith(("rq:job:", "rq:results:", queue.QUEUED_MARK))]


def test_a_failed_job_keeps_its_traceback(run_jobs: Callable[[], None]) -> None:
    queue.enqueue(stumble)
    with pytest.raises(AssertionError):
        run_jobs()
    (job,) = queue.failed_jobs()
    result = job.latest_result()
    assert result is not None
    assert "RuntimeError: on purpose" in str(result.exc_string)


# Alarms


def test_an_alarm_is_rounded_up() -> None:
    queue.alarm(datetime(2030, 1, 1, 9, 0, 0, 1, tzinfo=UTC), note)
    assert alarms() == [("alarm-note-1893488401", datetime(2030, 1, 1, 9, 0, 1, tzinfo=UTC).timestamp())]


def test_an_alarm_keeps_its_instant_whatever_the_zone() -> None:
    queue.alarm(datetime(2030, 1, 1, 12, tzinfo=clock.zone("Europe/Moscow")), note)
    assert alarms()[0][1] == datetime(2030, 1, 1, 9, tzinfo=UTC).timestamp()


def test_many_alarms_for_one_instant_are_one() -> None:
    at = clock.now().replace(microsecond=0) + timedelta(hours=1)
    for microseconds in (0, 0, 999_999):
        queue.alarm(at - timedelta(microseconds=microseconds), note, 7)
    assert len(alarms()) == 1
    queue.alarm(at, note, 8)
    queue.alarm(at, shout, 7)
    queue.alarm(at + timedelta(seconds=1), note, 7)
    assert len(alarms()) == 4


def test_an_alarm_that_is_due_runs_once_and_leaves_nothing(run_jobs: Callable[[], None]) -> None:
    queue.alarm(clock.now() - timedelta(seconds=2), note, 7)
    scheduler().enqueue_jobs()
    scheduler().enqueue_jobs()
    run_jobs()
    assert NOTED == [("note", (7,))]
    assert alarms() == []
    assert not list(queue.connection().scan_iter("rq:job:*"))


def test_an_alarm_that_is_not_due_stays() -> None:
    queue.alarm(clock.now() + timedelta(seconds=60), note)
    scheduler().enqueue_jobs()
    assert queue.queue_depth() == 0
    assert len(alarms()) == 1


def test_an_urgent_alarm_goes_to_the_front() -> None:
    queue.enqueue_many((note, (number,)) for number in range(3))
    queue.alarm(clock.now() - timedelta(seconds=2), shout)
    scheduler().enqueue_jobs()
    assert waiting()[0].startswith("shout")


# Periodic jobs


def test_a_periodic_job_is_registered_once() -> None:
    for _ in range(5):
        queue.register_periodic(scheduler(), shout, timedelta(seconds=30))
    assert [name for name, _ in alarms()] == ["periodic-shout"]
    job = Job.fetch("periodic-shout", connection=queue.connection())
    assert (job.meta["interval"], job.result_ttl, job.timeout) == (30, -1, queue.JOB_TIMEOUT_SECONDS)


def test_a_periodic_job_comes_back_after_a_flush() -> None:
    queue.register_periodic(scheduler(), shout, timedelta(seconds=30))
    queue.connection().flushall()
    queue.register_periodic(scheduler(), shout, timedelta(seconds=30))
    assert [name for name, _ in alarms()] == ["periodic-shout"]


def test_a_periodic_job_comes_back_when_its_body_is_lost() -> None:
    """Redis may evict a key, or an operator may empty a registry."""
    queue.register_periodic(scheduler(), shout, timedelta(seconds=30))
    Job.fetch("periodic-shout", connection=queue.connection()).delete()
    for _ in range(2):
        queue.register_periodic(scheduler(), shout, timedelta(seconds=30))
        scheduler().enqueue_jobs()
    assert queue.queue_depth() == 1
    assert [name for name, _ in alarms()] == ["periodic-shout"]


def test_a_periodic_job_runs_again_and_again(run_jobs: Callable[[], None]) -> None:
    queue.register_periodic(scheduler(), shout, timedelta(seconds=30))
    for turn in range(1, 4):
        scheduler().enqueue_jobs()
        run_jobs()
        assert len(NOTED) == turn
        ((name, moment),) = alarms()
        assert time.time() + 25 < moment < time.time() + 31
        queue.connection().zadd(Scheduler.scheduled_jobs_key, {name: time.time() - 1})


# Redis away


@pytest.mark.parametrize(
    "ask",
    [
        lambda: queue.enqueue(note, 1),
        lambda: queue.enqueue_many([(note, (1,)), (shout, (2,))]),
        lambda: queue.alarm(clock.now() + timedelta(hours=1), note, 1),
    ],
)
@pytest.mark.usefixtures("away")
def test_with_redis_away_asking_for_a_job_is_one_warning(
    caplog: pytest.LogCaptureFixture, ask: Callable[[], None]
) -> None:
    begun = time.monotonic()
    ask()
    assert time.monotonic() - begun < 3, "a page waits for this"
    (event,) = events(caplog)
    assert event["event"] == "queue.away"
    assert "sweep" in event["help"]


@pytest.mark.usefixtures("away")
def test_with_redis_away_a_job_can_be_called_by_hand() -> None:
    """As the operator's commands do."""
    note(1)
    assert NOTED == [("note", (1,))]


@pytest.mark.usefixtures("away")
def test_with_redis_away_pages_live_on(app: Flask) -> None:
    assert app.test_client().get("/healthz").status_code == 200


def test_after_redis_was_away_all_is_well(away: None, app: Flask, settings: Settings) -> None:
    queue.enqueue(note, 1)
    app.config["SETTINGS"] = settings
    queue.enqueue(note, 1)
    assert queue.queue_depth() == 1


# Contexts


def test_a_job_uses_the_context_that_is_there(app: Flask) -> None:
    note(5)
    assert NOTED == [("note", (5,))]


def test_a_job_does_not_inherit_what_another_bound(caplog: pytest.LogCaptureFixture) -> None:
    import structlog  # noqa: PLC0415

    structlog.contextvars.bind_contextvars(run=1)
    note(1)
    assert structlog.contextvars.get_contextvars() == {"worker": queue.worker_name()}


# A plain RQ worker, without any of ours


def letter_to(address: str) -> int:
    person = make.user(address, verified_at=None)
    letter = Letter(kind=LetterKind.VERIFY, user_id=person.id)
    db.session.add(letter)
    db.session.flush()
    number = letter.id
    db.session.commit()  # and look at nothing after it: on SQLite that would lock the others out
    return number


def test_a_plain_rq_worker_runs_our_jobs(settings: Settings, smtp: RecordingSmtp, tmp_path: Path) -> None:
    from app.auth.jobs import send_letter  # noqa: PLC0415
    from app.mailings.jobs import sweep  # noqa: PLC0415

    queue.enqueue(send_letter, letter_to("anna@golub.test"))
    queue.enqueue(sweep)
    arguments = ("-m", "rq.cli", "worker", "--burst", "--url", settings.redis_url)
    with processes.running(settings, tmp_path / "log", *arguments) as worker:
        code = worker.wait()
        assert code == 0, worker.output
        assert "Traceback" not in worker.output
    assert queue.queue_depth() == 0
    assert list(queue.failed_jobs()) == []
    assert [letter.recipients for letter in smtp.letters] == [["anna@golub.test"]]
