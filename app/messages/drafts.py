"""What is being typed, kept beside the message, which stays as it is: nothing is lost with a closed window.

Each window has a draft of its own. The form carries its mark, which changes with each keeping: whoever comes with an
older one is another window, and gets a draft of its own, so that neither overwrites the other.
"""

from collections.abc import Mapping
from datetime import timedelta

from flask_babel import gettext as _
from sqlalchemy import Select, select
from sqlalchemy import delete as delete_rows

from app import clock
from app.auth.models import User
from app.errors import RuleBroken
from app.extensions import db
from app.messages.models import Message, MessageDraft
from app.pictures import service as pictures

FIELDS = ("subject", "preheader", "html", "text")
KEPT = 20  # of each user: the newest
KEPT_FOR = timedelta(days=30)
LARGEST = 2_000_000  # characters of all that was typed: more than can be saved, for it is not lost for that


class TooLarge(RuleBroken):
    """More was typed than is kept."""


def version_of(message: Message | None) -> str:
    """What a form remembers, to notice that somebody saved meanwhile; empty for a new message."""
    return message.updated_at.isoformat() if message else ""


def mark_of(draft: MessageDraft) -> str:
    return f"{draft.id} {draft.saved_at.isoformat()}"


def of_user(user: User) -> Select[MessageDraft]:
    return select(MessageDraft).where(MessageDraft.owner_id == user.id)


def beside(user: User, message: Message | None) -> Select[MessageDraft]:
    """What the user typed and did not save, of this message, or of messages that are not there yet; newest first."""
    which = MessageDraft.message_id.is_(None) if message is None else MessageDraft.message_id == message.id
    return of_user(user).where(which).order_by(MessageDraft.id.desc())


def keep(user: User, message: Message | None, typed: Mapping[str, str], version: str, mark: str) -> MessageDraft:
    """The draft with what is typed in one window, based on this version of the message.

    mark: which this window got last, empty for none.

    Raises:
        TooLarge
    """
    if sum(map(len, typed.values())) > LARGEST:
        raise TooLarge(_("That is larger than %(limit)s kB.", limit=LARGEST // 1000))
    fields = {name: typed.get(name, "").replace("\0", "") for name in FIELDS} | {"version": version[:50]}
    draft = _marked(user, message, mark)
    if draft is None:
        draft = MessageDraft(owner_id=user.id, message_id=message.id if message else None)
        db.session.add(draft)
    # Two keepings within a microsecond would have one mark.
    draft.fields, draft.saved_at = fields, max(clock.now(), (draft.saved_at or clock.now()) + timedelta(microseconds=1))
    pictures.keep_those_in(fields["html"])
    db.session.flush()
    _forget_old_ones(user)
    return draft


def forget(user: User, message: Message | None, mark: str) -> None:
    """What this window typed is saved now. What another one made of the draft since stays."""
    if (draft := _marked(user, message, mark)) is not None:
        db.session.delete(draft)


def _marked(user: User, message: Message | None, mark: str) -> MessageDraft | None:
    number = mark.partition(" ")[0]
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        return None
    draft = db.session.scalar(beside(user, message).where(MessageDraft.id == int(number)).with_for_update())
    return draft if draft and mark_of(draft) == mark else None


def _forget_old_ones(user: User) -> None:
    too_old = of_user(user).where(MessageDraft.saved_at < clock.now() - KEPT_FOR).with_only_columns(MessageDraft.id)
    too_many = (
        of_user(user)
        .with_only_columns(MessageDraft.id)
        .order_by(MessageDraft.saved_at.desc(), MessageDraft.id.desc())
        .offset(KEPT)
    )
    if ids := [*db.session.scalars(too_old), *db.session.scalars(too_many)]:
        db.session.execute(delete_rows(MessageDraft).where(MessageDraft.id.in_(ids)))
