"""The overview after log-in: figures of thirty days with their trends, and what needs attention.

What was sent is counted by runs, whose counters change with the ledger, and stands on the day on which its run began:
so a day's figure is exactly what the ledger has of its runs, and costs a sum over as many rows as there were runs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import accumulate
from typing import Any

from flask_babel import format_decimal, format_number, format_percent, ngettext
from flask_babel import gettext as _
from sqlalchemy import DateTime, FromClause, Integer, Select, and_, func, or_, select

from app import caching
from app.auth.models import User
from app.clients import imports
from app.clients.models import Client, Import, ImportStatus
from app.clients.queries import owned_by as clients_of
from app.database import given_rows, rows_parameter
from app.delivery.models import Run, RunStatus
from app.extensions import db
from app.mailings import queries
from app.mailings.models import Mailing
from app.mailings.schedule import local_to_utc
from app.mailings.words import share
from app.messages import queries as messages
from app.messages.models import Message

DAYS = 30
ATTENTION = timedelta(days=7)
PLANNED_SHOWN = 5
RUNS_SHOWN = 5
QUESTIONS_SHOWN = 20
IMPORTS_SHOWN = 3
DISABLED_SHOWN = 5
UP, DOWN, SAME = "up", "down", "same"


@dataclass(frozen=True)
class Trend:
    """A figure of the last thirty days, today included, the same of those before, and how it went day by day.

    None: there is nothing to make it of.
    """

    value: float | None
    before: float | None
    daily: Sequence[float]


@dataclass(frozen=True)
class Figures:
    clients: Trend
    sent: Trend
    delivered: Trend  # parts of one
    runs: Trend


@dataclass(frozen=True)
class Day:
    """What became of the runs that began on it."""

    runs: int = 0
    sent: int = 0
    failed: int = 0
    unknown: int = 0


@dataclass(frozen=True)
class Attention:
    """What went wrong lately, or stands still."""

    fault: str  # the mail server's words; empty: nothing waits for it
    waiting: int  # runs
    troubled: Sequence[tuple[Run, Mailing]]
    imports: Sequence[Import]
    disabled: Sequence[Mailing]

    def __bool__(self) -> bool:
        return bool(self.fault or self.troubled or self.imports or self.disabled)


# ── Figures ──


def figures(user: User, today: date, timezone: str) -> Figures:
    """today: on the clocks of `timezone`, on which days begin at midnight."""
    days = days_of_runs(user, today, timezone)
    return Figures(
        clients=_clients(user, today, timezone),
        sent=_summed([day.sent for day in days]),
        delivered=_delivered(days),
        runs=_summed([day.runs for day in days]),
    )


def days_of_runs(user: User, today: date, timezone: str) -> list[Day]:
    """The last thirty days and the thirty before them, the oldest first."""
    given, parameter = _given_days(2 * DAYS, today, timezone)
    on_it = and_(Run.owner_id == user.id, Run.created_at >= given.c.starts, Run.created_at < given.c.ends)
    sums = (func.count(), func.sum(Run.sent), func.sum(Run.failed), func.sum(Run.unknown))
    query = select(given.c.day, *sums).join(Run, and_(on_it, Run.missed.is_(None))).group_by(given.c.day)
    found = {day: Day(*counts) for day, *counts in db.session.execute(query, parameter)}
    return [found.get(number, Day()) for number in range(2 * DAYS)]


def _given_days(count: int, today: date, timezone: str) -> tuple[FromClause, dict[str, str]]:
    """A table of that many days up to today, numbered from 0, with their first moments and those of the next days."""
    first = today - timedelta(days=count - 1)
    starts = [local_to_utc(datetime.combine(first + timedelta(days=n), time.min), timezone) for n in range(count + 1)]
    dialect = db.session.get_bind().dialect.name
    moment = DateTime(timezone=True)
    given = given_rows(dialect, {"day": Integer(), "starts": moment, "ends": moment})
    rows = [{"day": number, "starts": starts[number], "ends": starts[number + 1]} for number in range(count)]
    return given, rows_parameter(dialect, rows)


def _summed(daily: Sequence[int]) -> Trend:
    return Trend(sum(daily[DAYS:]), sum(daily[:DAYS]), daily[DAYS:])


def _delivered(days: Sequence[Day]) -> Trend:
    """A day on which nothing was tried is shown as the one before it."""
    daily, latest = [], 1.0
    for of_day in map(_share, ([day] for day in days)):
        latest = latest if of_day is None else of_day
        daily.append(latest)
    return Trend(_share(days[DAYS:]), _share(days[:DAYS]), daily[DAYS:])


def _share(days: Sequence[Day]) -> float | None:
    """Which part of the letters with an outcome has arrived as far as anybody knows; None without any."""
    sent = sum(day.sent for day in days)
    tried = sent + sum(day.failed + day.unknown for day in days)
    return sent / tried if tried else None


def _clients(user: User, today: date, timezone: str) -> Trend:
    """How many there are; before: those of them who were there thirty days ago."""
    number = select(func.count()).select_from(clients_of(user).with_only_columns(Client.id).subquery())
    given, parameter = _given_days(DAYS, today, timezone)
    in_time = and_(Client.added_at >= given.c.starts, Client.added_at < given.c.ends)
    # count() of rows, not of their ids: the index has no ids, and the rows need not be read.
    by_day = clients_of(user).with_only_columns(given.c.day, func.count()).select_from(Client).join(given, in_time)
    by_day = by_day.group_by(given.c.day)

    def count() -> tuple[int, list[int]]:
        added: dict[int, int] = dict(db.session.execute(by_day, parameter).all())
        return db.session.scalar(number) or 0, [added.get(number, 0) for number in range(DAYS)]

    total, added = caching.remembered(caching.CLIENTS, count, user.id, today, timezone, worth=_is_large)
    before = total - sum(added)
    return Trend(total, before, [before + sum_so_far for sum_so_far in accumulate(added)])


def _is_large(counted: tuple[int, list[int]]) -> bool:
    return counted[0] >= caching.LARGE_COUNT


# ── Figures in words ──


@dataclass(frozen=True)
class Card:
    """One figure as it is shown: its words, and its picture."""

    label: str
    value: str
    change: str
    direction: str  # up, down or same
    picture: str  # what the sparkline shows, in words
    daily: Sequence[float]


def cards(user: User, today: date, timezone: str) -> list[Card]:
    """The four figures in words."""
    found = figures(user, today, timezone)
    delivered = found.delivered
    return [
        Card(
            _("Clients"),
            format_number(found.clients.value),
            *_grown(found.clients),
            _in_a_picture(_("Clients"), map(format_number, found.clients.daily)),
            found.clients.daily,
        ),
        *(
            Card(label, format_number(trend.value), *_more_or_less(trend), _in_a_picture(label, words), trend.daily)
            for label, trend in ((_("Sent in 30 days"), found.sent), (_("Runs in 30 days"), found.runs))
            for words in [map(format_number, trend.daily)]
        ),
        Card(
            _("Delivered in 30 days"),
            "–" if delivered.value is None else share(delivered.value),
            *_better_or_worse(delivered),
            _in_a_picture(_("Delivered in 30 days"), map(share, delivered.daily)),
            delivered.daily,
        ),
    ]


def _in_a_picture(label: str, daily: Iterable[str]) -> str:
    first, *_rest, last = daily
    return _("%(label)s, day by day: %(first)s at first, %(last)s today.", label=label, first=first, last=last)


def _grown(trend: Trend) -> tuple[str, str]:
    new = int((trend.value or 0) - (trend.before or 0))
    if not new:
        return _("nobody new in 30 days"), SAME
    return ngettext("%(number)s new in 30 days", "%(number)s new in 30 days", new, number=format_number(new)), UP


def _more_or_less(trend: Trend) -> tuple[str, str]:
    now, before = trend.value or 0, trend.before or 0
    if now == before:
        return _("as many as in the 30 days before"), SAME
    if not before:
        return _("none in the 30 days before"), UP
    change = format_percent(abs(now - before) / before, "#,##0%")
    if now > before:
        return _("%(percent)s more than in the 30 days before", percent=change), UP
    return _("%(percent)s less than in the 30 days before", percent=change), DOWN


def _better_or_worse(trend: Trend) -> tuple[str, str]:
    if trend.value is None:
        return _("nothing sent yet") if trend.before is None else _("nothing sent in 30 days"), SAME
    if trend.before is None:
        return _("none in the 30 days before"), SAME
    points = round((trend.value - trend.before) * 100, 1)
    if not points:
        return _("the same as in the 30 days before"), SAME
    number = format_decimal(abs(points), "#,##0.#")
    if points > 0:
        return _("%(number)s points better than in the 30 days before", number=number), UP
    return _("%(number)s points worse than in the 30 days before", number=number), DOWN


# ── What is going on ──


def has(user: User) -> dict[str, bool]:
    """Whether there is anything of a kind: what a newcomer has to do first."""
    kinds = {
        "clients": clients_of(user).with_only_columns(Client.id),
        "messages": messages.owned_by(user).with_only_columns(Message.id),
        "mailings": queries.owned_by(user).with_only_columns(Mailing.id),
    }
    return {kind: db.session.scalar(query.limit(1)) is not None for kind, query in kinds.items()}


def live(user: User) -> dict[str, Any]:
    """What is planned, what runs, and what is asked."""
    return {
        "planned": db.session.scalars(queries.planned_next(user).limit(PLANNED_SHOWN)).all(),
        "running": db.session.execute(queries.unfinished(user).limit(RUNS_SHOWN)).all(),
        "questions": db.session.execute(queries.questions(user).limit(QUESTIONS_SHOWN)).all(),
    }


def attention(user: User, now: datetime) -> Attention:
    since = now - ATTENTION
    faults = db.session.scalars(_faults(user)).all()
    failed = imports.of_owner(user).where(Import.status == ImportStatus.FAILED, Import.finished_at >= since)
    disabled = queries.owned_by(user).where(Mailing.disabled_at.is_not(None)).order_by(Mailing.disabled_at.desc())
    return Attention(
        fault=faults[0] if faults else "",
        waiting=len(faults),
        troubled=db.session.execute(_troubled(user, since).limit(RUNS_SHOWN)).all(),
        imports=db.session.scalars(failed.order_by(Import.id.desc()).limit(IMPORTS_SHOWN)).all(),
        disabled=db.session.scalars(disabled.limit(DISABLED_SHOWN)).all(),
    )


def _faults(user: User) -> Select[str]:
    """What the mail server said to each of the user's runs that wait for it, the newest first."""
    waits = (Run.status != RunStatus.DONE, Run.fault != "")
    return select(Run.fault).where(Run.owner_id == user.id, *waits).order_by(Run.id.desc())


def _troubled(user: User, since: datetime) -> Select[Run, Mailing]:
    """The user's runs since then with letters that failed, or may have failed; the newest first."""
    found = select(Run, Mailing).join(Mailing, Mailing.id == Run.mailing_id)
    mine = (Run.owner_id == user.id, Run.created_at >= since, Mailing.deleted_at.is_(None))
    return found.where(*mine, or_(Run.failed > 0, Run.unknown > 0)).order_by(Run.created_at.desc(), Run.id.desc())
