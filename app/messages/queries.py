"""Reads of messages: each gives a `Select`, scoped to who asks."""

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import defer, joinedload

from app.auth.models import User
from app.auth.roles import Permission
from app.messages.models import Message, MessageVersion
from app.search import containing


def owned_by(user: User) -> Select[Message]:
    """The user's own messages."""
    return _existing().where(Message.owner_id == user.id)


def editable_by(user: User) -> Select[Message]:
    """The messages that this person may change: their own, or everybody's."""
    return _existing() if user.may(Permission.EDIT_OTHERS) else owned_by(user)


def readable_by(user: User) -> Select[Message]:
    """The messages that this person may read: those they may use, or everybody's."""
    return _existing() if user.may(Permission.EDIT_OTHERS) else usable_by(user)


def library() -> Select[Message]:
    """The common library: what its authors share with everybody."""
    return _existing().where(Message.is_shared)


def usable_by(user: User) -> Select[Message]:
    """The messages that this person may copy and send: their own and the common library's."""
    return _existing().where(or_(Message.owner_id == user.id, Message.is_shared))


def matching(query: Select[Message], words: str) -> Select[Message]:
    """Those whose subjects contain every one of the words, in any order and any case."""
    return containing(query, Message.subject, words)


def for_list(query: Select[Message]) -> Select[Message]:
    """The same rows as a list shows them: with their authors, and without the bodies, which may be half a megabyte."""
    return query.options(defer(Message.html), defer(Message.text), joinedload(Message.owner))


def versions_of(message: Message) -> Select[MessageVersion]:
    """As they were saved, the newest first."""
    return select(MessageVersion).where(MessageVersion.message_id == message.id).order_by(MessageVersion.id.desc())


def versions_for_list(message: Message) -> Select[MessageVersion]:
    """The same without the bodies, with whoever wrote them."""
    without = (defer(MessageVersion.html), defer(MessageVersion.text))
    return versions_of(message).options(*without, joinedload(MessageVersion.by))


def _existing() -> Select[Message]:
    return select(Message).where(Message.deleted_at.is_(None))
