"""The words of a mailing's states, in the reader's language: everything that pages say about them comes from here."""

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, Literal

from babel.dates import get_day_names
from babel.lists import format_list
from flask_babel import format_decimal, format_number, format_percent, format_timedelta, get_locale, ngettext, pgettext
from flask_babel import gettext as _

from app import clock
from app.delivery.models import DeliveryStatus, Missed, Run, RunStatus, SkipReason, Stage
from app.mailings.misfires import ON_TIME
from app.mailings.models import Audience, Mailing, MailingStatus, Misfire
from app.mailings.progress import Limit, Progress, waits
from app.mailings.schedule import LAST, Period, Schedule, occurrences
from app.web import local_time, time_zone

LONGEST_MONTH = 31  # so as a day of the month it always is the last one


def word(member: StrEnum) -> str:
    """The word for a state, period, audience, stage or reason."""
    return _words_of(type(member), str(get_locale()))[member]


@cache
def _words_of(kind: type[StrEnum], _locale: str) -> dict[Any, str]:
    """In the language of whoever asks: a list asks for the same few words hundreds of times."""
    return _WORDS[kind]()


def meaning(status: DeliveryStatus | str) -> str:
    """What a state means, where its word does not say it all; else nothing."""
    if status == DeliveryStatus.UNKNOWN:
        return _("The letter may have arrived: the mail server took it and its answer never came.")
    return ""


def _mailing_statuses() -> dict[StrEnum, str]:
    return {
        MailingStatus.CREATED: pgettext("mailing", "Created"),
        MailingStatus.RUNNING: pgettext("mailing", "Running"),
        MailingStatus.SENT: pgettext("mailing", "Sent"),
        MailingStatus.COMPLETED: pgettext("mailing", "Completed"),
        MailingStatus.PAUSED: pgettext("mailing", "Paused"),
    }


def _periods() -> dict[StrEnum, str]:
    return {
        Period.ONCE: _("Once"),
        Period.DAILY: _("Every day"),
        Period.WEEKLY: _("Every week"),
        Period.MONTHLY: _("Every month"),
    }


def _misfires() -> dict[StrEnum, str]:
    return {
        Misfire.LATE: _("Send it late"),
        Misfire.SKIP: _("Skip it"),
        Misfire.ASK: _("Ask me"),
    }


def _audiences() -> dict[StrEnum, str]:
    return {
        Audience.ALL: _("All clients"),
        Audience.SEGMENT: _("A segment"),
        Audience.CHOSEN: _("Chosen clients"),
    }


def _run_statuses() -> dict[StrEnum, str]:
    return {
        RunStatus.PREPARING: pgettext("run", "Preparing"),
        RunStatus.SENDING: pgettext("run", "Sending"),
        RunStatus.DONE: pgettext("run", "Done"),
    }


def _delivery_statuses() -> dict[StrEnum, str]:
    return {
        DeliveryStatus.PENDING: pgettext("delivery", "Waiting"),
        DeliveryStatus.SENDING: pgettext("delivery", "Being sent"),
        DeliveryStatus.SENT: pgettext("delivery", "Sent"),
        DeliveryStatus.FAILED: pgettext("delivery", "Failed"),
        DeliveryStatus.UNKNOWN: pgettext("delivery", "Unknown"),
        DeliveryStatus.SKIPPED: pgettext("delivery", "Skipped"),
    }


def _skip_reasons() -> dict[StrEnum, str]:
    return {
        SkipReason.ENDED: _("the mailing ended first"),
        SkipReason.SUPPRESSED: _("the client no longer takes letters"),
        SkipReason.DELETED: _("the client was deleted"),
        SkipReason.CANCELLED: _("the run was cancelled"),
    }


def _stages() -> dict[StrEnum, str]:
    return {
        Stage.CONNECT: _("Connecting"),
        Stage.MAIL: _("Naming the sender"),
        Stage.RCPT: _("Naming the recipient"),
        Stage.DATA: _("Announcing the letter"),
        Stage.BODY: _("Handing over the letter"),
    }


_WORDS: dict[type[StrEnum], Callable[[], dict[Any, str]]] = {
    MailingStatus: _mailing_statuses,
    Period: _periods,
    Misfire: _misfires,
    Audience: _audiences,
    RunStatus: _run_statuses,
    DeliveryStatus: _delivery_statuses,
    SkipReason: _skip_reasons,
    Stage: _stages,
}


def what_comes_next(mailing: Mailing, *, is_waiting: bool = False) -> str:
    """What the mailing will do, in a sentence or two: "Starts on Thu 3 Dec 2026, 09:00, then every day."

    is_waiting: what is being sent of it rests at the moment.
    """
    if mailing.disabled_at:
        return _("A manager has stopped this mailing. Nothing is sent until they allow it again.")
    if mailing.status is MailingStatus.PAUSED:
        return _("Nothing is sent until you resume it.")
    if mailing.status is MailingStatus.COMPLETED:
        return _("Everything is done. There are no more runs.")
    if mailing.status is MailingStatus.RUNNING:
        now = _("It is waiting, its run says for what.") if is_waiting else _("It is being sent right now.")
        return " ".join(filter(None, (now, _next_run(mailing))))
    return _next_run(mailing)


def _next_run(mailing: Mailing) -> str:
    if mailing.next_run_at is None:
        return "" if mailing.status is MailingStatus.RUNNING else _("It waits for your decision.")
    at = moment_in_words(mailing.next_run_at, mailing.timezone)
    rhythm = _rhythm_after(mailing, mailing.next_run_at)
    if mailing.status is MailingStatus.CREATED:
        return (
            _("Starts on %(at)s, then %(rhythm)s.", at=at, rhythm=rhythm) if rhythm else _("Starts on %(at)s.", at=at)
        )
    if rhythm:
        return _("The next run is on %(at)s, then %(rhythm)s.", at=at, rhythm=rhythm)
    return _("The last run is on %(at)s.", at=at)


def _rhythm_after(mailing: Mailing, moment: datetime) -> str:
    """How it goes on after that moment: "every day until …", or nothing when it doesn't."""
    if next(occurrences(mailing.schedule, after=moment), None) is None:
        return ""
    text = rhythm(mailing.schedule)
    if mailing.end_at is None:
        return text
    return _("%(rhythm)s until %(end)s", rhythm=text, end=moment_in_words(mailing.end_at, mailing.timezone))


# ── How it repeats ──


def repeats(schedule: Schedule) -> str:
    """How it repeats: "Once", "Every 2 weeks on Monday and Thursday, 10 times in all"."""
    if schedule.period is Period.ONCE:
        return word(schedule.period)
    text = rhythm(schedule)
    return text[:1].upper() + text[1:]


def weekday_names(style: Literal["wide", "abbreviated"] = "wide") -> list[tuple[int, str]]:
    """The days of the week by their numbers, from Monday on."""
    names = get_day_names(style, locale=get_locale())
    return [(day, names[day]) for day in range(7)]


def weeks_of_month() -> dict[int, str]:
    return {1: pgettext("nth", "1st"), 2: pgettext("nth", "2nd"), 3: pgettext("nth", "3rd"), 4: pgettext("nth", "4th")}


def rhythm(schedule: Schedule) -> str:
    """How a mailing that repeats does so, inside a sentence: "every 2 weeks on Monday, 10 times in all"."""
    every = schedule.every
    match schedule.period:
        case Period.DAILY:
            text = _("every day") if every == 1 else ngettext("every %(num)s day", "every %(num)s days", every)
        case Period.WEEKLY:
            text = _("every week") if every == 1 else ngettext("every %(num)s week", "every %(num)s weeks", every)
        case _:
            text = _("every month") if every == 1 else ngettext("every %(num)s month", "every %(num)s months", every)
    if days := _days(schedule):
        text = _("%(rhythm)s on %(days)s", rhythm=text, days=days)
    if schedule.occurrences_max is None:
        return text
    times = ngettext("%(num)s time in all", "%(num)s times in all", schedule.occurrences_max)
    return f"{text}, {times}"


def _days(schedule: Schedule) -> str:
    """The days on which it runs, where those are not simply the start's."""
    if schedule.period is Period.WEEKLY and schedule.weekdays:
        names = dict(weekday_names())
        return str(format_list([names[day] for day in sorted(schedule.weekdays)], locale=get_locale()))
    if schedule.period is not Period.MONTHLY:
        return ""
    if schedule.month_week is not None and schedule.month_weekday is not None:
        return _weekday_of_month(schedule.month_week, schedule.month_weekday)
    if schedule.month_day is None:
        return ""
    return day_of_month(schedule.month_day)


def day_of_month(day: int) -> str:
    return _("the last day") if day == LONGEST_MONTH else _("day %(number)s", number=day)


def _weekday_of_month(week: int, weekday: int) -> str:
    if week == LAST:
        return (
            _("the last Monday"),
            _("the last Tuesday"),
            _("the last Wednesday"),
            _("the last Thursday"),
            _("the last Friday"),
            _("the last Saturday"),
            _("the last Sunday"),
        )[weekday]
    nth = weeks_of_month()[week]
    return (
        _("the %(nth)s Monday", nth=nth),
        _("the %(nth)s Tuesday", nth=nth),
        _("the %(nth)s Wednesday", nth=nth),
        _("the %(nth)s Thursday", nth=nth),
        _("the %(nth)s Friday", nth=nth),
        _("the %(nth)s Saturday", nth=nth),
        _("the %(nth)s Sunday", nth=nth),
    )[weekday]


# ── Missed and late ──


def lateness_allowed(seconds: int) -> str:
    """How late it may be sent: "15 minutes"."""
    return str(format_timedelta(timedelta(seconds=seconds), threshold=1))


def why_missed(run: Run) -> str:
    """Why this occurrence was not sent, in a sentence; nothing where it was."""
    if run.missed is None:
        return ""
    return {
        Missed.ASKED: _("Its moment passed while Golub was not running, or while this mailing stood still."),
        Missed.UNANSWERED: _("Not sent: nobody decided before the next one came."),
        Missed.DECLINED: _("Not sent: you decided so."),
        Missed.RULE: _("Not sent: its moment had passed, and this mailing is never sent late."),
        Missed.TOO_LATE: _("Not sent: it would have been later than this mailing allows."),
        Missed.NEXT_NEARER: _("Not sent: by then the next one was nearer."),
        Missed.COLLAPSED: _("Not sent: a later one stands for it."),
        Missed.ENDED: _("Not sent: the end of the mailing came first."),
    }[run.missed]


def misfire_in_words(mailing: Mailing) -> str:
    """What becomes of a run that is missed: "Send it late, within 6 hours"."""
    if mailing.misfire is not Misfire.LATE or mailing.late_seconds_max is None:
        return word(mailing.misfire)
    return _("Send it late, within %(time)s", time=lateness_allowed(mailing.late_seconds_max))


def lateness_in_words(run: Run) -> str:
    """How late the run began: "Began 3 hours late."; nothing where it was on time, or was not begun at all."""
    if run.missed is not None or run.lateness <= ON_TIME:
        return ""
    return _("Began %(time)s late.", time=format_timedelta(run.lateness))


def moment_in_words(moment: datetime, timezone: str) -> str:
    """The moment on the clocks of `timezone`, which is named where it is not the reader's own."""
    text = clock_time(moment, timezone)
    return text if timezone == time_zone() else f"{text} ({timezone})"


def clock_time(moment: datetime, timezone: str | None = None) -> str:
    """The moment as a plan names it, with its day of the week, and with seconds only where there are some."""
    return local_time(moment, timezone, "EEE d MMM y, HH:mm:ss" if moment.second else "EEE d MMM y, HH:mm")


def your_time(moment: datetime, timezone: str) -> str:
    """The moment on the reader's own clocks, beside that of `timezone`: with its day only where that is another one."""
    hour = "HH:mm:ss" if moment.second else "HH:mm"
    is_same_day = local_time(moment, None, "yMMdd") == local_time(moment, timezone, "yMMdd")
    return local_time(moment, None, hour if is_same_day else f"EEE d MMM, {hour}")


def share(part: float) -> str:
    """A part of one in per cent: "62.3%"."""
    return format_percent(part, "#,##0.#%")


def state_of_run(run: Run) -> tuple[str, str]:
    """The tone and the word of a run's badge: one that is held is on hold, whatever it was doing."""
    if run.missed is not None:
        return (
            ("paused", pgettext("run", "Waits for you"))
            if run.missed is Missed.ASKED
            else ("skipped", pgettext("run", "Not sent"))
        )
    if run.cancelled_at:
        return "skipped", pgettext("run", "Cancelled")
    if run.held_at and not run.is_finished:
        return "paused", pgettext("run", "On hold")
    if waits(run, clock.now()):
        return "paused", pgettext("run", "Waiting")
    tone = {RunStatus.PREPARING: "created", RunStatus.SENDING: "sending", RunStatus.DONE: "completed"}[run.status]
    return tone, word(run.status)


def state_of_mailing(mailing: Mailing) -> tuple[str, str]:
    """The tone and the word of a mailing's badge. "Disabled" lies over whatever it was doing."""
    if mailing.disabled_at:
        return "disabled", pgettext("mailing", "Disabled")
    return mailing.status.value, word(mailing.status)


# ── How a run gets on ──


def pace_in_words(progress: Progress) -> str:
    """How fast it goes: "1,240 messages a minute"; nothing while it stands."""
    if progress.per_second is None:
        return ""
    per_minute = max(round(progress.per_second * 60), 1)
    number = format_number(per_minute)
    return ngettext("%(number)s message a minute", "%(number)s messages a minute", per_minute, number=number)


def time_left_in_words(progress: Progress) -> str:
    """When it will be done: "About 12 minutes left, done at 14:05."; nothing while it stands."""
    if progress.left is None or progress.done_at is None:
        return ""
    if progress.left < timedelta(seconds=10):
        return _("Done in a few seconds.")
    at = _moment_ahead(progress.done_at)
    text = _("About %(time)s left, done at %(at)s.", time=format_timedelta(progress.left), at=at)
    return " ".join((text, _("Its end comes first: what is left by then is skipped."))) if progress.ends_first else text


def limit_in_words(progress: Progress) -> str:
    """What limits it, in a sentence; nothing where the run itself or its fault says so already."""
    if progress.limit is None:
        return ""
    rate = format_number(progress.rate)
    return {
        Limit.HELD: _("Nothing of it is sent until the mailing goes on."),
        Limit.NO_WORKER: _("No worker is alive, so nothing is sent. The operator has to start one."),
        Limit.RATE_A_SECOND: _("What limits it: our own rate, %(rate)s a second for all mailings together.", rate=rate),
        Limit.RATE_AN_HOUR: _("What limits it: our own rate, %(rate)s an hour for all mailings together.", rate=rate),
        Limit.SERVER: _("What limits it: the mail server, which takes %(time)s a message.", time=_short_time(progress)),
        Limit.SILENCE: _("The mail server is slow: no answer was written down in the last half minute."),
        Limit.OTHERS: _("What limits it: other mailings are being sent at the same time."),
        Limit.OURSELVES: _("What limits it: Golub itself. More workers may help."),
    }.get(progress.limit, "")


def _short_time(progress: Progress) -> str:
    seconds = progress.answer_seconds or 0
    if seconds >= 1:
        return _("%(number)s s", number=format_decimal(seconds, "#,##0.#"))
    return _("%(number)s ms", number=format_decimal(max(seconds * 1000, 0.1), "0.#" if seconds < 0.01 else "0"))


def _moment_ahead(moment: datetime) -> str:
    """The time of day alone, unless that is of another day."""
    is_today = local_time(moment, None, "yMMdd") == local_time(clock.now(), None, "yMMdd")
    return local_time(moment, None, "HH:mm") if is_today else clock_time(moment)
