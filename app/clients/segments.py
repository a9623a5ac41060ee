"""Segments: saved filters over the address book. The only place that knows what their JSON means."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any, TypedDict

from sqlalchemy import Select

from app import clock
from app.auth.models import User
from app.clients import queries
from app.clients.models import Client, Segment
from app.extensions import db


class Conditions(TypedDict, total=False):
    """What a client must fulfil, all of it; what is missing or None asks for nothing."""

    tag: str | None
    born_from: int | None  # years, both inclusive
    born_to: int | None
    domain: str | None  # as app.addresses writes it: Unicode, lower case
    added_after: str | None  # an ISO date: on this day or later


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
