"""Mailings: a message, an audience, and a schedule."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, String, Table, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app import clock
from app.auth.models import User
from app.clients.models import Client, Segment
from app.database import Base, BigId, enum_type, partial_index
from app.messages.models import Message


class Audience(StrEnum):
    ALL = "all"
    CHOSEN = "chosen"
    SEGMENT = "segment"


class Period(StrEnum):
    ONCE = "once"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


class MailingStatus(StrEnum):
    CREATED = "created"
    RUNNING = "running"  # an occurrence is being sent
    SENT = "sent"  # that occurrence is done, the next one waits
    COMPLETED = "completed"
    PAUSED = "paused"


mailing_client = Table(
    "mailing_client",
    Base.metadata,
    Column("mailing_id", ForeignKey("mailing.id", ondelete="CASCADE"), primary_key=True),
    Column("client_id", BigId, ForeignKey("client.id", ondelete="CASCADE"), primary_key=True, index=True),
)


class Mailing(Base):
    """A message, an audience, and a schedule."""

    __tablename__ = "mailing"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(150))
    message_id: Mapped[int] = mapped_column(ForeignKey("message.id"), index=True)
    audience: Mapped[Audience] = mapped_column(enum_type(Audience), default=Audience.ALL)
    segment_id: Mapped[int | None] = mapped_column(ForeignKey("segment.id"), index=True)

    start_at: Mapped[datetime] = mapped_column()
    end_at: Mapped[datetime | None] = mapped_column()
    period: Mapped[Period] = mapped_column(enum_type(Period), default=Period.ONCE)
    timezone: Mapped[str] = mapped_column(String(64))

    status: Mapped[MailingStatus] = mapped_column(enum_type(MailingStatus), default=MailingStatus.CREATED)
    next_run_at: Mapped[datetime | None] = mapped_column()  # the truth about what is due
    last_sent_at: Mapped[datetime | None] = mapped_column()
    paused_at: Mapped[datetime | None] = mapped_column()
    disabled_at: Mapped[datetime | None] = mapped_column()
    disabled_by_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"))
    disabled_reason: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    updated_at: Mapped[datetime] = mapped_column(default=clock.now, onupdate=clock.now)
    deleted_at: Mapped[datetime | None] = mapped_column()

    owner: Mapped[User] = relationship(foreign_keys=owner_id)
    disabled_by: Mapped[User | None] = relationship(foreign_keys=disabled_by_id)
    message: Mapped[Message] = relationship()
    segment: Mapped[Segment | None] = relationship()
    chosen_clients: Mapped[list[Client]] = relationship(secondary=mailing_client, passive_deletes=True)

    __table_args__ = (
        Index("ix_mailing_of_owner", "owner_id", "id"),
        # Only what may run: ten thousand paused mailings must not lie in the way of the one that is due.
        partial_index(
            "ix_mailing_due",
            "next_run_at",
            where="next_run_at IS NOT NULL AND paused_at IS NULL AND disabled_at IS NULL AND deleted_at IS NULL",
        ),
        CheckConstraint("end_at IS NULL OR end_at > start_at", name="window"),
        CheckConstraint("(audience = 'segment') = (segment_id IS NOT NULL)", name="segment"),
    )
