"""What becomes of occurrences whose moment has passed, after a downtime or a pause: a pure decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.delivery.models import Missed
from app.mailings.models import Misfire
from app.mailings.schedule import INSTANT, Schedule, occurrences, occurrences_between

# What begins within this time is on time: to start the workers anew is no downtime.
ON_TIME = timedelta(minutes=5)
ROWS_MAX = 1000  # of one mailing and one downtime; the latest ones


@dataclass(frozen=True)
class Rule:
    """A mailing's own rule. late_max: how late an occurrence may be sent with LATE; None: however late."""

    misfire: Misfire = Misfire.LATE
    late_max: timedelta | None = None


HOWEVER_LATE = Rule()


@dataclass(frozen=True)
class Verdict:
    """What to do now: which occurrence to begin, if any, which ones were missed and why, and when the next one is."""

    begin: datetime | None
    missed: Sequence[tuple[datetime, Missed]]
    next_run_at: datetime | None


def judge(schedule: Schedule, rule: Rule, *, due: datetime, now: datetime) -> Verdict:
    """Decide on all occurrences from `due`, the first one that was not begun, until `now`.

    However many were missed, one run comes of them at the most: that of the latest one.

    due: not after `now`; it counts even where the schedule knows no such moment (a mailing that starts at once).
    """
    passed = [due, *occurrences_between(schedule, due + INSTANT, now)]
    *earlier, latest = passed[-ROWS_MAX:]
    next_run_at = next(occurrences(schedule, after=now), None)
    why = _why_not(latest, next_run_at, schedule.end_at, rule, now)
    why_earlier = Missed.RULE if rule.misfire is Misfire.SKIP else Missed.COLLAPSED
    if why is Missed.ENDED:
        why_earlier = why
    missed = [(moment, why_earlier) for moment in earlier]
    if why is None:
        return Verdict(latest, missed, next_run_at)
    return Verdict(None, [*missed, (latest, why)], next_run_at)


def _why_not(
    latest: datetime, next_run_at: datetime | None, end_at: datetime | None, rule: Rule, now: datetime
) -> Missed | None:
    late = now - latest
    if end_at is not None and end_at <= now:
        return Missed.ENDED
    if late <= ON_TIME:
        return None
    if rule.misfire is not Misfire.LATE:
        return Missed.RULE if rule.misfire is Misfire.SKIP else Missed.ASKED
    if rule.late_max is not None and late > rule.late_max:
        return Missed.TOO_LATE
    is_next_nearer = next_run_at is not None and next_run_at - now < late
    return Missed.NEXT_NEARER if is_next_nearer else None
