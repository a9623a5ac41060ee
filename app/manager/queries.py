"""What the staff sees of everybody: it looks, and edits nothing."""

from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.orm import contains_eager

from app.auth.models import User
from app.clients.models import Client
from app.delivery.models import Run, RunStatus
from app.extensions import db
from app.mailings.models import Mailing


@dataclass(frozen=True)
class Figures:
    users: int
    clients: int
    mailings: int
    unfinished_runs: int


def figures() -> Figures:
    """How much of everything there is, by one statement."""
    counts = (
        select(func.count()).select_from(User),
        select(func.count()).select_from(Client),
        select(func.count()).where(Mailing.deleted_at.is_(None)),
        select(func.count()).where(Run.status != RunStatus.DONE),
    )
    return Figures(*db.session.execute(select(*(count.scalar_subquery() for count in counts))).one())


def all_mailings() -> Select[Mailing]:
    """The mailings of everyone with their owners, without the deleted ones."""
    return (
        select(Mailing).join(Mailing.owner).where(Mailing.deleted_at.is_(None)).options(contains_eager(Mailing.owner))
    )


def all_users() -> Select[User]:
    return select(User)
