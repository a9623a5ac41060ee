"""How an unfinished run gets on: how fast, what limits it, and when it will be done. A few reads, whatever its size."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from redis import Redis, RedisError
from sqlalchemy import func, select

from app import queue
from app.config import Settings
from app.delivery import pace
from app.delivery.models import Delivery, Run, RunStatus
from app.delivery.pace import Pace
from app.extensions import db

NEAR = 0.8  # of a rate: so much of it counts as all of it
BUSY = 0.5  # connections, on the average: with fewer at work it is not the mail server that limits
SILENCE = timedelta(seconds=30)  # what a pace looks back at
LONGEST_LEFT = timedelta(days=365)


class Limit(StrEnum):
    """What keeps a run from being faster."""

    HELD = "held"
    NO_WORKER = "no_worker"
    PREPARING = "preparing"
    SERVER_AWAY = "server_away"  # the run's fault says why
    LATER = "later"  # the mail server said so, to all that is left
    RATE_A_SECOND = "rate_a_second"  # our own, for the whole account
    RATE_AN_HOUR = "rate_an_hour"
    SERVER = "server"
    SILENCE = "silence"  # messages are in hand, and no answer comes
    OTHERS = "others"  # other runs are being sent at the same time
    OURSELVES = "ourselves"


@dataclass(frozen=True)
class Progress:
    """limit: None while there is nothing to tell: it has just begun, or Redis is away.
    rate: messages a second or an hour, for those two limits.
    per_second, answer_seconds, left, done_at: None while nothing is being sent.
    ends_first: the run's last moment comes before it would be done.
    """

    limit: Limit | None
    rate: int = 0
    per_second: float | None = None
    answer_seconds: float | None = None
    left: timedelta | None = None
    done_at: datetime | None = None
    ends_first: bool = False


def waits(run: Run, now: datetime) -> bool:
    """Whether the run rests: for the mail server, or until what is left of it may be tried again."""
    return not run.is_finished and (bool(run.fault) or _rests(run, now))


def _rests(run: Run, now: datetime) -> bool:
    return not run.sending and run.resume_at is not None and run.resume_at > now


def of_run(run: Run, settings: Settings, redis: Redis, now: datetime) -> Progress | None:
    """How the run gets on; None when it is done. Redis may be away."""
    if run.is_finished:
        return None
    measured = None if run.held_at else pace.of_run(redis, run.id)
    if hindrance := _hindrance(run, measured, now):
        return Progress(hindrance)
    return _standing(run, settings, now) if measured is None else _moving(run, measured, settings, now)


def _hindrance(run: Run, measured: Pace | None, now: datetime) -> Limit | None:
    """Why nothing of it can be sent now."""
    if run.held_at is not None:
        return Limit.HELD
    # Asked only where nothing moves: it takes a few round trips, and whoever sends is alive.
    if measured is None and _nobody_works():
        return Limit.NO_WORKER
    if run.status is RunStatus.PREPARING:
        return Limit.PREPARING
    if waits(run, now):
        return Limit.SERVER_AWAY if run.fault else Limit.LATER
    return None


def _nobody_works() -> bool:
    try:
        return not queue.workers_alive()
    except RedisError:
        return False


def _standing(run: Run, settings: Settings, now: datetime) -> Progress:
    """Nothing was sent in the last half minute, for no reason that the run itself knows of."""
    if run.started_at is None or now - run.started_at < SILENCE:
        return Progress(None)
    return Progress(Limit.SILENCE) if run.sending else _idle(run, settings)


def _moving(run: Run, measured: Pace, settings: Settings, now: datetime) -> Progress:
    per_second = _plausible(run, measured)
    if settings.mail_per_second and per_second >= NEAR * settings.mail_per_second:
        progress = Progress(Limit.RATE_A_SECOND, settings.mail_per_second)
    elif measured.per_second * measured.answer_seconds >= BUSY:
        progress = Progress(Limit.SERVER)
    else:
        progress = _idle(run, settings)
    left = _time_left(run, per_second, settings)
    return Progress(
        progress.limit,
        progress.rate,
        per_second=per_second,
        answer_seconds=measured.answer_seconds,
        left=left,
        done_at=now + left,
        ends_first=run.last_moment is not None and run.last_moment < now + left,
    )


def _plausible(run: Run, measured: Pace) -> float:
    """Answers are counted a whole claim at a time, which a slow server makes look like a burst after a silence.

    No connection gives more than one message per answer, and each that is at work holds a claim.
    """
    held = (Delivery.claim_id.is_not(None), Delivery.run_id == run.id)
    claims = db.session.scalar(select(func.count(Delivery.claim_id.distinct())).where(*held)) or 0
    if not measured.answer_seconds:
        return measured.per_second
    return min(measured.per_second, max(claims, 1) / measured.answer_seconds)


def _idle(run: Run, settings: Settings) -> Progress:
    """Our connections mostly rest. What for?"""
    others = select(Run.id).where(Run.status != RunStatus.DONE, Run.id != run.id, Run.sending > 0).limit(1)
    if db.session.scalar(others) is not None:
        return Progress(Limit.OTHERS)
    if settings.mail_per_hour:
        return Progress(Limit.RATE_AN_HOUR, settings.mail_per_hour)
    if settings.mail_per_second:
        return Progress(Limit.RATE_A_SECOND, settings.mail_per_second)
    return Progress(Limit.OURSELVES)


def _time_left(run: Run, per_second: float, settings: Settings) -> timedelta:
    """At this pace; and no sooner than an hour's allowance lets it."""
    remaining = run.pending + run.sending
    seconds = remaining / per_second
    if settings.mail_per_hour and remaining > settings.mail_per_hour:
        seconds = max(seconds, remaining / settings.mail_per_hour * 3600)
    return min(timedelta(seconds=seconds), LONGEST_LEFT)
