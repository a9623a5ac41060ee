"""The address book."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, String, Table, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app import clock
from app.database import Base, BigId, Json, enum_type


class ClientStatus(StrEnum):
    """Letters go to active clients only."""

    ACTIVE = "active"
    UNSUBSCRIBED = "unsubscribed"
    BOUNCED = "bounced"
    COMPLAINED = "complained"


client_tag = Table(
    "client_tag",
    Base.metadata,
    Column("client_id", ForeignKey("client.id", ondelete="CASCADE"), primary_key=True),
    Column("tag_id", ForeignKey("tag.id", ondelete="CASCADE"), primary_key=True, index=True),
)


class Tag(Base):
    """A word that one owner puts on their clients."""

    __tablename__ = "tag"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(50))

    __table_args__ = (UniqueConstraint("owner_id", "name"),)


class Client(Base):
    """A recipient in one owner's address book."""

    __tablename__ = "client"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"))
    email: Mapped[str] = mapped_column(String(254))
    email_key: Mapped[str] = mapped_column(String(320))  # see app.addresses
    last_name: Mapped[str] = mapped_column(String(100), default="")
    first_name: Mapped[str] = mapped_column(String(100), default="")
    patronymic: Mapped[str] = mapped_column(String(100), default="")
    birth_year: Mapped[int | None] = mapped_column()
    comment: Mapped[str] = mapped_column(Text, default="")
    attributes: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    status: Mapped[ClientStatus] = mapped_column(enum_type(ClientStatus), default=ClientStatus.ACTIVE)
    added_at: Mapped[datetime] = mapped_column(default=clock.now)

    tags: Mapped[list[Tag]] = relationship(secondary=client_tag, order_by=Tag.name, passive_deletes=True)

    __table_args__ = (
        UniqueConstraint("owner_id", "email_key"),
        Index("ix_client_by_name", "owner_id", "last_name", "first_name", "id"),
        Index("ix_client_by_age", "owner_id", "id"),
        CheckConstraint("birth_year BETWEEN 1900 AND 2100", name="birth_year"),
    )

    @property
    def full_name(self) -> str:
        """Last name, first name, patronymic: those that are known."""
        return " ".join(filter(None, (self.last_name, self.first_name, self.patronymic)))


class Segment(Base):
    """A saved filter over the owner's clients. `conditions` is read by `app.clients.segments` alone."""

    __tablename__ = "segment"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    conditions: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
