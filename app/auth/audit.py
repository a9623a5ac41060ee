"""Writing the audit log. An entry is part of the change that it tells of: both are committed, or neither."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from app.auth.models import Action, AuditEntry
from app.extensions import db


@dataclass(frozen=True)
class Origin:
    """Who acts, and from where. Without a user it is a guest; without an address, the service itself."""

    user_id: int | None = None
    address: str = ""
    device: str = ""


COMMAND = "command"  # the address of whoever sits at the server
# A function, because who asks is known only when it is asked for: that may cost a query.
origin: ContextVar[Callable[[], Origin]] = ContextVar("origin", default=Origin)


def record(
    action: Action, *, owner_id: int | None, subject: str = "", why: str = "", actor_id: int | None = None
) -> None:
    """Note that this was done to something of `owner_id`, by `actor_id` or else whoever acts now."""
    by = origin.get()()
    db.session.add(
        AuditEntry(
            action=action,
            actor_id=by.user_id if actor_id is None else actor_id,
            owner_id=owner_id,
            subject=subject[:200],
            origin=by.address[:45],
            device=by.device[:300],
            why=why,
        )
    )
