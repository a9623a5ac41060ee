"""The words of the calendar: what its pages and its feed say about an occurrence, in the reader's language."""

from dataclasses import dataclass
from datetime import date, datetime

from babel.dates import get_day_names
from flask_babel import format_date, format_number, get_locale, ngettext, pgettext
from flask_babel import gettext as _

from app.delivery.models import Missed, Run
from app.mailings import words
from app.mailings.calendar import Entry, day_of
from app.web import local_time, time_zone


@dataclass(frozen=True)
class Look:
    """How the state of an occurrence is shown: the kind of its badge, its word, and its icon."""

    kind: str
    word: str
    icon: str


def look(entry: Entry) -> Look:
    run = entry.run
    if run is None:
        if entry.stands_still:
            return Look("paused", pgettext("calendar", "Stands still"), "player-pause")
        return Look("created", pgettext("calendar", "Planned"), "clock")
    kind, word = words.state_of_run(run)
    if run.missed is not None:
        return Look(kind, word, "help-circle" if run.missed is Missed.ASKED else "circle-x")
    if not run.is_finished:
        return Look(kind, word, "player-pause" if kind == "paused" else "send")
    if run.failed:
        return Look("failed", word, "alert-triangle")
    return Look("unknown" if run.unknown else "completed", word, "alert-triangle" if run.unknown else "circle-check")


def figures(entry: Entry) -> str:
    """What became of its messages: "120 sent, 2 failed"; while it is sent, how far it is; nothing without a run."""
    return "" if entry.run is None or entry.run.missed is not None else _figures_of(entry.run)


def _figures_of(run: Run) -> str:
    if not run.is_finished:
        done = format_number(run.sent + run.failed + run.unknown + run.skipped)
        return _("%(done)s of %(planned)s done", done=done, planned=format_number(run.planned)) if run.planned else ""
    if not run.planned:
        return _("There was nobody to send to.")
    sent, failed, unknown, skipped = map(format_number, (run.sent, run.failed, run.unknown, run.skipped))
    counted = (
        (run.sent, ngettext("%(number)s sent", "%(number)s sent", run.sent, number=sent)),
        (run.failed, ngettext("%(number)s failed", "%(number)s failed", run.failed, number=failed)),
        (run.unknown, ngettext("%(number)s unknown", "%(number)s unknown", run.unknown, number=unknown)),
        (run.skipped, ngettext("%(number)s skipped", "%(number)s skipped", run.skipped, number=skipped)),
    )
    return ", ".join(text for count, text in counted if count)


def details(entry: Entry) -> str:
    """More than the word of its state: figures, or why it was not sent, or why it stands still."""
    if entry.run is not None:
        return figures(entry) or words.why_missed(entry.run)
    if entry.mailing.disabled_at is not None:
        return _("A manager has stopped this mailing.")
    return _("This mailing is paused.") if entry.mailing.paused_at is not None else ""


def hour(moment: datetime, timezone: str | None = None) -> str:
    """The time of day on the reader's clocks, or on those of `timezone`."""
    return local_time(moment, timezone, "HH:mm")


def on_their_clock(entry: Entry) -> str:
    """The time on the clocks of the mailing's zone, with its name; nothing where the reader's clocks show the same."""
    zone, at = entry.mailing.timezone, entry.at
    if local_time(at, zone, "yMMddHHmm") == local_time(at, None, "yMMddHHmm"):
        return ""
    is_same_day = day_of(at, zone) == day_of(at, time_zone())
    return f"{local_time(at, zone, 'HH:mm' if is_same_day else 'EEE d MMM, HH:mm')} {zone.replace('_', ' ')}"


def all_of(entry: Entry) -> str:
    """Everything about an occurrence in one line."""
    return " · ".join(filter(None, (entry.mailing.name, look(entry).word, details(entry), on_their_clock(entry))))


def name_of_month(first: date) -> str:
    """ "November 2026"."""
    text = format_date(first, "LLLL y")
    return text[:1].upper() + text[1:]


def name_of_day(day: date, today: date) -> str:
    """ "Saturday, 21 November"; with the year where it is another one."""
    text = format_date(day, "EEEE, d MMMM" if day.year == today.year else "EEEE, d MMMM y")
    return text[:1].upper() + text[1:]


def name_of_date(day: date) -> str:
    """ "21 November 2026"."""
    return str(format_date(day, "d MMMM y"))


def weekdays(first: int) -> list[tuple[str, str]]:
    """The names of the days of a week that begins with `first` (Monday = 0): short and in full."""
    short, full = (get_day_names(width, "stand-alone", get_locale()) for width in ("abbreviated", "wide"))
    return [(short[day % 7], full[day % 7]) for day in range(first, first + 7)]
