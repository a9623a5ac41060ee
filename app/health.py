"""Is everything well? Asked by /healthz, /readyz and `flask doctor`."""

from collections.abc import Callable
from dataclasses import dataclass

from alembic.script import ScriptDirectory
from flask import Blueprint, current_app
from flask.typing import ResponseReturnValue
from redis import RedisError
from sqlalchemy import inspect, text
from sqlalchemy.exc import SQLAlchemyError

from app import queue
from app.config import ROOT
from app.extensions import db

blueprint = Blueprint("health", __name__)


@dataclass(frozen=True)
class Check:
    name: str
    fault: str | None = None  # what is wrong, or None
    remedy: str | None = None  # what the operator can do about it


def check_database() -> Check:
    try:
        db.session.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        db.session.rollback()
        return Check("database", str(error).splitlines()[0], "Is it running, and is DATABASE_URL right?")
    return Check("database")


def check_migrations() -> Check:
    scripts = ScriptDirectory(str(ROOT / "migrations"))
    try:
        # Alembic's own look at the database writes two lines to the log, and /readyz is asked every few seconds.
        migrated = inspect(db.session.connection()).has_table("alembic_version")
        here = set(db.session.scalars(text("SELECT version_num FROM alembic_version"))) if migrated else set()
    except SQLAlchemyError as error:
        db.session.rollback()
        return Check("migrations", str(error).splitlines()[0], "The database has to answer first.")
    if here == set(scripts.get_heads()):
        return Check("migrations")
    return Check("migrations", f"the database is at {sorted(here) or 'nothing'}", "Run: flask db upgrade")


def check_redis() -> Check:
    try:
        queue.connection().ping()
    except RedisError as error:
        return Check("redis", str(error), "Is it running, and is REDIS_URL right?")
    return Check("redis")


READINESS: tuple[Callable[[], Check], ...] = (check_database, check_migrations, check_redis)


@blueprint.get("/healthz")
def healthz() -> ResponseReturnValue:
    """The process is alive and answers; nothing else is asked."""
    return {"status": "ok"}


@blueprint.get("/readyz")
def readyz() -> ResponseReturnValue:
    """Whether this process can do its work now: 200, or 503 with what is missing."""
    checks = [check() for check in READINESS]
    ready = all(check.fault is None for check in checks)
    if not ready:
        for check in checks:
            if check.fault:
                current_app.logger.warning("not ready: %s: %s", check.name, check.fault)
    # The faults' texts may name hosts and accounts: they go to the log, not to whoever asks.
    body = {check.name: "ok" if check.fault is None else "failed" for check in checks}
    return {"status": "ok" if ready else "unavailable", **body}, 200 if ready else 503
