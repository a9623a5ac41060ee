"""A user's calendar for other programs (iCalendar, RFC 5545), at an address that is a secret and can be revoked."""

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from unicodedata import category
from urllib.parse import urlsplit

from flask_babel import force_locale
from flask_babel import gettext as _
from icalendar import Calendar, Event

from app.auth import audit
from app.auth.models import Action, User
from app.auth.roles import Permission
from app.config import Settings
from app.extensions import db
from app.mailings import calendar, calendar_words, words
from app.mailings.calendar import Entry

PURPOSE = b"golub.calendar"
PATH = "/calendar/"
ENDING = ".ics"
BYTES_OF_SIGNATURE = 24
BYTES_OF_SALT = 24  # 32 characters
TOKEN = re.compile(r"([1-9][0-9]{0,9})-([A-Za-z0-9_-]{32})", re.ASCII)

PAST = timedelta(days=90)
AHEAD = timedelta(days=366)
EVENTS_MAX = 1000
PAST_EVENTS_MAX = 400  # of them, the newest
LENGTH = timedelta(minutes=15)
ASK_AGAIN = timedelta(hours=1)


# ── The address ──


def renew(user: User) -> None:
    """Give the calendar a new address: an older one opens nothing from now on."""
    user.calendar_salt = secrets.token_urlsafe(BYTES_OF_SALT)
    audit.record(Action.CALENDAR_ADDRESS, owner_id=user.id)


def switch_off(user: User) -> None:
    """No address opens the calendar any more."""
    user.calendar_salt = None
    audit.record(Action.CALENDAR_OFF, owner_id=user.id)


def address_of(user: User, settings: Settings) -> str | None:
    """Where the user's calendar is to be had, under BASE_URL; None while it is off."""
    if user.calendar_salt is None:
        return None
    return f"{settings.base_url}{PATH}{user.id}-{_signature(user.id, user.calendar_salt, settings)}{ENDING}"


def user_of(token: str, settings: Settings) -> User | None:
    """Whose calendar this token opens; None for a wrong one, an old one, or one of somebody who may not log in.

    All of these are the same work, so that nobody learns by the time who has a calendar.
    """
    match = TOKEN.fullmatch(token)
    if match is None:
        return None
    user_id = int(match[1])
    user = db.session.get(User, user_id)
    salt = (user.calendar_salt if user is not None else None) or secrets.token_urlsafe(BYTES_OF_SALT)
    is_theirs = hmac.compare_digest(_signature(user_id, salt, settings), match[2])
    if user is None or not is_theirs or not user.is_active or not user.may(Permission.OWN_THINGS):
        return None
    return user


def _signature(user_id: int, salt: str, settings: Settings) -> str:
    """HMAC-SHA256 (RFC 2104) with a key for this purpose alone: nothing else that the secret signs opens a calendar."""
    key = hmac.digest(settings.secret_key.encode(), PURPOSE, "sha256")
    digest = hmac.digest(key, f"{user_id}:{salt}".encode(), "sha256")
    return urlsafe_b64encode(digest[:BYTES_OF_SIGNATURE]).decode()


# ── What stands in it ──


def calendar_of(user: User, settings: Settings, now: datetime) -> bytes:
    """The user's runs of the last PAST and what is planned for the next AHEAD, at most EVENTS_MAX: the nearest ones.

    Every occurrence is an event of its own: short months and changes of the clocks, as we count them, are no RRULE.
    Asked twice with nothing changed between, it is the same to the byte.
    """
    with force_locale(user.locale or "en"):
        made = Calendar()
        made.add("version", "2.0")
        made.add("prodid", "-//Golub//Golub//EN")
        made.calendar_name = _("Mailings of Golub")  # NAME (RFC 7986, 5.1), and X-WR-CALNAME for older programs
        made.add("refresh-interval", ASK_AGAIN, parameters={"VALUE": "DURATION"})  # RFC 7986, 5.7
        made.add("x-published-ttl", "PT1H")
        for entry in entries(user, now):
            made.add_component(_event(entry, settings))
        return made.to_ical()


def entries(user: User, now: datetime) -> list[Entry]:
    """What stands in the feed: the newest runs, then what is planned next."""
    plans = db.session.scalars(calendar.planning_at_all(user).limit(EVENTS_MAX)).all()
    newest = db.session.execute(calendar.newest_runs(user, now - PAST, now + AHEAD).limit(PAST_EVENTS_MAX)).all()
    was = [Entry(run.scheduled_for, mailing, run) for run, mailing in reversed(newest)]
    begun = {(entry.mailing.id, entry.at) for entry in was}
    planned = calendar.planned_entries(plans, now - PAST, now + AHEAD, now)
    ahead = (entry for entry in planned if (entry.mailing.id, entry.at) not in begun)
    return [*was, *islice(ahead, EVENTS_MAX - len(was))]


def _event(entry: Entry, settings: Settings) -> Event:
    event = Event()
    event.add("uid", _uid(entry, settings))
    event.add("dtstamp", _changed_at(entry))
    event.add("dtstart", entry.at)
    event.add("dtend", entry.at + LENGTH)
    event.add("summary", one_line(entry.mailing.name))
    event.add("description", "\n".join(_description(entry)))
    event.add("url", _url(entry, settings))
    event.add("status", "TENTATIVE" if entry.stands_still else "CONFIRMED")
    event.add("transp", "TRANSPARENT")
    return event


def _uid(entry: Entry, settings: Settings) -> str:
    """The same before, while and after it runs; two starts by hand within a second differ in it."""
    return f"mailing-{entry.mailing.id}-{entry.at:%Y%m%dT%H%M%S%f}@{urlsplit(settings.base_url).hostname}"


def _changed_at(entry: Entry) -> datetime:
    """DTSTAMP without a METHOD: when what is said about it changed last (RFC 5545, 3.8.7.2)."""
    run = entry.run
    return entry.mailing.updated_at if run is None else run.finished_at or run.started_at or run.created_at


def _description(entry: Entry) -> Iterator[str]:
    word, details = calendar_words.look(entry).word, calendar_words.details(entry)
    yield f"{word}: {details}" if details else word
    yield words.repeats(entry.mailing.schedule)
    zone = entry.mailing.timezone
    yield f"{words.clock_time(entry.at, zone)} ({zone.replace('_', ' ')})"


def _url(entry: Entry, settings: Settings) -> str:
    address = f"{settings.base_url}/mailings/{entry.mailing.id}"
    return address if entry.run is None or entry.run.missed else f"{address}/runs/{entry.run.id}"


def one_line(text: str) -> str:
    """The text without ends of lines and other control characters, which a line of iCalendar must not hold."""
    return "".join(character for character in " ".join(text.split()) if category(character) != "Cc")
