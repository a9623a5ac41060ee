"""What the engine sees of the outside world: it hands over envelopes and reads answers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from app import clock
from app.delivery.models import Stage

LONGEST_REPLY = 1000  # characters of a server's answer that are kept


@dataclass(frozen=True)
class Envelope:
    """One message for one recipient, ready to leave."""

    delivery_id: int
    sender: str
    recipient: str
    content: bytes  # RFC 5322 with CRLF line ends, not yet dot-stuffed


@dataclass(frozen=True)
class Answer:
    """What came of one envelope: how far it got, and the server's own words."""

    delivery_id: int
    stage: Stage
    code: int | None  # None: the connection broke, `reply` says how
    reply: str
    enhanced_code: str | None = None
    at: datetime = field(default_factory=clock.now)


class TransportAway(Exception):
    """There is no connection to be had now. Nothing was sent, and no recipient is to blame."""


class Transport(Protocol):
    def send(self, envelopes: Iterable[Envelope]) -> Iterator[Answer]:
        """Send them in order, and give each one's answer as soon as it is there.

        Raises:
            TransportAway: when the service can't be reached; the envelopes not yet answered were not sent.
        """
        ...

    def close(self) -> None:
        """End the connection, in good order where that is possible."""
        ...
