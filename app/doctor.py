"""What `flask doctor` looks at: each part that Golub needs, and what to do when it is not well."""

import smtplib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from flask import current_app
from redis import RedisError

from app import clock, health, queue
from app.config import SAMPLE_SECRET_KEY, Settings
from app.delivery.breaker import Breaker
from app.health import Check
from app.mail import open_smtp

SMTP_TIMEOUT_SECONDS = 5
# A job that failed days ago is history, one that failed just now is a fault.
FAILURES_COUNT_FOR = timedelta(hours=1)
REDIS_FIRST = "Redis has to answer first."


@dataclass(frozen=True)
class Finding(Check):
    """A check that has something to tell when all is well, too."""

    detail: str | None = None


def examine() -> list[Check]:
    """Look at everything, and raise nothing: what can't be looked at is a fault as well."""
    return [check() for check in CHECKS]


def _ask_redis(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except RedisError as error:
        return Finding(name, fault=str(error), remedy=REDIS_FIRST)


def check_workers() -> Finding:
    def look() -> Finding:
        alive = queue.workers_alive()
        if not alive:
            return Finding("workers", fault="none is alive", remedy="Start some: python worker.py --count 2")
        return Finding("workers", detail=f"{alive} alive")

    return _ask_redis("workers", look)


def check_scheduler() -> Finding:
    def look() -> Finding:
        if not queue.scheduler_alive():
            return Finding("scheduler", fault="none is alive", remedy="Start one: python scheduler.py")
        return Finding("scheduler", detail="alive")

    return _ask_redis("scheduler", look)


def check_queue() -> Finding:
    return _ask_redis("queue", lambda: Finding("queue", detail=f"jobs waiting: {queue.queue_depth()}"))


def check_failed_jobs() -> Finding:
    def look() -> Finding:
        failed = list(queue.failed_jobs())
        counted_since = clock.now() - FAILURES_COUNT_FOR
        recent = [job for job in failed if job.ended_at is None or job.ended_at >= counted_since]
        if recent:
            return Finding(
                "failed jobs",
                fault=f"{len(recent)} within the last hour, {len(failed)} within the last week",
                remedy="The workers' logs say why. Repeat them, which is harmless: "
                f"rq requeue --all --queue {queue.QUEUE_NAME} --url $REDIS_URL",
            )
        return Finding("failed jobs", detail=f"none within the last hour, {len(failed)} within the last week")

    return _ask_redis("failed jobs", look)


def check_smtp() -> Finding:
    settings = _settings().model_copy(update={"mail_timeout_seconds": SMTP_TIMEOUT_SECONDS})
    where = f"{settings.mail_server}:{settings.mail_port}"
    try:
        with open_smtp(settings) as connection:
            connection.noop()
    except (OSError, smtplib.SMTPException) as error:
        return Finding(
            "smtp",
            fault=f"{where}: {error or type(error).__name__}",
            remedy="Is it running, and are MAIL_SERVER, MAIL_PORT and the other MAIL_… settings right?",
        )
    return Finding("smtp", detail=where)


def check_sending() -> Finding:
    """Whether the workers have stopped sending because the mail server answers as if our side were at fault."""

    def look() -> Finding:
        redis = queue.connection()
        redis.ping()  # the breaker itself takes a Redis that is away for a closed one
        opened = Breaker(redis, _settings().mail_account).state()
        if opened is None:
            return Finding("sending")
        return Finding(
            "sending",
            fault=f"stopped until {opened.until:%H:%M:%S} UTC: {opened.fault}",
            remedy="It is tried again by itself. If the mail server goes on saying so, see the MAIL_… settings.",
        )

    return _ask_redis("sending", look)


def check_instance_folder() -> Finding:
    folder = _settings().instance_path
    try:
        with tempfile.TemporaryFile(dir=folder):
            return Finding("instance folder", detail=str(folder))
    except OSError as error:
        return Finding(
            "instance folder",
            fault=f"nothing can be written there: {error}",
            remedy=f"Give {folder} to the account that runs Golub, or set INSTANCE_PATH.",
        )


def check_secret_key() -> Finding:
    if _settings().secret_key == SAMPLE_SECRET_KEY:
        return Finding(
            "secret key",
            fault="SECRET_KEY is the sample's, which everybody knows",
            remedy="Set SECRET_KEY to what this prints: openssl rand -hex 32",
        )
    return Finding("secret key")


CHECKS: tuple[Callable[[], Check], ...] = (
    *health.READINESS,
    check_workers,
    check_scheduler,
    check_queue,
    check_failed_jobs,
    check_smtp,
    check_sending,
    check_instance_folder,
    check_secret_key,
)


def _settings() -> Settings:
    settings: Settings = current_app.config["SETTINGS"]
    return settings
