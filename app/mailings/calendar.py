"""What stands on which day: what was, as the ledger has it, and what is planned from now on."""

from calendar import Calendar
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from heapq import merge
from itertools import islice, takewhile

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import defer

from app import clock
from app.auth.models import User
from app.delivery.models import Run
from app.extensions import db
from app.fields import YEARS
from app.mailings.models import Mailing
from app.mailings.queries import owned_by
from app.mailings.schedule import INSTANT, Period, local_to_utc, occurrences

MAILINGS_MAX = 1000  # whose plans are reckoned for one page; the nearest ones
ENTRIES_MAX = 5000  # of what was, and of what is planned
IN_A_CELL = 3
AGENDA_DAYS = 30
AGENDA_ENTRIES = 100  # a page of the agenda ends with the day on which there are so many
ON_A_DAY = 300
NINE = time(9)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Entry:
    """One occurrence of a mailing: with a run, what became of it; without one, what is planned."""

    at: datetime
    mailing: Mailing
    run: Run | None = None

    @property
    def stands_still(self) -> bool:
        """Planned, and yet not sent unless somebody lets the mailing go on."""
        return self.run is None and is_stopped(self.mailing)


@dataclass(frozen=True)
class Entries:
    """In the order of time. is_cut: there are more than we reckon."""

    items: Sequence[Entry]
    is_cut: bool


@dataclass(frozen=True)
class Day:
    """A day on the viewer's clocks. plan_at: when, on those clocks, a mailing planned for this day would start."""

    date: date
    entries: Sequence[Entry]
    is_today: bool = False
    is_outside: bool = False  # of the month that is shown
    plan_at: datetime | None = None


@dataclass(frozen=True)
class Month:
    weeks: Sequence[Sequence[Day]]
    is_cut: bool


@dataclass(frozen=True)
class Agenda:
    """Days with entries. next_day: where it goes on, None at its end."""

    days: Sequence[Day]
    is_cut: bool
    next_day: date | None


def is_stopped(mailing: Mailing) -> bool:
    return mailing.paused_at is not None or mailing.disabled_at is not None


def day_of(moment: datetime, timezone: str) -> date:
    return moment.astimezone(clock.zone(timezone)).date()


def month(user: User, first: date, *, first_weekday: int, timezone: str, now: datetime) -> Month:
    """The weeks of the month that begins with `first`, whole ones, on the clocks of `timezone`.

    first_weekday: with which day weeks begin, Monday = 0.
    """
    weeks = Calendar(first_weekday).monthdatescalendar(first.year, first.month)
    beginning, end = _start_of(weeks[0][0], timezone), _start_of(weeks[-1][-1] + DAY, timezone)
    found = entries(user, beginning, end, now=now)
    on = _by_day(found.items, timezone)
    local_now = now.astimezone(clock.zone(timezone)).replace(tzinfo=None)
    days = [
        [
            Day(
                day,
                on[day],
                is_today=day == local_now.date(),
                is_outside=day.month != first.month,
                plan_at=_plan_at(day, local_now),
            )
            for day in week
        ]
        for week in weeks
    ]
    return Month(days, found.is_cut)


def agenda(user: User, first: date, *, timezone: str, now: datetime) -> Agenda:
    """The days from `first` on with something on them, at most AGENDA_DAYS further."""
    last = min(first + AGENDA_DAYS * DAY, date(YEARS[-1] + 1, 1, 1))
    end = _start_of(last, timezone)
    found = entries(user, _start_of(first, timezone), end, now=now)
    today = day_of(now, timezone)
    days: list[Day] = []
    count = 0
    for day, on_it in _by_day(found.items, timezone).items():
        if count >= AGENDA_ENTRIES:
            return Agenda(days, found.is_cut, day)
        days.append(Day(day, on_it, is_today=day == today))
        count += len(on_it)
    following = _following(user, end, now)
    next_day = None if following is None else day_of(following, timezone)
    return Agenda(days, found.is_cut, next_day if next_day and next_day.year in YEARS else None)


def entries(user: User, first: datetime, last: datetime, *, now: datetime) -> Entries:
    """What of the user's was, and is planned, from `first` until just before `last`.

    What is planned for a moment that has a run already is that run: no occurrence is there twice.
    """
    # Plans are read before runs: what begins between the two is then seen twice, and shown once.
    plans = db.session.scalars(_planning(user, first, last).limit(MAILINGS_MAX + 1)).all() if last > now else []
    runs = db.session.execute(_runs(user, first, last).limit(ENTRIES_MAX + 1)).all()
    was = [Entry(run.scheduled_for, mailing, run) for run, mailing in runs[:ENTRIES_MAX]]
    begun = {(entry.mailing.id, entry.at) for entry in was}
    ahead = list(islice(planned_entries(plans[:MAILINGS_MAX], first, last, now), ENTRIES_MAX + 1))
    planned = [entry for entry in ahead[:ENTRIES_MAX] if (entry.mailing.id, entry.at) not in begun]
    is_cut = len(plans) > MAILINGS_MAX or len(runs) > ENTRIES_MAX or len(ahead) > ENTRIES_MAX
    return Entries(sorted([*was, *planned], key=_in_order), is_cut)


def planned_entries(mailings: Iterable[Mailing], first: datetime, last: datetime, now: datetime) -> Iterator[Entry]:
    """What these mailings plan from `first` until just before `last`, in the order of time, as far as it is asked."""
    return merge(*(_plan_of(mailing, first, last, now) for mailing in mailings), key=_in_order)


def _plan_of(mailing: Mailing, first: datetime, last: datetime, now: datetime) -> Iterator[Entry]:
    due = mailing.next_run_at
    if due is None:
        return
    # One that is due now begins within seconds. What passed while a mailing stood still is not planned any more.
    if first <= due < last and (due > now or not is_stopped(mailing)):
        yield Entry(due, mailing)
    later = occurrences(mailing.schedule, after=max(due, now, first - INSTANT))
    for moment in takewhile(lambda moment: moment < last, later):
        yield Entry(moment, mailing)


def _planning(user: User, first: datetime, last: datetime) -> Select[Mailing]:
    """Those of the user's mailings that may have something planned in that time, the nearest first."""
    return (
        owned_by(user)
        .where(
            Mailing.next_run_at < last,
            or_(Mailing.period != Period.ONCE, Mailing.next_run_at >= first),
            or_(Mailing.end_at.is_(None), Mailing.end_at > first),
        )
        .order_by(Mailing.next_run_at, Mailing.id)
    )


def planning_at_all(user: User) -> Select[Mailing]:
    """The user's mailings that have something planned, the nearest first."""
    return owned_by(user).where(Mailing.next_run_at.is_not(None)).order_by(Mailing.next_run_at, Mailing.id)


def _runs(user: User, first: datetime, last: datetime) -> Select[Run, Mailing]:
    """The user's runs of that time, missed ones too, each with its mailing; without the letters."""
    return (
        select(Run, Mailing)
        .join(Mailing, Mailing.id == Run.mailing_id)
        .where(Mailing.owner_id == user.id, Mailing.deleted_at.is_(None))
        .where(Run.scheduled_for >= first, Run.scheduled_for < last)
        .options(defer(Run.html), defer(Run.text))
        .order_by(Run.scheduled_for, Run.id)
    )


def newest_runs(user: User, first: datetime, last: datetime) -> Select[Run, Mailing]:
    """The same, the newest first."""
    return _runs(user, first, last).order_by(None).order_by(Run.scheduled_for.desc(), Run.id.desc())


def _following(user: User, end: datetime, now: datetime) -> datetime | None:
    """The first moment from `end` on at which something was, or is planned; None where nothing follows."""
    found: list[datetime | None] = [
        db.session.scalar(
            owned_by(user).with_only_columns(func.min(Mailing.next_run_at)).where(Mailing.next_run_at >= end)
        )
    ]
    if end <= now:
        later_runs = _runs(user, end, now).order_by(None).with_only_columns(func.min(Run.scheduled_for))
        found += [db.session.scalar(later_runs), now]
    else:
        plans = db.session.scalars(_planning(user, end, end).limit(MAILINGS_MAX))
        found += [next(occurrences(mailing.schedule, after=end - INSTANT), None) for mailing in plans]
    return min((moment for moment in found if moment is not None), default=None)


def _by_day(found: Iterable[Entry], timezone: str) -> defaultdict[date, list[Entry]]:
    days: defaultdict[date, list[Entry]] = defaultdict(list)
    for entry in found:
        days[day_of(entry.at, timezone)].append(entry)
    return days


def _plan_at(day: date, now: datetime) -> datetime | None:
    """Nine o'clock; today the next full hour after it, if there is one left; None on days that are past."""
    if day != now.date():
        return datetime.combine(day, NINE) if day > now.date() else None
    soon = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    at = max(soon, datetime.combine(day, NINE))
    return at if at.date() == day else None


def _start_of(day: date, timezone: str) -> datetime:
    return local_to_utc(datetime.combine(day, time.min), timezone)


def _in_order(entry: Entry) -> tuple[datetime, int]:
    return entry.at, entry.mailing.id
