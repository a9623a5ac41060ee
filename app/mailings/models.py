"""Mailings: a message, an audience, and a schedule."""

from dataclasses import asdict, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Column, Dialect, ForeignKey, Index, SmallInteger, String, Table, Text, and_
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from app import clock
from app.auth.models import User
from app.clients.models import Client, Segment
from app.database import Base, BigId, enum_type, partial_index
from app.mailings.schedule import Period, Schedule
from app.messages.models import Message


class Audience(StrEnum):
    ALL = "all"
    CHOSEN = "chosen"
    SEGMENT = "segment"


class Misfire(StrEnum):
    """What becomes of an occurrence whose moment has passed while nobody could begin it."""

    LATE = "late"  # it is sent all the same, if it is not too late
    SKIP = "skip"
    ASK = "ask"  # its owner decides


class MailingStatus(StrEnum):
    CREATED = "created"
    RUNNING = "running"  # an occurrence is being sent
    SENT = "sent"  # that occurrence is done, the next one waits
    COMPLETED = "completed"
    PAUSED = "paused"


class Weekdays(TypeDecorator[frozenset[int]]):
    """Days of the week, Monday = 0, as the bits of a number."""

    impl = SmallInteger
    cache_ok = True

    def process_bind_param(self, value: frozenset[int] | None, _dialect: Dialect) -> int | None:
        return None if value is None else sum(1 << day for day in value)

    def process_result_value(self, value: Any, _dialect: Dialect) -> frozenset[int] | None:
        return None if value is None else frozenset(day for day in range(7) if value >> day & 1)


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
    exclude_segment_id: Mapped[int | None] = mapped_column(ForeignKey("segment.id"), index=True)  # who gets nothing
    sender_name: Mapped[str] = mapped_column(String(60), default="")  # beside the service's own address
    reply_to: Mapped[str] = mapped_column(String(254), default="")  # an address; empty: the owner's

    start_at: Mapped[datetime] = mapped_column()
    end_at: Mapped[datetime | None] = mapped_column()
    period: Mapped[Period] = mapped_column(enum_type(Period), default=Period.ONCE)
    timezone: Mapped[str] = mapped_column(String(64))
    every: Mapped[int] = mapped_column(SmallInteger, default=1)
    weekdays: Mapped[frozenset[int]] = mapped_column(Weekdays, default=frozenset())
    month_day: Mapped[int | None] = mapped_column(SmallInteger)
    month_week: Mapped[int | None] = mapped_column(SmallInteger)
    month_weekday: Mapped[int | None] = mapped_column(SmallInteger)
    occurrences_max: Mapped[int | None] = mapped_column()
    misfire: Mapped[Misfire] = mapped_column(enum_type(Misfire), default=Misfire.LATE)
    late_seconds_max: Mapped[int | None] = mapped_column()  # for Misfire.LATE; None: however late

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
    segment: Mapped[Segment | None] = relationship(foreign_keys=segment_id)
    exclude_segment: Mapped[Segment | None] = relationship(foreign_keys=exclude_segment_id)
    chosen_clients: Mapped[list[Client]] = relationship(
        secondary=mailing_client,
        # Whoever is deleted keeps the place, for as long as they can come back.
        secondaryjoin=lambda: and_(Client.id == mailing_client.c.client_id, Client.deleted_at.is_(None)),
        passive_deletes=True,
    )

    __table_args__ = (
        Index("ix_mailing_of_owner", "owner_id", "id"),
        # Only what may run: ten thousand paused mailings must not lie in the way of the one that is due.
        partial_index(
            "ix_mailing_due",
            "next_run_at",
            where="next_run_at IS NOT NULL AND paused_at IS NULL AND disabled_at IS NULL AND deleted_at IS NULL",
        ),
        partial_index("ix_mailing_by_name", "owner_id", "name", "id", where="deleted_at IS NULL"),
        partial_index("ix_mailing_deleted", "deleted_at", where="deleted_at IS NOT NULL"),
        CheckConstraint("end_at IS NULL OR end_at > start_at", name="window"),
        CheckConstraint("(audience = 'segment') = (segment_id IS NOT NULL)", name="segment"),
        CheckConstraint("every >= 1", name="every"),
        CheckConstraint("occurrences_max >= 1", name="occurrences"),
        CheckConstraint("(month_week IS NULL) = (month_weekday IS NULL)", name="month_week"),
    )

    @property
    def schedule(self) -> Schedule:
        return Schedule(*(getattr(self, field.name) for field in fields(Schedule)))

    @schedule.setter
    def schedule(self, schedule: Schedule) -> None:
        for name, value in asdict(schedule).items():
            setattr(self, name, value)
