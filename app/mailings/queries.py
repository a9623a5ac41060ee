"""What the pages of mailings show. Every query is scoped to who asks, or to a mailing or run already theirs."""

from collections.abc import Collection

from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import defer, joinedload

from app.auth.models import User
from app.auth.roles import Permission
from app.clients import segments
from app.clients.models import Client, Segment
from app.clients.queries import active_clients
from app.delivery.models import Attempt, Delivery, DeliveryStatus, Missed, Run, RunStatus
from app.mailings.addressed import TooMany, deliveries_to
from app.mailings.models import Audience, Mailing, MailingStatus
from app.messages.models import Message
from app.search import containing

DISABLED = "disabled"  # no status but an overlay; the list filters by it all the same


def owned_by(user: User) -> Select[Mailing]:
    """The user's own mailings, without the deleted ones."""
    return _existing().where(Mailing.owner_id == user.id)


def visible_to(user: User) -> Select[Mailing]:
    """The mailings that this person may look at: their own, or everybody's; without the deleted ones."""
    return _existing() if user.may(Permission.SEE_OTHERS) else owned_by(user)


def editable_by(user: User) -> Select[Mailing]:
    """The mailings that this person may change, start and stop: their own, or everybody's."""
    return _existing() if user.may(Permission.EDIT_OTHERS) else owned_by(user)


def _existing() -> Select[Mailing]:
    return select(Mailing).where(Mailing.deleted_at.is_(None))


def with_subject(query: Select[Mailing]) -> Select[Mailing]:
    """The same mailings with the subjects of their messages, and without the bodies, which may be half a megabyte."""
    return query.options(joinedload(Mailing.message).load_only(Message.subject, Message.deleted_at))


def in_state(query: Select[Mailing], state: str) -> Select[Mailing]:
    """Those of `query` in that status, or those that a manager disabled; all of them for an unknown word."""
    if state == DISABLED:
        return query.where(Mailing.disabled_at.is_not(None))
    if state in list(MailingStatus):
        return query.where(Mailing.status == MailingStatus(state))
    return query


def named(query: Select[Mailing], words: str) -> Select[Mailing]:
    """Those of `query` whose name contains every one of the words, in any order and any case."""
    return containing(query, Mailing.name, words)


def latest_runs(mailing_ids: Collection[int]) -> Select[Run]:
    """The newest run of each of these mailings that has one, by one statement."""
    newest = (
        select(Run.id)
        .where(Run.mailing_id == Mailing.id)
        .order_by(Run.scheduled_for.desc())
        .limit(1)
        .correlate(Mailing)
        .scalar_subquery()
    )
    return select(Run).where(Run.id.in_(select(newest).select_from(Mailing).where(Mailing.id.in_(mailing_ids))))


def runs_of(mailing: Mailing, *, since: int | None = None, before: int | None = None) -> Select[Run]:
    """The mailing's runs; those with ids from `since` on, the newest first, or those with ids below `before`."""
    query = select(Run).where(Run.mailing_id == mailing.id)
    if since is not None:
        query = query.where(Run.id >= since).order_by(Run.id.desc())
    return query if before is None else query.where(Run.id < before)


def figures_of_runs(mailing: Mailing) -> Select[Run]:
    """All runs of the mailing, without their letters, each of which may be half a megabyte."""
    return runs_of(mailing).options(defer(Run.html), defer(Run.text))


def unfinished_runs_of(mailing: Mailing) -> Select[Run]:
    return select(Run).where(Run.mailing_id == mailing.id, Run.status != RunStatus.DONE)


def first_live_run(mailing: Mailing) -> Select[int | None]:
    """The id of the oldest run that is not done, or of the newest one when all are done."""
    unfinished = func.min(Run.id).filter(Run.status != RunStatus.DONE)
    return select(func.coalesce(unfinished, func.max(Run.id))).where(Run.mailing_id == mailing.id)


def deliveries_of(run: Run) -> Select[Delivery]:
    return select(Delivery).where(Delivery.run_id == run.id)


def deliveries_like(run: Run, status: str = "", address: str = "") -> Select[Delivery]:
    """Those of the run in that status (all for an unknown word) whose client's address begins with `address`."""
    query = deliveries_of(run)
    if status in list(DeliveryStatus):
        query = query.where(Delivery.status == DeliveryStatus(status))
    if not address:
        return query
    try:
        return query.where(Delivery.id.in_(deliveries_to(address, run.owner_id)))
    except TooMany:  # so many that a page of them is found by looking at one message after the other
        return query.where(Delivery.email.istartswith(address, autoescape=True))


def delivery_before(delivery: Delivery) -> Select[int]:
    """The id of the one before it in its run."""
    before = (Delivery.run_id == delivery.run_id, Delivery.id < delivery.id)
    return select(Delivery.id).where(*before).order_by(Delivery.id.desc()).limit(1)


def delivery_after(delivery: Delivery) -> Select[int]:
    """The id of the next one in its run."""
    after = (Delivery.run_id == delivery.run_id, Delivery.id > delivery.id)
    return select(Delivery.id).where(*after).order_by(Delivery.id).limit(1)


def attempts_of(delivery: Delivery) -> Select[Attempt]:
    """All tries at the delivery, the first one first."""
    return select(Attempt).where(Attempt.delivery_id == delivery.id).order_by(Attempt.id)


def recipients(
    owner_id: int,
    audience: Audience,
    segment: Segment | None = None,
    client_ids: Collection[int] | Select[int] = (),
) -> Select[Client]:
    """Whom a mailing of this owner with this audience would go to now: active clients only."""
    if audience is Audience.SEGMENT and segment is not None:
        return segments.audience(segment)
    active = active_clients(owner_id)
    return active.where(Client.id.in_(client_ids)) if audience is Audience.CHOSEN else active


def without(query: Select[Client], segment: Segment | None) -> Select[Client]:
    """Those of `query` who are not in the segment at this moment; all of them where there is none."""
    if segment is None:
        return query
    excluded = segments.audience(segment).with_only_columns(Client.id).order_by(None).subquery()
    # Not NOT IN: PostgreSQL would look through a large segment once for every client.
    return query.where(~exists().where(excluded.c.id == Client.id))


def how_many(query: Select[Client]) -> Select[int]:
    """The number of the clients in `query`."""
    return select(func.count()).select_from(query.with_only_columns(Client.id).subquery())


def planned_next(user: User) -> Select[Mailing]:
    """The user's mailings that will run, the nearest first."""
    may_run = (Mailing.next_run_at.is_not(None), Mailing.paused_at.is_(None), Mailing.disabled_at.is_(None))
    return owned_by(user).where(*may_run).order_by(Mailing.next_run_at, Mailing.id)


def unfinished(user: User) -> Select[Run, Mailing]:
    """The user's runs that are not done, the newest first, each with its mailing."""
    return _runs_with_mailings(user).where(Run.status != RunStatus.DONE)


def questions(user: User) -> Select[Run, Mailing]:
    """The user's missed runs that wait for a decision, the newest first."""
    return _runs_with_mailings(user).where(Run.missed == Missed.ASKED)


def _runs_with_mailings(user: User) -> Select[Run, Mailing]:
    return (
        select(Run, Mailing)
        .join(Mailing, Mailing.id == Run.mailing_id)
        .where(Run.owner_id == user.id, Mailing.deleted_at.is_(None))
        .order_by(Run.id.desc())
    )


def number_of_clients(user: User) -> Select[int]:
    return select(func.count(Client.id)).where(Client.owner_id == user.id, Client.deleted_at.is_(None))


def number_of_messages(user: User) -> Select[int]:
    return select(func.count(Message.id)).where(Message.owner_id == user.id, Message.deleted_at.is_(None))


def number_of_mailings(user: User) -> Select[int]:
    return select(func.count(Mailing.id)).where(Mailing.owner_id == user.id, Mailing.deleted_at.is_(None))
