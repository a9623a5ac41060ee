"""When a mailing runs: pure arithmetic over IANA time zones, with no database and no clock of its own.

Occurrences are counted in local time and only then turned into moments, so nine o'clock stays nine o'clock when the
clocks change. Every occurrence is computed from the start and its own number, never from the one before it: a mailing
of the 31st falls on the 28th of February and on the 31st of March, and the thousandth costs no more than the first.
"""

from bisect import bisect_left
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import count, takewhile
from zoneinfo import ZoneInfo

LAST = -1  # as `month_week`: the last one of that weekday in the month
DAYS_OF_WEEK = 7
MONTHS = 12
INSTANT = timedelta(microseconds=1)
END_OF_TIME = datetime(MAXYEAR, 1, 2, tzinfo=UTC)  # by then all clocks show the last year, in which nothing runs


class Period(StrEnum):
    ONCE = "once"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


@dataclass(frozen=True)
class Schedule:
    """A start, and how it goes on from there.

    start_at, end_at: aware; nothing runs before the start, nor at the end or after it.
    timezone: an IANA name; all that follows is counted on the clocks of this zone, at the start's time of the day.
    every: days, weeks or months from one to the next, 1 or more.
    weekdays: for weekly ones, 0 (Monday) to 6; empty for the start's own. Weeks begin on Monday (ISO 8601).
    month_day: for monthly ones, 1 to 31, and the last day of a month that is shorter; None for the start's own.
    month_week, month_weekday: for monthly ones, instead of a day: the 1st to 4th, or LAST, such weekday of the month.
    occurrences_max: how many there are at the most, missed ones too.
    """

    start_at: datetime
    end_at: datetime | None
    period: Period
    timezone: str
    every: int = 1
    weekdays: frozenset[int] = frozenset()
    month_day: int | None = None
    month_week: int | None = None
    month_weekday: int | None = None
    occurrences_max: int | None = None


def local_to_utc(naive: datetime, timezone: str) -> datetime:
    """The moment when clocks in `timezone` show `naive`.

    A time that the clocks skip in spring is moved to the end of the gap; of a time that they show twice in autumn,
    the first is meant (PEP 495, fold=0).

    Raises:
        zoneinfo.ZoneInfoNotFoundError: for an unknown zone.
    """
    zone = ZoneInfo(timezone)
    moment = naive.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == naive:
        return moment
    # With fold=1 a skipped time is read in the zone's later offset, which gives a moment before the change.
    return _end_of_gap(naive.replace(tzinfo=zone, fold=1).astimezone(UTC), moment, zone)


def _end_of_gap(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The moment after the one and not after the other at which the zone's offset changes: a whole second, always."""
    offset = before.astimezone(zone).utcoffset()
    seconds = range(int(before.timestamp()) + 1, int(after.timestamp()) + 1)
    first = bisect_left(seconds, True, key=lambda second: datetime.fromtimestamp(second, zone).utcoffset() != offset)
    return datetime.fromtimestamp(seconds[first], UTC)


def occurrences(schedule: Schedule, *, after: datetime) -> Iterator[datetime]:
    """The moments strictly after `after` at which the mailing runs, strictly increasing, in UTC.

    Practically endless where a period repeats without an end: take as many as you need.
    """
    rhythm = _Rhythm(schedule)
    latest = after
    for moment in rhythm.moments(rhythm.number_near(after)):
        # Two fall together where a zone left out a whole day: that of the day that never was moves to the next one.
        if moment > latest:
            yield moment
            latest = moment


def latest_occurrence(schedule: Schedule, *, until: datetime) -> datetime | None:
    """The last moment not after `until` at which the mailing should have run, or None when there is none."""
    rhythm = _Rhythm(schedule)
    latest = None
    for moment in takewhile(lambda moment: moment <= until, rhythm.moments(rhythm.number_near(until))):
        latest = moment
    return latest


def occurrences_between(schedule: Schedule, first: datetime, last: datetime) -> Iterator[datetime]:
    """The moments from `first` to `last`, both included."""
    return takewhile(lambda moment: moment <= last, occurrences(schedule, after=first - INSTANT))


class _Rhythm:
    """A schedule ready for counting: its occurrences have numbers, the first one 0."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.zone = ZoneInfo(schedule.timezone)
        self.start = min(schedule.start_at, END_OF_TIME).astimezone(self.zone).replace(tzinfo=None, fold=0)
        self.most = 1 if schedule.period is Period.ONCE else schedule.occurrences_max
        self.weekdays = sorted(schedule.weekdays) or [self.start.weekday()]
        self.too_early = self._dates_before_start()

    def moments(self, first: int) -> Iterator[datetime]:
        """The moments of the numbers from `first` on, before the end."""
        for number in count(first):
            moment = self.moment(number)
            if moment is None or (self.schedule.end_at is not None and moment >= self.schedule.end_at):
                return
            yield moment

    def moment(self, number: int) -> datetime | None:
        day = self._date(number + self.too_early) if self.most is None or number < self.most else None
        if day is None:
            return None
        local = datetime.combine(day, self.start.time())
        # The start is a moment of its own: it may lie in the second of two repeated hours.
        return self.schedule.start_at.astimezone(UTC) if local == self.start else local_to_utc(local, str(self.zone))

    def number_near(self, moment: datetime) -> int:
        """A number a little before the first occurrence after that moment, or before the end of all occurrences.

        So there is no need to count from the start.
        """
        end = min(self.schedule.end_at or END_OF_TIME, END_OF_TIME)
        local = min(max(moment, self.schedule.start_at), end).astimezone(self.zone)
        match self.schedule.period:
            case Period.WEEKLY:
                periods = (_monday(local.date()) - _monday(self.start.date())).days // DAYS_OF_WEEK
            case Period.MONTHLY:
                periods = _months(local.date()) - _months(self.start.date())
            case _:
                periods = (local.date() - self.start.date()).days
        a_period = len(self.weekdays) if self.schedule.period is Period.WEEKLY else 1
        number = periods // self.schedule.every * a_period - self.too_early
        number = number if self.most is None else min(number, self.most)
        return max(0, number - 2)  # a change of the clocks, or a short month, may put it one back

    def _dates_before_start(self) -> int:
        """How many dates of the start's own week or month come before it."""
        first = self.start.date()
        return sum(day is not None and day < first for day in map(self._date, range(len(self.weekdays))))

    def _date(self, step: int) -> date | None:
        """The date with this number, counted from the week or month of the start; None after the last year."""
        every, first = self.schedule.every, self.start.date()
        match self.schedule.period:
            case Period.WEEKLY:
                weeks, index = divmod(step, len(self.weekdays))
                return _later(_monday(first), every * weeks * DAYS_OF_WEEK + self.weekdays[index])
            case Period.MONTHLY:
                year, month = divmod(_months(first) + every * step, MONTHS)
                return self._in_month(year, month + 1) if year < MAXYEAR else None
            case _:
                return _later(first, every * step)

    def _in_month(self, year: int, month: int) -> date:
        days = monthrange(year, month)[1]
        week, weekday = self.schedule.month_week, self.schedule.month_weekday
        if week is None or weekday is None:
            return date(year, month, min(self.schedule.month_day or self.start.day, days))
        if week == LAST:
            last = date(year, month, days)
            return last - timedelta(days=(last.weekday() - weekday) % DAYS_OF_WEEK)
        return date(year, month, 1 + (weekday - date(year, month, 1).weekday()) % 7 + DAYS_OF_WEEK * (week - 1))


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _months(day: date) -> int:
    """Months since the year 0."""
    return day.year * MONTHS + day.month - 1


def _later(day: date, days: int) -> date | None:
    """So many days later; None where that would be in the last year that Python counts, or after it."""
    ordinal = day.toordinal() + days
    return date.fromordinal(ordinal) if ordinal < date(MAXYEAR, 1, 1).toordinal() else None
