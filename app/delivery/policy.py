"""What an answer of the mail server means for the message it belongs to."""

from datetime import timedelta

from app.delivery.models import DeliveryStatus, Stage
from app.delivery.transport import Answer

FIRST_DELAY = timedelta(minutes=1)
LONGEST_DELAY = timedelta(hours=1)


def outcome_of(answer: Answer, attempts_left: int) -> DeliveryStatus:
    """The state that this answer brings a delivery into; `pending` means: try again later.

    attempts_left: how many further tries are allowed, 0 or more. It binds a server that says «later» for ever, and
    never turns an unknown outcome into another try.
    """
    if answer.code is None:
        # The connection broke. Before the body nothing can have been delivered; after its first byte nobody knows.
        return DeliveryStatus.UNKNOWN if answer.stage is Stage.BODY else DeliveryStatus.PENDING
    match answer.code // 100:
        case 2 if answer.stage is Stage.BODY:
            return DeliveryStatus.SENT
        case 4:
            return DeliveryStatus.PENDING if attempts_left > 0 else DeliveryStatus.FAILED
        case _:
            return DeliveryStatus.FAILED


def is_charged(answer: Answer) -> bool:
    """Whether the try counts against the recipient: a broken connection is not their fault."""
    return answer.code is not None


def retry_delay(attempt: int) -> timedelta:
    """Wait before the try after `attempt` (1-based): 1 min, doubling, at most 1 h (RFC 5321, 4.5.4.1)."""
    doublings = min(max(attempt, 1) - 1, 16)
    return min(FIRST_DELAY * 2**doublings, LONGEST_DELAY)
