"""RQ workers: `python worker.py [--count N]`. A plain `rq worker --url $REDIS_URL` does the same, a little slower."""

import argparse
import signal
from multiprocessing.process import BaseProcess
from typing import Any

import structlog
from redis import Redis
from rq import Queue, Worker
from rq.worker_pool import ForkProcess, WorkerPool

from app.extensions import db
from app.queue import QUEUE_NAME, application

MAINTENANCE_SECONDS = 30
WORKER_TTL_SECONDS = 45  # an idle worker wakes up 15 s earlier, to prove that it lives

log = structlog.get_logger("worker")


class GolubWorker(Worker):
    """Forks a process for each job, with the application loaded already: a job would need 1.8 s to import it all."""

    def main_work_horse(self, job: Any, queue: Any) -> None:
        with application().app_context():
            # The parent's connections are its own: the child forgets them without closing them.
            db.engine.dispose(close=False)
        super().main_work_horse(job, queue)


class GolubWorkerPool(WorkerPool):
    """Keeps a number of workers alive."""

    def get_worker_process(self, name: str, *_args: Any, **_kwargs: Any) -> BaseProcess:
        return ForkProcess(target=work, args=(name,), name=f"golub-worker-{name}")


def work(name: str) -> None:
    redis = Redis.from_url(application().config["SETTINGS"].redis_url)
    worker = GolubWorker(
        [Queue(QUEUE_NAME, connection=redis)],
        name=name,
        connection=redis,
        maintenance_interval=MAINTENANCE_SECONDS,
        worker_ttl=WORKER_TTL_SECONDS,
    )
    log.info("worker.started", worker=name)
    worker.work()
    log.info("worker.stopped", worker=name)


def main() -> None:
    parser = argparse.ArgumentParser(description="Run Golub's workers.")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="how many worker processes (default: 1)")
    count: int = parser.parse_args().count
    if count < 1:
        parser.error("--count must be 1 or more")
    redis = Redis.from_url(application().config["SETTINGS"].redis_url)
    # Until the pool has handlers of its own, a stop must not leave a traceback.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    GolubWorkerPool([QUEUE_NAME], connection=redis, num_workers=count).start(logging_level="WARNING")


if __name__ == "__main__":
    main()
