"""What became of a run, counted from its rows: how its messages ended over time, and what mail servers answered.

The run's counters say at once how many messages ended how. What is counted here has to look at every row; so a big run
is counted by a job, once when it is done, and now and then while it is being sent.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, bindparam, cast, extract, func, select, update

from app import clock
from app.database import insert_or_ignore, only_reads
from app.delivery.answers import Answer, answer_of
from app.delivery.models import Attempt, Delivery, DeliveryStatus, Run, RunReport
from app.extensions import db

SMALL = 5000  # messages: so many are counted while somebody waits
ANSWERS_KEPT = 20
MOST_KINDS = 10_000  # of answers; from a server whose answers all differ, the rest are not told apart
ROWS_AT_ONCE = 5000
SHARE_OF_COUNTING = 20  # times what it took: so long a run that is being sent is not counted again
SOONEST = timedelta(seconds=30)
SHOWN_ALONE = (DeliveryStatus.SENT, DeliveryStatus.FAILED, DeliveryStatus.UNKNOWN, DeliveryStatus.SKIPPED)
# How finely time is divided: seconds of a step, for runs up to so long.
STEPS = ((1, timedelta(minutes=3)), (60, timedelta(hours=3)), (3600, timedelta.max))


@dataclass(frozen=True)
class Counted:
    """step: seconds. ended: for each step in which messages ended, its begin (seconds since 1970) and how many were
    sent, failed, unknown and skipped. answers: the commonest, the first one first. others: tries whose answers are
    none of these. codes: how many tries each code was the answer to. tries: all of them.
    seconds: what the counting took.
    """

    made_at: datetime
    step: int
    ended: Sequence[tuple[int, int, int, int, int]]
    answers: Sequence[tuple[Answer, int]]
    others: int
    codes: Sequence[tuple[int | None, int]]
    tries: int
    seconds: float
    is_current: bool = True

    def answer(self, key: str) -> Answer | None:
        """The answer of that name."""
        return next((answer for answer, _count in self.answers if answer.key == key), None)


def of_run(run: Run) -> Counted | None:
    """The run's report: None until a big one has been counted. While it is being sent, it may lag behind."""
    if run.planned <= SMALL:
        return count(run)
    kept = db.session.get(RunReport, run.id)
    return None if kept is None else _read(kept, is_current=kept.mark == _mark(run))


def is_wanted(run: Run, counted: Counted | None) -> bool:
    """Whether a job should count the run (anew) now."""
    if run.planned <= SMALL or (counted is not None and counted.is_current):
        return False
    if counted is None or run.is_finished:
        return True
    return clock.now() - counted.made_at > max(SOONEST, timedelta(seconds=counted.seconds * SHARE_OF_COUNTING))


def make(run_id: int) -> None:
    """Count the run and keep its report. What was begun in this session is rolled back."""
    with reading():
        run = db.session.get(Run, run_id)
        if run is None:
            return
        mark = _mark(run)  # before the rows: whatever changes from here on makes the report an old one
        counted = count(run)
    figures = asdict(counted)
    figures["answers"] = [[asdict(answer), count] for answer, count in counted.answers]
    del figures["made_at"], figures["is_current"]
    report = {"mark": mark, "made_at": counted.made_at, "figures": figures}
    # Two jobs may count the same run at once.
    db.session.execute(insert_or_ignore(RunReport, db.session).values(run_id=run_id, **report))
    db.session.execute(update(RunReport).where(RunReport.run_id == run_id).values(**report))


@contextmanager
def reading() -> Iterator[None]:
    """Counting a million rows must not keep everybody else from writing into SQLite."""
    db.session.rollback()
    reading = only_reads.set(True)
    try:
        yield
    finally:
        db.session.rollback()
        only_reads.reset(reading)


def _mark(run: Run) -> str:
    """How the run stands; a run that is done never stands like this again once anything of it has changed."""
    finished_at = run.finished_at.isoformat() if run.finished_at else ""
    return f"{run.status}:{run.pending}:{run.sent}:{run.failed}:{run.unknown}:{run.skipped}:{finished_at}"


def _read(kept: RunReport, *, is_current: bool) -> Counted:
    figures: dict[str, Any] = dict(kept.figures)
    figures["ended"] = [tuple(row) for row in figures["ended"]]
    figures["answers"] = [(Answer(**answer), count) for answer, count in figures["answers"]]
    figures["codes"] = [(code, count) for code, count in figures["codes"]]
    return Counted(made_at=kept.made_at, is_current=is_current, **figures)


def count(run: Run) -> Counted:
    """The run's report as its rows are now, whatever their number."""
    began, now = time.monotonic(), clock.now()
    step = _step(run, now)
    ended = _ended(run, step)
    kinds: Counter[Answer] = Counter()
    codes: Counter[int | None] = Counter()
    others = 0
    known: dict[tuple[int | None, str | None, str], Answer] = {}
    for code, enhanced_code, reply in _answers(run):
        told = (code, enhanced_code, reply)
        answer = known.get(told)
        if answer is None:
            answer = answer_of(*told)
            if len(known) < MOST_KINDS:
                known[told] = answer
        codes[code] += 1
        if answer in kinds or len(kinds) < MOST_KINDS:
            kinds[answer] += 1
        else:
            others += 1
    commonest = sorted(kinds.items(), key=lambda item: (-item[1], item[0].code or 0, item[0].words))
    answers, rest = commonest[:ANSWERS_KEPT], commonest[ANSWERS_KEPT:]
    others += sum(number for _answer, number in rest)
    by_code = sorted(codes.items(), key=lambda item: item[0] or 0)
    return Counted(now, step, ended, answers, others, by_code, codes.total(), time.monotonic() - began)


def _answers(run: Run) -> Iterator[Any]:
    query = select(Attempt.code, Attempt.enhanced_code, Attempt.reply).where(Attempt.run_id == run.id)
    for rows in db.session.connection().execute(query, execution_options={"yield_per": ROWS_AT_ONCE}).partitions():
        yield from rows


def _step(run: Run, now: datetime) -> int:
    length = (run.finished_at or now) - (run.started_at or run.created_at)
    return next(step for step, longest in STEPS if length <= longest)


def _ended(run: Run, step: int) -> list[tuple[int, int, int, int, int]]:
    """How many messages came to which end within each step of time."""
    moment = _epoch() - _epoch() % step
    query = (
        select(moment.label("moment"), Delivery.status, func.count())
        .where(Delivery.run_id == run.id, Delivery.finished_at.is_not(None))
        .group_by("moment", Delivery.status)
    )
    found: dict[int, Counter[DeliveryStatus]] = {}
    for begin, status, number in db.session.execute(query):
        found.setdefault(int(begin), Counter())[status] += number
    sent, failed, unknown, skipped = SHOWN_ALONE
    return [(at, ends[sent], ends[failed], ends[unknown], ends[skipped]) for at, ends in sorted(found.items())]


def _epoch() -> ColumnElement[int]:
    """The second in which a delivery ended, since 1970."""
    seconds = extract("epoch", Delivery.finished_at)
    if db.session.get_bind().dialect.name == "sqlite":
        return seconds
    return cast(func.floor(seconds), BigInteger)


# ── Who got an answer ──

FIRST_LOOK = 100  # tries; each look is twice as far as the one before
LOOKS = 9


def answered(
    run: Run, among: Select[Delivery], code: int | None, answer: Answer | None, *, after: int, size: int
) -> tuple[Sequence[Delivery], int | None]:
    """Of `among`, the first `size` after that id that were answered with this code at any of their tries; with
    `answer`, those whose server said just that. And the id after which to go on, None when there are no more.

    There may be fewer than `size` and still more to come: for a rare answer nobody looks through all of a big run.
    """
    first, last = db.session.execute(
        select(func.min(Delivery.id), func.max(Delivery.id)).where(Delivery.run_id == run.id)
    ).one()
    if first is None:
        return [], None
    found: list[int] = []
    place = max(after, first - 1)
    for look in range(LOOKS):
        far = FIRST_LOOK * 2**look
        rows = db.session.execute(_tries(run, among, code, place, last).limit(far)).all()
        is_last = len(rows) < far
        if not is_last:  # the last message may have more tries than those
            rows = [row for row in rows if row[0] != rows[-1][0]] or rows
        for delivery_id, enhanced_code, reply in rows:
            if delivery_id in found[-1:] or (answer and answer_of(code, enhanced_code, reply) != answer):
                continue
            if len(found) == size:
                return _these(found), found[-1]
            found.append(delivery_id)
        if is_last:
            return _these(found), None
        place = rows[-1][0]
    return _these(found), place


def _tries(run: Run, among: Select[Delivery], code: int | None, after: int, last: int) -> Select[int, str | None, str]:
    query = (
        among.join(Attempt, Attempt.delivery_id == Delivery.id)
        .with_only_columns(Attempt.delivery_id, Attempt.enhanced_code, Attempt.reply)
        .where(Attempt.run_id == run.id, Attempt.code.is_(None) if code is None else Attempt.code == code)
        .where(Attempt.delivery_id > after, Attempt.delivery_id <= last)
        .order_by(None)
        .order_by(Attempt.delivery_id)
    )
    if code is not None and code < 300:  # accepted (RFC 5321, 4.2.1)
        return query
    # Written out, so that the index over the few of these is found.
    sent = bindparam("sent", DeliveryStatus.SENT, type_=Attempt.outcome.type, literal_execute=True)
    return query.where(Attempt.outcome != sent)


def _these(ids: Sequence[int]) -> Sequence[Delivery]:
    return db.session.scalars(select(Delivery).where(Delivery.id.in_(ids)).order_by(Delivery.id)).all()
