"""What changes the ledger. Rows and the run's counters always change together, so the sum holds at every commit."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import orjson
from redis import Redis
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Integer,
    Select,
    SmallInteger,
    Text,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute

from app import clock
from app.clients.models import Client, ClientStatus
from app.config import Settings
from app.database import count_if_doubled, given_rows, rows_parameter
from app.delivery import journal, policy, queries
from app.delivery.models import (
    FINAL,
    Attempt,
    Claim,
    Delivery,
    DeliveryStatus,
    Run,
    RunStatus,
    SkipReason,
    Stage,
)
from app.delivery.render import Recipient
from app.delivery.transport import LONGEST_REPLY, Answer, Reply
from app.extensions import db

WORKER_DIED = "The worker that held this message died before it wrote down what became of it."
THEIR_FAULT_AFTER = 3  # tries: what says «your fault» to one recipient only means the recipient
COUNTERS: dict[DeliveryStatus, InstrumentedAttribute[int]] = {
    status: getattr(Run, status.value) for status in DeliveryStatus
}


class LostClaim(Exception):
    """The lease ended and the sweep has settled these deliveries already."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """One delivery in this worker's hands."""

    run_id: int
    recipient: Recipient
    attempts: int
    skip_reason: SkipReason | None  # set: it must not be sent any more

    @property
    def delivery_id(self) -> int:
        return self.recipient.delivery_id


@dataclass(frozen=True)
class Batch:
    """What one claim holds.

    journal: names the claim for good. Its id may be another's by the time that a slow worker comes back with it: SQLite
    gives the highest one anew once its row is gone.
    """

    claim_id: int
    deliveries: Sequence[Claimed]
    journal: str
    empty_runs: Sequence[int] = ()  # that were looked at, and had nothing for us
    was_at_fault: bool = False  # some of its runs waited for the mail server


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of one claimed delivery. Without an answer nothing was tried."""

    run_id: int
    delivery_id: int
    status: DeliveryStatus
    answer: Answer | None = None
    attempts: int = 0
    not_before: datetime | None = None
    skip_reason: SkipReason | None = None
    suppresses: bool = False


@dataclass(frozen=True)
class Move:
    """How a run's counters change with the rows that have changed already in this transaction.

    Nobody waits for a run's row with another one in hand that has a higher id: so nobody waits in a circle.
    """

    run_id: int
    changes: Counter[DeliveryStatus]
    turn: int | None = None  # it has been served now, as the last one
    due_at: datetime | None = None  # of what came back to wait: the run must not rest for longer


def plan(run: Run, audience: Select[Client]) -> int:
    """Freeze the run's audience: one row per client, in one statement, whatever their number; returns that."""
    rows = audience.with_only_columns(literal(run.id), Client.id, Client.email).order_by(None)
    planned = _rowcount(insert(Delivery).from_select(["run_id", "client_id", "email"], rows))
    db.session.execute(
        update(Run)
        .where(Run.id == run.id)
        .values(planned=planned, pending=planned, status=RunStatus.SENDING, started_at=clock.now())
    )
    finish_if_done(run.id)
    count_if_doubled(db.session, "delivery", planned)  # each attempt is checked against it, on all connections
    return planned


def claim(
    *,
    size: int,
    grant: Callable[[int], int],
    worker: str,
    lease: timedelta,
    open_journal: Callable[[], str],
    but: Sequence[int] = (),
    counts_due: bool = False,
) -> tuple[Batch, list[Move]] | None:
    """Take up to `size` due deliveries of the runs that were served longest ago; None when there is nothing now.

    Whether a run may send is asked in the statement that takes: a pause holds from the next claim on. `move` has to
    be called with what comes with the batch, in the same transaction.

    A big run fills a claim; small ones share one, so that a thousand of them are not a thousand claims.

    grant: given how many wait there, says how many may be taken. open_journal: called right before something is taken.
    but: runs that are not to be looked at. counts_due: tell `grant` what is due, not what waits: it costs a query.
    """
    now = clock.now()
    found = db.session.connection().execute(queries.NEXT_RUNS, {"now": now, "but": list(but)}).all()
    chosen = _chosen([(run_id, pending) for run_id, pending, _fault in found], size)
    waiting = _count_due(chosen, now, size) if counts_due else sum(chosen.values())
    limit = grant(waiting) if waiting else 0
    if not chosen or (waiting and not limit):
        return None
    name = open_journal()
    holder = {"worker": worker, "leased_until": now + lease, "journal": name}
    claim_id = db.session.connection().execute(_BEGIN_CLAIM, holder).scalar_one()
    what = {"runs": list(chosen), "now": now, "most": limit, "claim": claim_id}
    taken = Counter(run_id for _id, run_id in db.session.connection().execute(_TAKE, what))
    empty = [run_id for run_id in chosen if not taken[run_id]] if sum(taken.values()) < max(limit, 1) else []
    if not taken:
        batch = Batch(claim_id, [], name, empty)
        _give_back(batch)
        return batch, []
    rows = db.session.connection().execute(queries.CLAIMED, {"claim": claim_id}).all()
    was_at_fault = any(fault for run_id, _pending, fault in found if run_id in taken)
    batch = Batch(claim_id, [_claimed(row) for row in rows], name, empty, was_at_fault)
    turn = _turn_of(claim_id)
    return batch, [
        Move(run_id, Counter({DeliveryStatus.PENDING: -count, DeliveryStatus.SENDING: count}), turn)
        for run_id, count in taken.items()
    ]


def _chosen(waiting: Sequence[tuple[int, int]], size: int) -> dict[int, int]:
    """Which runs a claim of that size takes from, and how many wait in each: the first, and small ones with it."""
    chosen: dict[int, int] = {}
    for run_id, pending in waiting:
        if sum(chosen.values()) >= size:
            break
        if not chosen or pending < size:
            chosen[run_id] = pending
    return chosen


# Built once: a claim takes milliseconds, and putting these together would be half of them.
_BEGIN_CLAIM = insert(Claim).returning(Claim.id)
# A CTE, because PostgreSQL may run a subquery with LIMIT … SKIP LOCKED more than once.
_PICKED = (
    select(Delivery.id)
    .join(Run, Run.id == Delivery.run_id)
    .where(Delivery.run_id.in_(bindparam("runs", expanding=True)), queries.IS_DUE, queries.MAY_SEND)
    .order_by(Delivery.id)
    .limit(bindparam("most", type_=Integer()))
    .with_for_update(of=Delivery, skip_locked=True)
    .cte("picked")
)
_TAKE = (
    update(Delivery)
    .where(Delivery.id.in_(select(_PICKED.c.id)))
    .values(status=DeliveryStatus.SENDING, claim_id=bindparam("claim"))
    .returning(Delivery.id, Delivery.run_id)
)


_LATEST_TURN = select(func.max(Run.last_claim)).where(Run.status == RunStatus.SENDING)
_DUE = select(func.count()).select_from(
    select(Delivery.id)
    .join(Run, Run.id == Delivery.run_id)
    .where(Delivery.run_id.in_(bindparam("runs", expanding=True)), queries.IS_DUE, queries.MAY_SEND)
    .limit(bindparam("most", type_=Integer()))
    .subquery()
)


def _turn_of(claim_id: int) -> int:
    """What grows from claim to claim. SQLite gives the same few ids again and again, and has one writer."""
    if db.session.get_bind().dialect.name != "sqlite":
        return claim_id
    latest = db.session.connection().execute(_LATEST_TURN).scalar_one()
    return int(latest or 0) + 1


def _count_due(runs: Iterable[int], now: datetime, most: int) -> int:
    what = {"runs": list(runs), "now": now, "most": most}
    return db.session.connection().execute(_DUE, what).scalar_one() if what["runs"] else 0


def _claimed(row: Sequence[Any]) -> Claimed:
    run_id, delivery_id, client_id, email, first, last, patronymic, birth_year, attributes, attempts, status = row
    # Most clients have none, and reading JSON for everybody would cost as much as writing their letters.
    known = {} if attributes in (None, "{}") else orjson.loads(attributes)
    recipient = Recipient(delivery_id, client_id, email, first, last, patronymic, birth_year, known)
    reason = None
    if recipient.client_id is None:
        reason = SkipReason.DELETED
    elif status is not ClientStatus.ACTIVE:
        reason = SkipReason.SUPPRESSED
    return Claimed(run_id, recipient, attempts, reason)


def rest_until_due(run_id: int) -> None:
    """Nothing of the run is due now: look at it again when the first of its messages is."""
    # Whoever gives some back in the meantime waits here, and ends the rest again: see `Move.due_at`.
    db.session.execute(select(Run.id).where(Run.id == run_id).with_for_update(key_share=True))
    pending = (Delivery.run_id == run_id, Delivery.status == DeliveryStatus.PENDING)
    is_due = db.session.scalar(select(Delivery.id).where(*pending, Delivery.not_before.is_(None)).limit(1))
    due_at = db.session.scalar(queries.next_try(run_id))
    if is_due is None and due_at is not None and due_at > clock.now():
        _let_rest(Run.id == run_id, due_at, "")


def renew(batch: Batch, lease: timedelta) -> bool:
    """Hold the claim for another lease; False when it is lost."""
    until = clock.now() + lease
    is_ours = (Claim.id == batch.claim_id, Claim.journal == batch.journal)
    return _rowcount(update(Claim).where(*is_ours).values(leased_until=until)) == 1


def outcome_of(claimed: Claimed, answer: Answer, settings: Settings) -> Outcome:
    """What the server's answer makes of this delivery."""
    verdict = policy.verdict_on(answer)
    attempts = claimed.attempts + verdict.is_charged
    status, not_before = verdict.outcome, None
    if status is DeliveryStatus.PENDING:
        is_last = verdict.is_charged and policy.is_last(attempts, settings)
        if is_last or (answer.kind is Reply.OUR_FAULT and _is_theirs_after_all(claimed.delivery_id)):
            status = DeliveryStatus.FAILED
        else:
            delay = policy.with_jitter(policy.retry_delay(attempts, settings))
            not_before = clock.now() + max(delay, answer.retry_after or delay)
    return Outcome(
        claimed.run_id, claimed.delivery_id, status, answer, attempts, not_before, suppresses=verdict.suppresses
    )


def _is_theirs_after_all(delivery_id: int) -> bool:
    """Whether a server blames us at this recipient again and again, and takes letters to others meanwhile."""
    faults = db.session.scalars(queries.faults_of(delivery_id).limit(THEIR_FAULT_AFTER)).all()
    if len(faults) + 1 < THEIR_FAULT_AFTER:
        return False
    return db.session.scalar(queries.sent_after(faults[0])) is not None


def record(batch: Batch, outcomes: Sequence[Outcome]) -> list[Move]:
    """Write down what became of a whole claim, and give the claim back. One outcome for each of its deliveries.

    `move` has to be called with the result, in the same transaction.

    Raises:
        LostClaim: nothing was written.
    """
    if not _give_back(batch):
        raise LostClaim
    return _write_outcomes(outcomes, DeliveryStatus.SENDING)


def move(moves: Iterable[Move]) -> list[int]:
    """Change the runs' counters, at the end of a transaction; gives the ids of the runs that are done with that."""
    ordered = sorted(moves, key=lambda move: move.run_id)
    return [move.run_id for move in ordered if not _count(move) and finish_if_done(move.run_id)]


def _write_outcomes(outcomes: Sequence[Outcome], before: DeliveryStatus) -> list[Move]:
    """before: the state that all of them are in."""
    now = clock.now()
    dialect = db.session.get_bind().dialect.name
    tried = [_attempt(outcome, outcome.answer) for outcome in outcomes if outcome.answer is not None]
    if tried:
        db.session.connection().execute(_insert_attempts(dialect), rows_parameter(dialect, tried))
    changed = [
        {
            "id": outcome.delivery_id,
            "status": outcome.status,
            "attempts": outcome.attempts,
            "not_before": outcome.not_before,
            "skip_reason": outcome.skip_reason,
            "finished_at": now if outcome.status in FINAL else None,
        }
        for outcome in outcomes
    ]
    db.session.connection().execute(_update_deliveries(dialect), rows_parameter(dialect, changed))
    if suppressed := [outcome.delivery_id for outcome in outcomes if outcome.suppresses]:
        _suppress(suppressed)
    changes: defaultdict[int, Counter[DeliveryStatus]] = defaultdict(Counter)
    for outcome in outcomes:
        changes[outcome.run_id][outcome.status] += 1
        changes[outcome.run_id][before] -= 1
    due_at: dict[int, datetime] = {}
    for outcome in outcomes:
        if outcome.status is DeliveryStatus.PENDING:
            moment = outcome.not_before or now
            due_at[outcome.run_id] = min(moment, due_at.get(outcome.run_id, moment))
    return [Move(run_id, change, due_at=due_at.get(run_id)) for run_id, change in changes.items()]


def _suppress(delivery_ids: Sequence[int]) -> None:
    clients = select(Delivery.client_id).where(Delivery.id.in_(delivery_ids))
    bounced = select(Client.id).where(Client.id.in_(clients), Client.status == ClientStatus.ACTIVE)
    locked = bounced.order_by(Client.id).with_for_update(key_share=True)
    _rowcount(update(Client).where(Client.id.in_(locked)).values(status=ClientStatus.BOUNCED))


def _attempt(outcome: Outcome, answer: Answer) -> dict[str, Any]:
    return {
        "delivery_id": outcome.delivery_id,
        "run_id": outcome.run_id,
        "at": answer.at,
        "stage": answer.stage,
        "outcome": outcome.status,
        "code": answer.code,
        "enhanced_code": answer.enhanced_code,
        # PostgreSQL stores no NUL, and a broken server may send some; nor more than there is room for.
        "reply": answer.reply.replace("\0", "�")[:LONGEST_REPLY],
    }


_MOMENT = DateTime(timezone=True)


@cache
def _update_deliveries(dialect: str) -> Any:
    types = {"status": Text(), "attempts": SmallInteger(), "not_before": _MOMENT, "skip_reason": Text()}
    types |= {"finished_at": _MOMENT}
    given = given_rows(dialect, {"id": BigInteger()} | types)
    values = {name: type_coerce(given.c[name], getattr(Delivery, name).type) for name in types}
    return update(Delivery).where(Delivery.id == given.c.id).values(claim_id=None, **values)


@cache
def _insert_attempts(dialect: str) -> Any:
    types = {"delivery_id": BigInteger(), "run_id": BigInteger(), "at": _MOMENT, "stage": Text(), "outcome": Text()}
    types |= {"code": SmallInteger(), "enhanced_code": Text(), "reply": Text()}
    given = given_rows(dialect, types)
    values = [type_coerce(given.c[name], getattr(Attempt, name).type) for name in types]
    rows = select(*values, Run.owner_id).join_from(given, Run, Run.id == given.c.run_id)
    return insert(Attempt).from_select([*types, "owner_id"], rows, include_defaults=False)


# ── Waiting for the mail server ──


def wait_for_server(fault: str, until: datetime) -> None:
    """Let every run that has something to send rest until then, and have its page say why."""
    _let_rest(or_(Run.resume_at.is_(None), Run.resume_at < until, Run.fault != fault), until, fault)


def _let_rest(which: Any, until: datetime, fault: str) -> None:
    _change_runs(
        (Run.status == RunStatus.SENDING, Run.pending > 0, which), fault=fault.replace("\0", "�"), resume_at=until
    )


def server_is_back() -> None:
    """What waited for the mail server goes on."""
    _change_runs((Run.status == RunStatus.SENDING, Run.fault != ""), fault="", resume_at=None)


def _change_runs(which: tuple[Any, ...], **values: Any) -> None:
    # Locked in the order of their ids: two that change many at once would else wait in a circle.
    runs = select(Run.id).where(*which).order_by(Run.id).with_for_update(key_share=True)
    _rowcount(update(Run).where(Run.id.in_(runs)).values(values))


# ── The end of a run ──


def skip_pending(run_id: int, reason: SkipReason, *conditions: ColumnElement[bool]) -> int:
    """Give up what waits in the run, and return how many those were. What a worker holds is left to its outcome."""
    now = clock.now()
    skipped = _rowcount(
        update(Delivery)
        .where(Delivery.run_id == run_id, Delivery.status == DeliveryStatus.PENDING, *conditions)
        .values(status=DeliveryStatus.SKIPPED, skip_reason=reason, not_before=None, finished_at=now)
    )
    if skipped:
        _count(Move(run_id, Counter({DeliveryStatus.PENDING: -skipped, DeliveryStatus.SKIPPED: skipped})))
    finish_if_done(run_id)
    return skipped


def finish_if_done(run_id: int) -> bool:
    """Close the run when nothing of it is left to do; whether that was so."""
    closed = _rowcount(
        update(Run)
        .where(Run.id == run_id, Run.status == RunStatus.SENDING, Run.pending == 0, Run.sending == 0)
        .values(status=RunStatus.DONE, finished_at=clock.now(), fault="", resume_at=None)
    )
    return closed == 1


def hold(mailing_ids: Sequence[int] | Select[int], *, held: bool) -> None:
    """Stop or free the unfinished runs of these mailings, from the next claim on."""
    unfinished = (Run.mailing_id.in_(mailing_ids), Run.status != RunStatus.DONE)
    if held:
        _change_runs((*unfinished, Run.held_at.is_(None)), held_at=clock.now())
    else:
        _change_runs((*unfinished, Run.held_at.is_not(None)), held_at=None)


def end_overdue(run_id: int) -> int:
    """Give up what still waits in a run whose last moment is over; return how many those were."""
    is_cancelled = db.session.scalar(select(Run.cancelled_at.is_not(None)).where(Run.id == run_id))
    # Asked in the statement that skips: its owner may have sent it again since it was found.
    is_over = exists().where(Run.id == run_id, queries.is_over(clock.now()))
    return skip_pending(run_id, SkipReason.CANCELLED if is_cancelled else SkipReason.ENDED, is_over)


def cancel(run: Run) -> None:
    """End a run that its owner no longer wants: what was not sent is skipped, what a worker holds finishes."""
    now = clock.now()
    unprepared = _rowcount(
        update(Run)
        .where(Run.id == run.id, Run.status == RunStatus.PREPARING)
        .values(status=RunStatus.DONE, finished_at=now, cancelled_at=now)
    )
    if not unprepared:  # nor does it help to have seen it so: it may have been prepared while this waited for it
        skip_pending(run.id, SkipReason.CANCELLED)
        # What a worker holds may come back to wait: it finds the run past its end.
        db.session.execute(update(Run).where(Run.id == run.id).values(last_moment=now, cancelled_at=now))


RESENDABLE = frozenset({DeliveryStatus.FAILED, DeliveryStatus.UNKNOWN})


def resend(run_id: int, status: DeliveryStatus) -> int:
    """Send what failed in this run, or what nobody knows of, once more; return how many those are.

    Their attempts stay in the ledger, and are counted anew against the limit. The run's end, if it is over, binds no
    more: its owner has decided. Clients who get nothing any more are left out.
    """
    if status not in RESENDABLE:
        raise ValueError(f"{status} is not sent again")
    end_overdue(run_id)  # if it is over, as the sweep was about to: that end binds what still waits
    active = select(Client.id).where(Client.status == ClientStatus.ACTIVE, Client.deleted_at.is_(None))
    again = _rowcount(
        update(Delivery)
        .where(Delivery.run_id == run_id, Delivery.status == status, Delivery.client_id.in_(active))
        .values(status=DeliveryStatus.PENDING, attempts=0, not_before=None, finished_at=None)
    )
    if again:
        _count(Move(run_id, Counter({status: -again, DeliveryStatus.PENDING: again})))
        db.session.execute(
            update(Run)
            .where(Run.id == run_id)
            .values(
                status=RunStatus.SENDING,
                finished_at=None,
                cancelled_at=None,
                last_moment=case((Run.last_moment > clock.now(), Run.last_moment)),
                resume_at=None,
                fault="",
            )
        )
    return again


# ── Claims of workers that are gone ──


def expired_claims(settings: Settings) -> Select[Claim]:
    """Claims that nobody has renewed in time. One leased for longer than anybody would is of a clock set back."""
    now = clock.now()
    lease = timedelta(seconds=settings.claim_lease_seconds)
    return select(Claim).where(or_(Claim.leased_until < now, Claim.leased_until > now + 2 * lease)).limit(100)


def recover(claim_id: int, settings: Settings, redis: Redis) -> list[int]:
    """Settle one claim of a dead worker by its journal, which has been sealed: see `app.delivery.journal`.

    What it answers has its true outcome; what it began and does not answer is `unknown`; what it did not begin waits
    again. From a journal that is not whole nobody can tell what was not begun: all of that is `unknown`, too, whoever
    has unsubscribed or was deleted since.

    Returns the ids of the runs that are done with that.

    Raises:
        redis.RedisError: the journal can't be read now.
    """
    lost = db.session.scalar(select(Claim).where(Claim.id == claim_id).with_for_update(skip_locked=True))
    if lost is None:
        return []
    if lost.journal and not journal.is_sealed(lost.journal, redis):
        return []  # another one, that has got the number since: its worker lives, and nobody has told it to stop
    story = journal.read(lost.journal, redis) if lost.journal else journal.Story(is_whole=False)
    rows = db.session.connection().execute(queries.CLAIMED, {"claim": claim_id}).all()
    batch = Batch(claim_id, [_claimed(row) for row in rows], lost.journal)
    return move(record(batch, [_recovered(claimed, story, settings) for claimed in batch.deliveries]))


def _recovered(claimed: Claimed, story: journal.Story, settings: Settings) -> Outcome:
    delivery_id = claimed.delivery_id
    if answer := story.answers.get(delivery_id):
        return outcome_of(claimed, answer, settings)
    if delivery_id in story.begun or not story.is_whole:
        return outcome_of(claimed, Answer(delivery_id, Stage.BODY, Reply.NONE, None, WORKER_DIED), settings)
    return untried(claimed)


def untried(claimed: Claimed) -> Outcome:
    """What was never handed over waits as it did before, or is skipped for good."""
    status = DeliveryStatus.SKIPPED if claimed.skip_reason else DeliveryStatus.PENDING
    return Outcome(
        claimed.run_id, claimed.delivery_id, status, attempts=claimed.attempts, skip_reason=claimed.skip_reason
    )


def correct_unknown(outcomes: Sequence[Outcome]) -> int:
    """Answers of a worker that was taken for dead: they settle what was declared `unknown`. Returns how many."""
    late = {outcome.delivery_id: outcome for outcome in outcomes if outcome.answer and outcome.status in FINAL}
    unsettled = db.session.scalars(
        select(Delivery.id)
        .where(Delivery.id.in_(late), Delivery.status == DeliveryStatus.UNKNOWN)
        .with_for_update(skip_locked=True)
    ).all()
    settled = [late[delivery_id] for delivery_id in unsettled if late[delivery_id].status is not DeliveryStatus.UNKNOWN]
    if settled:
        move(_write_outcomes(settled, DeliveryStatus.UNKNOWN))
    return len(settled)


_GIVE_BACK = delete(Claim).where(Claim.id == bindparam("claim"), Claim.journal == bindparam("name"))
_DUE_AT = bindparam("due_at", type_=Run.resume_at.type)
_MOVE = (
    update(Run)
    .where(Run.id == bindparam("run"))
    .values(
        {
            **{counter: counter + bindparam(status.value) for status, counter in COUNTERS.items()},
            Run.last_claim: func.coalesce(bindparam("turn"), Run.last_claim),
            # A rest for the mail server's sake goes on.
            Run.resume_at: case((and_(Run.fault == "", Run.resume_at > _DUE_AT), _DUE_AT), else_=Run.resume_at),
        }
    )
    .returning(Run.pending + Run.sending)
)


def _give_back(batch: Batch) -> bool:
    """Delete the claim; False when somebody else has done so, and with it has settled its deliveries."""
    ours = {"claim": batch.claim_id, "name": batch.journal}
    return db.session.connection().execute(_GIVE_BACK, ours).rowcount == 1


def _count(move: Move) -> int:
    """Move the run's counters in one statement: the database refuses any in between that does not add up.

    Returns how many of its messages are not at their end.
    """
    steps = {status.value: move.changes[status] for status in DeliveryStatus}
    what = {"run": move.run_id, "turn": move.turn, "due_at": move.due_at, **steps}
    return db.session.connection().execute(_MOVE, what).scalar_one()


def _rowcount(statement: Any) -> int:
    result = db.session.execute(statement, execution_options={"synchronize_session": False})
    return int(result.rowcount)  # type: ignore[attr-defined]
