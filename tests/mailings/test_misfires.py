"""What becomes of occurrences whose moment has passed."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.delivery.models import Missed
from app.mailings.misfires import ON_TIME, ROWS_MAX, Rule, judge
from app.mailings.models import Misfire
from app.mailings.schedule import INSTANT, Period, Schedule, occurrences, occurrences_between
from tests.mailings import calendar_model as model

pytestmark = pytest.mark.one_database

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LATE, SKIP, ASK = Rule(), Rule(Misfire.SKIP), Rule(Misfire.ASK)
SIX_HOURS = Rule(Misfire.LATE, 6 * HOUR)


def may(day: int, hour: int = 9, minute: int = 0) -> datetime:
    return datetime(2027, 5, day, hour, minute, tzinfo=UTC)


def daily(end_at: datetime | None = None, most: int | None = None) -> Schedule:
    return Schedule(may(1), end_at, Period.DAILY, "UTC", occurrences_max=most)


ONCE = Schedule(may(3), None, Period.ONCE, "UTC")
ALL_BUT_THE_LAST = [(may(3), Missed.COLLAPSED), (may(4), Missed.COLLAPSED)]


# The machine was off from 2 May, 12:00, so that of 3 May is the first one that was not begun.
@pytest.mark.parametrize(
    ("schedule", "rule", "now", "begins", "missed", "following"),
    [
        # On time, and a moment later than that.
        (daily(), LATE, may(3), may(3), [], may(4)),
        (daily(), SKIP, may(3, 9, 5), may(3), [], may(4)),
        (daily(), ASK, may(3, 9, 5), may(3), [], may(4)),
        (daily(), SIX_HOURS, may(3, 9, 5), may(3), [], may(4)),
        (daily(), LATE, may(3, 9, 6), may(3), [], may(4)),
        (daily(), SKIP, may(3, 9, 6), None, [(may(3), Missed.RULE)], may(4)),
        (daily(), ASK, may(3, 9, 6), None, [(may(3), Missed.ASKED)], may(4)),
        # Late: as late as is allowed, later, and so late that the next one is nearer.
        (daily(), SIX_HOURS, may(3, 15), may(3), [], may(4)),
        (daily(), SIX_HOURS, may(3, 15, 1), None, [(may(3), Missed.TOO_LATE)], may(4)),
        (daily(), LATE, may(3, 21), may(3), [], may(4)),
        (daily(), LATE, may(3, 21, 1), None, [(may(3), Missed.NEXT_NEARER)], may(4)),
        # Several: one run at the most comes of them, that of the latest.
        (daily(), LATE, may(5, 14), may(5), ALL_BUT_THE_LAST, may(6)),
        (daily(), SIX_HOURS, may(5, 16), None, [*ALL_BUT_THE_LAST, (may(5), Missed.TOO_LATE)], may(6)),
        (daily(), LATE, may(5, 22), None, [*ALL_BUT_THE_LAST, (may(5), Missed.NEXT_NEARER)], may(6)),
        (daily(), ASK, may(5, 14), None, [*ALL_BUT_THE_LAST, (may(5), Missed.ASKED)], may(6)),
        (daily(), ASK, may(5, 9, 5), may(5), ALL_BUT_THE_LAST, may(6)),
        # Never late means never, whether or not the latest one is on time.
        (daily(), SKIP, may(5, 14), None, [(may(day), Missed.RULE) for day in (3, 4, 5)], may(6)),
        (daily(), SKIP, may(5, 9, 5), may(5), [(may(day), Missed.RULE) for day in (3, 4)], may(6)),
        # The end came first, whatever the rule, and even where the latest one would be on time.
        (daily(end_at=may(4, 12)), LATE, may(5), None, [(may(day), Missed.ENDED) for day in (3, 4)], None),
        (daily(end_at=may(3, 9, 2)), LATE, may(3, 9, 2), None, [(may(3), Missed.ENDED)], None),
        (daily(end_at=may(3, 9, 2)), LATE, may(3, 9, 1), may(3), [], None),
        (daily(end_at=may(3, 9, 2)), SKIP, may(3, 9, 3), None, [(may(3), Missed.ENDED)], None),
        # The last one has no next that could be nearer.
        (daily(most=3), LATE, may(30), may(3), [], None),
        (ONCE, LATE, may(30), may(3), [], None),
        (ONCE, SIX_HOURS, may(30), None, [(may(3), Missed.TOO_LATE)], None),
        (ONCE, SKIP, may(30), None, [(may(3), Missed.RULE)], None),
        (ONCE, ASK, may(30), None, [(may(3), Missed.ASKED)], None),
    ],
)
def test_worked_examples(
    *,
    schedule: Schedule,
    rule: Rule,
    now: datetime,
    begins: datetime | None,
    missed: Sequence[tuple[datetime, Missed]],
    following: datetime | None,
) -> None:
    verdict = judge(schedule, rule, due=may(3), now=now)
    assert (verdict.begin, list(verdict.missed), verdict.next_run_at) == (begins, missed, following)


def test_a_mailing_that_starts_at_once_begins_at_a_moment_that_its_schedule_does_not_know() -> None:
    verdict = judge(daily(), LATE, due=may(3, 14, 30), now=may(3, 14, 31))
    assert (verdict.begin, verdict.missed, verdict.next_run_at) == (may(3, 14, 30), [], may(4))
    later = judge(daily(), LATE, due=may(3, 14, 30), now=may(4, 10))
    assert (later.begin, later.missed) == (may(4), [(may(3, 14, 30), Missed.COLLAPSED)])


def test_of_very_many_that_were_missed_the_latest_ones_leave_a_row() -> None:
    now = may(1) + 20_000 * DAY + HOUR
    verdict = judge(daily(), LATE, due=may(3), now=now)
    assert verdict.begin == now - HOUR
    assert len(verdict.missed) == ROWS_MAX - 1
    assert [moment for moment, _why in verdict.missed[-2:]] == [now - HOUR - 2 * DAY, now - HOUR - DAY]


rules = st.builds(Rule, st.sampled_from(Misfire), st.none() | st.timedeltas(timedelta(0), 9 * DAY))


@st.composite
def downtimes(draw: st.DrawFn) -> tuple[Schedule, datetime, datetime]:
    """A schedule, the first of its occurrences that was not begun, and when the machine is back."""
    start_at = draw(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
    schedule = Schedule(
        start_at=start_at,
        end_at=draw(st.none() | st.timedeltas(INSTANT, 99 * DAY).map(lambda length: start_at + length)),
        period=draw(st.sampled_from(Period)),
        timezone=draw(st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])),
        every=draw(st.integers(1, 3)),
        occurrences_max=draw(st.none() | st.integers(1, 9)),
    )
    runs = list(occurrences_between(schedule, start_at, start_at + 60 * DAY))
    due = draw(st.sampled_from(runs) | st.timedeltas(timedelta(0), DAY).map(lambda late: start_at + late))
    return schedule, due, due + draw(st.timedeltas(timedelta(0), HOUR) | st.timedeltas(timedelta(0), 99 * DAY))


@settings(max_examples=200)
@given(downtimes(), rules)
def test_every_occurrence_that_passed_is_begun_or_has_one_reason(
    downtime: tuple[Schedule, datetime, datetime], rule: Rule
) -> None:
    schedule, due, now = downtime
    verdict = judge(schedule, rule, due=due, now=now)
    missed = [moment for moment, _why in verdict.missed]
    told = [*missed, verdict.begin] if verdict.begin else missed
    passed = {moment for moment in model.moments_until(schedule, now) if moment >= due} | {due}
    assert told == sorted(passed), "each of them once, in order, and the one that begins is the latest"
    assert verdict.next_run_at == next(occurrences(schedule, after=now), None)


@settings(max_examples=200)
@given(downtimes(), rules)
def test_what_begins_and_what_does_not_follows_from_the_rule(
    downtime: tuple[Schedule, datetime, datetime], rule: Rule
) -> None:
    schedule, due, now = downtime
    verdict = judge(schedule, rule, due=due, now=now)
    whys = [why for _moment, why in verdict.missed]
    late = now - (verdict.begin or verdict.missed[-1][0])
    has_ended = schedule.end_at is not None and schedule.end_at <= now
    assert late >= timedelta(0), "nothing begins before its moment"
    if has_ended:
        assert verdict.begin is None
        assert set(whys) == {Missed.ENDED}
        assert verdict.next_run_at is None
        return
    if late <= ON_TIME:
        assert verdict.begin is not None
    elif verdict.begin is not None:
        assert rule.misfire is Misfire.LATE
        assert rule.late_max is None or late <= rule.late_max
        assert verdict.next_run_at is None or verdict.next_run_at - now >= late
    if verdict.begin is None:
        reasons = {
            Misfire.SKIP: {Missed.RULE},
            Misfire.ASK: {Missed.ASKED},
            Misfire.LATE: {Missed.TOO_LATE, Missed.NEXT_NEARER},
        }
        assert whys.pop() in reasons[rule.misfire]
    assert set(whys) <= {Missed.RULE if rule.misfire is Misfire.SKIP else Missed.COLLAPSED}


@given(downtimes(), rules, st.timedeltas(timedelta(0), 30 * DAY))
def test_a_machine_that_fails_again_says_the_same_of_what_comes_after(
    downtime: tuple[Schedule, datetime, datetime], rule: Rule, more: timedelta
) -> None:
    """What was judged once is never judged again, and nothing falls between two verdicts."""
    schedule, due, now = downtime
    first = judge(schedule, rule, due=due, now=now)
    later = now + more
    if first.next_run_at is None or first.next_run_at > later:
        return
    second = judge(schedule, rule, due=first.next_run_at, now=later)
    told = [moment for verdict in (first, second) for moment in moments_of(verdict.missed, verdict.begin)]
    whole = judge(schedule, rule, due=due, now=later)
    assert told == moments_of(whole.missed, whole.begin)


def moments_of(missed: Sequence[tuple[datetime, Missed]], begin: datetime | None) -> list[datetime]:
    return sorted([moment for moment, _why in missed] + ([begin] if begin else []))
