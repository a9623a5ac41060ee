"""Schedules beside those of `dateutil.rrule` (RFC 5545) and of cronsim (Debian's cron): where they agree, where not.

Each difference is on purpose, and told in docs/schedule.md, "Compared with others".
"""

from datetime import UTC, datetime, timedelta
from itertools import islice, product
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from cronsim import CronSim
from dateutil import rrule, tz
from hypothesis import given
from hypothesis import strategies as st

from app.mailings.schedule import INSTANT, LAST, Period, Schedule, local_to_utc, occurrences

pytestmark = pytest.mark.one_database

TAKEN = 30
BERLIN = ZoneInfo("Europe/Berlin")
CHANGES = [  # from some days before to some days after
    (zone, datetime.fromisoformat(before), datetime.fromisoformat(after))
    for zone, before, after in [
        ("Europe/Berlin", "2027-03-26", "2027-03-29"),
        ("Europe/Berlin", "2027-10-29", "2027-11-02"),
        ("America/New_York", "2027-03-12", "2027-03-16"),
        ("Australia/Lord_Howe", "2027-10-01", "2027-10-05"),  # by half an hour
        ("Antarctica/Troll", "2027-03-26", "2027-03-29"),  # by two hours
        ("Africa/Cairo", "2027-04-28", "2027-05-01"),  # at midnight
        ("America/Havana", "2027-11-05", "2027-11-09"),  # back over midnight
        ("Pacific/Apia", "2011-12-28", "2012-01-02"),  # by a day
    ]
]
FREQUENCIES = {Period.DAILY: rrule.DAILY, Period.WEEKLY: rrule.WEEKLY, Period.MONTHLY: rrule.MONTHLY}

zones = st.sampled_from(sorted(available_timezones()))
shown = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1))  # noqa: DTZ001  on the clocks of a zone
starts = shown.map(lambda naive: naive.replace(second=0, microsecond=0))  # finer than cron's minutes or rrule's seconds
weekdays = st.frozensets(st.integers(0, 6), min_size=1)


def ours(schedule: Schedule, count: int = TAKEN) -> list[datetime]:
    return list(islice(occurrences(schedule, after=schedule.start_at - INSTANT), count))


def wall(moment: datetime, zone: str) -> datetime:
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)


def by_rrule(schedule: Schedule, **rule: Any) -> list[datetime]:
    """What rrule says on a clock that is never changed, turned into moments by our rule for gaps and repeats."""
    start = wall(schedule.start_at, schedule.timezone)
    shown = rrule.rrule(FREQUENCIES[schedule.period], dtstart=start, interval=schedule.every, **rule)
    found = (
        schedule.start_at if naive == start else local_to_utc(naive, schedule.timezone)
        for naive in islice(shown, TAKEN + 1)
    )
    return list(dict.fromkeys(found))[:TAKEN]  # where a day never was, two fall together


class TestRrule:
    @given(starts, zones, st.integers(1, 24), st.none() | st.integers(1, TAKEN))
    def test_days_an_interval_and_a_count_agree(self, start, zone, every, most):
        daily = Schedule(local_to_utc(start, zone), None, Period.DAILY, zone, every=every, occurrences_max=most)
        assert ours(daily) == by_rrule(daily, count=most)

    @given(starts, zones, st.integers(1, 24), weekdays)
    def test_weeks_an_interval_and_chosen_weekdays_agree(self, start, zone, every, days):
        weekly = Schedule(local_to_utc(start, zone), None, Period.WEEKLY, zone, every=every, weekdays=days)
        assert ours(weekly) == by_rrule(weekly, byweekday=sorted(days), wkst=rrule.MO)

    @given(starts, zones, st.integers(1, 24), st.sampled_from([1, 2, 3, 4, LAST]), st.integers(0, 6))
    def test_the_nth_weekday_of_a_month_agrees(self, start, zone, every, week, day):
        monthly = Schedule(
            local_to_utc(start, zone), None, Period.MONTHLY, zone, every=every, month_week=week, month_weekday=day
        )
        assert ours(monthly) == by_rrule(monthly, byweekday=rrule.weekday(day)(week))

    @given(starts, zones, st.integers(1, 24), st.integers(1, 28))
    def test_a_day_that_every_month_has_agrees(self, start, zone, every, day):
        monthly = Schedule(local_to_utc(start, zone), None, Period.MONTHLY, zone, every=every, month_day=day)
        assert ours(monthly) == by_rrule(monthly, bymonthday=day)

    @given(starts, zones, st.sampled_from([29, 30, 31]))
    def test_a_day_that_a_month_lacks_agrees_with_the_last_of_the_days_up_to_it(self, start, zone, day):
        monthly = Schedule(local_to_utc(start, zone), None, Period.MONTHLY, zone, month_day=day)
        assert ours(monthly) == by_rrule(monthly, bymonthday=range(28, day + 1), bysetpos=-1)
        assert day < 31 or ours(monthly) == by_rrule(monthly, bymonthday=-1)

    def test_from_the_31st_rrule_leaves_short_months_out(self):
        start = datetime(2027, 1, 31, 9, tzinfo=UTC)
        monthly = Schedule(start, None, Period.MONTHLY, "UTC")
        assert [f"{moment:%m-%d}" for moment in ours(monthly, 4)] == ["01-31", "02-28", "03-31", "04-30"]
        assert [f"{moment:%m-%d}" for moment in by_rrule(monthly)[:4]] == ["01-31", "03-31", "05-31", "07-31"]

    def test_rrule_includes_its_end(self):
        start, last = datetime(2027, 1, 1, 9, tzinfo=UTC), datetime(2027, 1, 3, 9, tzinfo=UTC)
        assert [moment.day for moment in ours(Schedule(start, last, Period.DAILY, "UTC"))] == [1, 2]
        assert [moment.day for moment in rrule.rrule(rrule.DAILY, dtstart=start, until=last)] == [1, 2, 3]
        same = Schedule(start, last + INSTANT, Period.DAILY, "UTC")
        assert ours(same) == list(rrule.rrule(rrule.DAILY, dtstart=start, until=last))

    def test_rrule_leaves_a_skipped_time_as_it_is_and_dateutil_moves_it_by_the_length_of_the_gap(self):
        start = datetime(2027, 3, 27, 2, 30, tzinfo=BERLIN)
        _before, skipped, _after = rrule.rrule(rrule.DAILY, dtstart=start, count=3)
        assert not tz.datetime_exists(skipped)
        assert f"{tz.resolve_imaginary(skipped):%d %H:%M}" == "28 03:30"
        _before, moved, _after = ours(Schedule(start, None, Period.DAILY, "Europe/Berlin"), 3)
        assert f"{moved.astimezone(BERLIN):%d %H:%M}" == "28 03:00"

    def test_a_repeated_time_is_its_first_one_for_both(self):
        start = datetime(2027, 10, 30, 2, 30, tzinfo=BERLIN)
        assert days_of(start, 3) == [f"{run:%d %H:%M%z}" for run in rrule.rrule(rrule.DAILY, dtstart=start, count=3)]


def by_cron(expression: str, schedule: Schedule) -> list[datetime]:
    """What cronsim says of this expression at the start's time of the day."""
    start = schedule.start_at.astimezone(ZoneInfo(schedule.timezone))
    runs = CronSim(f"{start.minute} {start.hour} {expression}", start - timedelta(minutes=1))
    return [run.astimezone(UTC) for run in islice(runs, TAKEN)]


def cron_weekday(day: int) -> int:
    return (day + 1) % 7  # 0 is Sunday


class TestCronsim:
    @given(starts, zones)
    def test_every_day_agrees_in_gaps_and_repeated_hours_too(self, start, zone):
        daily = Schedule(local_to_utc(start, zone), None, Period.DAILY, zone)
        assert ours(daily) == by_cron("* * *", daily)

    @given(starts, zones, weekdays)
    def test_chosen_weekdays_agree(self, start, zone, days):
        weekly = Schedule(local_to_utc(start, zone), None, Period.WEEKLY, zone, weekdays=days)
        assert ours(weekly) == by_cron(f"* * {','.join(str(cron_weekday(day)) for day in days)}", weekly)

    @given(starts, zones, st.integers(1, 28))
    def test_a_day_that_every_month_has_agrees(self, start, zone, day):
        monthly = Schedule(local_to_utc(start, zone), None, Period.MONTHLY, zone, month_day=day)
        assert ours(monthly) == by_cron(f"{day} * *", monthly)

    @given(starts, zones)
    def test_the_last_day_of_a_month_agrees(self, start, zone):
        monthly = Schedule(local_to_utc(start, zone), None, Period.MONTHLY, zone, month_day=31)
        assert ours(monthly) == by_cron("L * *", monthly)

    @given(starts, zones, st.sampled_from([1, 2, 3, 4, LAST]), st.integers(0, 6))
    def test_the_nth_weekday_of_a_month_agrees(self, start, zone, week, day):
        monthly = Schedule(local_to_utc(start, zone), None, Period.MONTHLY, zone, month_week=week, month_weekday=day)
        nth = "L" if week == LAST else f"#{week}"
        assert ours(monthly) == by_cron(f"* * {cron_weekday(day)}{nth}", monthly)

    @pytest.mark.parametrize(("zone", "before", "after"), CHANGES)
    def test_a_change_of_the_clocks_agrees(self, zone, before, after):
        for hour, minute in product(range(24), (0, 1, 29, 30, 59)):
            daily = Schedule(
                local_to_utc(before + timedelta(hours=hour, minutes=minute), zone), None, Period.DAILY, zone
            )
            assert ours(daily) == by_cron("* * *", daily)
            assert ours(daily)[-1] > after.replace(tzinfo=UTC)

    def test_with_a_field_for_seconds_cronsim_leaves_a_skipped_time_out_and_repeats_a_repeated_one(self):
        gap, repeat = datetime(2027, 3, 27, 2, 30, tzinfo=BERLIN), datetime(2027, 10, 30, 2, 30, tzinfo=BERLIN)
        days = [[f"{run:%d %H:%M%z}" for run in islice(CronSim("0 30 2 * * *", start), 2)] for start in (gap, repeat)]
        assert days == [["29 02:30+0200", "30 02:30+0200"], ["31 02:30+0200", "31 02:30+0100"]]
        assert days_of(gap, 3) == ["27 02:30+0100", "28 03:00+0200", "29 02:30+0200"]
        assert days_of(repeat, 3) == ["30 02:30+0200", "31 02:30+0200", "01 02:30+0100"]

    def test_a_start_in_the_second_of_two_repeated_hours_is_itself_a_run(self):
        """Cron has no start: on that day it ran an hour before."""
        start = datetime(2027, 10, 31, 2, 30, tzinfo=BERLIN, fold=1)
        assert days_of(start, 2) == ["31 02:30+0100", "01 02:30+0100"]
        first = by_cron("* * *", Schedule(start, None, Period.DAILY, "Europe/Berlin"))[0]
        assert first == start.astimezone(UTC) - timedelta(hours=1)

    def test_from_the_31st_cron_leaves_short_months_out(self):
        monthly = Schedule(datetime(2027, 1, 31, 9, tzinfo=UTC), None, Period.MONTHLY, "UTC")
        assert [f"{moment:%m-%d}" for moment in by_cron("31 * *", monthly)[:4]] == ["01-31", "03-31", "05-31", "07-31"]

    def test_the_last_working_day_is_crons_alone(self):
        monthly = Schedule(datetime(2027, 1, 1, 9, tzinfo=UTC), None, Period.MONTHLY, "UTC", month_day=31)
        assert [f"{moment:%m-%d}" for moment in by_cron("LW * *", monthly)[:3]] == ["01-29", "02-26", "03-31"]
        assert [f"{moment:%m-%d}" for moment in ours(monthly, 3)] == ["01-31", "02-28", "03-31"]

    def test_every_second_day_of_cron_begins_anew_each_month(self):
        start = datetime(2027, 1, 29, 9, tzinfo=UTC)
        daily = Schedule(start, None, Period.DAILY, "UTC", every=2)
        assert [moment.day for moment in ours(daily, 4)] == [29, 31, 2, 4]
        assert [moment.day for moment in by_cron("*/2 * *", daily)[:4]] == [29, 31, 1, 3]


def days_of(start: datetime, count: int) -> list[str]:
    daily = Schedule(start, None, Period.DAILY, str(start.tzinfo))
    return [f"{moment.astimezone(start.tzinfo):%d %H:%M%z}" for moment in ours(daily, count)]
