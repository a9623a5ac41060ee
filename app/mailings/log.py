"""The service's log: all attempts, one's own in full, others' with whatever could tell who they are masked."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select, text, true

from app.auth.models import User
from app.delivery.models import TROUBLED, Attempt, Delivery, DeliveryStatus, Run, Stage
from app.extensions import db
from app.mailings.addressed import deliveries_to
from app.mailings.models import Mailing
from app.paging import Page, ahead, paginate

NEWEST = (Attempt.at, Attempt.id)
FIRST_REFUSAL = 300  # of the codes: 2xx is the only yes (RFC 5321, 4.2.1)
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


@dataclass(frozen=True)
class Filters:
    """Which attempts: those that all of these say, where they say something."""

    owner: User | None = None
    mailing: Mailing | None = None
    outcome: DeliveryStatus | None = None
    code: int | None = None
    since: datetime | None = None  # from this moment on
    until: datetime | None = None  # before this one
    address: str = ""  # how the client's address begins; together with the owner, for whoever may not see all

    @property
    def are_none(self) -> bool:
        """Whose attempts, and nothing else, is no filter."""
        return self == Filters(owner=self.owner)


def newest(filters: Filters, cursor: str | None = None) -> Page[Attempt]:
    """The newest attempts first, whatever the filters quick among ten millions.

    Raises:
        addressed.TooMany, NotFound: for a cursor that no page gave out.
    """
    query = _filtered(filters)
    if filters.address:
        owner_id = filters.owner.id if filters.owner else None
        query = query.where(Attempt.delivery_id.in_(deliveries_to(filters.address, owner_id)))
    elif filters.mailing is not None:
        query = _newest_of_each(query, select(Run.id).where(Run.mailing_id == filters.mailing.id), cursor)
    return paginate(query, *NEWEST, cursor=cursor, descending=True)


def _filtered(filters: Filters) -> Select[Attempt]:
    query = select(Attempt)
    if filters.owner is not None:
        query = query.where(Attempt.owner_id == filters.owner.id)
    if filters.mailing is not None and filters.address:
        query = query.where(Attempt.run_id.in_(select(Run.id).where(Run.mailing_id == filters.mailing.id)))
    if filters.outcome is not None:
        query = query.where(Attempt.outcome == filters.outcome)
    if filters.code is not None:
        query = query.where(Attempt.code == filters.code)
    if filters.outcome not in (None, DeliveryStatus.SENT) or (filters.code or 0) >= FIRST_REFUSAL:
        query = query.where(text(f"attempt.{TROUBLED}"))  # what the partial indexes are over
    if filters.since is not None:
        query = query.where(Attempt.at >= filters.since)
    return query.where(Attempt.at < filters.until) if filters.until is not None else query


def _newest_of_each(query: Select[Attempt], runs: Select[int], cursor: str | None) -> Select[Attempt]:
    """Of each run no more than a page takes: a mailing has few runs, and a run may have millions of attempts.

    SQLite has no LATERAL; it sorts what all of them have.
    """
    if db.session.get_bind().dialect.name == "sqlite":
        return query.where(Attempt.run_id.in_(runs))
    of = runs.subquery()
    newest = ahead(query.where(Attempt.run_id == of.c.id), *NEWEST, cursor=cursor, descending=True)
    each = newest.with_only_columns(Attempt.id).lateral()
    return select(Attempt).where(Attempt.id.in_(select(each.c.id).select_from(of.join(each, true()))))


def details(attempt_ids: list[int]) -> Select[Attempt, Delivery, Mailing, User]:
    """What belongs to these attempts."""
    return (
        select(Attempt, Delivery, Mailing, User)
        .join(Run, Run.id == Attempt.run_id)
        .join(Delivery, Delivery.id == Attempt.delivery_id)
        .join(Mailing, Mailing.id == Run.mailing_id)
        .join(User, User.id == Run.owner_id)
        .where(Attempt.id.in_(attempt_ids))
        .order_by(Attempt.at.desc(), Attempt.id.desc())
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
