"""The ledger: runs, deliveries, attempts. Its rows outlive the mailing, the message and the client they came from."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app import clock
from app.database import Base, BigId, Json, enum_type, partial_index


class RunStatus(StrEnum):
    PREPARING = "preparing"  # the message is frozen, the audience not yet
    SENDING = "sending"
    DONE = "done"


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    SENDING = "sending"  # some worker's claim holds it
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"  # the body may have reached the server, and no answer came back
    SKIPPED = "skipped"


FINAL = frozenset(
    {DeliveryStatus.SENT, DeliveryStatus.FAILED, DeliveryStatus.UNKNOWN, DeliveryStatus.SKIPPED},
)


NOT_SENT = "status IN ('failed', 'unknown', 'skipped')"  # of a delivery, in the end
TROUBLED = "outcome != 'sent'"  # of an attempt; as the partial indexes say it


class SkipReason(StrEnum):
    ENDED = "ended"  # the mailing's end came first
    SUPPRESSED = "suppressed"  # the client unsubscribed, bounced or complained meanwhile
    DELETED = "deleted"  # the client is no longer in the address book
    CANCELLED = "cancelled"  # the owner ended the run, or deleted the mailing


class Missed(StrEnum):
    """Why an occurrence was not begun. Its run is done, and has no messages."""

    ASKED = "asked"  # its owner has not decided yet
    UNANSWERED = "unanswered"  # nor before the next one came
    DECLINED = "declined"  # its owner decided against it
    RULE = "rule"  # the mailing says: never late
    TOO_LATE = "too_late"  # later than the mailing allows
    NEXT_NEARER = "next_nearer"  # the next one was nearer than the missed one
    COLLAPSED = "collapsed"  # one that was missed after it stands for both
    ENDED = "ended"  # the mailing's end came first


class Stage(StrEnum):
    """How far one try at a delivery came (RFC 5321, 3.3)."""

    CONNECT = "connect"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"


class Run(Base):
    """One occurrence of a mailing: its audience and message frozen at that moment.

    The counters change in the same transaction as the rows they count, so that always
    planned = pending + sending + sent + failed + unknown + skipped.
    """

    __tablename__ = "run"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    mailing_id: Mapped[int] = mapped_column(ForeignKey("mailing.id"))
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    scheduled_for: Mapped[datetime] = mapped_column()
    last_moment: Mapped[datetime | None] = mapped_column()  # what is pending then is skipped
    status: Mapped[RunStatus] = mapped_column(enum_type(RunStatus), default=RunStatus.PREPARING)
    held_at: Mapped[datetime | None] = mapped_column()
    resume_at: Mapped[datetime | None] = mapped_column()  # all that waits in it waits until then, at least
    missed: Mapped[Missed | None] = mapped_column(enum_type(Missed))  # None: it was begun
    fault: Mapped[str] = mapped_column(Text, default="")  # set: it waits for the mail server, which said this
    last_claim: Mapped[int | None] = mapped_column(BigId)  # the run whose last claim is oldest is served next

    subject: Mapped[str] = mapped_column(Text)
    html: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    sender: Mapped[str] = mapped_column(String(320))
    reply_to: Mapped[str] = mapped_column(String(320), default="")

    planned: Mapped[int] = mapped_column(default=0)
    pending: Mapped[int] = mapped_column(default=0)
    sending: Mapped[int] = mapped_column(default=0)
    sent: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    unknown: Mapped[int] = mapped_column(default=0)
    skipped: Mapped[int] = mapped_column(default=0)

    created_at: Mapped[datetime] = mapped_column(default=clock.now)  # when it was begun, or found missed
    started_at: Mapped[datetime | None] = mapped_column()
    finished_at: Mapped[datetime | None] = mapped_column()
    cancelled_at: Mapped[datetime | None] = mapped_column()

    __table_args__ = (
        UniqueConstraint("mailing_id", "scheduled_for"),
        partial_index("ix_run_unfinished", "id", where="status != 'done'"),
        partial_index("ix_run_asked", "owner_id", where="missed = 'asked'"),
        Index("ix_run_of_owner", "owner_id", "id"),
        Index("ix_run_by_day", "owner_id", "created_at"),
        CheckConstraint("planned = pending + sending + sent + failed + unknown + skipped", name="reconciles"),
    )

    @property
    def is_finished(self) -> bool:
        return self.status is RunStatus.DONE

    @property
    def lateness(self) -> timedelta:
        """How long after its moment it began."""
        return self.created_at - self.scheduled_for


class Claim(Base):
    """Some deliveries in one worker's hands, until its lease ends. Whoever deletes the row settles them."""

    __tablename__ = "claim"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    worker: Mapped[str] = mapped_column(String(100))
    journal: Mapped[str] = mapped_column(String(100), default="")  # see app.delivery.journal
    leased_until: Mapped[datetime] = mapped_column(index=True)


class Delivery(Base):
    """One run × one client: the ledger row. Narrow on purpose, there are millions."""

    __tablename__ = "delivery"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"))
    client_id: Mapped[int | None] = mapped_column(ForeignKey("client.id", ondelete="SET NULL"))
    email: Mapped[str] = mapped_column(String(254))  # frozen: what was sent stays true when the client changes
    status: Mapped[DeliveryStatus] = mapped_column(enum_type(DeliveryStatus), default=DeliveryStatus.PENDING)
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0)
    not_before: Mapped[datetime | None] = mapped_column()
    claim_id: Mapped[int | None] = mapped_column(BigId)
    skip_reason: Mapped[SkipReason | None] = mapped_column(enum_type(SkipReason))
    finished_at: Mapped[datetime | None] = mapped_column()

    __table_args__ = (
        UniqueConstraint("run_id", "client_id"),
        Index("ix_delivery_of_run", "run_id", "id"),
        Index("ix_delivery_of_client", "client_id", "id"),
        partial_index("ix_delivery_pending", "run_id", "id", where="status = 'pending'"),
        partial_index("ix_delivery_claimed", "claim_id", where="claim_id IS NOT NULL"),
        # What a report looks for among a million that are sent.
        partial_index("ix_delivery_troubled", "run_id", "status", "id", where=NOT_SENT),
        # Whose client is gone is found by the address alone. An index over all addresses would cost every sending.
        partial_index(
            "ix_delivery_orphaned",
            "email",
            where="client_id IS NULL",
            postgresql_ops={"email": "text_pattern_ops"},
        ),
    )


class Attempt(Base):
    """One try at a delivery, never changed afterwards: when, how far it came, and the server's own words."""

    __tablename__ = "attempt"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id", ondelete="CASCADE"), index=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"))
    owner_id: Mapped[int] = mapped_column()  # its run's, which has the foreign key
    at: Mapped[datetime] = mapped_column(default=clock.now)
    stage: Mapped[Stage] = mapped_column(enum_type(Stage))
    outcome: Mapped[DeliveryStatus] = mapped_column(enum_type(DeliveryStatus))
    code: Mapped[int | None] = mapped_column(SmallInteger)  # 3 digits (RFC 5321, 4.2); None when no answer came
    enhanced_code: Mapped[str | None] = mapped_column(String(11))  # such as 5.1.1 (RFC 3463)
    reply: Mapped[str] = mapped_column(String(1000), default="")

    __table_args__ = (
        # The log, by whatever it is filtered. What did not arrive is rare: its indexes cost a sending nothing.
        Index("ix_attempt_at", "at", "id"),
        Index("ix_attempt_of_owner", "owner_id", "at", "id"),
        Index("ix_attempt_of_run", "run_id", "at", "id"),
        partial_index("ix_attempt_troubled", "at", "id", where=TROUBLED),
        partial_index("ix_attempt_troubled_by_outcome", "outcome", "at", "id", where=TROUBLED),
        partial_index("ix_attempt_troubled_by_code", "code", "at", "id", where=TROUBLED),
        partial_index("ix_attempt_troubled_of_owner", "owner_id", "outcome", "at", "id", where=TROUBLED),
        partial_index("ix_attempt_troubled_of_owner_by_code", "owner_id", "code", "at", "id", where=TROUBLED),
        partial_index("ix_attempt_troubled_of_run", "run_id", "at", "id", where=TROUBLED),
        partial_index("ix_attempt_refused", "run_id", "code", "delivery_id", where=TROUBLED),
    )


class RunReport(Base):
    """What was counted of a run, so that nobody has to count a million rows again: see `app.delivery.reports`."""

    __tablename__ = "run_report"

    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    mark: Mapped[str] = mapped_column(String(200))  # how the run stood when it was counted
    made_at: Mapped[datetime] = mapped_column(default=clock.now)
    figures: Mapped[Any] = mapped_column(Json)
