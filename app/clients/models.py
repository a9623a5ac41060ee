"""The address book."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app import clock
from app.database import Base, BigId, Json, enum_type, key_type, partial_index

IS_THERE = "deleted_at IS NULL"


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
    email_key: Mapped[str] = mapped_column(key_type(320))  # see app.addresses
    last_name: Mapped[str] = mapped_column(String(100), default="")
    first_name: Mapped[str] = mapped_column(String(100), default="")
    patronymic: Mapped[str] = mapped_column(String(100), default="")
    birth_year: Mapped[int | None] = mapped_column()
    comment: Mapped[str] = mapped_column(Text, default="")
    attributes: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    status: Mapped[ClientStatus] = mapped_column(enum_type(ClientStatus), default=ClientStatus.ACTIVE)
    added_at: Mapped[datetime] = mapped_column(default=clock.now)
    deleted_at: Mapped[datetime | None] = mapped_column()  # set: gone for everybody, and for good a little later

    tags: Mapped[list[Tag]] = relationship(secondary=client_tag, order_by=Tag.name, passive_deletes=True)

    __table_args__ = (
        partial_index("uq_client_owner_id_email_key", "owner_id", "email_key", where=IS_THERE, unique=True),
        # Not of those alone who are there: PostgreSQL would take them for few, and this index for the best one.
        Index("ix_client_by_name", "owner_id", "last_name", "first_name", "id"),
        partial_index("ix_client_deleted", "deleted_at", where="deleted_at IS NOT NULL"),
        Index("ix_client_by_age", "owner_id", "id"),
        Index("ix_client_added", "owner_id", "added_at"),
        CheckConstraint("birth_year BETWEEN 1900 AND 2100", name="birth_year"),
    )

    @property
    def full_name(self) -> str:
        """Last name, first name, patronymic: those that are known."""
        return " ".join(filter(None, (self.last_name, self.first_name, self.patronymic)))


class FormerAddress(Base):
    """An address that a client had: what was sent there is found by it, too."""

    __tablename__ = "client_former_address"

    client_id: Mapped[int] = mapped_column(ForeignKey("client.id", ondelete="CASCADE"), primary_key=True)
    email_key: Mapped[str] = mapped_column(key_type(320), primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"))

    __table_args__ = (Index("ix_client_former_address_of_owner", "owner_id", "email_key"),)


class Segment(Base):
    """A saved filter over the owner's clients. `conditions` is read by `app.clients.segments` alone."""

    __tablename__ = "segment"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    conditions: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    deleted_at: Mapped[datetime | None] = mapped_column()


class ImportStatus(StrEnum):
    UNPACKING = "unpacking"  # a workbook on its way to rows
    READY = "ready"  # its owner has to say which column is what
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"  # what was taken before stays
    FAILED = "failed"  # `fault` says why


class KnownClients(StrEnum):
    """What becomes of clients who are in the address book already."""

    SKIP = "skip"
    UPDATE = "update"  # what the file says counts; its empty cells say nothing
    FILL = "fill"  # what is there stays; gaps are filled


class Import(Base):
    """A file of clients, and how far it is taken into the address book. rows = added + updated + skipped + bad."""

    __tablename__ = "client_import"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"))
    status: Mapped[ImportStatus] = mapped_column(enum_type(ImportStatus))
    file_name: Mapped[str] = mapped_column(String(200))
    size: Mapped[int] = mapped_column(BigInteger)  # bytes of the CSV in the pieces
    encoding: Mapped[str] = mapped_column(String(20), default="utf-8")
    delimiter: Mapped[str] = mapped_column(String(1), default=",")
    begins_at: Mapped[int] = mapped_column(default=0)  # the byte where the first row begins
    has_header: Mapped[bool] = mapped_column(default=True)
    columns: Mapped[list[str]] = mapped_column(Json, default=list)  # what each column is: see app.clients.columns
    known: Mapped[KnownClients] = mapped_column(enum_type(KnownClients), default=KnownClients.SKIP)
    tags: Mapped[list[str]] = mapped_column(Json, default=list)  # for all
    locale: Mapped[str] = mapped_column(String(10), default="en")  # of the reasons why rows are bad

    position: Mapped[int] = mapped_column(BigInteger, default=0)  # the byte where the next row begins
    next_row: Mapped[int] = mapped_column(default=1)  # its number, as a spreadsheet counts
    added: Mapped[int] = mapped_column(default=0)
    updated: Mapped[int] = mapped_column(default=0)
    skipped: Mapped[int] = mapped_column(default=0)
    bad: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)  # in a row, of the job, for a reason of ours
    fault: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    started_at: Mapped[datetime | None] = mapped_column()
    finished_at: Mapped[datetime | None] = mapped_column()
    seen_at: Mapped[datetime] = mapped_column(default=clock.now)  # a worker's last sign of life

    __table_args__ = (
        Index("ix_client_import_owner_id", "owner_id", "id"),
        partial_index("ix_client_import_open", "seen_at", where="finished_at IS NULL"),
    )

    @property
    def is_finished(self) -> bool:
        return self.finished_at is not None

    @property
    def rows(self) -> int:
        """Rows taken so far, the blank ones and the headings aside."""
        return self.added + self.updated + self.skipped + self.bad


class ImportPiece(Base):
    """A part of an import's file: the database is what all machines share. Gone when the import has ended."""

    __tablename__ = "client_import_piece"

    import_id: Mapped[int] = mapped_column(ForeignKey("client_import.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class BadRow(Base):
    """A row that was not taken, and why."""

    __tablename__ = "client_import_bad_row"

    import_id: Mapped[int] = mapped_column(ForeignKey("client_import.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    email: Mapped[str] = mapped_column(String(254))  # what stood in its place
    reason: Mapped[str] = mapped_column(Text)
