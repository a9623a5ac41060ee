"""RQ workers: `python worker.py [--count N]`. A plain `rq worker --url $REDIS_URL` does the same, slower."""

import argparse
import gc
import signal
import threading
import time
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import structlog
from redis import Redis, RedisError
from rq import Queue, SimpleWorker
from rq.worker_pool import ForkProcess, WorkerPool

from app.delivery.engine import stopping
from app.queue import QUEUE_NAME, application

MAINTENANCE_SECONDS = 30
WORKER_TTL_SECONDS = 45  # an idle worker wakes up 15 s earlier, to prove that it lives
HEARTBEAT_SECONDS = 15
REDIS_AWAY_SECONDS = 1
GARBAGE_THRESHOLD = 50_000  # objects

log = structlog.get_logger("worker")


class GolubWorker(SimpleWorker):
    """Runs its jobs in its own process: connections and compiled statements are kept, and a job begins at once."""

    def work(self, *args: Any, **kwargs: Any) -> bool:
        threading.Thread(target=self._stay_alive, daemon=True).start()
        return super().work(*args, **kwargs)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:  # noqa: ARG002  RQ's signature
        """RQ's own says for how long the job may run: so long a killed worker would count as alive."""
        super().heartbeat(WORKER_TTL_SECONDS, pipeline)

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        stopping.set()  # first: RQ raises when the worker is idle
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]  # RQ's has no types

    def _stay_alive(self) -> None:
        while not stopping.wait(HEARTBEAT_SECONDS):
            try:
                self.connection.expire(self.key, WORKER_TTL_SECONDS)
            except RedisError:
                continue  # it is back in a while


class GolubWorkerPool(WorkerPool):
    """Keeps a number of workers alive."""

    def get_worker_process(self, name: str, *_args: Any, **_kwargs: Any) -> BaseProcess:
        return ForkProcess(target=work, args=(name,), name=f"golub-worker-{name}")


def work(name: str) -> None:
    # Until RQ has handlers of its own: the parent's, which a fork inherits, would swallow the signal.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    redis = Redis.from_url(application().config["SETTINGS"].redis_url)
    # What a claim holds lives for half a second and has no cycles: to look for some again and again costs a tenth of
    # the sending. What is loaded now stays as long as the process.
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    worker = GolubWorker(
        [Queue(QUEUE_NAME, connection=redis)],
        name=name,
        connection=redis,
        maintenance_interval=MAINTENANCE_SECONDS,
        worker_ttl=WORKER_TTL_SECONDS,
    )
    log.info("worker.started", worker=name)
    try:
        worker.work()
    except RedisError as error:
        # The pool starts another one at once, and would go on so: once in a while is enough.
        log.warning("redis.away", error=str(error), help="trying again")
        time.sleep(REDIS_AWAY_SECONDS)
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
