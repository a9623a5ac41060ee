"""Messages."""

from datetime import datetime
from html import escape
from typing import Any

from sqlalchemy import ColumnElement, ForeignKey, Index, String, Text, case, func
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app import clock
from app.auth.models import User
from app.database import Base, Json, partial_index

# What a mail program shows beside the subject: first in the letter, and never seen in it.
BEFORE_PREHEADER = (
    '<div style="display:none;max-height:0;overflow:hidden;font-size:1px;line-height:1px;color:#ffffff;opacity:0">'
)
# Mail programs fill their line with what follows: blanks, each kept apart from the next by what has no width.
FILLER = "&zwnj;&nbsp;" * 150
AFTER_PREHEADER = FILLER + "</div>"


def hidden(preheader: str) -> str:
    """The preview text as a letter begins with it; nothing where there is none."""
    return BEFORE_PREHEADER + escape(preheader, quote=False) + AFTER_PREHEADER if preheader else ""


class Message(Base):
    """Subject and body of a letter. Runs keep a copy of their own, so editing it changes no letter that was sent."""

    __tablename__ = "message"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"))
    subject: Mapped[str] = mapped_column(String(200))
    preheader: Mapped[str] = mapped_column(String(200), default="")  # the preview text, with merge fields; may be empty
    html: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text, default="")  # what the owner wrote; empty: made from the HTML
    is_shared: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    updated_at: Mapped[datetime] = mapped_column(default=clock.now, onupdate=clock.now)
    deleted_at: Mapped[datetime | None] = mapped_column()

    owner: Mapped[User] = relationship()

    __table_args__ = (
        Index("ix_message_of_owner", "owner_id", "id"),
        partial_index("ix_message_by_subject", "owner_id", "subject", "id", where="deleted_at IS NULL"),
        partial_index("ix_message_by_change", "owner_id", "updated_at", "id", where="deleted_at IS NULL"),
        partial_index("ix_message_deleted", "deleted_at", where="deleted_at IS NOT NULL"),
    )

    @hybrid_property
    def letter_html(self) -> str:
        """The HTML as it is sent: the preview text, hidden, and the letter."""
        return hidden(self.preheader or "") + self.html

    @letter_html.inplace.expression
    @classmethod
    def _letter_html(cls) -> ColumnElement[str]:
        words: ColumnElement[str] = cls.preheader.expression
        for character in "&<>":
            words = func.replace(words, character, escape(character))
        return case((cls.preheader == "", cls.html), else_=BEFORE_PREHEADER + words + AFTER_PREHEADER + cls.html)


class MessageDraft(Base):
    """What somebody was typing in one window, and has not saved: see `app.messages.drafts`."""

    __tablename__ = "message_draft"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"))  # whoever types
    message_id: Mapped[int | None] = mapped_column(ForeignKey("message.id", ondelete="CASCADE"), index=True)
    fields: Mapped[dict[str, Any]] = mapped_column(Json)  # the form's, by name, as they were typed
    saved_at: Mapped[datetime] = mapped_column(default=clock.now)

    __table_args__ = (Index("ix_message_draft_of_owner", "owner_id", "id"),)


class MessageVersion(Base):
    """A message as it was saved once. The newest one is the message as it is."""

    __tablename__ = "message_version"

    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[int] = mapped_column(ForeignKey("message.id", ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(default=clock.now)
    by_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"), index=True)
    subject: Mapped[str] = mapped_column(String(200))
    preheader: Mapped[str] = mapped_column(String(200))
    html: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)

    by: Mapped[User | None] = relationship()

    __table_args__ = (Index("ix_message_version_of_message", "message_id", "id"),)
