"""What was sent to one client, what became of it, and what comes next: a few reads by index, however long the ledger.

Whoever may not see addresses gets the server's answers without what tells them.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, func, or_, select

from app.auth.models import User
from app.clients.models import Client, ClientStatus, Segment
from app.delivery.models import Attempt, Delivery, DeliveryStatus, Run, Stage
from app.extensions import db
from app.mailings import queries
from app.mailings.log import masked, masked_reply
from app.mailings.models import Audience, Mailing, mailing_client

MOST_PLANNED = 5


@dataclass(frozen=True)
class Figures:
    """How many letters ended how; `waiting` have not ended yet. first_at, last_at: of those that were sent."""

    sent: int
    failed: int
    unknown: int
    skipped: int
    waiting: int
    first_at: datetime | None
    last_at: datetime | None

    def __bool__(self) -> bool:
        return bool(self.sent or self.failed or self.unknown or self.skipped or self.waiting)


@dataclass(frozen=True)
class Try:
    """One attempt, as this reader may see it."""

    at: datetime
    outcome: DeliveryStatus
    stage: Stage
    code: int | None
    enhanced_code: str | None
    reply: str


@dataclass(frozen=True)
class Entry:
    """One delivery to the client. mailing_id: None where the mailing is deleted. email: where it went."""

    delivery: Delivery
    email: str
    run_id: int
    mailing_id: int | None
    name: str
    subject: str
    at: datetime
    tries: Sequence[Try]


def deliveries_to(client: Client) -> Select[Delivery]:
    return select(Delivery).where(Delivery.client_id == client.id)


def figures_of(client: Client) -> Figures:
    """Counted anew: one client has few letters."""

    def number(*statuses: DeliveryStatus) -> ColumnElement[int]:
        return func.count().filter(Delivery.status.in_(statuses))

    sent = Delivery.status == DeliveryStatus.SENT
    query = select(
        number(DeliveryStatus.SENT),
        number(DeliveryStatus.FAILED),
        number(DeliveryStatus.UNKNOWN),
        number(DeliveryStatus.SKIPPED),
        number(DeliveryStatus.PENDING, DeliveryStatus.SENDING),
        func.min(Delivery.finished_at).filter(sent),
        func.max(Delivery.finished_at).filter(sent),
    ).where(Delivery.client_id == client.id)
    return Figures(*db.session.execute(query).one())


def entries(deliveries: Iterable[Delivery], *, in_full: bool) -> list[Entry]:
    """The deliveries with their mailings and attempts, in the same order, by two statements."""
    shown = list(deliveries)
    runs = {
        row.id: row
        for row in db.session.execute(
            select(Run.id, Run.subject, Run.scheduled_for, Run.mailing_id, Mailing.name, Mailing.deleted_at)
            .join(Mailing, Mailing.id == Run.mailing_id)
            .where(Run.id.in_({delivery.run_id for delivery in shown}))
        )
    }
    tries = defaultdict(list)
    emails = {delivery.id: delivery.email for delivery in shown}
    of_these = select(Attempt).where(Attempt.delivery_id.in_(emails)).order_by(Attempt.id)
    for attempt in db.session.scalars(of_these):
        tries[attempt.delivery_id].append(_try(attempt, emails[attempt.delivery_id], in_full=in_full))
    return [
        Entry(
            delivery,
            delivery.email if in_full else masked(delivery.email),
            run.id,
            None if run.deleted_at else run.mailing_id,
            run.name,
            run.subject,
            delivery.finished_at or run.scheduled_for,
            tries[delivery.id],
        )
        for delivery in shown
        for run in [runs[delivery.run_id]]
    ]


def _try(attempt: Attempt, email: str, *, in_full: bool) -> Try:
    reply = attempt.reply if in_full else masked_reply(attempt.reply, email)
    return Try(attempt.at, attempt.outcome, attempt.stage, attempt.code, attempt.enhanced_code, reply)


def bounce_of(client: Client, *, in_full: bool) -> Try | None:
    """The answer for which the client counts as bounced: the last that refused a letter. None where none is known."""
    if client.status is not ClientStatus.BOUNCED:
        return None
    refused = deliveries_to(client).where(Delivery.status == DeliveryStatus.FAILED)
    delivery = db.session.scalar(refused.order_by(Delivery.id.desc()).limit(1))
    attempts = db.session.scalars(queries.attempts_of(delivery)).all() if delivery else []
    return _try(attempts[-1], delivery.email, in_full=in_full) if delivery and attempts else None


def planned_for(client: Client, owner: User, belongs_to: Iterable[Segment]) -> Sequence[Mailing]:
    """The owner's next mailings that the client would get, as things are now."""
    if client.status is not ClientStatus.ACTIVE or owner.is_stopped:
        return []
    chosen = select(mailing_client.c.mailing_id).where(mailing_client.c.client_id == client.id)
    segment_ids = [segment.id for segment in belongs_to]
    reaches = or_(
        Mailing.audience == Audience.ALL,
        Mailing.segment_id.in_(segment_ids),
        Mailing.id.in_(chosen),
    )
    leaves_out = Mailing.exclude_segment_id.in_(segment_ids)
    planned = queries.planned_next(owner).where(reaches, or_(Mailing.exclude_segment_id.is_(None), ~leaves_out))
    return db.session.scalars(planned.limit(MOST_PLANNED)).all()
