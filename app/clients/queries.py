"""Reads of the address book: each gives a `Select`, scoped to one owner."""

from sqlalchemy import ColumnElement, Select, Table, exists, func, or_, select

from app.auth.models import User
from app.auth.roles import Permission
from app.clients.models import Client, ClientStatus, Segment, Tag, client_tag
from app.search import containing


def owned_by(user: User) -> Select[Client]:
    """The user's own address book."""
    return existing().where(Client.owner_id == user.id)


def existing() -> Select[Client]:
    """Everybody's clients, without those who are deleted: what every query of clients begins with."""
    return select(Client).where(Client.deleted_at.is_(None))


def visible_to(user: User) -> Select[Client]:
    """The clients that this person may look at: their own, or everybody's."""
    return existing() if user.may(Permission.SEE_OTHERS) else owned_by(user)


def editable_by(user: User) -> Select[Client]:
    """The clients that this person may change: their own, or everybody's."""
    return existing() if user.may(Permission.EDIT_OTHERS) else owned_by(user)


def active_clients(owner_id: int) -> Select[Client]:
    """The audience "all clients": whoever gets letters."""
    return existing().where(Client.owner_id == owner_id, Client.status == ClientStatus.ACTIVE)


def segments_of(user: User) -> Select[Segment]:
    return _existing_segments().where(Segment.owner_id == user.id)


def segments_editable_by(user: User) -> Select[Segment]:
    """The segments that this person may look at and change: their own, or everybody's."""
    return _existing_segments() if user.may(Permission.EDIT_OTHERS) else segments_of(user)


def _existing_segments() -> Select[Segment]:
    return select(Segment).where(Segment.deleted_at.is_(None))


def segments_named(query: Select[Segment], words: str) -> Select[Segment]:
    """Those whose names contain every one of the words, in any order and any case."""
    return containing(query, Segment.name, words)


def in_use(which: Select[Segment]) -> Select[Segment]:
    """Those of `which` that a mailing which is not deleted goes to, or leaves out."""
    mailing = _mailings()
    return which.where(exists().where(_names(mailing), mailing.c.deleted_at.is_(None)))


def is_remembered() -> ColumnElement[bool]:
    """Whether any mailing still names the segment, be it a deleted one."""
    return exists().where(_names(_mailings()))


def _names(mailing: Table) -> ColumnElement[bool]:
    return or_(mailing.c.segment_id == Segment.id, mailing.c.exclude_segment_id == Segment.id)


def _mailings() -> Table:
    # Mailings are above this package: the database is who knows them.
    return Segment.metadata.tables["mailing"]


def tags_of(owner_id: int) -> Select[Tag]:
    """All tags that the owner ever used, the unused ones, too: their spelling stays theirs."""
    return select(Tag).where(Tag.owner_id == owner_id)


def tag_names_in_use(user: User) -> Select[str]:
    """The words that at least one client bears, in order."""
    bearer = existing().join(client_tag, client_tag.c.client_id == Client.id).where(client_tag.c.tag_id == Tag.id)
    # One is enough. Not EXISTS, which PostgreSQL may answer by a join with all clients.
    worn = bearer.with_only_columns(Client.id).limit(1).correlate(Tag).scalar_subquery().is_not(None)
    return select(Tag.name).where(Tag.owner_id == user.id, worn).order_by(func.lower(Tag.name), Tag.name)


def has_clients(user: User) -> Select[bool]:
    """One row: whether the address book has anybody in it."""
    return select(owned_by(user).exists())


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
