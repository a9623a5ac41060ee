"""The service's log: all attempts, one's own in full, others' with whatever could tell who they are masked."""

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select

from app.auth.models import User
from app.delivery.models import Attempt, Delivery, DeliveryStatus, Run, Stage
from app.mailings.models import Mailing

DOTS = "•••"
# What a mail server likes to repeat: addresses in any spelling, what stands in angle brackets, hosts, links, numbers.
TELLING = re.compile(
    r"<[^>]*>?"
    r"|\w+://\S+"
    r"|\S*@\S*"
    r"|(?:[\w-]+\.)+[^\W\d][\w-]+"
    r"|\w*\d\w{4,}"
    r"|\d{4,}"
)
LONGEST_REPLY = 300  # characters of somebody else's answer: enough to see what is wrong
SHORTEST_TELLING = 3  # letters: whatever of an address is shorter tells nothing, and stands in many words


@dataclass(frozen=True)
class Line:
    """One attempt, as this reader may see it."""

    attempt_id: int
    at: datetime
    email: str
    outcome: DeliveryStatus
    stage: Stage
    code: int | None
    enhanced_code: str | None
    reply: str
    # Where it belongs; None for what is not the reader's.
    mailing: Mailing | None = None
    owner: User | None = None
    run_id: int | None = None
    delivery_id: int | None = None


def attempts() -> Select[Attempt]:
    """All attempts of the service, joined with their runs and deliveries."""
    return select(Attempt).join(Run, Run.id == Attempt.run_id).join(Delivery, Delivery.id == Attempt.delivery_id)


def like(
    query: Select[Attempt], *, owner: User | None = None, outcome: str = "", code: int | None = None, email: str = ""
) -> Select[Attempt]:
    """Those of `query` of that owner, with that outcome and code, at addresses that begin with `email`.

    Whoever may not see an address must not find it either: ask for `email` together with its owner.
    """
    if owner is not None:
        query = query.where(Run.owner_id == owner.id)
    if outcome in list(DeliveryStatus):
        query = query.where(Attempt.outcome == DeliveryStatus(outcome))
    if code is not None:
        query = query.where(Attempt.code == code)
    return query.where(Delivery.email.istartswith(email, autoescape=True)) if email else query


def details(attempt_ids: list[int]) -> Select[Attempt, Delivery, Mailing, User]:
    """What belongs to these attempts."""
    return (
        select(Attempt, Delivery, Mailing, User)
        .join(Run, Run.id == Attempt.run_id)
        .join(Delivery, Delivery.id == Attempt.delivery_id)
        .join(Mailing, Mailing.id == Run.mailing_id)
        .join(User, User.id == Run.owner_id)
        .where(Attempt.id.in_(attempt_ids))
        .order_by(Attempt.id.desc())
    )


def line_of(attempt: Attempt, delivery: Delivery, mailing: Mailing, owner: User, *, in_full: bool) -> Line:
    """The attempt for a reader who may see it `in_full`, or else without anything that tells whose it is."""
    if in_full:
        return Line(
            attempt.id,
            attempt.at,
            delivery.email,
            attempt.outcome,
            attempt.stage,
            attempt.code,
            attempt.enhanced_code,
            attempt.reply,
            None if mailing.deleted_at else mailing,
            owner,
            attempt.run_id,
            delivery.id,
        )
    return Line(
        attempt.id,
        attempt.at,
        masked(delivery.email),
        attempt.outcome,
        attempt.stage,
        attempt.code,
        attempt.enhanced_code,
        masked_reply(attempt.reply, delivery.email),
    )


def masked(email: str) -> str:
    """An address of which two letters and the last label are left: i•••@g•••.com."""
    local, _at, domain = email.rpartition("@")
    return f"{local[:1]}{DOTS}@{domain[:1]}{DOTS}.{domain.rpartition('.')[2]}"


def masked_reply(reply: str, email: str) -> str:
    """What the server said, without addresses, hosts, links and numbers, and without any part of `email`."""
    text = TELLING.sub(DOTS, reply[:LONGEST_REPLY])
    local, _at, domain = email.rpartition("@")
    for part in sorted({local, domain, *re.split(r"[\W_]+", local), *re.split(r"\W+", domain)[:-1]}, key=len)[::-1]:
        if len(part) >= SHORTEST_TELLING:
            text = re.sub(re.escape(part), DOTS, text, flags=re.IGNORECASE)
    return text
