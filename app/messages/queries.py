"""Reads of messages, scoped to who asks."""

from sqlalchemy import Select, or_, select

from app.auth.models import User
from app.messages.models import Message


def visible_to(user: User) -> Select[Message]:
    """The user's own messages, without the deleted ones."""
    return select(Message).where(Message.owner_id == user.id, Message.deleted_at.is_(None))


def library() -> Select[Message]:
    """What owners share with everyone."""
    return select(Message).where(Message.is_shared, Message.deleted_at.is_(None))


def usable_by(user: User) -> Select[Message]:
    """What the user may send: their own and the shared ones."""
    return select(Message).where(or_(Message.owner_id == user.id, Message.is_shared), Message.deleted_at.is_(None))
