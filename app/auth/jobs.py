"""Sending the service's own letters, outside of any request."""

from datetime import timedelta
from smtplib import SMTPException, SMTPRecipientsRefused, SMTPResponseException

import structlog
from flask_mail import BadHeaderError

from app.auth import letters, logins, outbox
from app.extensions import db, mail
from app.queue import enqueue_many, job

log = structlog.get_logger(__name__)

FORGET_EVERY = timedelta(hours=1)


@job(urgent=True)
def send_letter(letter_id: int) -> None:
    """Send this letter if it is due. A mail server that is away or refuses only puts it off."""
    letter = outbox.take(letter_id)
    if letter is None:
        return
    if letter.user is None:
        db.session.delete(letter)
        db.session.commit()
        return
    composed = letters.compose(letter, letter.user)
    kind, attempt = letter.kind, letter.attempts
    # The mail server may take its time: no transaction waits for it, the lease keeps others away.
    db.session.commit()
    try:
        mail.send_letter(composed.to, composed.subject, composed.text, composed.html)
    except (OSError, SMTPException) as error:
        outbox.failed(letter, _words(error), for_good=_is_refused(error))
        log.warning("letter.failed", letter=letter_id, kind=kind, attempt=attempt, error=type(error).__name__)
    except (ValueError, BadHeaderError) as error:
        # No header or address can be made of it, today or ever.
        outbox.failed(letter, _words(error), for_good=True)
        log.exception("letter.impossible", letter=letter_id, kind=kind)
    else:
        outbox.sent(letter)
        log.info("letter.sent", letter=letter_id, kind=kind, attempt=attempt)
    db.session.commit()


def send_due_letters() -> None:
    """Enqueue what is due, again if need be: for the sweep."""
    waiting = outbox.waiting()
    db.session.commit()  # an open transaction would keep everybody else from writing into SQLite
    enqueue_many((send_letter, (letter_id,)) for letter_id in waiting)


@job()
def forget_old_logins() -> None:
    """Log-ins that nobody came back to are over already: take their rows away."""
    logins.forget_old()
    db.session.commit()


def _is_refused(error: Exception) -> bool:
    """The mail server will never take letters to this address."""
    if not isinstance(error, SMTPRecipientsRefused):
        return False
    return all(code >= 500 for code, _reply in error.recipients.values())


def _words(error: Exception) -> str:
    """What the mail server said, or what kept us from it."""
    if isinstance(error, SMTPRecipientsRefused):
        return "; ".join(_reply(*answer) for answer in error.recipients.values())
    if isinstance(error, SMTPResponseException):
        return _reply(error.smtp_code, error.smtp_error)
    return f"{type(error).__name__}: {error}"


def _reply(code: int, words: bytes | str) -> str:
    return f"{code} {words.decode(errors='replace') if isinstance(words, bytes) else words}"
