"""What an owner does to many clients at once: each in one statement, whatever their number."""

from typing import Any

from sqlalchemy import Select, delete, literal, select, update

from app.clients.models import Client, ClientStatus, Tag, client_tag
from app.clients.service import tags_named
from app.database import among, insert_or_ignore
from app.extensions import db

SETTABLE = (ClientStatus.ACTIVE, ClientStatus.UNSUBSCRIBED)


def add_tag(owner_id: int, which: Select[Client], name: str) -> int:
    """Put the tag on those of `which` who don't bear it; how many those were."""
    [tag] = tags_named(owner_id, [name])
    rows = which.with_only_columns(Client.id, literal(tag.id)).order_by(None)
    return _count(insert_or_ignore(client_tag, db.session).from_select(["client_id", "tag_id"], rows))


def remove_tag(owner_id: int, which: Select[Client], name: str) -> int:
    """Take the tag, in whatever case it is written, off those of `which` who bear it; how many those were."""
    known = db.session.scalars(select(Tag).where(Tag.owner_id == owner_id))
    tag_id = next((tag.id for tag in known if tag.name.casefold() == name.casefold()), None)
    if tag_id is None:
        return 0
    clients = which.with_only_columns(Client.id).order_by(None)
    return _count(delete(client_tag).where(client_tag.c.tag_id == tag_id, client_tag.c.client_id.in_(clients)))


def set_status(which: Select[Client], status: ClientStatus) -> int:
    """Give those of `which` this status who have another; how many those were.

    Whoever complained stays so: they are written to again only one by one, by somebody who knows why.
    """
    others = which.where(Client.status.not_in((status, ClientStatus.COMPLAINED)))
    # Locked in the order of their ids: two that change many at once would else wait in a circle.
    ids = others.with_only_columns(Client.id).order_by(None).order_by(Client.id).with_for_update(key_share=True)
    chosen = among(Client.id, ids, db.session.get_bind().dialect.name)
    return _count(update(Client).where(chosen).values(status=status))


def _count(statement: Any) -> int:
    result = db.session.execute(statement, execution_options={"synchronize_session": False})
    db.session.expire_all()
    return int(result.rowcount)  # type: ignore[attr-defined]  # a CursorResult, as of every change
