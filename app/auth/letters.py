"""The texts of the service's own letters, in the language of who gets them."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import current_app, render_template
from flask_babel import force_locale
from flask_babel import gettext as _

from app.auth.models import Letter, LetterKind, User
from app.auth.tokens import Purpose, make_token
from app.config import Settings

SUBJECTS: dict[LetterKind, Callable[[], str]] = {
    LetterKind.VERIFY: lambda: _("Confirm your e-mail address"),
    LetterKind.ALREADY_REGISTERED: lambda: _("You have an account already"),
}


@dataclass(frozen=True)
class Composed:
    to: str
    subject: str
    text: str
    html: str


def compose(letter: Letter) -> Composed:
    """The letter as it leaves now.

    It greets nobody by name: whoever registers somebody else's address could make any text of ours with it.
    """
    user = letter.user
    with force_locale(user.locale or "en"):
        subject = SUBJECTS[letter.kind]()
        words = {
            "subject": subject,
            "email": user.email,
            "home": current_app.config["SETTINGS"].base_url,
            "link": _target(letter),
        }
        text = render_template(f"auth/letters/{letter.kind}.txt", **words)
        html = render_template(f"auth/letters/{letter.kind}.html", **words)
    return Composed(_mailbox(user), subject, text, html)


def _mailbox(user: User) -> str:
    """The address with its domain in ASCII, as it was registered (IDNA 2008).

    Whoever writes the letter might otherwise follow IDNA 2003, and send what opens straße.de to strasse.de.
    """
    return f"{user.email.rpartition('@')[0]}@{user.email_key.rpartition('@')[2]}"


def _target(letter: Letter) -> str:
    """Where the letter's button leads."""
    if letter.kind is LetterKind.VERIFY:
        return link("auth.verify", token=make_token(Purpose.VERIFY, letter.user))
    return link("auth.login")


def link(endpoint: str, **values: str) -> str:
    """The full address of a page. From BASE_URL alone: a Host header is what whoever asks says it is."""
    settings: Settings = current_app.config["SETTINGS"]
    base = urlsplit(settings.base_url)
    pages = current_app.url_map.bind(base.netloc, script_name=base.path or "/", url_scheme=base.scheme)
    return pages.build(endpoint, values, force_external=True)
