"""The rq-scheduler process: `python scheduler.py`. Moves alarms and periodic jobs into the queue when they are due.

Several at once are harmless, and so is none for a while: what is due stands in the database.
"""

import os
import signal
import sys
import time
from types import FrameType

import structlog
from redis import Redis, RedisError
from rq.job import Job
from rq_scheduler import Scheduler

from app.account.jobs import ERASE_EVERY, erase_closed_accounts
from app.auth.jobs import FORGET_EVERY, forget_old_logins
from app.blog.jobs import FLUSH_EVERY, flush_views
from app.clients.jobs import TEND_EVERY, tend_imports
from app.mailings.jobs import BURY_EVERY, SWEEP_EVERY, bury_deleted, sweep
from app.queue import QUEUE_NAME, application, register_periodic

log = structlog.get_logger("scheduler")

PERIODIC = {
    sweep: SWEEP_EVERY,
    erase_closed_accounts: ERASE_EVERY,
    forget_old_logins: FORGET_EVERY,
    flush_views: FLUSH_EVERY,
    tend_imports: TEND_EVERY,
    bury_deleted: BURY_EVERY,
}


class PatientScheduler(Scheduler):
    """rq-scheduler's own ends when Redis restarts, and forgets its periodic jobs when Redis is flushed."""

    def __init__(self, connection: Redis) -> None:
        super().__init__(QUEUE_NAME, connection=connection, interval=1)
        self._is_away = False

    def run(self, burst: bool = False) -> None:
        """One pass right after every whole second: alarms are set to whole seconds, so none waits for its pass."""
        self._install_signal_handlers()
        try:
            while True:
                self._pass()
                if burst:
                    return
                time.sleep(1 - time.time() % 1)
        finally:
            self._leave()

    def enqueue_job(self, job: Job) -> None:
        """Move a due job into the queue. A periodic one that no worker has taken yet does not pile up there."""
        if "interval" in job.meta:
            self.connection.lrem(self.get_queue_for_job(job).key, 1, job.id)
        super().enqueue_job(job)

    def _pass(self) -> None:
        try:
            self.connection.hset(self.key, "birth", time.time())
            self.heartbeat()
            for job, every in PERIODIC.items():
                # What was planned while Redis was away has no alarm, so the sweep must not wait for its turn.
                register_periodic(self, job, every, at_once=self._is_away)
            if self.acquire_lock():
                try:
                    self.enqueue_jobs()
                finally:
                    self.remove_lock()
        except RedisError as error:
            if not self._is_away:  # once, not once a second
                log.error("redis.away", error=str(error), help="waiting for it to come back")
            self._is_away = True
        else:
            if self._is_away:
                log.info("redis.back")
            self._is_away = False

    def _leave(self) -> None:
        try:
            self.register_death()
        except RedisError:
            log.warning("redis.away", help="could not say good-bye; the heartbeat will run out by itself")

    def _install_signal_handlers(self) -> None:
        def stop(_number: int, _frame: FrameType | None) -> None:
            sys.exit(0)

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)


def main() -> None:
    # rq-scheduler calculates with naive local time here and there.
    os.environ["TZ"] = "UTC"
    time.tzset()
    redis = Redis.from_url(application().config["SETTINGS"].redis_url, socket_connect_timeout=2, socket_timeout=10)
    log.info("scheduler.started", sweep_every_seconds=int(SWEEP_EVERY.total_seconds()))
    PatientScheduler(redis).run()


if __name__ == "__main__":
    main()
