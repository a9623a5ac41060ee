"""How fast an account may send: so many messages a second and an hour, shared by all workers (library `limits`)."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerSecond
from limits.errors import StorageError
from limits.storage import storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from app import clock
from app.config import Settings

LONGEST_PAUSE = timedelta(minutes=1)  # a full hour frees up little by little


def are_set(settings: Settings) -> bool:
    """Whether anything is held back. What is granted then and not used is lost to the others."""
    return bool(settings.mail_per_second or settings.mail_per_hour)


def allowance(settings: Settings, wanted: int) -> tuple[int, datetime | None]:
    """How many of `wanted` messages (1 or more) may leave now, taken off the account; with 0: when to ask again.

    Without Redis nothing is held back here: without it nothing can be claimed anyway.
    """
    limits = _limits(settings)
    if not limits:
        return wanted, None
    limiter = _limiter(settings.redis_url)
    try:
        for count in _halved(wanted):
            # Another worker may be quicker between the two; what one limit has counted then stays counted.
            if all(limiter.test(limit, settings.mail_account, cost=count) for limit in limits) and all(
                limiter.hit(limit, settings.mail_account, cost=count) for limit in limits
            ):
                return count, None
        full = [limiter.get_window_stats(limit, settings.mail_account).reset_time for limit in limits]
    except StorageError:
        return wanted, None
    now = clock.now()
    again = datetime.fromtimestamp(max(full), UTC)
    return 0, min(max(again, now + timedelta(milliseconds=50)), now + LONGEST_PAUSE)


def _halved(count: int) -> Iterator[int]:
    while count:
        yield count
        count //= 2


def _limits(settings: Settings) -> list[RateLimitItem]:
    limits: list[RateLimitItem] = []
    if settings.mail_per_second:
        limits.append(RateLimitItemPerSecond(settings.mail_per_second))
    if settings.mail_per_hour:
        limits.append(RateLimitItemPerHour(settings.mail_per_hour))
    return limits


@cache
def _limiter(redis_url: str) -> SlidingWindowCounterRateLimiter:
    url = redis_url.replace("unix://", "redis+unix://", 1)
    return SlidingWindowCounterRateLimiter(storage_from_string(url, wrap_exceptions=True))
