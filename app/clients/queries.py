"""Reads of the address book: each gives a `Select`, scoped to one owner."""

from sqlalchemy import ColumnElement, Select, exists, func, select

from app.auth.models import User
from app.auth.roles import Permission
from app.clients.models import Client, ClientStatus, Segment, Tag, client_tag
from app.search import containing


def owned_by(user: User) -> Select[Client]:
    """The user's own address book."""
    return select(Client).where(Client.owner_id == user.id)


def visible_to(user: User) -> Select[Client]:
    """The clients that this person may look at: their own, or everybody's."""
    return select(Client) if user.may(Permission.SEE_OTHERS) else owned_by(user)


def editable_by(user: User) -> Select[Client]:
    """The clients that this person may change: their own, or everybody's."""
    return select(Client) if user.may(Permission.EDIT_OTHERS) else owned_by(user)


def active_clients(owner_id: int) -> Select[Client]:
    """The audience "all clients": whoever gets letters."""
    return select(Client).where(Client.owner_id == owner_id, Client.status == ClientStatus.ACTIVE)


def segments_of(user: User) -> Select[Segment]:
    return select(Segment).where(Segment.owner_id == user.id)


def segments_editable_by(user: User) -> Select[Segment]:
    """The segments that this person may look at and change: their own, or everybody's."""
    return select(Segment) if user.may(Permission.EDIT_OTHERS) else segments_of(user)


def tags_of(owner_id: int) -> Select[Tag]:
    """All tags that the owner ever used, the unused ones, too: their spelling stays theirs."""
    return select(Tag).where(Tag.owner_id == owner_id)


def tag_names_in_use(user: User) -> Select[str]:
    """The words that at least one client bears, in order."""
    worn = exists().where(client_tag.c.tag_id == Tag.id)
    return select(Tag.name).where(Tag.owner_id == user.id, worn).order_by(func.lower(Tag.name), Tag.name)


def has_clients(user: User) -> Select[bool]:
    """One row: whether the address book has anybody in it."""
    return select(exists().where(Client.owner_id == user.id))


def with_status(query: Select[Client], status: ClientStatus) -> Select[Client]:
    return query.where(Client.status == status)


def with_tag(query: Select[Client], name: str) -> Select[Client]:
    """Those with exactly this tag, in the spelling that the owner's tag has."""
    return query.where(Client.tags.any(Tag.name == name))


def matching(query: Select[Client], words: str) -> Select[Client]:
    """Those whose names or e-mail address contain every one of the words, in any order and any case."""
    return containing(query, _searched(), words)


def _searched() -> ColumnElement[str]:
    """All that a search looks into, as one text: one comparison a row. No word has a newline in it."""
    names = Client.last_name + "\n" + Client.first_name + "\n" + Client.patronymic
    return names + "\n" + Client.email + "\n" + Client.email_key
