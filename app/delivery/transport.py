"""What the engine sees of the outside world: it hands over envelopes and reads answers."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from app import clock
from app.delivery.models import Stage

LONGEST_REPLY = 1000  # characters of a server's answer that are kept


class Reply(StrEnum):
    """What kind of answer it is, whatever language the service speaks. `policy` says what follows from each."""

    ACCEPTED = "accepted"
    LATER = "later"  # SMTP 4xx, HTTP 429 and 5xx
    REFUSED = "refused"  # SMTP 5xx, other HTTP 4xx
    NO_SUCH_ADDRESS = "no such address"  # SMTP 5.1.x
    OUR_FAULT = "our fault"  # SMTP 5.7.x, log-in refused: no recipient is to blame
    CLOSING = "closing"  # SMTP 421
    NONE = "none"  # the connection broke, time ran out, or what came was no answer


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message for one recipient, ready to leave."""

    delivery_id: int
    sender: str
    recipient: str
    content: bytes  # RFC 5322 with CRLF line ends, the last one too; not yet dot-stuffed


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one envelope: how far it got, and the service's own words."""

    delivery_id: int
    stage: Stage
    kind: Reply
    code: int | None  # of SMTP or HTTP; None: there was no answer, `reply` says why
    reply: str
    enhanced_code: str | None = None
    retry_after: timedelta | None = None  # the service named a wait
    at: datetime = field(default_factory=clock.now)


class TransportAway(Exception):
    """There is no connection to be had now. Nothing was sent, and no recipient is to blame."""


class NotAnyMore(Exception):
    """Raised by `begin`: this message must not leave. The transport lets it through, and breaks its connection off."""


# Called with a delivery's id right before the first byte of its body leaves: from then on it may have arrived.
Begin = Callable[[int], None]


class Transport(Protocol):
    """One connection. Never used by two threads at once."""

    def send(self, envelopes: Iterable[Envelope], begin: Begin) -> Iterator[Answer]:
        """Send them in order, and give each one's answer as soon as it is there.

        It may take one envelope from the iterator before it has answered the one before. What it took and neither
        began nor answered was not sent.

        Raises:
            TransportAway: the service can't be reached.
            NotAnyMore: as `begin` raised it.
        """
        ...

    def interrupt(self) -> None:
        """Called from another thread: have a `send` that waits for an answer end now, as if the connection broke."""
        ...

    def close(self) -> None:
        """End the connection, in good order where that is possible."""
        ...
