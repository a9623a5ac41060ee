"""What can happen to clients, their tags, and segments."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from flask_babel import gettext as _
from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from app.addresses import Address
from app.auth import audit
from app.auth.models import Action, User
from app.auth.roles import Permission
from app.clients import queries
from app.clients.fields import distinct
from app.clients.models import Client, ClientStatus, FormerAddress, Segment, Tag
from app.clients.unsubscribe import half_hidden
from app.database import insert_or_ignore
from app.errors import NotFound, RuleBroken
from app.extensions import db
from app.undo import Deleted, bring_back, mark_deleted

LARGEST_ID = 2**63 - 1  # what a column can hold: SQLite's driver fails on more

Thing = TypeVar("Thing", Client, Segment)


class AlreadyThere(RuleBroken):
    """The owner has another client with this e-mail address."""


@dataclass(frozen=True)
class ClientData:
    """All that an owner writes about a client. The texts are tidied already: see `app.clients.fields`."""

    address: Address
    last_name: str = ""
    first_name: str = ""
    patronymic: str = ""
    birth_year: int | None = None
    comment: str = ""
    tags: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    status: ClientStatus = ClientStatus.ACTIVE


def get_client(user: User, client_id: int, *, to_edit: bool = False) -> Client:
    """Raises: NotFound, also for what the user may not see or edit."""
    query = queries.editable_by(user) if to_edit else queries.visible_to(user)
    return _one(query.where(Client.id == min(client_id, LARGEST_ID)))


def address_for(user: User, client: Client) -> str:
    """The client's address as this person may see it."""
    is_open = client.owner_id == user.id or user.may(Permission.SEE_ADDRESSES)
    return client.email if is_open else half_hidden(client.email)


def get_segment(user: User, segment_id: int) -> Segment:
    """Raises: NotFound, also for what the user may not edit."""
    return _one(queries.segments_editable_by(user).where(Segment.id == min(segment_id, LARGEST_ID)))


def own_segment(user: User, segment_id: str) -> Segment:
    """The user's own segment, by an id as an address has it. Raises: NotFound."""
    number = int(segment_id) if segment_id.isascii() and segment_id.isdigit() else 0
    return _one(queries.segments_of(user).where(Segment.id == min(number, LARGEST_ID)))


def _one(query: Select[Thing]) -> Thing:
    if (thing := db.session.scalar(query)) is None:
        raise NotFound(_("There is nothing at this address, or it is not yours."))
    return thing


def create_client(owner: User, data: ClientData) -> Client:
    """Raises: AlreadyThere."""
    return _save(Client(owner_id=owner.id), data)


def edit_client(client: Client, data: ClientData) -> Client:
    """Raises: AlreadyThere. Then the client is as it was."""
    former = {"client_id": client.id, "email_key": client.email_key, "owner_id": client.owner_id}
    saved = _save(client, data)
    if saved.email_key != former["email_key"]:
        db.session.execute(insert_or_ignore(FormerAddress, db.session).values(former))
    return saved


def _save(client: Client, data: ClientData) -> Client:
    # Tags first: they may lock the owner, and locks taken in one order can't wait for each other in a circle.
    tags = tags_named(client.owner_id, data.tags)
    try:
        with db.session.begin_nested():
            client.email, client.email_key = data.address.email, data.address.key
            client.last_name, client.first_name, client.patronymic = (
                data.last_name,
                data.first_name,
                data.patronymic,
            )
            client.birth_year = data.birth_year
            client.comment = data.comment
            client.tags = tags
            client.attributes = dict(data.attributes)
            client.status = data.status
            db.session.add(client)
    except IntegrityError as error:
        if "email_key" not in str(error.orig):
            raise
        raise AlreadyThere(_("This e-mail address is already in your address book.")) from None
    return client


def delete_client(client: Client) -> Deleted:
    """Nothing more goes to the client. The ledger keeps what was sent, a little later without the link to it."""
    audit.record(Action.DELETED, owner_id=client.owner_id, subject=f"client {client.id}")
    return mark_deleted(Client, select(Client).where(Client.id == client.id))


def delete_clients(owner: User, which: Select[Client]) -> Deleted:
    """The same for all of `which`, however many, which must be the owner's."""
    deleted = mark_deleted(Client, which)
    audit.record(Action.DELETED, owner_id=owner.id, subject=f"clients: {deleted.count}")
    return deleted


def restore_clients(user: User, moment: datetime) -> tuple[int, int]:
    """Take a deletion back; how many are there again, and how many can't be: their addresses are in use again."""
    theirs = _own(user, Client)
    deleted = select(func.count()).select_from(Client).where(Client.deleted_at == moment, *theirs)
    count = db.session.scalar(deleted) or 0
    same = aliased(Client)
    # Not EXISTS, which PostgreSQL may join in a way that takes the square of their number.
    in_use = (
        select(same.id)
        .where(same.owner_id == Client.owner_id, same.email_key == Client.email_key, same.deleted_at.is_(None))
        .limit(1)
        .correlate(Client)
        .scalar_subquery()
    )
    try:
        with db.session.begin_nested():
            back = bring_back(Client, moment, *theirs, in_use.is_(None))
    except IntegrityError:  # somebody adds one of them at this very moment
        raise RuleBroken(_("Some of these addresses were just added anew. Try again.")) from None
    if back:
        audit.record(Action.RESTORED, owner_id=user.id, subject=f"clients: {back}")
    return back, count - back


def restore_segments(user: User, moment: datetime) -> int:
    back = bring_back(Segment, moment, *_own(user, Segment))
    if back:
        audit.record(Action.RESTORED, owner_id=user.id, subject=f"segments: {back}")
    return back


def _own(user: User, kind: type[Client | Segment]) -> list[ColumnElement[bool]]:
    return [] if user.may(Permission.EDIT_OTHERS) else [kind.owner_id == user.id]


def bury_clients(deleted_before: datetime, limit: int) -> int:
    """Take clients away for good who were deleted before then, at most `limit`; how many those were."""
    some = select(Client.id).where(Client.deleted_at < deleted_before).order_by(Client.id).limit(limit)
    ids = db.session.scalars(some.with_for_update(skip_locked=True)).all()
    if ids:
        db.session.execute(delete(Client).where(Client.id.in_(ids)).execution_options(synchronize_session=False))
    return len(ids)


def set_tags(owner_id: int, client: Client, names: Iterable[str]) -> None:
    """Give the client these tags and no others; `names` may come in any case."""
    client.tags = tags_named(owner_id, names)


def tags_named(owner_id: int, names: Iterable[str]) -> list[Tag]:
    """The owner's tags with these names, in alphabetical order; those that are new are made.

    The same word in another case is the same tag, in the spelling that came first.
    """
    wanted = {name.casefold(): name for name in distinct(names)}
    if not wanted:
        return []
    known = _tags_by_key(owner_id)
    if not wanted.keys() <= known.keys():
        lock_tags(owner_id)
        known = _tags_by_key(owner_id)
        new = {key: Tag(owner_id=owner_id, name=name) for key, name in wanted.items() if key not in known}
        db.session.add_all(new.values())
        db.session.flush()
        known |= new
    return sorted((known[key] for key in wanted), key=lambda tag: tag.name.casefold())


def lock_tags(owner_id: int) -> None:
    """Until the commit nobody else makes a tag for this owner: two could bring "VIP" and "vip" at once."""
    db.session.execute(select(User.id).where(User.id == owner_id).with_for_update(key_share=True))


def _tags_by_key(owner_id: int) -> dict[str, Tag]:
    return {tag.name.casefold(): tag for tag in db.session.scalars(queries.tags_of(owner_id))}


def create_segment(owner: User, name: str, conditions: Mapping[str, Any]) -> Segment:
    segment = Segment(owner_id=owner.id, name=name, conditions=dict(conditions))
    db.session.add(segment)
    db.session.flush()
    return segment


def edit_segment(segment: Segment, name: str, conditions: Mapping[str, Any]) -> None:
    """Mailings that use the segment see the new conditions from their next run on."""
    segment.name = name
    segment.conditions = dict(conditions)


def delete_segment(segment: Segment) -> Deleted:
    """Raises: RuleBroken while a mailing uses it."""
    only_this = select(Segment).where(Segment.id == segment.id)
    refuse_while_used(only_this)
    audit.record(Action.DELETED, owner_id=segment.owner_id, subject=f"segment {segment.id}")
    return mark_deleted(Segment, only_this)


def delete_segments(owner: User, which: Select[Segment]) -> Deleted:
    """Delete all of `which`, which must be the owner's.

    Raises:
        RuleBroken: while a mailing uses one of them; then all of them stay.
    """
    refuse_while_used(which)
    deleted = mark_deleted(Segment, which)
    audit.record(Action.DELETED, owner_id=owner.id, subject=f"segments: {deleted.count}")
    return deleted


def refuse_while_used(which: Select[Segment]) -> None:
    """Raises: RuleBroken where a mailing that is not deleted uses one of these segments."""
    if (name := db.session.scalar(queries.in_use(which).with_only_columns(Segment.name).limit(1))) is not None:
        raise RuleBroken(_("A mailing uses the segment “%(name)s”. Choose another audience there first.", name=name))


def bury_segments(deleted_before: datetime) -> None:
    """Take segments away for good that were deleted before then, and that no mailing remembers."""
    gone = select(Segment.id).where(Segment.deleted_at < deleted_before, ~queries.is_remembered())
    db.session.execute(delete(Segment).where(Segment.id.in_(gone)).execution_options(synchronize_session=False))
