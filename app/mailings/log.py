"""The service's log: all attempts, one's own in full, others' with whatever could tell who they are masked."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select

from app.auth.models import User
from app.delivery.models import Attempt, Delivery, DeliveryStatus, Run, Stage
from app.mailings.models import Mailing

DOTS = "•••"
# What a mail server likes to repeat: addresses in any spelling, what stands in angle brackets, links, hosts by name and
# by number, and the numbers it gives to letters. Not 550, nor 5.1.1: those are the answer.
TELLING = re.compile(
    r"<[^>]*>?"
    r"|\b\w+://\S+"
    r"|\S*@\S*"
    r"|(?:[\w-]+\.)+[^\W\d][\w-]+"
    r"|xn--[\w-]+"
    r"|\d+(?:\.\d+){3,}"
    r"|(?:[\da-f]{0,4}:){2,}[\da-f.]*"
    r"|\b(?=\w{5,})\w*\d\w*"
    r"|\d{4,}",
    re.IGNORECASE,
)
SHORTEST_WITHIN = 3  # letters: what of an address is shorter stands within many words, and tells only as a word
SHORTEST_OF_NAME = 4  # letters: from here on, a word within the address may be half of somebody's name


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
    """What the server said, without addresses, hosts, links and numbers, and without any word that `email` tells."""
    text = TELLING.sub(DOTS, _plain(reply))
    local, _at, domain = _plain(email).rpartition("@")
    for whole in (local, domain):
        if len(whole) >= SHORTEST_WITHIN:
            text = re.sub(re.escape(whole), DOTS, text, flags=re.IGNORECASE)
    parts = set(_pieces(local) + _pieces(domain.rpartition(".")[0]))
    # Whole words go: "•••box unavailable" would tell what the dots stand for.
    return re.sub(r"\w+", lambda found: DOTS if _tells(found[0], parts) else found[0], text)


def _tells(word: str, parts: set[str]) -> bool:
    whole = word.casefold()
    return not parts.isdisjoint(_pieces(word)) or any(
        (len(part) >= SHORTEST_WITHIN and part in whole) or (len(whole) >= SHORTEST_OF_NAME and whole in part)
        for part in parts
    )


def _pieces(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())


def _plain(text: str) -> str:
    """The text with each letter written in one way only, and without characters that nobody sees."""
    return "".join(letter for letter in unicodedata.normalize("NFKC", text) if unicodedata.category(letter) != "Cf")
