"""The outbox of the service's own letters: written in the change that they tell of, sent by a job."""

from datetime import timedelta
from typing import Any

from sqlalchemy import update

from app import clock
from app.auth import queries
from app.auth.models import Letter, LetterKind, User
from app.extensions import db

ATTEMPTS_MAX = 8
# Longer than any talk with a mail server. A worker that dies meanwhile delays the letter by this, no more.
LEASE = timedelta(minutes=5)
AT_ONCE = 100


def write(kind: LetterKind, user: User | None, *, email: str = "", **details: Any) -> Letter:
    """A letter to the user, or to another address of theirs. Enqueue `jobs.send_letter` after the commit."""
    letter = Letter(kind=kind, user=user, email=email, details=details)
    db.session.add(letter)
    db.session.flush()
    return letter


def waiting() -> list[int]:
    """The ids of letters that are due now, the longest waiting first, at most AT_ONCE."""
    due = queries.letters_due(clock.now()).with_only_columns(Letter.id).limit(AT_ONCE)
    return list(db.session.scalars(due))


def take(letter_id: int) -> Letter | None:
    """The letter, if it is due and nobody else has it; it is the caller's for LEASE."""
    now = clock.now()
    taken = db.session.execute(
        update(Letter)
        .where(Letter.id == letter_id, *queries.is_due(now))
        .values(not_before=now + LEASE, attempts=Letter.attempts + 1)
        .returning(Letter.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    if taken is None:
        return None
    return db.session.get(Letter, letter_id, populate_existing=True)


def sent(letter: Letter) -> None:
    letter.sent_at = clock.now()
    letter.error = ""
    if letter.kind is LetterKind.TEST_MESSAGE:
        letter.details = {}  # a whole letter, of which nobody needs a second copy


def failed(letter: Letter, error: str, *, for_good: bool = False) -> None:
    """It goes again later, unless the fault is `for_good` or this was the last attempt."""
    letter.error = error
    if for_good or letter.attempts >= ATTEMPTS_MAX:
        letter.gave_up_at = clock.now()
    else:
        letter.not_before = clock.now() + retry_delay(letter.attempts)


def retry_delay(attempt: int) -> timedelta:
    """Wait after failed attempt number `attempt` (from 1): 1 min, doubling, at most 1 h."""
    return min(timedelta(minutes=2 ** (attempt - 1)), timedelta(hours=1))
