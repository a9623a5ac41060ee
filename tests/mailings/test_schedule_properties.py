"""Schedules of every shape, in every zone of tzdata, against the calendar walked day by day."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import MAXYEAR, UTC, date, datetime, time, timedelta
from functools import cache
from itertools import islice, pairwise
from zoneinfo import available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.mailings.schedule import (
    INSTANT,
    LAST,
    Period,
    Schedule,
    latest_occurrence,
    local_to_utc,
    occurrences,
    occurrences_between,
)
from tests.mailings import calendar_model as model
from tests.mailings.calendar_model import DAY, SECOND, Era

pytestmark = pytest.mark.one_database

ZONES = sorted(available_timezones())
YEAR_2000, YEAR_2038, YEAR_2100, YEAR_2101 = (datetime(year, 1, 1, tzinfo=UTC) for year in (2000, 2038, 2100, 2101))
# Zones whose rules go on for ever: Europe, America, the southern half, half an hour, at midnight.
RULED = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham", "America/Nuuk", "Africa/Cairo"]
REPEATED = (Period.DAILY, Period.WEEKLY, Period.MONTHLY)
TAKEN = 12

# Many days as often as few.
weekdays = st.integers(0, 127).map(lambda bits: frozenset(day for day in range(7) if bits >> day & 1))
micros = st.sampled_from([0, 0, 1, 500_000, 999_999])


@cache
def changes(zone: str, first: datetime = YEAR_2000, last: datetime = YEAR_2038) -> list[tuple[Era, Era]]:
    """Every change of the clocks: what was before it, and what it began."""
    return list(pairwise(model.eras(zone, first, last)))


def edges(before: Era, after: Era) -> list[datetime]:
    """Local times around a change: around those that the clocks skip, or show twice."""
    at = after.since.replace(tzinfo=None)
    low, high = sorted((at + before.ahead, at + after.ahead))
    return [low - INSTANT, low, low + SECOND / 2, low + (high - low) / 2, high]


@st.composite
def starts(draw: st.DrawFn, zone: str) -> datetime:
    """Any moment; or at a time of the day at which the clocks are changed some days later; or just after a change."""
    found = changes(zone)
    kind = draw(st.sampled_from(["any", "before a change", "after a change"])) if found else "any"
    if kind == "any":
        plain = st.datetimes(YEAR_2000.replace(tzinfo=None), YEAR_2101.replace(tzinfo=None), timezones=st.just(UTC))
        return draw(plain).replace(microsecond=draw(micros))
    before, after = draw(st.sampled_from(found))
    if kind == "after a change":
        return after.since + draw(st.integers(0, 7)) * timedelta(minutes=15)
    return model.when_clocks_show(draw(st.sampled_from(edges(before, after))) - draw(st.integers(0, 70)) * DAY, zone)


@st.composite
def schedules(draw: st.DrawFn, periods: Sequence[Period] = tuple(Period)) -> Schedule:
    zone = draw(st.sampled_from(ZONES))
    start_at = draw(starts(zone))
    period = draw(st.sampled_from(periods))
    is_nth_weekday = draw(st.booleans())
    lengths = st.one_of(
        st.timedeltas(INSTANT, 3 * DAY), st.timedeltas(INSTANT, 1500 * DAY), st.integers(1, 99).map(lambda n: n * DAY)
    )
    return Schedule(
        start_at=start_at,
        end_at=draw(st.none() | lengths.map(lambda length: start_at + length)),
        period=period,
        timezone=zone,
        every=draw(st.integers(1, 24)),
        weekdays=draw(weekdays) if period is Period.WEEKLY else frozenset(),
        month_day=draw(st.none() | st.integers(1, 31)),
        month_week=draw(st.sampled_from([1, 2, 3, 4, LAST])) if is_nth_weekday else None,
        month_weekday=draw(st.integers(0, 6)) if is_nth_weekday else None,
        occurrences_max=draw(st.none() | st.integers(1, TAKEN)),
    )


def found(schedule: Schedule, count: int = TAKEN) -> list[datetime]:
    return list(islice(occurrences(schedule, after=schedule.start_at - INSTANT), count))


@settings(max_examples=400)
@given(schedules())
def test_it_runs_when_the_calendar_walked_day_by_day_says(schedule: Schedule) -> None:
    assert found(schedule) == list(islice(model.moments(schedule), TAKEN))


@given(schedules())
def test_occurrences_increase_inside_the_window_and_are_as_many_as_allowed(schedule: Schedule) -> None:
    moments = found(schedule)
    assert all(earlier < later for earlier, later in pairwise(moments))
    assert all(schedule.start_at <= moment for moment in moments)
    assert schedule.end_at is None or all(moment < schedule.end_at for moment in moments)
    assert schedule.occurrences_max is None or len(moments) <= schedule.occurrences_max
    assert all(moment.tzinfo is UTC for moment in moments)


@given(schedules(REPEATED))
def test_the_clock_on_the_wall_shows_the_starts_time_of_day_or_has_just_jumped_over_it(schedule: Schedule) -> None:
    zone = schedule.timezone
    time_of_day = model.wall(schedule.start_at, zone).time()
    for moment in found(schedule):
        shown = model.wall(moment, zone)
        if shown.time() != time_of_day:
            just_before = model.wall(moment - INSTANT, zone)
            skipped = datetime.combine(just_before.date(), time_of_day)
            if skipped <= just_before:
                skipped += DAY
            assert just_before < skipped < shown, "the clocks jumped over it at this very moment"


@settings(max_examples=300)
@given(schedules(), st.data())
def test_asked_from_anywhere_on_it_is_the_same_sequence(schedule: Schedule, data: st.DataObject) -> None:
    moments = found(schedule)
    near = [moment + nudge for moment in moments for nudge in (-INSTANT, 0 * DAY, INSTANT)]
    anywhere = st.datetimes(
        datetime(1999, 1, 1),  # noqa: DTZ001  given a zone by the strategy
        (moments[-1] if moments else schedule.start_at).replace(tzinfo=None),
        timezones=st.just(UTC),
    )
    after = data.draw(st.sampled_from(near) | anywhere if near else anywhere)
    expected = [moment for moment in moments if moment > after]
    count = len(expected) if len(moments) == TAKEN else None
    assert list(islice(occurrences(schedule, after=after), count)) == expected


@settings(max_examples=50)
@given(schedules(REPEATED), st.integers(1, 36_500))
def test_asked_a_lifetime_later_it_is_the_same_sequence(schedule: Schedule, days: int) -> None:
    schedule = replace(schedule, end_at=None, occurrences_max=None)
    after = schedule.start_at + days * DAY
    day_before = model.wall(after, schedule.timezone).date() - 3 * DAY
    time_of_day = model.wall(schedule.start_at, schedule.timezone).time()
    days_in_rule = (day for day in model.dates(schedule) if day >= day_before)
    moments = (model.when_clocks_show(datetime.combine(day, time_of_day), schedule.timezone) for day in days_in_rule)
    expected = list(islice((moment for moment in moments if moment > after), 3))
    assert list(islice(occurrences(schedule, after=after), 3)) == expected


@given(schedules(), st.data())
def test_the_latest_one_and_those_between_two_moments_are_of_the_same_sequence(
    schedule: Schedule, data: st.DataObject
) -> None:
    moments = found(schedule)
    near = [moment + nudge for moment in [schedule.start_at, *moments] for nudge in (-DAY, -INSTANT, 0 * DAY, INSTANT)]
    first, last = sorted(data.draw(st.tuples(st.sampled_from(near), st.sampled_from(near))))
    if len(moments) < TAKEN:
        last += data.draw(st.integers(0, 5000)) * DAY
    else:
        last = min(last, moments[-1])  # beyond it are others, which were not taken
    until_last = [moment for moment in moments if moment <= last]
    assert latest_occurrence(schedule, until=last) == (until_last[-1] if until_last else None)
    assert list(occurrences_between(schedule, first, last)) == [moment for moment in until_last if moment >= first]


def test_at_every_change_of_the_clocks_from_2000_to_2037_a_daily_one_runs_once_a_day() -> None:
    zones = model.distinct_zones()
    assert len(zones) > 300
    for zone in zones:
        _check_changes(zone, changes(zone))


@pytest.mark.parametrize("zone", RULED)
def test_at_every_change_of_the_clocks_that_a_rule_foretells_a_daily_one_runs_once_a_day(zone: str) -> None:
    foretold = changes(zone, YEAR_2038, YEAR_2101)
    assert len(foretold) == 2 * 63
    _check_changes(zone, foretold)


def _check_changes(zone: str, found: list[tuple[Era, Era]]) -> None:
    """On the day before, on the day itself and on the day after it, at all times around those that are special."""
    for before, after in found:
        for local in edges(before, after):
            expected = [_around(before, after, local + day * DAY) for day in (-1, 0, 1)]
            assert local_to_utc(local, zone) == expected[1], (zone, local)
            daily = Schedule(expected[0], None, Period.DAILY, zone)
            runs = occurrences_between(daily, expected[0], expected[2])
            assert list(runs) == sorted(set(expected)), (zone, local)


def _around(before: Era, after: Era, local: datetime) -> datetime:
    """When the clocks first show that time, or have jumped over it, within a week of a change."""
    old, new = (local.replace(tzinfo=UTC) - era.ahead for era in (before, after))
    return old if old < after.since else max(new, after.since)


def test_aliases_of_a_zone_run_alike() -> None:
    start = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
    alias, zone = (Schedule(start, None, Period.DAILY, name) for name in ("US/Pacific", "America/Los_Angeles"))
    assert found(alias, 400) == found(zone, 400)


@pytest.mark.parametrize("zone", ["UTC", "Etc/GMT+12", "Pacific/Kiritimati"])
@pytest.mark.parametrize("period", Period)
def test_it_ends_where_the_calendar_does_and_raises_nothing(period: Period, zone: str) -> None:
    schedule = Schedule(datetime(MAXYEAR - 50, 5, 31, 9, tzinfo=UTC), None, period, zone)
    moments = list(occurrences(schedule, after=schedule.start_at - INSTANT))
    assert period is Period.ONCE or model.wall(moments[-1], zone).year == MAXYEAR - 1
    beginning, end = datetime.combine(date.min, time.min, UTC), datetime.combine(date.max, time.max, UTC)
    for after in (datetime(MAXYEAR, 1, 1, 12, tzinfo=UTC), end):
        assert next(occurrences(schedule, after=after), None) is None
        assert latest_occurrence(schedule, until=after) == moments[-1]
    assert next(occurrences(schedule, after=beginning)) == schedule.start_at
    assert latest_occurrence(schedule, until=beginning) is None
    beyond = Schedule(end, None, period, zone)
    assert list(occurrences(beyond, after=schedule.start_at)) == []
