"""What the staff does to accounts, with what follows for their mailings, in one transaction."""

from app.auth import service as auth
from app.auth.models import Letter, User
from app.mailings import service as mailings


def block(user: User, by: User, reason: str) -> Letter:
    """Nobody gets in with this account any more, and nothing of it is sent from the next claim on.

    Raises:
        RuleBroken, NotAllowed: as `auth.service.block`.
    """
    letter = auth.block(user, by, reason)
    mailings.hold_runs_of(user)
    return letter


def unblock(user: User, by: User) -> Letter:
    """The account is open again, and its mailings go on as after a pause.

    Raises:
        RuleBroken, NotAllowed: as `auth.service.unblock`.
    """
    letter = auth.unblock(user, by)
    mailings.hold_runs_of(user)
    return letter
