"""The only module that knows RQ and rq-scheduler.

Redis holds hints, the database the truth: a job that is lost here is enqueued again by the sweep, so nothing in this
module raises when Redis is away, and every job may run twice without harm.
"""

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import cache, wraps
from importlib import import_module
from typing import Any, Protocol, cast
from uuid import uuid4

import structlog
from flask import Flask, current_app, has_app_context
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue, Worker
from rq.job import Job
from rq_scheduler import Scheduler

from app import clock

log = structlog.get_logger(__name__)

QUEUE_NAME = "default"  # what a plain `rq worker` listens to
JOB_TIMEOUT_SECONDS = 600
# A queued job that never starts (its worker died between taking and starting it) blocks its twins no longer than this.
QUEUED_MARK_SECONDS = 120
QUEUED_MARK = "golub:queued:"


class JobFunction(Protocol):
    """A function made by `@job`."""

    __module__: str
    __qualname__: str
    urgent: bool

    def __call__(self, *ids: int) -> None: ...


def job(*, urgent: bool = False) -> Callable[[Callable[..., None]], JobFunction]:
    """Make a function one that RQ can run: it gets an application context where there is none, and takes ids only.

    Urgent jobs go to the front of the queue: what is due now must not wait behind a big mailing's next slice.
    """

    def decorate(function: Callable[..., None]) -> JobFunction:
        @wraps(function)
        def run(*ids: int) -> None:
            with _application_context():
                # From here on the state has to be looked at anew, so a further call is no repetition any more.
                with suppress(RedisError):  # called by hand while Redis is away; the mark ends by itself
                    connection().delete(_mark(run, ids))
                structlog.contextvars.clear_contextvars()
                structlog.contextvars.bind_contextvars(worker=worker_name())
                function(*ids)

        run.urgent = urgent  # type: ignore[attr-defined]
        return cast("JobFunction", run)

    return decorate


def enqueue(function: JobFunction, *ids: int) -> None:
    """Have a worker run `function(*ids)` soon. Commit first: a worker may start within a millisecond.

    While the same call waits in the queue already, nothing is added: the waiting one will see the newest state.
    """
    enqueue_many([(function, ids)])


def enqueue_many(calls: Iterable[tuple[JobFunction, tuple[int, ...]]]) -> None:
    """The same for many calls, in two round trips."""
    calls = list(calls)
    if not calls:
        return
    try:
        redis = connection()
        with redis.pipeline(transaction=False) as marks:
            for function, ids in calls:
                marks.set(_mark(function, ids), 1, nx=True, ex=QUEUED_MARK_SECONDS)
            fresh = [call for call, is_new in zip(calls, marks.execute(), strict=True) if is_new]
        queue = Queue(QUEUE_NAME, connection=redis)
        with redis.pipeline() as pipe:
            for function, ids in fresh:
                queue.enqueue_call(
                    _path(function),
                    args=ids,
                    job_id=f"{_call_name(function, ids)}-{uuid4().hex}",
                    timeout=JOB_TIMEOUT_SECONDS,
                    result_ttl=0,
                    failure_ttl=7 * 24 * 3600,
                    at_front=function.urgent,
                    pipeline=pipe,
                )
            pipe.execute()
    except RedisError as error:
        log.warning("queue.away", error=str(error), jobs=len(calls), help="the sweep will enqueue them again")


def enqueue_lost(calls: Iterable[tuple[JobFunction, tuple[int, ...]]]) -> None:
    """The same for calls whose job may have been lost with its worker: its mark would hold back every other one."""
    calls = list(calls)
    try:
        redis = connection()
        waiting = redis.lrange(Queue(QUEUE_NAME, connection=redis).key, 0, -1)
        names = {job_id.decode().rpartition("-")[0] for job_id in waiting}  # type: ignore[union-attr]
        if lost := [_mark(function, ids) for function, ids in calls if _call_name(function, ids) not in names]:
            redis.delete(*lost)
    except RedisError as error:
        log.warning("queue.away", error=str(error), jobs=len(calls), help="the next sweep will enqueue them")
        return
    enqueue_many(calls)


def alarm(at: datetime, function: JobFunction, *ids: int) -> None:
    """Have rq-scheduler enqueue `function(*ids)` at that instant, rounded up to a whole second.

    The job's id carries the call and the instant, so however many ask for the same one, one job comes of it.
    """
    due = clock.whole_second_after(at)
    try:
        set_job = Scheduler(QUEUE_NAME, connection=connection()).enqueue_at(
            due,
            _path(function),
            *ids,
            job_id=f"alarm-{_call_name(function, ids)}-{int(due.timestamp())}",
            job_result_ttl=0,
            timeout=JOB_TIMEOUT_SECONDS,
        )
        # rq-scheduler's own at_front is set after it has saved the job, and so forgotten.
        set_job.enqueue_at_front = function.urgent
        set_job.save()
    except RedisError as error:
        log.warning("queue.away", error=str(error), alarm=due.isoformat(), help="the sweep will set it again")


def register_periodic(scheduler: Scheduler, function: JobFunction, every: timedelta, *, at_once: bool = False) -> None:
    """Make sure that rq-scheduler knows this periodic job, once, however often this is called.

    at_once: its turn is now, whenever it would have been.
    """
    job_id = f"periodic-{_call_name(function, ())}"
    planned_for = scheduler.connection.zscore(scheduler.scheduled_jobs_key, job_id)
    # Further ahead than it was ever set: the clock has been set back since, and would keep it away for as long.
    is_near = planned_for is not None and float(planned_for) <= (clock.now() + 2 * every).timestamp()
    if is_near and not at_once:
        return
    scheduler.schedule(
        clock.now(),
        _path(function),
        interval=int(every.total_seconds()),
        id=job_id,
        result_ttl=-1,  # with any other, RQ would delete the job after its first run
        timeout=JOB_TIMEOUT_SECONDS,
        at_front=function.urgent,
    )


def worker_name() -> str:
    """This process, for people who read the log or look into the claims: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"[:100]


def connection() -> Redis:
    return _connection(current_app.config["SETTINGS"].redis_url)


@cache
def _connection(url: str) -> Redis:
    # Short timeouts and no second try: a page must not hang because Redis does.
    return Redis.from_url(url, socket_connect_timeout=2, socket_timeout=5, retry=Retry(NoBackoff(), 0))


def queue_depth() -> int:
    return Queue(QUEUE_NAME, connection=connection()).count


def others_wait(function: JobFunction) -> bool:
    """Whether a job of another kind is the next in the queue. Urgent ones always are."""
    try:
        first = connection().lindex(Queue(QUEUE_NAME, connection=connection()).key, 0)
    except RedisError:
        return False
    return first is not None and not first.decode().startswith(f"{_call_name(function, ())}-")  # type: ignore[union-attr]


def failed_jobs() -> Iterator[Job]:
    """The jobs that ended with an exception within the last week, newest first."""
    queue = Queue(QUEUE_NAME, connection=connection())
    ids = queue.failed_job_registry.get_job_ids()
    for found in reversed(Job.fetch_many(ids, connection=connection())):
        if found is not None:
            yield found


def workers_alive() -> int:
    """How many workers listen to our queue.

    One that was killed counts until its last heartbeat runs out: at most 105 s for `worker.py`, 8 min for `rq worker`.

    Raises:
        redis.RedisError
    """
    return len(Worker.all(queue=Queue(QUEUE_NAME, connection=connection())))


def scheduler_alive() -> bool:
    """Whether a scheduler has passed within the last dozen seconds and has not said good-bye since.

    Raises:
        redis.RedisError
    """
    redis = connection()
    instances = redis.scan_iter(f"{Scheduler.redis_scheduler_namespace_prefix}*", count=1000)
    return any(redis.hexists(instance, "birth") and not redis.hexists(instance, "death") for instance in instances)


def _call_name(function: Any, ids: tuple[int, ...]) -> str:
    return "-".join([function.__qualname__, *map(str, ids)])


def _mark(function: Any, ids: tuple[int, ...]) -> str:
    return QUEUED_MARK + _call_name(function, ids)


def _path(function: JobFunction) -> str:
    """RQ imports by this path, so that enqueueing needs no import of what the job needs."""
    return f"{function.__module__}.{function.__qualname__}"


@contextmanager
def _application_context() -> Iterator[None]:
    """Use the context that is there (tests, commands), else the process' own application's."""
    if has_app_context():
        yield
        return
    with application().app_context():
        yield


@cache
def application() -> Flask:
    """This process' application: `worker.py` loads it before it forks, a plain `rq worker` at its first job."""
    # By name: the application knows this module, so this module must not know the application.
    return cast("Flask", import_module("wsgi").app)
