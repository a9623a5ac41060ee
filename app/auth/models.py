"""Accounts, and the outbox of the service's own letters."""

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Any

from flask_login import UserMixin
from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app import clock
from app.database import Base, Json, enum_type, partial_index


class Role(StrEnum):
    USER = "user"
    MANAGER = "manager"
    EDITOR = "editor"
    ADMIN = "admin"


class User(UserMixin, Base):
    """Somebody with an account."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(320))
    email_key: Mapped[str] = mapped_column(String(320), unique=True)  # app.addresses: compared without case
    password_hash: Mapped[str] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(150), default="")
    role: Mapped[Role] = mapped_column(enum_type(Role), default=Role.USER)
    locale: Mapped[str | None] = mapped_column(String(10))
    timezone: Mapped[str] = mapped_column(String(64), default="UTC")
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    verified_at: Mapped[datetime | None] = mapped_column()
    blocked_at: Mapped[datetime | None] = mapped_column()
    blocked_by_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"))
    blocked_reason: Mapped[str] = mapped_column(Text, default="")

    def get_id(self) -> str:
        """What a session keeps. A new password ends every session that began with the old one."""
        return f"{self.id}:{self.fingerprint}"

    @property
    def fingerprint(self) -> str:
        """Changes with the password, and tells nothing about it: the hash under it is salted."""
        return hashlib.sha256(self.password_hash.encode()).hexdigest()[:16]

    @property
    def is_active(self) -> bool:
        """Flask-Login lets nobody else in."""
        return self.verified_at is not None and self.blocked_at is None

    @property
    def is_staff(self) -> bool:
        """May see the manager's dashboard."""
        return self.role in (Role.MANAGER, Role.ADMIN)

    @property
    def is_editor(self) -> bool:
        """May run the blog."""
        return self.role in (Role.EDITOR, Role.ADMIN)

    @property
    def owns_things(self) -> bool:
        """May have clients, messages and mailings."""
        return self.role in (Role.USER, Role.ADMIN)


class LetterKind(StrEnum):
    VERIFY = "verify"
    ALREADY_REGISTERED = "already_registered"


class Letter(Base):
    """One letter of the service itself, waiting to be sent or sent.

    It holds what the letter is about, never its text: links are made when it leaves, and are kept nowhere.
    """

    __tablename__ = "letter"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[LetterKind] = mapped_column(enum_type(LetterKind))
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    details: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    attempts: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime] = mapped_column(default=clock.now)
    sent_at: Mapped[datetime | None] = mapped_column()
    gave_up_at: Mapped[datetime | None] = mapped_column()
    error: Mapped[str] = mapped_column(Text, default="")

    user: Mapped[User] = relationship()

    __table_args__ = (partial_index("ix_letter_waiting", "not_before", where="sent_at IS NULL AND gave_up_at IS NULL"),)
