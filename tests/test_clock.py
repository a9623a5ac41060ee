"""Time: aware, in UTC, and rounded so that nothing is early."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import clock

moments = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2999, 1, 1), timezones=st.timezones())  # noqa: DTZ001  hypothesis adds the zones


def test_now_is_aware_and_in_utc() -> None:
    moment = clock.now()
    assert moment.tzinfo is UTC
    assert abs(moment - datetime.now(UTC)) < timedelta(seconds=5)


def test_an_alarm_on_a_whole_second_stays_there() -> None:
    moment = datetime(2026, 3, 1, 9, 0, 0, tzinfo=UTC)
    assert clock.whole_second_after(moment) == moment


def test_an_alarm_between_seconds_comes_later_and_never_earlier() -> None:
    moment = datetime(2026, 12, 31, 23, 59, 59, 1, tzinfo=UTC)
    assert clock.whole_second_after(moment) == datetime(2027, 1, 1, tzinfo=UTC)


@given(moments)
def test_an_alarm_is_late_by_less_than_a_second(moment: datetime) -> None:
    # Compared in UTC: two moments of the same zone are compared by their faces, which repeat in autumn.
    late = clock.whole_second_after(moment.astimezone(UTC)) - moment.astimezone(UTC)
    assert timedelta(0) <= late < timedelta(seconds=1)
    assert clock.whole_second_after(moment.astimezone(UTC)).microsecond == 0


def test_the_zone_is_kept() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert clock.whole_second_after(datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=tokyo)).tzinfo is tokyo


def test_people_choose_from_places() -> None:
    names = clock.time_zone_names()
    assert {"UTC", "Europe/Moscow", "Asia/Yekaterinburg", "America/New_York"} <= set(names)
    assert list(names) == sorted(set(names))
    for alias in ("EST5EDT", "Etc/GMT+3", "US/Eastern", "posixrules", "Zulu", "GMT"):
        assert alias not in names


def test_every_zone_that_can_be_chosen_can_be_used() -> None:
    for name in clock.time_zone_names():
        assert datetime(2026, 6, 1, tzinfo=clock.zone(name)).utcoffset() is not None


@pytest.mark.parametrize("name", ["Mars/Olympus", "Europe/Moscow "])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(ZoneInfoNotFoundError):
        clock.zone(name)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/localtime"])
def test_a_zone_is_no_way_to_other_files(name: str) -> None:
    with pytest.raises((ValueError, ZoneInfoNotFoundError)):
        clock.zone(name)


def test_zones_know_their_summer_time() -> None:
    assert clock.zone("Europe/Berlin") == ZoneInfo("Europe/Berlin")
    assert datetime(2026, 7, 1, tzinfo=clock.zone("Europe/Berlin")).utcoffset() == timedelta(hours=2)
