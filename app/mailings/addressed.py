"""What was sent to an address, of which the beginning is known: found without a look at millions of messages."""

from typing import Any

from flask_babel import gettext as _
from sqlalchemy import Select, or_, select, union_all

from app.auth.models import User
from app.clients.models import Client, FormerAddress
from app.clients.queries import existing
from app.delivery.models import Delivery, Run
from app.errors import RuleBroken
from app.extensions import db
from app.search import beginning

MOST_FOUND = 1000  # clients, and messages whose client is gone


class TooMany(RuleBroken):
    """It is the beginning of more addresses than anybody wants to read."""


def deliveries_to(address: str, owner_id: int | None) -> Select[int]:
    """Ids of what was meant for the clients whose address begins like this, or did at any time.

    Where the client is gone, only the address is left: it is found as it is typed, or in small letters.
    owner_id: among this owner's clients only.

    Raises:
        TooMany
    """
    key = address.casefold()
    clients = existing().with_only_columns(Client.id).where(beginning(Client.email_key, key))
    # Those whom somebody may still bring back. They are few, and stand in an index of their own.
    deleted = select(Client.id).where(Client.deleted_at.is_not(None), beginning(Client.email_key, key))
    former = select(FormerAddress.client_id).where(beginning(FormerAddress.email_key, key))
    orphans = select(Delivery.id).where(
        Delivery.client_id.is_(None), or_(beginning(Delivery.email, address), beginning(Delivery.email, key))
    )
    # The keys are indexed within each address book.
    owners = select(User.id) if owner_id is None else select(User.id).where(User.id == owner_id)
    clients, deleted = clients.where(Client.owner_id.in_(owners)), deleted.where(Client.owner_id.in_(owners))
    former = former.where(FormerAddress.owner_id.in_(owners))
    if owner_id is not None:
        orphans = orphans.join(Run, Run.id == Delivery.run_id).where(Run.owner_id == owner_id)
    client_ids, delivery_ids = _few(union_all(clients, deleted, former)), _few(orphans)
    return select(Delivery.id).where(or_(Delivery.client_id.in_(client_ids), Delivery.id.in_(delivery_ids)))


def _few(ids: Any) -> list[int]:
    found = list(db.session.scalars(ids.limit(MOST_FOUND + 1)))
    if len(found) > MOST_FOUND:
        raise TooMany(_("Too many addresses begin like this. Write more of it."))
    return found
