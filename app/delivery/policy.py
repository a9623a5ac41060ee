"""What an answer means: for the message it belongs to, for its recipient, and for the mail server's account."""

import random
from dataclasses import dataclass
from datetime import timedelta

from app.config import Settings
from app.delivery.models import DeliveryStatus, Stage
from app.delivery.transport import Answer, Reply

OPENS_THE_BREAKER = 3


@dataclass(frozen=True)
class Verdict:
    """One line of the table below.

    outcome: what the delivery becomes; `pending` means: try again later.
    is_charged: whether the try counts against the recipient's limit.
    suppresses: whether the client gets nothing any more.
    strain: what it adds, in a row with others, to what opens the breaker; 0 says that the server is well.
    """

    outcome: DeliveryStatus
    is_charged: bool = True
    suppresses: bool = False
    strain: int = 0


PENDING, SENT, FAILED, UNKNOWN = (
    DeliveryStatus.PENDING,
    DeliveryStatus.SENT,
    DeliveryStatus.FAILED,
    DeliveryStatus.UNKNOWN,
)
# By the kind of answer, and whether the body had begun to leave. docs/sending.md says the same in words.
POLICY: dict[tuple[Reply, bool], Verdict] = {
    (Reply.ACCEPTED, True): Verdict(SENT),
    (Reply.LATER, False): Verdict(PENDING),
    (Reply.LATER, True): Verdict(PENDING),
    (Reply.REFUSED, False): Verdict(FAILED),
    (Reply.REFUSED, True): Verdict(FAILED),
    (Reply.NO_SUCH_ADDRESS, False): Verdict(FAILED, suppresses=True),
    (Reply.NO_SUCH_ADDRESS, True): Verdict(FAILED, suppresses=True),
    (Reply.OUR_FAULT, False): Verdict(PENDING, is_charged=False, strain=OPENS_THE_BREAKER),
    (Reply.OUR_FAULT, True): Verdict(PENDING, is_charged=False, strain=OPENS_THE_BREAKER),
    (Reply.CLOSING, False): Verdict(PENDING, is_charged=False, strain=1),
    (Reply.CLOSING, True): Verdict(PENDING, is_charged=False, strain=1),
    # Before its first byte nothing of the body can have been delivered; after it nobody knows.
    (Reply.NONE, False): Verdict(PENDING, is_charged=False, strain=1),
    (Reply.NONE, True): Verdict(UNKNOWN, strain=1),
}


def verdict_on(answer: Answer) -> Verdict:
    return POLICY[answer.kind, answer.stage is Stage.BODY]


def retry_delay(attempt: int, settings: Settings) -> timedelta:
    """Wait after the `attempt`-th charged try (1-based): 1 min, doubling, at most 1 h (RFC 5321, 4.5.4.1); settings."""
    doublings = min(max(attempt, 1) - 1, 32)
    return timedelta(seconds=min(settings.retry_first_seconds * 2**doublings, settings.retry_longest_seconds))


def is_last(attempt: int, settings: Settings) -> bool:
    """Whether this charged try (1-based) was the last: the waits so far and the next one exceed the time allowed."""
    allowed = timedelta(hours=settings.retry_hours)
    waited = timedelta()
    for earlier in range(1, attempt + 1):
        waited += retry_delay(earlier, settings)
        if waited > allowed:
            return True
    return attempt >= settings.attempts_max


def with_jitter(delay: timedelta) -> timedelta:
    """Up to a fifth more, so that what failed together does not come back together."""
    return delay * random.uniform(1, 1.2)  # noqa: S311  no secret
