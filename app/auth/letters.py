"""The texts of the service's own letters, in the language of who gets them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from flask import current_app, render_template
from flask_babel import force_locale
from flask_babel import gettext as _

from app.addresses import parse_address
from app.auth.models import Letter, LetterKind, User
from app.auth.tokens import LIFETIMES, Purpose, make_token
from app.config import Settings

SUBJECTS: dict[LetterKind, Callable[[], str]] = {
    LetterKind.VERIFY: lambda: _("Confirm your e-mail address"),
    LetterKind.ALREADY_REGISTERED: lambda: _("You have an account already"),
    LetterKind.RESET_PASSWORD: lambda: _("Choose a new password"),
    LetterKind.PASSWORD_CHANGED: lambda: _("Your password was changed"),
    LetterKind.CONFIRM_EMAIL: lambda: _("Confirm your new e-mail address"),
    LetterKind.EMAIL_CHANGED: lambda: _("Your e-mail address was changed"),
    LetterKind.FACTOR_ON: lambda: _("The second factor is on"),
    LetterKind.FACTOR_OFF: lambda: _("The second factor is off"),
    LetterKind.CODES_RENEWED: lambda: _("Your account has new recovery codes"),
    LetterKind.BLOCKED: lambda: _("Your account is blocked"),
    LetterKind.UNBLOCKED: lambda: _("Your account is open again"),
    LetterKind.MAILING_DISABLED: lambda: _("A manager has disabled your mailing"),
    LetterKind.MAILING_ENABLED: lambda: _("Your mailing may be sent again"),
    LetterKind.RUNS_MISSED: lambda: _("Your decision: send it now?"),
    LetterKind.ACCOUNT_CLOSED: lambda: _("Your account is closed"),
}
# Where the button of a letter leads: to an endpoint, and what its token is good for.
TOKEN_LINKS = {
    LetterKind.VERIFY: ("auth.verify", Purpose.VERIFY),
    LetterKind.RESET_PASSWORD: ("auth.reset_password", Purpose.RESET),
    LetterKind.CONFIRM_EMAIL: ("auth.confirm_email", Purpose.CHANGE_EMAIL),
    LetterKind.ACCOUNT_CLOSED: ("account.restore", Purpose.RESTORE),
}
PLAIN_LINKS = {
    LetterKind.PASSWORD_CHANGED: "auth.forgot_password",
    LetterKind.FACTOR_ON: "auth.forgot_password",
    LetterKind.FACTOR_OFF: "auth.forgot_password",
    LetterKind.CODES_RENEWED: "auth.forgot_password",
    LetterKind.MAILING_DISABLED: "mailings.list_mailings",
    LetterKind.MAILING_ENABLED: "mailings.list_mailings",
    LetterKind.RUNS_MISSED: "mailings.overview",
}


@dataclass(frozen=True)
class Composed:
    to: str
    subject: str
    text: str
    html: str


def compose(letter: Letter, user: User) -> Composed:
    """The letter as it leaves now.

    It greets nobody by name: whoever registers somebody else's address could make any text of ours with it.
    """
    if letter.kind is LetterKind.TEST_MESSAGE:  # a message of the user's own, filled in when it was written
        details = letter.details or {}
        return Composed(_mailbox(user.email), details["subject"], details["text"], details["html"])
    with force_locale(user.locale or "en"):
        subject = SUBJECTS[letter.kind]()
        words = {
            **(letter.details or {}),
            "subject": subject,
            "email": letter.email or user.email,
            "account": user.email,
            "home": current_app.config["SETTINGS"].base_url,
            "link": _target(letter, user),
            "hours": _hours(letter.kind),
        }
        text = render_template(f"auth/letters/{letter.kind}.txt", **words)
        html = render_template(f"auth/letters/{letter.kind}.html", **words)
    return Composed(_mailbox(letter.email or user.email), subject, text, html)


def _mailbox(email: str) -> str:
    """The address with its domain in ASCII, as it was registered (IDNA 2008).

    Whoever writes the letter might otherwise follow IDNA 2003, and send what opens straße.de to strasse.de.
    """
    return f"{email.rpartition('@')[0]}@{parse_address(email).key.rpartition('@')[2]}"


def _target(letter: Letter, user: User) -> str:
    """Where the letter's button leads."""
    if letter.kind in TOKEN_LINKS:
        endpoint, purpose = TOKEN_LINKS[letter.kind]
        details = letter.details or {}
        more = letter.email or details.get("browser", "")
        return link(endpoint, token=make_token(purpose, user, more, details.get("fingerprint", "")))
    return link(PLAIN_LINKS.get(letter.kind, "auth.login"))


def _hours(kind: LetterKind) -> int:
    """How long the letter's link is good."""
    return LIFETIMES[TOKEN_LINKS[kind][1]] // timedelta(hours=1) if kind in TOKEN_LINKS else 0


def link(endpoint: str, **values: str) -> str:
    """The full address of a page. From BASE_URL alone: a Host header is what whoever asks says it is."""
    settings: Settings = current_app.config["SETTINGS"]
    base = urlsplit(settings.base_url)
    pages = current_app.url_map.bind(base.netloc, script_name=base.path or "/", url_scheme=base.scheme)
    return pages.build(endpoint, values, force_external=True)
