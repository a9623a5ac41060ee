"""What people do with messages."""

from dataclasses import dataclass
from datetime import datetime

from flask_babel import gettext as _
from sqlalchemy import Select, case, func, select, union_all
from sqlalchemy import delete as delete_rows

from app import clock
from app.auth import audit, outbox
from app.auth.models import Action, LetterKind, User
from app.auth.roles import Permission
from app.extensions import db
from app.messages import content, queries
from app.messages.models import Message, MessageVersion, hidden
from app.messages.preview import Letter
from app.pictures import service as pictures
from app.undo import Deleted, bring_back, mark_deleted

VERSIONS_KEPT = 50
WRITTEN = ("subject", "preheader", "html", "text")  # what a version holds


@dataclass(frozen=True)
class MessageData:
    """What an author writes. An empty `text` means: made from the HTML."""

    subject: str
    html: str
    text: str = ""
    is_shared: bool = False
    preheader: str = ""


def create(owner: User, data: MessageData) -> Message:
    """A new message, with its HTML sanitised.

    Raises:
        BadContent: when it can't be a letter.
    """
    message = Message(owner_id=owner.id)
    _write(message, data)
    db.session.add(message)
    db.session.flush()
    _keep_version(message, owner)
    return message


def edit(message: Message, data: MessageData, by: User | None = None) -> None:
    """Runs that are frozen keep the letter as it was; those to come send the new one.

    by: whose name the version bears that is kept of it.

    Raises:
        BadContent: when it can't be a letter.
    """
    if db.session.scalar(queries.versions_of(message).limit(1)) is None:
        # Written before there were versions, or by other ways: what it was must not be lost.
        _keep_version(message, None, message.updated_at)
    before = _written(message)
    _write(message, data)
    if _written(message) != before:
        _keep_version(message, by)


def restore(message: Message, version: MessageVersion, by: User) -> None:
    """The message as it was then. What it was until now stays among its versions.

    Raises:
        BadContent: when the rules have become stricter since.
    """
    old = MessageData(version.subject, version.html, version.text, message.is_shared, version.preheader)
    edit(message, old, by)


def changes_between(message: Message) -> dict[int, list[str]]:
    """What each version changed, as names of WRITTEN, by its id. The database compares: bodies are large."""
    older = {name: func.lead(getattr(MessageVersion, name)).over(order_by=MessageVersion.id.desc()) for name in WRITTEN}
    differs = [case((getattr(MessageVersion, name) != before, 1), else_=0) for name, before in older.items()]
    found = db.session.execute(queries.versions_of(message).with_only_columns(MessageVersion.id, *differs))
    return {row[0]: [name for name, is_new in zip(WRITTEN, row[1:], strict=True) if is_new] for row in found}


def send_test(user: User, letter: Letter) -> int:
    """Write this filled-in letter to the user's own address; the id of the outbox' letter, to enqueue after the commit.

    Its subject says that it is a test, and no mail program's "unsubscribe" button is in it.
    """
    subject = _("[Test] %(subject)s", subject=letter.subject)
    body = hidden(letter.preheader) + letter.html
    page = f'<!doctype html>\n<html><head><meta charset="utf-8"></head><body>{body}</body></html>'
    return outbox.write(LetterKind.TEST_MESSAGE, user, subject=subject, text=letter.text, html=page).id


def _write(message: Message, data: MessageData) -> None:
    message.subject = content.parse_subject(data.subject)
    message.preheader = content.parse_preheader(data.preheader)
    message.html = content.parse_html(data.html)
    message.text = content.parse_text(data.text)
    message.is_shared = data.is_shared
    pictures.keep_those_in(message.html)


def _written(message: Message) -> dict[str, str]:
    return {name: getattr(message, name) for name in WRITTEN}


def _keep_version(message: Message, by: User | None, at: datetime | None = None) -> None:
    version = MessageVersion(message_id=message.id, by_id=by and by.id, at=at or clock.now(), **_written(message))
    db.session.add(version)
    db.session.flush()
    too_old = queries.versions_of(message).with_only_columns(MessageVersion.id).offset(VERSIONS_KEPT)
    if ids := db.session.scalars(too_old).all():
        db.session.execute(delete_rows(MessageVersion).where(MessageVersion.id.in_(ids)))


def delete(message: Message) -> Deleted:
    """Take the message out of all lists. The row stays: planned mailings keep sending it."""
    audit.record(Action.DELETED, owner_id=message.owner_id, subject=f"message {message.id}")
    return mark_deleted(Message, select(Message).where(Message.id == message.id))


def delete_all(owner: User, which: Select[Message]) -> Deleted:
    """The same for all of `which`, which must be the owner's."""
    deleted = mark_deleted(Message, which)
    audit.record(Action.DELETED, owner_id=owner.id, subject=f"messages: {deleted.count}")
    return deleted


def restore_deleted(user: User, moment: datetime) -> int:
    """Take a deletion back, the sharing with it; how many messages are there again."""
    theirs = [] if user.may(Permission.EDIT_OTHERS) else [Message.owner_id == user.id]
    back = bring_back(Message, moment, *theirs)
    if back:
        audit.record(Action.RESTORED, owner_id=user.id, subject=f"messages: {back}")
    return back


def copy(message: Message, owner: User) -> Message:
    """The owner's own copy, which is nobody else's business until they share it."""
    made = Message(owner_id=owner.id, **_written(message))
    db.session.add(made)
    db.session.flush()
    _keep_version(made, owner)
    return made


def picture_keys() -> set[str]:
    """The keys of all pictures of letters that any message or version shows. Reads them all: for jobs."""
    bodies = union_all(select(Message.html), select(MessageVersion.html)).subquery()
    showing = select(bodies.c.html).where(bodies.c.html.contains("/pictures/"))
    return set().union(*map(pictures.keys_in, db.session.scalars(showing.execution_options(yield_per=100))))


def set_shared(message: Message, is_shared: bool) -> None:
    """Put the message into the common library, or take it out."""
    message.is_shared = is_shared
