"""What a mailing will do, in plain words, while it is written: who gets what, when, from whom, and what is odd."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from babel.dates import get_timezone_location
from flask_babel import format_number, get_locale, ngettext
from flask_babel import gettext as _
from sqlalchemy import select

from app import clock
from app.extensions import db
from app.mailings.forms import Count, MailingForm
from app.mailings.models import Audience
from app.mailings.schedule import END_OF_TIME, Period, Schedule, latest_occurrence
from app.mailings.schedule_form import on_the_clock
from app.mailings.words import rhythm
from app.messages import content
from app.messages.models import Message
from app.web import local_time


class Weight(StrEnum):
    """How much a doubt weighs."""

    BAD = "bad"  # nobody would get anything, or nothing worth reading
    WARN = "warn"


@dataclass(frozen=True)
class Doubt:
    """Something that its owner may not have meant."""

    weight: Weight
    text: str


@dataclass(frozen=True)
class Summary:
    """Sentences, as far as what is typed so far allows any; doubts, the worst first; and the message, to look at."""

    sentences: list[str]
    doubts: list[Doubt]
    message: Message | None


def of(form: MailingForm, upcoming: list[datetime]) -> Summary:
    """What the form, which was validated, says so far. upcoming: its next runs, two at least where there are more."""
    message, count = form.message(), form.count
    sentences = []
    if message is not None and count is not None and count.after and upcoming:
        sentences.append(_first_sentence(form, message, count, upcoming[0]))
        if len(upcoming) > 1:
            sentences.append(_how_it_goes_on(form.schedule()))
    doubts = [*_of_audience(form, count), *_of_message(message), *_of_time(form, upcoming)]
    return Summary(sentences, sorted(doubts, key=lambda doubt: list(Weight).index(doubt.weight)), message)


# ── What will happen ──


def _first_sentence(form: MailingForm, message: Message, count: Count, first: datetime) -> str:
    sentence = _("“%(subject)s” goes to %(clients)s", subject=message.subject, clients=_clients(form, count))
    excluded = form.excluded()
    if excluded is not None:
        sentence = _without(sentence, excluded.name, count.before - count.after)
    if form.sender_name.data:
        sentence = _("%(sentence)s, from “%(name)s”", sentence=sentence, name=form.sender_name.data)
    if first == form.asked_at:
        return _("At once, %(sentence)s.", sentence=sentence)
    when = moment_at_length(first, str(form.timezone.data))
    return _("%(when)s, %(sentence)s.", when=when[:1].upper() + when[1:], sentence=sentence)


def _clients(form: MailingForm, count: Count) -> str:
    number = format_number(count.after)
    segment = form.segment()
    if segment is not None:
        return ngettext(
            "about %(number)s client of “%(segment)s”",
            "about %(number)s clients of “%(segment)s”",
            count.after,
            number=number,
            segment=segment.name,
        )
    if form.audience.data == Audience.CHOSEN:
        return ngettext("%(number)s chosen client", "%(number)s chosen clients", count.after, number=number)
    return ngettext(
        "all active clients, which is %(number)s now",
        "all active clients, which are about %(number)s now",
        count.after,
        number=number,
    )


def _without(sentence: str, segment: str, number: int) -> str:
    if not number:
        return _("%(sentence)s, without those of “%(segment)s”, nobody now", sentence=sentence, segment=segment)
    return ngettext(
        "%(sentence)s, without %(number)s of “%(segment)s”",
        "%(sentence)s, without %(number)s of “%(segment)s”",
        number,
        sentence=sentence,
        number=format_number(number),
        segment=segment,
    )


def _how_it_goes_on(schedule: Schedule) -> str:
    if schedule.period is Period.WEEKLY and not schedule.weekdays:
        day = on_the_clock(schedule.start_at, schedule.timezone).weekday()
        schedule = _on_day(schedule, day)
    how = rhythm(schedule)
    if schedule.end_at is None and schedule.occurrences_max is None:
        return _("Then %(rhythm)s, without an end.", rhythm=how)
    last = latest_occurrence(schedule, until=schedule.end_at or END_OF_TIME)
    if last is None:
        return _("Then %(rhythm)s.", rhythm=how)
    return _("Then %(rhythm)s, the last one %(when)s.", rhythm=how, when=moment_at_length(last, schedule.timezone))


def _on_day(schedule: Schedule, day: int) -> Schedule:
    return Schedule(**{**vars(schedule), "weekdays": frozenset({day})})


def moment_at_length(moment: datetime, timezone: str) -> str:
    """The moment on the clocks of `timezone`, as people say it: "on Monday, 23 November at 09:00 (Moscow)"."""
    local = moment.astimezone(clock.zone(timezone))
    is_this_year = local.year == clock.now().astimezone(local.tzinfo).year
    date = local_time(moment, timezone, "d MMMM" if is_this_year else "d MMMM y")
    day = (
        _("on Monday, %(date)s", date=date),
        _("on Tuesday, %(date)s", date=date),
        _("on Wednesday, %(date)s", date=date),
        _("on Thursday, %(date)s", date=date),
        _("on Friday, %(date)s", date=date),
        _("on Saturday, %(date)s", date=date),
        _("on Sunday, %(date)s", date=date),
    )[local.weekday()]
    hour = local_time(moment, timezone, "HH:mm:ss" if moment.second else "HH:mm")
    return _("%(day)s at %(hour)s (%(place)s)", day=day, hour=hour, place=_place(timezone))


def _place(timezone: str) -> str:
    """The city that a zone is named after, in the reader's language."""
    name = get_timezone_location(timezone, locale=get_locale(), return_city=True)
    return str(name).rpartition("/")[2].replace("_", " ")


# ── What is odd about it ──


def _of_audience(form: MailingForm, count: Count | None) -> list[Doubt]:
    if count is None:
        return []
    excluded = form.excluded()
    if not count.before:
        return [_bad(_("As things are now, nobody gets it: there is no active client in this audience."))]
    if excluded is not None and not count.after:
        return [_bad(_("As things are now, nobody gets it: all of them are in “%(name)s”.", name=excluded.name))]
    silent = form.number_chosen() - count.before if form.audience.data == Audience.CHOSEN else 0
    if silent <= 0:
        return []
    return [
        _warn(
            ngettext(
                "%(number)s chosen client takes no letters: unsubscribed, bounced, or complained.",
                "%(number)s chosen clients take no letters: unsubscribed, bounced, or complained.",
                silent,
                number=format_number(silent),
            )
        )
    ]


def _of_message(message: Message | None) -> list[Doubt]:
    if message is None:
        return []
    html = db.session.scalar(select(Message.html).where(Message.id == message.id)) or ""
    root = content.tree_of(html)
    text = "" if root is None else "".join(root.itertext())
    return [] if content.is_visible(text) else [_bad(_("There is no text in the letter."))]


def _of_time(form: MailingForm, upcoming: list[datetime]) -> list[Doubt]:
    mailing, doubts = form.mailing, []
    if mailing is not None and mailing.disabled_at:
        doubts.append(_warn(_("A manager has stopped this mailing. Nothing is sent until they allow it again.")))
    elif mailing is not None and mailing.paused_at:
        doubts.append(_warn(_("Nothing is sent until you resume it.")))
    elif form.start_at.data is not None and upcoming[:1] == [form.asked_at]:
        doubts.append(_warn(_("The start has passed already, so it begins at once.")))
    if not upcoming and form.has_readable_schedule:
        doubts.append(_bad(_("With these times it does not run any more.")))
    return doubts


def _bad(text: str) -> Doubt:
    return Doubt(Weight.BAD, text)


def _warn(text: str) -> Doubt:
    return Doubt(Weight.WARN, text)
