"""Accounts, their log-ins, the outbox of the service's own letters, and the audit log."""

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, cast

from flask_login import UserMixin
from sqlalchemy import ColumnElement, ForeignKey, Index, LargeBinary, String, Text, or_
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app import clock
from app.auth.roles import PERMISSIONS, Permission, Role
from app.database import Base, BigId, Json, enum_type, partial_index

REMEMBERED_FOR = timedelta(days=30)  # since the last visit
FORGOTTEN_AFTER = timedelta(days=1)  # where nobody asked to be remembered


class User(UserMixin, Base):
    """Somebody with an account."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(320))
    email_key: Mapped[str] = mapped_column(String(320), unique=True)  # app.addresses: compared without case
    password_hash: Mapped[str] = mapped_column(String(255))
    epoch: Mapped[int] = mapped_column(default=0)  # raised by whatever makes the links of earlier letters worthless
    name: Mapped[str] = mapped_column(String(150), default="")
    phone: Mapped[str] = mapped_column(String(30), default="")
    country: Mapped[str] = mapped_column(String(2), default="")  # ISO 3166-1 alpha-2
    role: Mapped[Role] = mapped_column(enum_type(Role), default=Role.USER)
    locale: Mapped[str | None] = mapped_column(String(10))
    timezone: Mapped[str] = mapped_column(String(64), default="UTC")
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    verified_at: Mapped[datetime | None] = mapped_column()
    blocked_at: Mapped[datetime | None] = mapped_column()
    blocked_by_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"))
    blocked_reason: Mapped[str] = mapped_column(Text, default="")
    closed_at: Mapped[datetime | None] = mapped_column()  # by its owner: erased some days later
    calendar_salt: Mapped[str | None] = mapped_column(String(32))  # signs the address of the calendar; None: it is off
    avatar_version: Mapped[str] = mapped_column(String(16), default="")  # empty: there is none

    totp_secret: Mapped[str] = mapped_column(String(200), default="")  # encrypted
    totp_since: Mapped[datetime | None] = mapped_column()  # None: log-ins need no second factor
    totp_last_step: Mapped[int] = mapped_column(default=0)  # RFC 6238, 5.2: a code works once

    blocked_by: Mapped["User | None"] = relationship(remote_side="User.id")

    __table_args__ = (
        partial_index("ix_user_closed", "closed_at", where="closed_at IS NOT NULL"),
        {"sqlite_autoincrement": True},  # the audit log knows people by id: nobody may inherit one who is erased
    )

    # What Flask-Login puts into the session: the key of this log-in, while somebody is logged in.
    login_key = ""
    login = cast("Login | None", None)  # no annotation: SQLAlchemy would take it for a column

    def get_id(self) -> str:
        """What a session keeps: no more than the secret key of a row in `login`."""
        return self.login_key

    @property
    def fingerprint(self) -> str:
        """Changes with the password and the epoch, and tells nothing about them: the hash under it is salted."""
        return hashlib.sha256(f"{self.epoch or 0}:{self.password_hash}".encode()).hexdigest()[:16]

    @property
    def is_active(self) -> bool:
        """Flask-Login lets nobody else in."""
        return self.verified_at is not None and not self.is_stopped

    @hybrid_property
    def is_stopped(self) -> bool:
        """Blocked, or closed: nobody gets in, and nothing of theirs is sent."""
        return self.blocked_at is not None or self.closed_at is not None

    @is_stopped.inplace.expression
    @classmethod
    def _is_stopped(cls) -> ColumnElement[bool]:
        return or_(cls.blocked_at.is_not(None), cls.closed_at.is_not(None))

    def may(self, permission: Permission) -> bool:
        return permission in PERMISSIONS[self.role]


class Login(Base):
    """One log-in on one device, for as long as it holds. Deleting the row ends it with the next request."""

    __tablename__ = "login"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)  # SHA-256 of the key in the session
    is_remembered: Mapped[bool] = mapped_column(default=False)
    device: Mapped[str] = mapped_column(String(300), default="")  # the browser's User-Agent
    address: Mapped[str] = mapped_column(String(45), default="")  # IPv4 or IPv6
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    last_seen_at: Mapped[datetime] = mapped_column(default=clock.now)
    good_until: Mapped[datetime] = mapped_column(index=True)

    user: Mapped[User] = relationship()

    @property
    def lifetime(self) -> timedelta:
        """How long it holds after a visit."""
        return REMEMBERED_FOR if self.is_remembered else FORGOTTEN_AFTER


class Avatar(Base):
    """A user's picture as we made it, apart from the user: nobody who only asks for a name loads it."""

    __tablename__ = "avatar"

    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), primary_key=True)
    image: Mapped[bytes] = mapped_column(LargeBinary)  # WebP, square


class RecoveryCode(Base):
    """Gets its owner in once when the telephone with the second factor is lost."""

    __tablename__ = "recovery_code"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    code_hash: Mapped[str] = mapped_column(String(64))  # SHA-256: the code is random enough to need no salt


class LetterKind(StrEnum):
    VERIFY = "verify"
    ALREADY_REGISTERED = "already_registered"
    RESET_PASSWORD = "reset_password"  # noqa: S105
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    CONFIRM_EMAIL = "confirm_email"
    EMAIL_CHANGED = "email_changed"
    FACTOR_ON = "factor_on"
    FACTOR_OFF = "factor_off"
    CODES_RENEWED = "codes_renewed"
    BLOCKED = "blocked"
    UNBLOCKED = "unblocked"
    MAILING_DISABLED = "mailing_disabled"
    MAILING_ENABLED = "mailing_enabled"
    RUNS_MISSED = "runs_missed"
    TEST_MESSAGE = "test_message"
    ACCOUNT_CLOSED = "account_closed"


class Letter(Base):
    """One letter of the service itself, waiting to be sent or sent.

    It holds what the letter is about, never its text: links are made when it leaves, and are kept nowhere.
    One without a user goes nowhere: whoever asks for an account that is not there shall not notice it by the time.
    """

    __tablename__ = "letter"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[LetterKind] = mapped_column(enum_type(LetterKind))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    email: Mapped[str] = mapped_column(String(320), default="")  # empty: the user's own
    details: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    attempts: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime] = mapped_column(default=clock.now)
    sent_at: Mapped[datetime | None] = mapped_column()
    gave_up_at: Mapped[datetime | None] = mapped_column()
    error: Mapped[str] = mapped_column(Text, default="")

    user: Mapped[User | None] = relationship()

    __table_args__ = (partial_index("ix_letter_waiting", "not_before", where="sent_at IS NULL AND gave_up_at IS NULL"),)


class Action(StrEnum):
    """What the audit log knows of."""

    REGISTERED = "registered"
    VERIFIED = "verified"
    LOGGED_IN = "logged_in"
    LOGIN_FAILED = "login_failed"
    LOGGED_OUT = "logged_out"
    LOGINS_ENDED = "logins_ended"
    PASSWORD_RESET = "password_reset"  # noqa: S105
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    EMAIL_CHANGED = "email_changed"
    FACTOR_ON = "factor_on"
    FACTOR_OFF = "factor_off"
    CODES_RENEWED = "codes_renewed"
    CODE_USED = "code_used"
    ROLE_CHANGED = "role_changed"
    BLOCKED = "blocked"
    UNBLOCKED = "unblocked"
    MAILING_DISABLED = "mailing_disabled"
    MAILING_ENABLED = "mailing_enabled"
    POST_PUBLISHED = "post_published"
    POST_UNPUBLISHED = "post_unpublished"
    DELETED = "deleted"
    RESTORED = "restored"
    EXPORTED = "exported"
    CALENDAR_ADDRESS = "calendar_address"
    CALENDAR_OFF = "calendar_off"
    ACCOUNT_CLOSED = "account_closed"
    ACCOUNT_RESTORED = "account_restored"
    ACCOUNT_ERASED = "account_erased"


class AuditEntry(Base):
    """Who did what, when, from where, on what, and why. Append-only: the database itself refuses to change a row.

    It names people by id alone and keeps no foreign key: it outlives an erased account, and holds no name of it.
    """

    __tablename__ = "audit_entry"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime] = mapped_column(default=clock.now)
    action: Mapped[Action] = mapped_column(enum_type(Action))
    actor_id: Mapped[int | None] = mapped_column()  # None: a guest, or a command of the operator
    owner_id: Mapped[int | None] = mapped_column()  # whose account it concerns
    subject: Mapped[str] = mapped_column(String(200), default="")  # what it was done to, such as "mailing 7"
    origin: Mapped[str] = mapped_column(String(45), default="")  # IP address, or "command"
    device: Mapped[str] = mapped_column(String(300), default="")
    why: Mapped[str] = mapped_column(Text, default="")

    __table_args__ = (
        Index("ix_audit_entry_owner", "owner_id", "id"),
        Index("ix_audit_entry_actor", "actor_id", "id"),
    )
