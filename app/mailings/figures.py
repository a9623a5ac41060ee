"""What the pages of runs draw: times and numbers, as tables and as charts know them (see static/js/charts.js)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flask_babel import format_date, format_timedelta
from flask_babel import gettext as _

from app.delivery.models import DeliveryStatus, Run
from app.delivery.reports import Counted
from app.mailings import words
from app.mailings.misfires import ON_TIME
from app.web import local_time, time_zone

ENDS = (DeliveryStatus.SENT, DeliveryStatus.FAILED, DeliveryStatus.UNKNOWN, DeliveryStatus.SKIPPED)
DRAWN = ENDS[:3]  # what was skipped took no time
DAY = 86_400
BY_THE_DAY = 10 * DAY  # seconds: what took longer is shown by days
MOST_STEPS = 1000


@dataclass(frozen=True)
class Step:
    """How many messages ended how within a second, a minute, an hour or a day. begin: in seconds since 1970."""

    begin: int
    name: str
    sent: int
    failed: int
    unknown: int
    skipped: int


@dataclass(frozen=True)
class Timeline:
    """title: what a step is. steps: those in which anything ended, the first one first."""

    title: str
    seconds: int
    steps: Sequence[Step]
    ends: Sequence[DeliveryStatus] = ENDS

    @property
    def chart(self) -> dict[str, Any]:
        """The same for charts.js, with the steps in which nothing ended."""
        known = {step.begin: step for step in self.steps}
        first, last = self.steps[0].begin, self.steps[-1].begin
        times: Iterable[int] = range(first, last + 1, self.seconds)
        if (last - first) // self.seconds >= MOST_STEPS or any((at - first) % self.seconds for at in known):
            times = list(known)  # days are not all as long as one another
        x = list(times)
        return {
            "kind": "bars",
            "x": x,
            "step": self.seconds,
            "timezone": time_zone(),
            "series": [
                {
                    "label": words.word(status),
                    "ink": f"part-{status.value}",
                    "values": [getattr(known[at], status.value) if at in known else 0 for at in x],
                }
                for status in DRAWN
            ],
        }


def timeline(counted: Counted) -> Timeline | None:
    """How the run's messages ended over time, by the reader's clocks; None while none has ended."""
    if not counted.ended:
        return None
    zone = ZoneInfo(time_zone())
    rows, seconds = counted.ended, counted.step
    if rows[-1][0] - rows[0][0] > BY_THE_DAY:
        rows, seconds = _by_days(rows, zone), DAY
    title = {1: _("Per second"), 60: _("Per minute"), 3600: _("Per hour")}.get(seconds, _("Per day"))
    return Timeline(title, seconds, [Step(row[0], _name(row[0], seconds, zone), *row[1:]) for row in rows])


def _by_days(rows: Sequence[tuple[int, ...]], zone: ZoneInfo) -> list[tuple[int, int, int, int, int]]:
    days: dict[int, list[int]] = {}
    for at, *ends in rows:
        day = datetime.fromtimestamp(at, zone).replace(hour=0, minute=0, second=0)
        sums = days.setdefault(int(day.timestamp()), [0, 0, 0, 0])
        sums[:] = [one + more for one, more in zip(sums, ends, strict=True)]
    return [(day, sums[0], sums[1], sums[2], sums[3]) for day, sums in days.items()]


def _name(at: int, seconds: int, zone: ZoneInfo) -> str:
    if seconds == DAY:
        return str(format_date(datetime.fromtimestamp(at, zone).date(), "EEE d MMM y"))
    return local_time(datetime.fromtimestamp(at, UTC), None, "d MMM, HH:mm:ss" if seconds == 1 else "d MMM, HH:mm")


# ── Runs compared ──


def duration(run: Run) -> timedelta | None:
    """From its first message to its last; None while it is not done."""
    if run.started_at is None or run.finished_at is None:
        return None
    return run.finished_at - run.started_at


def in_words(span: timedelta | None) -> str:
    """ "12 minutes"; a dash where there is none."""
    if span is None:
        return "–"
    if span < timedelta(seconds=1):
        return _("less than a second")
    return str(format_timedelta(span, threshold=1.5))


def lateness(run: Run) -> str:
    """How late it began: "3 hours", "on time"; a dash for one that was not begun."""
    if run.missed is not None:
        return "–"
    return _("on time") if run.lateness <= ON_TIME else in_words(run.lateness)


def compared(runs: Sequence[Run], timezone: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two charts of these runs, the oldest first: how their messages ended, and how long and how late they were."""
    labels = [words.clock_time(run.scheduled_for, timezone) for run in runs]
    axis = {"x": list(range(len(runs))), "labels": labels}
    ends = [
        {
            "label": words.word(status),
            "ink": f"part-{status.value}",
            "values": [getattr(run, status.value) for run in runs],
        }
        for status in ENDS
    ]
    begun = [None if run.missed else run for run in runs]
    took = [span and span.total_seconds() for span in (duration(run) if run else None for run in begun)]
    late = [max(run.lateness.total_seconds(), 0) if run else None for run in begun]
    spans = [
        {"label": _("Duration"), "ink": "part-sending", "values": took},
        {"label": _("Lateness"), "ink": "part-unknown", "values": late},
    ]
    return {"kind": "bars", "series": ends, **axis}, {"kind": "lines", "unit": "seconds", "series": spans, **axis}
