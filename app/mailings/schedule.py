"""When a mailing runs: pure arithmetic over IANA time zones, with no database and no clock of its own.

Occurrences are counted in local time and only then turned into moments, so nine o'clock stays nine o'clock when the
clocks change. Every occurrence is computed from the start, never from the one before it: a mailing of the 31st falls on
the 28th of February and on the 31st of March.
"""

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from app.mailings.models import Period

DAYS = {Period.DAILY: 1, Period.WEEKLY: 7}


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
    """The moment between two at which the zone's offset changes, by bisection to the second."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = (before + (after - before) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after


def occurrences(
    start_at: datetime, end_at: datetime | None, period: Period, timezone: str, *, after: datetime
) -> Iterator[datetime]:
    """The moments strictly after `after` at which the mailing runs, in order and before `end_at`.

    Endless where a period repeats without an end: take as many as you need.
    """
    local_start = start_at.astimezone(ZoneInfo(timezone)).replace(tzinfo=None)
    number = _number_near(local_start, after.astimezone(ZoneInfo(timezone)).replace(tzinfo=None), period)
    while True:
        moment = start_at if number == 0 else local_to_utc(_nth(local_start, period, number), timezone)
        if end_at is not None and moment >= end_at:
            return
        if moment > after:
            yield moment
        if period is Period.ONCE:
            return
        number += 1


def latest_occurrence(
    start_at: datetime, end_at: datetime | None, period: Period, timezone: str, *, until: datetime
) -> datetime | None:
    """The last moment not after `until` at which the mailing should have run, or None when there is none."""
    latest = None
    long_enough_before = until - timedelta(days=70)
    for moment in occurrences(start_at, end_at, period, timezone, after=long_enough_before):
        if moment > until:
            break
        latest = moment
    if latest is None and start_at <= until:
        return start_at  # once, long ago
    return latest


def _nth(local_start: datetime, period: Period, number: int) -> datetime:
    """The local time of the occurrence with this number; the start has number 0."""
    if period is not Period.MONTHLY:
        return local_start + timedelta(days=DAYS[period] * number)
    months = local_start.year * 12 + local_start.month - 1 + number
    year, month = divmod(months, 12)
    day = min(local_start.day, monthrange(year, month + 1)[1])
    return local_start.replace(year=year, month=month + 1, day=day)


def _number_near(local_start: datetime, local_after: datetime, period: Period) -> int:
    """A number at or a little before the first occurrence after that local time: no need to count from the start."""
    if period is Period.ONCE or local_after <= local_start:
        return 0
    if period is Period.MONTHLY:
        number = (local_after.year - local_start.year) * 12 + local_after.month - local_start.month
    else:
        number = (local_after - local_start).days // DAYS[period]
    return max(0, number - 2)  # a change of the clocks, or a short month, may put it one back
