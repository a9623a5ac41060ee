"""Stops the sending when our own side is at fault, for all workers at once, and lets one of them try now and then.

Its state is a hint in Redis: without Redis it is closed, and every worker finds out for itself.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis, RedisError

from app import clock

FIRST_WAIT = timedelta(seconds=15)
LONGEST_WAIT = timedelta(minutes=5)
PROBE_SECONDS = 60  # a worker that died while it tried stops the others no longer than this
FORGET_SECONDS = 3600


@dataclass(frozen=True)
class Opened:
    """The breaker is open."""

    fault: str  # what the server said, or how it could not be reached
    until: datetime  # when somebody tries again


@dataclass(frozen=True)
class Breaker:
    """One for each account at a mail server."""

    redis: Redis
    account: str

    @property
    def _key(self) -> str:
        return f"golub:breaker:{self.account}"

    @property
    def _probe_key(self) -> str:
        return f"golub:breaker:{self.account}:probe"

    def state(self) -> Opened | None:
        """None while it is closed. Open with a moment in the past: it is time that somebody tries, see `may_probe`."""
        try:
            stored = self.redis.hgetall(self._key)
        except RedisError:
            return None
        if not stored:
            return None
        fields = {key.decode(): value.decode("utf-8", "replace") for key, value in stored.items()}  # type: ignore[union-attr]
        until = datetime.fromtimestamp(float(fields["until"]), UTC)
        return Opened(fields["fault"], min(until, clock.now() + LONGEST_WAIT))  # the clock may have been set back

    def may_probe(self) -> bool:
        """Whether the caller is the one who tries, with a single message."""
        try:
            return bool(self.redis.set(self._probe_key, 1, nx=True, ex=PROBE_SECONDS))
        except RedisError:
            return True

    def leave_probe(self) -> None:
        """Whoever may try has nothing to try with: let the next one."""
        with suppress(RedisError):
            self.redis.delete(self._probe_key)

    def open(self, fault: str) -> Opened:
        """Stop everybody: 15 s, and twice as long each time that the next try fails too, up to 5 min."""
        until = clock.now() + FIRST_WAIT
        try:
            state = self.redis.hgetall(self._key)
            # Those who were on their way when it opened do not make it longer.
            was_probe = bool(self.redis.delete(self._probe_key))
            failures = int(state.get(b"failures", 0)) + (was_probe or not state)
            until = clock.now() + min(FIRST_WAIT * 2 ** min(failures - 1, 10), LONGEST_WAIT)
            fields: dict[Any, Any] = {
                "fault": fault[:1000],
                "until": until.timestamp(),
                "failures": failures,
            }
            with self.redis.pipeline() as pipe:
                pipe.hset(self._key, mapping=fields)
                pipe.expire(self._key, FORGET_SECONDS)
                pipe.execute()
        except RedisError:
            pass
        return Opened(fault, until)

    def close(self) -> None:
        """The server has taken a message."""
        with suppress(RedisError):
            self.redis.delete(self._key, self._probe_key)
