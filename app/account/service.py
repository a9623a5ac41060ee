"""What people do with their own account beside what `auth` knows: their picture, leaving, and being forgotten."""

import hashlib
from typing import IO

from sqlalchemy import Select, delete, exists, select
from sqlalchemy.orm import joinedload

from app import clock
from app.account import pictures
from app.auth import audit
from app.auth import service as auth
from app.auth.models import Action, Avatar, Letter, User
from app.clients.models import Client, Segment, Tag
from app.delivery.models import Delivery, Run
from app.extensions import db
from app.mailings import service as mailings
from app.mailings.models import Mailing
from app.messages import service as messages
from app.messages.models import Message
from app.pictures.service import forget_those_of

ROWS_AT_ONCE = 5000  # each in a transaction of its own: nobody waits long for SQLite's one writer


def set_avatar(user: User, file: IO[bytes]) -> None:
    """Raises: BadPicture."""
    image = pictures.avatar_of(file)
    db.session.merge(Avatar(user_id=user.id, image=image))
    user.avatar_version = hashlib.sha256(image).hexdigest()[:16]


def remove_avatar(user: User) -> None:
    db.session.execute(delete(Avatar).where(Avatar.user_id == user.id))
    user.avatar_version = ""


def close(user: User) -> Letter:
    """Leave: nothing is sent any more, and `auth.ERASED_AFTER` later all is erased.

    Raises:
        RuleBroken: for the last administrator.
    """
    letter = auth.close(user)
    mailings.hold_runs_of(user)
    return letter


def restore(user: User) -> None:
    """Come back before all is erased: mailings go on as after a pause."""
    auth.restore(user)
    mailings.hold_runs_of(user)


def to_erase() -> Select[int]:
    """The ids of accounts whose days are over, without those that a worker still holds messages of."""
    is_held = exists().where(Run.owner_id == User.id, Run.sending > 0)
    return select(User.id).where(User.closed_at <= clock.now() - auth.ERASED_AFTER, ~is_held).order_by(User.id)


def erase_some(user_id: int) -> bool:
    """Erase a piece of what the account has, at most ROWS_AT_ONCE rows; False when there was nothing left.

    Call again after each commit. The account itself goes last: whatever stops this, the next call goes on.
    """
    is_over = User.closed_at <= clock.now() - auth.ERASED_AFTER
    user = db.session.scalar(select(User).where(User.id == user_id, is_over).with_for_update())
    if user is None:
        return False
    runs = select(Run.id).where(Run.owner_id == user_id)
    mine = (
        (Delivery, Delivery.run_id.in_(runs)),
        (Run, Run.owner_id == user_id),
        (Mailing, Mailing.owner_id == user_id),
        (Client, Client.owner_id == user_id),
        (Segment, Segment.owner_id == user_id),
        (Tag, Tag.owner_id == user_id),
    )
    for table, is_mine in mine:
        ids = db.session.scalars(select(table.id).where(is_mine).limit(ROWS_AT_ONCE)).all()
        if ids:
            db.session.execute(delete(table).where(table.id.in_(ids)).execution_options(synchronize_session=False))
            return True
    _leave_shared_messages(user)
    audit.record(Action.ACCOUNT_ERASED, owner_id=user.id, subject=f"user {user.id}")
    db.session.execute(delete(Message).where(Message.owner_id == user_id))
    forget_those_of(user_id, messages.picture_keys())
    db.session.delete(user)
    return True


def _leave_shared_messages(user: User) -> None:
    """Whoever sends a message of this user's from the common library gets a copy of their own."""
    used = (
        select(Mailing)
        .join(Message, Message.id == Mailing.message_id)
        .where(Message.owner_id == user.id)
        .options(joinedload(Mailing.owner), joinedload(Mailing.message))
    )
    copies: dict[tuple[int, int], Message] = {}
    for mailing in db.session.scalars(used).all():
        key = (mailing.message_id, mailing.owner_id)
        if key not in copies:
            copies[key] = messages.copy(mailing.message, mailing.owner)
        mailing.message = copies[key]
    db.session.flush()
