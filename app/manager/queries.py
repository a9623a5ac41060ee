"""What the staff sees of everybody: it looks, and edits nothing."""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import contains_eager

from app import caching
from app.auth.models import Action, AuditEntry, Login, User
from app.auth.roles import Role
from app.clients.models import Client, ClientStatus
from app.clients.queries import existing as existing_clients
from app.delivery.models import Attempt, DeliveryStatus, Run, RunStatus
from app.extensions import db
from app.mailings.models import Mailing
from app.messages.models import Message
from app.search import containing

# An address, a number, a long id: what differs between two answers with one cause. Servers of strangers write the
# answers, so nothing here may try a word again from its middle: that would be slow for a long one.
PARTICULARS = re.compile(r"<[^>]*>?|(?<![^\s<>])[^\s<>@]++@\S+|\b[A-Za-z]*+\d[0-9A-Za-z]{5,}+\b|\b\d{4,}+\b")
LONGEST_CAUSE = 200


class AccountState(StrEnum):
    ACTIVE = "active"
    UNVERIFIED = "unverified"
    BLOCKED = "blocked"
    CLOSED = "closed"


@dataclass(frozen=True)
class Figures:
    users: int
    clients: int
    mailings: int
    unfinished_runs: int


@dataclass(frozen=True)
class Cause:
    """One reason why messages did not arrive, in the mail server's words without what differs from case to case."""

    outcome: DeliveryStatus
    code: int | None
    enhanced_code: str | None
    reply: str
    count: int
    runs: int
    last_at: datetime
    last_run_id: int
    mailing_id: int


def figures() -> Figures:
    """How much of everything there is."""
    counts = (
        select(func.count()).select_from(User),
        select(func.count()).select_from(Client).where(Client.deleted_at.is_(None)),
        select(func.count()).where(Mailing.deleted_at.is_(None)),
        select(func.count()).where(Run.status != RunStatus.DONE),
    )
    return Figures(*map(caching.number, counts))


# ── What runs, what fails, who is active ────────────────────────────────────────────────────────────────────


def running() -> Select[Run, Mailing, User]:
    """Runs that are not done, the newest first, with their mailings and owners."""
    return (
        select(Run, Mailing, User)
        .join(Mailing, Mailing.id == Run.mailing_id)
        .join(User, User.id == Run.owner_id)
        .where(Run.status != RunStatus.DONE, Mailing.deleted_at.is_(None))
        .order_by(Run.id.desc())
    )


def causes(since: datetime, of_last: int) -> list[Cause]:
    """Why messages did not arrive since then, the commonest cause first; of the last so many attempts that failed."""
    # The last ones first and their age afterwards: else a week without a failure would be sought in years of them.
    troubled = select(Attempt).where(Attempt.outcome != DeliveryStatus.SENT)
    last = troubled.order_by(Attempt.at.desc(), Attempt.id.desc()).limit(of_last).subquery()
    recent = (
        select(last, Run.mailing_id)
        .join(Run, Run.id == last.c.run_id)
        .where(last.c.at >= since)
        .order_by(last.c.at.desc(), last.c.id.desc())
    )
    counts: Counter[tuple[Any, ...]] = Counter()
    runs: dict[tuple[Any, ...], set[int]] = {}
    newest: dict[tuple[Any, ...], Any] = {}
    for row in db.session.execute(recent):
        key = (row.outcome, row.code, row.enhanced_code, cause_of(row.reply))
        counts[key] += 1
        runs.setdefault(key, set()).add(row.run_id)
        newest.setdefault(key, row)
    return [
        Cause(
            outcome=newest[key].outcome,
            code=newest[key].code,
            enhanced_code=newest[key].enhanced_code,
            reply=cause_of(newest[key].reply),
            count=count,
            runs=len(runs[key]),
            last_at=newest[key].at,
            last_run_id=newest[key].run_id,
            mailing_id=newest[key].mailing_id,
        )
        for key, count in counts.most_common()
    ]


def cause_of(reply: str) -> str:
    """The server's answer without addresses, numbers and ids, so that one cause is one text."""
    return PARTICULARS.sub("…", reply)[:LONGEST_CAUSE]


def most_active(since: datetime) -> Select[User, int]:
    """Those who sent something since then, whoever sent most first, each with the number of messages."""
    sent = func.sum(Run.sent)
    return (
        select(User, sent)
        .join(Run, Run.owner_id == User.id)
        .where(Run.created_at >= since, Run.sent > 0)
        .group_by(User.id)
        .order_by(sent.desc(), User.id)
    )


def last_seen(user_ids: Collection[int]) -> dict[int, datetime]:
    """When these users were last there; those who are logged in nowhere are missing."""
    seen = (
        select(Login.user_id, func.max(Login.last_seen_at)).where(Login.user_id.in_(user_ids)).group_by(Login.user_id)
    )
    return dict(db.session.execute(seen).all())


# ── Mailings ────────────────────────────────────────────────────────────────────────────────────────────────


def all_mailings() -> Select[Mailing]:
    """The mailings of everyone with their owners, without the deleted ones."""
    return (
        select(Mailing).join(Mailing.owner).where(Mailing.deleted_at.is_(None)).options(contains_eager(Mailing.owner))
    )


def mailings_like(query: Select[Mailing], words: str) -> Select[Mailing]:
    """Those of `query` whose names or owners' addresses contain all the words."""
    return containing(query, Mailing.name + "\n" + User.email, words)


# ── Clients ─────────────────────────────────────────────────────────────────────────────────────────────────


def all_clients() -> Select[Client]:
    """The clients of everyone, joined with their owners."""
    return existing_clients().join(User, User.id == Client.owner_id)


def clients_like(
    query: Select[Client], words: str = "", status: str = "", owner_id: int | None = None
) -> Select[Client]:
    """Those of `query` with all the words in name, address or owner, in that status, of that owner."""
    if words:
        names = Client.last_name + "\n" + Client.first_name + "\n" + Client.patronymic
        query = containing(query, names + "\n" + Client.email + "\n" + User.email, words)
    if status in list(ClientStatus):
        query = query.where(Client.status == ClientStatus(status))
    return query if owner_id is None else query.where(Client.owner_id == owner_id)


def owners_of(clients: Collection[Client]) -> dict[int, User]:
    """The owners of these clients, by id."""
    owners = select(User).where(User.id.in_({client.owner_id for client in clients}))
    return {owner.id: owner for owner in db.session.scalars(owners)}


# ── Users ───────────────────────────────────────────────────────────────────────────────────────────────────


def all_users() -> Select[User]:
    return select(User)


def users_like(query: Select[User], words: str = "", role: str = "", state: str = "") -> Select[User]:
    """Those of `query` with all the words in address or name, of that role, in that state, as `state_of` says it."""
    if words:
        query = containing(query, User.email + "\n" + User.name, words)
    if role in list(Role):
        query = query.where(User.role == Role(role))
    match state:
        case AccountState.ACTIVE:
            return query.where(User.verified_at.is_not(None), ~User.is_stopped)
        case AccountState.UNVERIFIED:
            return query.where(User.verified_at.is_(None), ~User.is_stopped)
        case AccountState.BLOCKED:
            return query.where(User.blocked_at.is_not(None))
        case AccountState.CLOSED:
            return query.where(User.closed_at.is_not(None), User.blocked_at.is_(None))
    return query


def state_of(user: User) -> AccountState:
    if user.blocked_at:
        return AccountState.BLOCKED
    if user.closed_at:
        return AccountState.CLOSED
    return AccountState.ACTIVE if user.verified_at else AccountState.UNVERIFIED


def figures_of(user: User) -> dict[str, int]:
    """How much this user has: clients, messages, mailings, and the letters they sent."""
    counts = {
        "clients": select(func.count(Client.id)).where(Client.owner_id == user.id, Client.deleted_at.is_(None)),
        "messages": select(func.count(Message.id)).where(Message.owner_id == user.id, Message.deleted_at.is_(None)),
        "mailings": select(func.count(Mailing.id)).where(Mailing.owner_id == user.id, Mailing.deleted_at.is_(None)),
        "sent": select(func.coalesce(func.sum(Run.sent), 0)).where(Run.owner_id == user.id),
    }
    row = db.session.execute(select(*(count.scalar_subquery() for count in counts.values()))).one()
    return dict(zip(counts, row, strict=True))


# ── Audit log ───────────────────────────────────────────────────────────────────────────────────────────────


def audit_entries(action: str = "", user_id: int | None = None) -> Select[AuditEntry]:
    """All entries; those with that action, and those that somebody did or that concern them."""
    query = select(AuditEntry)
    if action in list(Action):
        query = query.where(AuditEntry.action == Action(action))
    if user_id is not None:
        query = query.where((AuditEntry.actor_id == user_id) | (AuditEntry.owner_id == user_id))
    return query


def people_of(entries: Collection[AuditEntry]) -> dict[int, User]:
    """Whoever did something in these entries or is concerned by them, by id; the erased are missing."""
    ids = {user_id for entry in entries for user_id in (entry.actor_id, entry.owner_id) if user_id is not None}
    return {user.id: user for user in db.session.scalars(select(User).where(User.id.in_(ids)))}
