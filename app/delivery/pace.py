"""How fast a run goes, for whoever looks at it: counted in Redis, in buckets of a few seconds. A hint, no ledger."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from redis import Redis, RedisError

from app import clock

BUCKET_SECONDS = 5
BUCKETS = 6  # that are looked back at
KEEP_SECONDS = 4 * BUCKET_SECONDS * BUCKETS


@dataclass(frozen=True)
class Pace:
    """per_second: messages in a second, all workers together.
    answer_seconds: how long one connection needed for one message, the mail server's part and ours.
    """

    per_second: float
    answer_seconds: float


def note(redis: Redis, sent: Mapping[int, int], seconds: float) -> None:
    """One connection has sent so many messages of each run in so many seconds. Harmless when Redis is away."""
    if not sent:
        return
    bucket, each = _bucket(), seconds / sum(sent.values())
    with suppress(RedisError), redis.pipeline(transaction=False) as pipe:
        for run_id, count in sent.items():
            key = _key(run_id, bucket)
            pipe.hincrby(key, "sent", count)
            pipe.hincrbyfloat(key, "seconds", count * each)
            pipe.expire(key, KEEP_SECONDS)
        pipe.execute()


def of_run(redis: Redis, run_id: int) -> Pace | None:
    """The pace over the last half minute, the seconds before the first message left out; None: nothing was sent."""
    now = _bucket()
    try:
        with redis.pipeline(transaction=False) as pipe:
            for bucket in range(now - BUCKETS, now + 1):
                pipe.hmget(_key(run_id, bucket), "sent", "seconds")
            found = [(int(sent or 0), float(seconds or 0)) for sent, seconds in pipe.execute()]
    except RedisError:
        return None
    while found and not found[0][0]:
        found.pop(0)
    sent = sum(count for count, _ in found)
    if not sent:
        return None
    seconds = (len(found) - 1) * BUCKET_SECONDS + clock.now().timestamp() % BUCKET_SECONDS
    return Pace(sent / max(seconds, 1), sum(seconds for _, seconds in found) / sent)


def _bucket() -> int:
    return int(clock.now().timestamp() // BUCKET_SECONDS)


def _key(run_id: int, bucket: int) -> str:
    return f"golub:pace:{run_id}:{bucket}"
