"""Handing the counted views over to the articles."""

from datetime import timedelta

import structlog
from redis import RedisError

from app import queue
from app.blog import counter
from app.extensions import db
from app.queue import job

log = structlog.get_logger(__name__)

FLUSH_EVERY = timedelta(minutes=1)


@job()
def flush_views() -> None:
    """Add what has been counted to the articles. Twice at once, or cut short anywhere, does no harm: see counter."""
    redis = queue.connection()
    try:
        for name in counter.put_aside(redis):
            counts = counter.counts_of(redis, name)
            if counter.add(name, counts):
                log.info("views.added", articles=len(counts), views=sum(counts.values()))
            db.session.commit()
            counter.forget(redis, name)
    except RedisError as error:
        db.session.rollback()
        log.warning("views.away", error=str(error), help="they are added at the next run")
    counter.forget_old_names()
    db.session.commit()
