"""Calendar arithmetic; the expected moments are written by hand, from the zones' published changes."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import clock
from app.mailings.schedule import Period, Schedule, latest_occurrence, local_to_utc, occurrences

pytestmark = pytest.mark.one_database


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def first(count: int, start: datetime, period: Period, zone: str, end: datetime | None = None) -> list[datetime]:
    before = start - timedelta(seconds=1)
    return list(islice(occurrences(Schedule(start, end, period, zone), after=before), count))


@pytest.mark.parametrize(
    ("local", "zone", "moment"),
    [
        ("2026-03-29 09:00", "Europe/Berlin", "2026-03-29 07:00"),
        ("2026-03-29 02:30", "Europe/Berlin", "2026-03-29 01:00"),  # skipped: 02:00 → 03:00
        ("2026-03-29 02:00", "Europe/Berlin", "2026-03-29 01:00"),
        ("2026-10-25 02:30", "Europe/Berlin", "2026-10-25 00:30"),  # twice: the first
        ("2026-10-04 02:15", "Australia/Lord_Howe", "2026-10-03 15:30"),  # a gap of half an hour
        ("2011-12-30 09:00", "Pacific/Apia", "2011-12-30 10:00"),  # a day that Samoa never had
        ("2026-01-15 12:00", "Asia/Kathmandu", "2026-01-15 06:15"),
    ],
)
def test_local_time_becomes_a_moment(local: str, zone: str, moment: str) -> None:
    assert local_to_utc(datetime.fromisoformat(local), zone) == utc(moment)


def test_nine_oclock_stays_nine_oclock_across_the_change() -> None:
    daily = first(3, utc("2026-03-28 08:00"), Period.DAILY, "Europe/Berlin")
    assert daily == [utc("2026-03-28 08:00"), utc("2026-03-29 07:00"), utc("2026-03-30 07:00")]


def test_a_time_in_the_gap_moves_for_that_day_alone() -> None:
    daily = first(3, utc("2026-03-28 01:30"), Period.DAILY, "Europe/Berlin")
    assert daily == [utc("2026-03-28 01:30"), utc("2026-03-29 01:00"), utc("2026-03-30 00:30")]


def test_a_repeated_hour_fires_once() -> None:
    daily = first(3, utc("2026-10-24 00:30"), Period.DAILY, "Europe/Berlin")
    assert daily == [utc("2026-10-24 00:30"), utc("2026-10-25 00:30"), utc("2026-10-26 01:30")]


def test_the_31st_falls_on_a_short_months_last_day_and_returns() -> None:
    monthly = first(5, utc("2027-01-31 09:00"), Period.MONTHLY, "UTC")
    assert [moment.strftime("%m-%d") for moment in monthly] == ["01-31", "02-28", "03-31", "04-30", "05-31"]


def test_weekly_keeps_its_weekday() -> None:
    weekly = first(4, utc("2026-11-21 23:30"), Period.WEEKLY, "Asia/Tokyo")
    assert {moment.astimezone(ZoneInfo("Asia/Tokyo")).weekday() for moment in weekly} == {6}


def test_once_is_once() -> None:
    assert first(5, utc("2026-01-01 00:00"), Period.ONCE, "UTC") == [utc("2026-01-01 00:00")]


def test_the_end_itself_is_outside() -> None:
    days = first(9, utc("2026-01-01 09:00"), Period.DAILY, "UTC", end=utc("2026-01-03 09:00"))
    assert days == [utc("2026-01-01 09:00"), utc("2026-01-02 09:00")]


def test_the_latest_occurrence_stands_for_all_that_were_missed() -> None:
    start = utc("2026-01-01 09:00")
    late = latest_occurrence(Schedule(start, None, Period.DAILY, "UTC"), until=utc("2026-06-01 12:00"))
    assert late == utc("2026-06-01 09:00")
    assert latest_occurrence(Schedule(start, None, Period.ONCE, "UTC"), until=utc("2026-06-01 12:00")) == start
    assert latest_occurrence(Schedule(start, None, Period.DAILY, "UTC"), until=utc("2025-12-31 12:00")) is None


@given(
    start=st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001  given a zone
    skip=st.timedeltas(timedelta(0), timedelta(days=2000)),
    period=st.sampled_from([Period.DAILY, Period.WEEKLY, Period.MONTHLY]),
    zone=st.sampled_from(clock.time_zone_names()),
)
def test_occurrences_increase_begin_after_the_moment_asked_for_and_skip_none(
    start: datetime, skip: timedelta, period: Period, zone: str
) -> None:
    start = start.replace(microsecond=0)
    after = start + skip
    found = list(islice(occurrences(Schedule(start, None, period, zone), after=after), 4))
    assert len(found) == 4
    assert found[0] > after
    assert all(earlier < later for earlier, later in pairwise(found))
    # The one before the first found is not after the moment asked for: nothing was left out.
    latest = latest_occurrence(Schedule(start, None, period, zone), until=after)
    assert latest is not None
    assert latest <= after
    assert next(iter(occurrences(Schedule(start, None, period, zone), after=latest))) == found[0]


def test_the_first_microseconds_of_a_gap_move_to_its_end_as_well() -> None:
    just_inside = datetime.fromisoformat("2027-03-28 02:00:00.500000")
    assert local_to_utc(just_inside, "Europe/Berlin") == utc("2027-03-28 01:00")


@pytest.mark.parametrize(
    "ending", [{"occurrences_max": 3}, {"end_at": utc("2026-01-03 09:01")}], ids=["a number", "an end"]
)
def test_the_latest_occurrence_is_known_however_long_it_is_all_over(ending: dict[str, Any]) -> None:
    daily = Schedule(
        **({"start_at": utc("2026-01-01 09:00"), "end_at": None} | ending), period=Period.DAILY, timezone="UTC"
    )
    assert latest_occurrence(daily, until=utc("2036-01-01 09:00")) == utc("2026-01-03 09:00")


def test_a_day_that_never_was_counts_as_one_of_a_limited_number() -> None:
    """At the most so many: on 30 December 2011, which Samoa left out, the first moment after it stands for both."""
    midnights = Schedule(utc("2011-12-29 10:00"), None, Period.DAILY, "Pacific/Apia", occurrences_max=4)
    found = list(occurrences(midnights, after=utc("2011-12-01 00:00")))
    assert found == [utc("2011-12-29 10:00"), utc("2011-12-30 10:00"), utc("2011-12-31 10:00")]
