"""Segments: saved filters over the address book. The only place that knows what their JSON means."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any, TypedDict

from flask_babel import format_date
from flask_babel import gettext as _
from sqlalchemy import Select, func

from app import clock
from app.auth.models import User
from app.clients import queries
from app.clients.models import Client, ClientStatus, Segment
from app.extensions import db


class Conditions(TypedDict, total=False):
    """What a client must fulfil, all of it; what is missing or None asks for nothing."""

    tag: str | None
    born_from: int | None  # years, both inclusive
    born_to: int | None
    domain: str | None  # as app.addresses writes it: Unicode, lower case
    added_after: str | None  # an ISO date: on this day or later


@dataclass(frozen=True)
class Counts:
    active: int  # who would get a letter
    others: int  # who fulfils the conditions, and gets none


def count(owner: User, conditions: Conditions | Mapping[str, Any]) -> Counts:
    """How many of the owner's clients fulfil the conditions at this moment."""
    query = filter_clients(queries.owned_by(owner), conditions, clock.zone(owner.timezone))
    is_active = Client.status == ClientStatus.ACTIVE
    row = db.session.execute(
        query.with_only_columns(func.count().filter(is_active), func.count().filter(~is_active))
    ).one()
    return Counts(*row)


def describe(conditions: Conditions | Mapping[str, Any]) -> list[str]:
    """The conditions in words."""
    words = []
    if tag := conditions.get("tag"):
        words.append(_("tag “%(tag)s”", tag=tag))
    words += _years(conditions.get("born_from"), conditions.get("born_to"))
    if domain := conditions.get("domain"):
        words.append(_("e-mail at %(domain)s", domain=domain))
    if added_after := conditions.get("added_after"):
        words.append(_("added since %(day)s", day=format_date(date.fromisoformat(added_after), rebase=False)))
    return words


def _years(first: int | None, last: int | None) -> list[str]:
    if first and last:
        return [_("born %(first)s–%(last)s", first=str(first), last=str(last))]
    if first:
        return [_("born in %(year)s or later", year=str(first))]
    if last:
        return [_("born in %(year)s or earlier", year=str(last))]
    return []


def audience(segment: Segment) -> Select[Client]:
    """The active clients of the segment at this moment."""
    owner = db.session.get_one(User, segment.owner_id)
    active = queries.active_clients(owner.id)
    return filter_clients(active, segment.conditions, clock.zone(owner.timezone))


def filter_clients(
    query: Select[Client], conditions: Conditions | Mapping[str, Any], zone: tzinfo = UTC
) -> Select[Client]:
    """Those of `query` who fulfil the stored conditions; days begin at midnight in `zone`."""
    if tag := conditions.get("tag"):
        query = queries.with_tag(query, tag)
    if born_from := conditions.get("born_from"):
        query = query.where(Client.birth_year >= born_from)
    if born_to := conditions.get("born_to"):
        query = query.where(Client.birth_year <= born_to)
    if domain := conditions.get("domain"):
        query = query.where(Client.email.endswith(f"@{domain}", autoescape=True))
    if added_after := conditions.get("added_after"):
        midnight = datetime.combine(date.fromisoformat(added_after), time.min, zone)
        query = query.where(Client.added_at >= midnight)
    return query
