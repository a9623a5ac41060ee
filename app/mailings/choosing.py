"""What the form of a mailing offers to choose from: a few at a time, however many there are."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from app.auth.models import User
from app.clients import queries as clients
from app.clients.models import Client
from app.extensions import db
from app.messages import queries as messages
from app.messages.models import Message

MESSAGES_OFFERED = 6
CLIENTS_OFFERED = 8
CHIPS_SHOWN = 100


@dataclass(frozen=True)
class Messages:
    """The chosen one first, then the newest that fit the search."""

    offered: Sequence[Message]
    chosen_id: int | None
    has_more: bool
    words: str


@dataclass(frozen=True)
class Clients:
    """The newest that fit the search and are not chosen yet."""

    offered: Sequence[Client]
    has_more: bool
    words: str


@dataclass(frozen=True)
class Chips:
    """Chosen clients: the first ones by name are shown, the ids of all others are only kept."""

    shown: Sequence[Client]
    others: Sequence[int]


def offered_messages(user: User, words: str, chosen_id: int | None) -> Messages:
    usable = messages.for_list(messages.usable_by(user))
    found = db.session.scalars(
        messages.matching(usable, words).order_by(Message.id.desc()).limit(MESSAGES_OFFERED + 1)
    ).all()
    chosen = db.session.scalar(usable.where(Message.id == chosen_id)) if chosen_id else None
    offered = [message for message in found[:MESSAGES_OFFERED] if chosen is None or message.id != chosen.id]
    first = [] if chosen is None else [chosen]
    return Messages([*first, *offered], chosen.id if chosen else None, len(found) > MESSAGES_OFFERED, words)


def offered_clients(user: User, words: str, but: Collection[int] = ()) -> Clients:
    """but: ids of those who are chosen already."""
    query = clients.matching(clients.owned_by(user), words)
    if but:
        query = query.where(Client.id.not_in(but))
    found = db.session.scalars(query.order_by(Client.id.desc()).limit(CLIENTS_OFFERED + 1)).all()
    return Clients(found[:CLIENTS_OFFERED], len(found) > CLIENTS_OFFERED, words)


def chips(user: User, chosen: Collection[int]) -> Chips:
    """What the form shows of these ids; whoever is not in the address book any more is left out."""
    if not chosen:
        return Chips([], [])
    of_them = clients.owned_by(user).where(Client.id.in_(chosen))
    by_name = (Client.last_name, Client.first_name, Client.id)
    ids = db.session.scalars(of_them.with_only_columns(Client.id).order_by(*by_name)).all()
    shown = clients.owned_by(user).where(Client.id.in_(ids[:CHIPS_SHOWN])).order_by(*by_name)
    return Chips(db.session.scalars(shown).all(), ids[CHIPS_SHOWN:])
