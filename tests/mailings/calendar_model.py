"""When a mailing runs, found the slow way: every day of the calendar is asked whether it is in the rule.

Written from the docstring of `Schedule` alone. It shares no code with `app.mailings.schedule`, which it judges.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from itertools import count, takewhile
from pathlib import Path
from typing import NamedTuple
from zoneinfo import TZPATH, ZoneInfo, available_timezones

from app.mailings.schedule import Period, Schedule

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
STEP = timedelta(days=5)  # since 2000 no clocks were changed twice within less than a week


class Era(NamedTuple):
    """From `since` until the next one of its zone, the clocks are so far ahead of UTC."""

    since: datetime
    ahead: timedelta


def moments(schedule: Schedule) -> Iterator[datetime]:
    """All moments at which the mailing runs, from the start on; endless where the schedule is."""
    start = wall(schedule.start_at, schedule.timezone)
    latest = None
    for number, day in enumerate(dates(schedule)):
        if schedule.occurrences_max is not None and number >= schedule.occurrences_max:
            return
        shown = datetime.combine(day, start.time())
        # The start is a moment that was chosen, even in the second one of two repeated hours.
        moment = schedule.start_at if shown == start else when_clocks_show(shown, schedule.timezone)
        if schedule.end_at is not None and moment >= schedule.end_at:
            return
        if moment != latest:  # of two in one, where a day never was, there is one
            yield moment
        latest = moment


def moments_until(schedule: Schedule, last: datetime) -> Iterator[datetime]:
    return takewhile(lambda moment: moment <= last, moments(schedule))


def dates(schedule: Schedule) -> Iterator[date]:
    """All local dates in the rule, from the start's own on; endless but for once."""
    first = wall(schedule.start_at, schedule.timezone).date()
    if schedule.period is Period.ONCE:
        return iter([first])
    return (day for day in (first + n * DAY for n in count()) if _is_in_rule(day, first, schedule))


def _is_in_rule(day: date, first: date, schedule: Schedule) -> bool:
    match schedule.period:
        case Period.DAILY:
            return (day - first).days % schedule.every == 0
        case Period.WEEKLY:
            weeks = (day.toordinal() - 1) // 7 - (first.toordinal() - 1) // 7  # 1 January of the year 1 was a Monday
            return weeks % schedule.every == 0 and day.weekday() in (schedule.weekdays or {first.weekday()})
        case _:
            months = (day.year - first.year) * 12 + day.month - first.month
            return months % schedule.every == 0 and _is_the_day_of_its_month(day, first, schedule)


def _is_the_day_of_its_month(day: date, first: date, schedule: Schedule) -> bool:
    if schedule.month_week is not None:
        is_last_week = (day + 7 * DAY).month != day.month
        is_week = is_last_week if schedule.month_week == -1 else (day.day + 6) // 7 == schedule.month_week
        return is_week and day.weekday() == schedule.month_weekday
    wanted = schedule.month_day or first.day
    is_last_day = (day + DAY).month != day.month
    return day.day == wanted or (is_last_day and day.day < wanted)


def wall(moment: datetime, zone: str) -> datetime:
    """What the clocks on the walls of the zone show at that moment."""
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)


def when_clocks_show(naive: datetime, zone: str) -> datetime:
    """The first moment at which the clocks of the zone show that time, or have just jumped over it."""
    about = naive.replace(tzinfo=UTC)
    near = eras(zone, about - 2 * DAY, about + 2 * DAY, step=DAY)
    ends = [*(era.since for era in near[1:]), about + 2 * DAY]
    tries = ((max(era.since, about - era.ahead), end) for era, end in zip(near, ends, strict=True))
    return next(moment for moment, end in tries if moment < end)


def eras(zone: str, first: datetime, last: datetime, *, step: timedelta = STEP) -> list[Era]:
    """What the clocks of the zone are ahead of UTC from `first` to `last`.

    Found by looking at the clocks now and then; by halves, where they have been changed in between.
    """
    info = ZoneInfo(zone)
    found = [Era(first, _ahead(info, first))]
    for look in (first + n * step for n in range(1, (last - first) // step + 1)):
        if _ahead(info, look) != found[-1].ahead:
            found.append(_beginning(look - step, look, info))
    return found


def _beginning(before: datetime, after: datetime, zone: ZoneInfo) -> Era:
    """The era that begins after the one moment and not after the other, to the second."""
    ahead = _ahead(zone, before)
    while after - before > SECOND:
        middle = before + (after - before) // SECOND // 2 * SECOND
        if _ahead(zone, middle) == ahead:
            before = middle
        else:
            after = middle
    return Era(after.replace(microsecond=0), _ahead(zone, after))


def _ahead(zone: ZoneInfo, moment: datetime) -> timedelta:
    ahead = moment.astimezone(zone).utcoffset()
    assert ahead is not None
    return ahead


def distinct_zones() -> list[str]:
    """One name of all those in tzdata that have the same clocks."""
    return sorted({_file_of(zone): zone for zone in sorted(available_timezones(), reverse=True)}.values())


def _file_of(zone: str) -> bytes:
    """The zone's file, from where zoneinfo takes it; aliases have the same one."""
    for folder in TZPATH:
        if Path(folder, zone).is_file():
            return Path(folder, zone).read_bytes()
    return resources.files("tzdata").joinpath("zoneinfo", *zone.split("/")).read_bytes()
