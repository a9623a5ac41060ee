"""What people do with messages."""

from dataclasses import dataclass

from app import clock
from app.auth import audit
from app.auth.models import Action, User
from app.extensions import db
from app.messages import content
from app.messages.models import Message


@dataclass(frozen=True)
class MessageData:
    """What an author writes. An empty `text` means: made from the HTML."""

    subject: str
    html: str
    text: str = ""
    is_shared: bool = False


def create(owner: User, data: MessageData) -> Message:
    """A new message, with its HTML sanitised.

    Raises:
        BadContent: when it can't be a letter.
    """
    message = Message(owner_id=owner.id)
    edit(message, data)
    db.session.add(message)
    db.session.flush()
    return message


def edit(message: Message, data: MessageData) -> None:
    """Runs that are frozen keep the letter as it was; those to come send the new one.

    Raises:
        BadContent: when it can't be a letter.
    """
    message.subject = content.parse_subject(data.subject)
    message.html = content.parse_html(data.html)
    message.text = content.parse_text(data.text)
    message.is_shared = data.is_shared


def delete(message: Message) -> None:
    """Take the message out of all lists. The row stays: planned mailings keep sending it."""
    audit.record(Action.DELETED, owner_id=message.owner_id, subject=f"message {message.id}")
    message.deleted_at = clock.now()


def copy(message: Message, owner: User) -> Message:
    """The owner's own copy, which is nobody else's business until they share it."""
    made = Message(owner_id=owner.id, subject=message.subject, html=message.html, text=message.text)
    db.session.add(made)
    db.session.flush()
    return made


def set_shared(message: Message, is_shared: bool) -> None:
    """Put the message into the common library, or take it out."""
    message.is_shared = is_shared
