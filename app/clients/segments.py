"""Segments: saved filters over the address book. The only place that knows what their JSON means.

    {"match": "all", "groups": [{"match": "any", "conditions": [{"kind": "tag", "op": "is", "tag": "VIP"}, …]}, …]}

A plain {"tag": "VIP", "born_from": 1980}, as segments were stored once, is read as well: all of it must hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from enum import StrEnum
from typing import Any

from flask_babel import pgettext
from sqlalchemy import ColumnElement, Select, and_, func, or_, select, true

from app import clock
from app.auth.models import User
from app.clients import queries
from app.clients.conditions import Book, Condition, condition
from app.clients.models import Client, ClientStatus, Segment
from app.extensions import db

MOST_CONDITIONS = 50
SAMPLE = 10
NOBODY = 0  # no id: conditions as SQL name nobody's things, for they only ask about clients that are given
MOST_SEGMENTS_OF_CLIENT = 30

Stored = Mapping[str, Any]


class Match(StrEnum):
    """How many of several conditions must hold."""

    ALL = "all"
    ANY = "any"


@dataclass(frozen=True)
class Group:
    match: Match
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Rules:
    """Who belongs to a segment. Without any condition: everybody."""

    match: Match
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Counts:
    active: int  # who would get a letter
    others: int  # who fulfils the conditions, and gets none


def book_of(owner: User) -> Book:
    """Whose things the conditions of the owner's segments may name."""
    return Book(owner.id, clock.zone(owner.timezone))


# ── What is stored ──


def read(conditions: Stored, book: Book) -> Rules:
    """The rules that are stored so."""
    if "groups" not in conditions:
        return Rules(Match.ALL, (Group(Match.ALL, tuple(_of_flat(conditions, book))),))
    return Rules(
        Match(conditions["match"]),
        tuple(
            Group(Match(group["match"]), tuple(_condition(book, **one) for one in group["conditions"]))
            for group in conditions["groups"]
        ),
    )


def _condition(book: Book, kind: str, op: str, **values: Any) -> Condition:
    return condition(kind, op, values, book)


def _of_flat(stored: Stored, book: Book) -> Iterator[Condition]:
    if tag := stored.get("tag"):
        yield condition("tag", "is", {"tag": tag}, book)
    if stored.get("born_from") or stored.get("born_to"):
        yield condition("born", "between", {"from": stored.get("born_from"), "to": stored.get("born_to")}, book)
    if domain := stored.get("domain"):
        yield condition("domain", "is", {"domain": domain}, book)
    if day := stored.get("added_after"):
        yield condition("added", "after", {"day": day}, book)


def stored(rules: Rules) -> dict[str, Any]:
    """The rules as JSON: the reverse of `read`."""
    groups = [
        {
            "match": group.match.value,
            "conditions": [{"kind": one.key, "op": one.op, **one.values} for one in group.conditions],
        }
        for group in rules.groups
    ]
    return {"match": rules.match.value, "groups": groups}


# ── Who belongs to it ──


def filter_clients(query: Select[Client], conditions: Stored, zone: tzinfo = UTC) -> Select[Client]:
    """Those of `query` who fulfil the stored conditions; days begin at midnight in `zone`."""
    return query.where(_holds(read(conditions, Book(NOBODY, zone))))


def audience(segment: Segment) -> Select[Client]:
    """The active clients of the segment at this moment."""
    return filter_clients(queries.active_clients(segment.owner_id), segment.conditions, _zone_of(segment))


def members(segment: Segment, query: Select[Client]) -> Select[Client]:
    """Those of `query`, clients of the segment's owner, who belong to the segment, whatever their status."""
    return filter_clients(query, segment.conditions, _zone_of(segment))


def count(owner: User, conditions: Stored) -> Counts:
    """How many of the owner's clients fulfil the conditions at this moment."""
    is_active = Client.status == ClientStatus.ACTIVE
    query = filter_clients(queries.owned_by(owner), conditions, clock.zone(owner.timezone))
    row = db.session.execute(
        query.with_only_columns(func.count().filter(is_active), func.count().filter(~is_active))
    ).one()
    return Counts(*row)


def sample(owner: User, conditions: Stored) -> Sequence[Client]:
    """The newest few of them."""
    query = filter_clients(queries.owned_by(owner), conditions, clock.zone(owner.timezone))
    return db.session.scalars(query.order_by(Client.id.desc()).limit(SAMPLE)).all()


def segments_of_client(client: Client, owner: User) -> list[Segment]:
    """Those of the owner's segments, the newest few, that the client belongs to at this moment, in one statement."""
    newest = queries.segments_of(owner).order_by(Segment.id.desc()).limit(MOST_SEGMENTS_OF_CLIENT)
    known = db.session.scalars(newest).all()
    if not known:
        return []
    book = book_of(owner)
    belongs = [_holds(read(segment.conditions, book)).label(f"segment_{segment.id}") for segment in known]
    row = db.session.execute(select(*belongs).select_from(Client).where(Client.id == client.id)).one()
    return sorted((one for one, holds in zip(known, row, strict=True) if holds), key=lambda one: one.name.casefold())


def _zone_of(segment: Segment) -> tzinfo:
    return clock.zone(db.session.get_one(User, segment.owner_id).timezone)


def _holds(rules: Rules) -> ColumnElement[bool]:
    groups = [
        _joined(group.match, [one.holds() for one in group.conditions]) for group in rules.groups if group.conditions
    ]
    return _joined(rules.match, groups) if groups else true()


def _joined(match: Match, parts: Sequence[ColumnElement[bool]]) -> ColumnElement[bool]:
    return and_(*parts) if match is Match.ALL else or_(*parts)


# ── In words ──


def in_words(conditions: Stored, book: Book) -> str:
    """All of it: "tag “VIP” and (born in 1980 or later or e-mail at example.com)"; nothing where nothing is asked."""
    rules = read(conditions, book)
    groups = [group for group in rules.groups if group.conditions]
    if len(groups) == 1:
        return _group_in_words(groups[0])
    return f" {_joiner(rules.match)} ".join(
        f"({words})" if len(group.conditions) > 1 and group.match is not rules.match else words
        for group in groups
        for words in [_group_in_words(group)]
    )


def _group_in_words(group: Group) -> str:
    return f" {_joiner(group.match)} ".join(one.in_words() for one in group.conditions)


def _joiner(match: Match) -> str:
    return pgettext("conditions", "and") if match is Match.ALL else pgettext("conditions", "or")
