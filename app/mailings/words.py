"""The words of a mailing's states, in the reader's language: everything that pages say about them comes from here."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any

from flask_babel import format_percent, pgettext
from flask_babel import gettext as _

from app.delivery.models import DeliveryStatus, Run, RunStatus, SkipReason, Stage
from app.mailings.models import Audience, Mailing, MailingStatus, Period
from app.mailings.schedule import occurrences
from app.web import local_time, time_zone


def word(member: StrEnum) -> str:
    """The word for a state, period, audience, stage or reason."""
    return _WORDS[type(member)]()[member]


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
        SkipReason.CANCELLED: _("the mailing was deleted"),
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
    Audience: _audiences,
    RunStatus: _run_statuses,
    DeliveryStatus: _delivery_statuses,
    SkipReason: _skip_reasons,
    Stage: _stages,
}


def what_comes_next(mailing: Mailing) -> str:
    """What the mailing will do, in a sentence or two: "Starts on Thu 3 Dec 2026, 09:00, then every day." """
    if mailing.disabled_at:
        return _("A manager has stopped this mailing. Nothing is sent until they allow it again.")
    if mailing.status is MailingStatus.PAUSED:
        return _("Nothing is sent until you resume it.")
    if mailing.status is MailingStatus.COMPLETED:
        return _("Everything is done. There are no more runs.")
    if mailing.status is MailingStatus.RUNNING:
        return " ".join(filter(None, (_("It is being sent right now."), _next_run(mailing))))
    return _next_run(mailing)


def _next_run(mailing: Mailing) -> str:
    if mailing.next_run_at is None:
        return ""
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
    plan = (mailing.start_at, mailing.end_at, mailing.period, mailing.timezone)
    if next(occurrences(*plan, after=moment), None) is None:
        return ""
    if mailing.end_at is None:
        return {
            Period.DAILY: _("every day"),
            Period.WEEKLY: _("every week"),
            Period.MONTHLY: _("every month"),
        }[mailing.period]
    end = moment_in_words(mailing.end_at, mailing.timezone)
    return {
        Period.DAILY: _("every day until %(end)s", end=end),
        Period.WEEKLY: _("every week until %(end)s", end=end),
        Period.MONTHLY: _("every month until %(end)s", end=end),
    }[mailing.period]


def moment_in_words(moment: datetime, timezone: str) -> str:
    """The moment on the clocks of `timezone`, which is named where it is not the reader's own."""
    text = clock_time(moment, timezone)
    return text if timezone == time_zone() else f"{text} ({timezone})"


def clock_time(moment: datetime, timezone: str | None = None) -> str:
    """The moment as a plan names it, with its day of the week, and with seconds only where there are some."""
    return local_time(moment, timezone, "EEE d MMM y, HH:mm:ss" if moment.second else "EEE d MMM y, HH:mm")


def share(part: float) -> str:
    """A part of one in per cent: "62.3%"."""
    return format_percent(part, "#,##0.#%")


def state_of_run(run: Run) -> tuple[str, str]:
    """The tone and the word of a run's badge: one that is held is on hold, whatever it was doing."""
    if run.held_at and not run.is_finished:
        return "paused", pgettext("run", "On hold")
    tone = {RunStatus.PREPARING: "created", RunStatus.SENDING: "sending", RunStatus.DONE: "completed"}[run.status]
    return tone, word(run.status)


def state_of_mailing(mailing: Mailing) -> tuple[str, str]:
    """The tone and the word of a mailing's badge. "Disabled" lies over whatever it was doing."""
    if mailing.disabled_at:
        return "disabled", pgettext("mailing", "Disabled")
    return mailing.status.value, word(mailing.status)
