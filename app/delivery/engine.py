"""The loop that sends: claim some, hand them to the transport, record what came of them and claim the next, and again.

A courier is a thread with one connection to the mail server, one journal, and claims of its own. No transaction is open
while a mail server thinks.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from redis import Redis
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app import clock
from app.config import Settings
from app.delivery import pace, policy, queries, rates, render, service
from app.delivery.breaker import Breaker, Opened
from app.delivery.journal import Journal, JournalAway
from app.delivery.models import DeliveryStatus, Run, Stage
from app.delivery.render import EnvelopeMaker
from app.delivery.service import Batch, Claimed, LostClaim, Move, Outcome
from app.delivery.transport import Answer, Envelope, NotAnyMore, Reply, Transport, TransportAway
from app.extensions import db
from app.queue import worker_name

log = structlog.get_logger(__name__)

STOP_SECONDS = 5.0  # what is in flight may take so long when this process is asked to end
RECORD_SECONDS = 20.0  # so long a courier tries to write down outcomes in a database that is away
WATCH_SECONDS = 0.2
FIRST_SIZE = 50  # messages; later claims are as large as fits
LONGEST_CLAIM_SECONDS = 0.5
RECORD_AGAIN_SECONDS = 0.5
PROBE_AGAIN = timedelta(seconds=5)

# Set when this process is asked to end: nothing new begins.
stopping = threading.Event()


@dataclass
class Slice:
    """What the couriers of one job share.

    is_over: asked before each claim. call_for_help: asks for one more worker. settle: told of the runs that have ended,
    in the thread that called `deliver` and outside of any transaction.
    """

    settings: Settings
    redis: Redis
    is_over: Callable[[], bool]
    call_for_help: Callable[[], None]
    settle: Callable[[Sequence[int]], None]
    rest_until: datetime | None = None  # nobody can send before that
    errors: list[Exception] = field(default_factory=list)
    has_ended: bool = False  # nothing new begins
    ended_runs: deque[int] = field(default_factory=deque)
    letters: dict[int, EnvelopeMaker] = field(default_factory=dict)

    @property
    def breaker(self) -> Breaker:
        return Breaker(self.redis, self.settings.mail_account)

    def settle_ended(self) -> None:
        runs = [self.ended_runs.popleft() for _ in range(len(self.ended_runs))]
        if runs:
            self.settle(runs)

    def may_begin(self) -> bool:
        return not (self.has_ended or stopping.is_set())

    def goes_on(self) -> bool:
        return self.may_begin() and not self.is_over()

    def envelope_for(self, run_id: int) -> EnvelopeMaker:
        """What makes the letters of this run; compiled once."""
        if run_id not in self.letters:
            run = db.session.get_one(Run, run_id)
            self.letters[run_id] = render.compile_message(render.frozen(run, self.settings))
            db.session.commit()
        return self.letters[run_id]


def deliver(couriers: Sequence["Courier"], work: Slice, context: Callable[[], AbstractContextManager[object]]) -> None:
    """Have these couriers send what is due, for one slice of time. The second comes when the first has enough to do.

    context: gives each courier's thread what the database session needs.
    """
    crew = _Crew(couriers, work, context)
    crew.call_next()
    try:
        crew.wait()
    except BaseException:  # the job's time is over, or the process has to end at once
        crew.interrupt()
        raise
    if work.errors:
        raise work.errors[0]


def when_to_go_on(work: Slice) -> datetime | None:
    """When somebody has to deliver again: now, a later moment, or None for nothing to do. Ends what is over."""
    for run_id in db.session.scalars(queries.overdue_runs(clock.now())).all():
        service.end_overdue(run_id)
        db.session.commit()
        work.ended_runs.append(run_id)
    work.settle_ended()
    now = clock.now()
    has_work = db.session.execute(queries.NEXT_RUNS, {"now": now, "but": []}).first() is not None
    going_on, ending = db.session.execute(queries.next_moments(now)).one()
    db.session.commit()
    if has_work:
        return max(work.rest_until or now, now)
    moments = [moment for moment in (going_on, ending) if moment is not None]
    return max(min(moments), now) if moments else None


class _Crew:
    """The couriers' threads."""

    def __init__(
        self, couriers: Sequence["Courier"], work: Slice, context: Callable[[], AbstractContextManager[object]]
    ) -> None:
        self._idle = list(couriers)
        self._work = work
        self._context = context
        self._threads: list[threading.Thread] = []
        self._busy: list[Courier] = []
        self._lock = threading.Lock()

    def call_next(self) -> None:
        with self._lock:
            courier = self._idle.pop(0) if self._idle else None
            if courier is not None:
                # A daemon: a process that has to end does not wait for a server that does not answer.
                thread = threading.Thread(target=self._run, args=(courier,), daemon=True)
                self._busy.append(courier)
                thread.start()
                self._threads.append(thread)  # it can be joined now
        if courier is None:
            self._work.call_for_help()

    def _run(self, courier: "Courier") -> None:
        try:
            with self._context():
                courier.work(self._work, self.call_next)
        except Exception as error:
            log.exception("courier.failed")
            self._work.errors.append(error)

    def wait(self) -> None:
        asked_to_stop: float | None = None
        for thread in self._threads:  # grows while it is walked
            while thread.is_alive():
                thread.join(WATCH_SECONDS)
                self._settle()
                if stopping.is_set():
                    asked_to_stop = asked_to_stop or time.monotonic()
                    if time.monotonic() - asked_to_stop > STOP_SECONDS:
                        self.interrupt()
                        return

    def _settle(self) -> None:
        try:
            self._work.settle_ended()
        except SQLAlchemyError as error:
            # The sweep will do it. To break the couriers off would leave what is in flight unknown.
            self._work.errors.append(error)
            self._work.has_ended = True
            db.session.rollback()
            log.exception("settling.failed")

    def interrupt(self) -> None:
        """Let nobody wait for an answer any longer, and give them the time to write down what they know."""
        self._work.has_ended = True
        for courier in self._busy:
            courier.interrupt()
        ends = time.monotonic() + 2
        for thread in self._threads:
            thread.join(max(ends - time.monotonic(), 0))


@dataclass
class _Done:
    """A claim whose messages have left, and what came of each."""

    batch: Batch
    journal: str
    outcomes: dict[int, Outcome]
    seconds: float  # that the sending took
    is_well: bool  # the mail server has answered as one that works


class Courier:
    """One connection to the mail server, with its journal. Kept from job to job."""

    def __init__(self, transport: Transport, journal: Journal) -> None:
        self._transport = transport
        self._journal = journal
        self._strain = 0
        self._size = FIRST_SIZE
        self._opened: Opened | None = None  # the breaker, when it stopped the last claim

    def interrupt(self) -> None:
        self._transport.interrupt()

    def close(self) -> None:
        self._transport.close()
        self._journal.close()

    def work(self, work: Slice, call_next: Callable[[], None]) -> None:
        """Send until the slice is over or nothing is left. call_next: asks for one more courier, once."""
        structlog.contextvars.bind_contextvars(worker=worker_name())
        self._work = work
        self._may_probe = False
        empty: list[int] = []  # runs that turned out to have nothing for us
        done: _Done | None = None
        called = False
        while True:
            batch = self._record_and_claim(done, empty)
            done = None
            if batch is None:
                return
            if not batch.deliveries:
                self._journal.recorded(self._journal_name)
                for run_id in batch.empty_runs:
                    service.rest_until_due(run_id)
                    db.session.commit()
                empty.extend(batch.empty_runs)
                continue
            empty.clear()
            if not called and len(batch.deliveries) >= self._most():
                called = True
                call_next()
            done = self._send(batch)
            self._fit(done)

    def _most(self) -> int:
        """How many to claim: so many that a claim takes about half a second, whatever the mail server's speed."""
        return 1 if self._may_probe else min(self._size, self._work.settings.claim_size)

    def _fit(self, done: "_Done") -> None:
        """A large claim costs less a message, a small one lets a pause hold sooner."""
        if done.seconds > LONGEST_CLAIM_SECONDS:
            self._size = max(self._size // 2, 1)
        elif done.seconds < LONGEST_CLAIM_SECONDS / 4 and len(done.batch.deliveries) >= self._size:
            self._size = min(2 * self._size, self._work.settings.claim_size)

    # ── Between two claims ──

    def _record_and_claim(self, done: _Done | None, empty: list[int]) -> Batch | None:
        """Both in one transaction: it is one flush to the disk a claim."""
        if done is None:
            return self._claim_only(empty)
        try:
            moves = service.record(done.batch, list(done.outcomes.values()))
            taken = self._claim(empty)
            ended = service.move([*moves, *(taken[1] if taken else ())])
            db.session.commit()
        except LostClaim:
            db.session.rollback()
            self._record_late(done)
            return self._claim_only(empty)
        except DBAPIError:
            db.session.rollback()
            self._record_patiently(done)
            raise
        self._after_record(done, ended)
        if taken is None and any(move.changes[DeliveryStatus.PENDING] for move in moves):
            # What waits again was counted only after we had looked for work.
            return self._claim_only(empty)
        self._say_what_stops_us()
        return taken[0] if taken else None

    def _claim_only(self, empty: list[int]) -> Batch | None:
        taken = self._claim(empty)
        if taken:
            service.move(taken[1])
        db.session.commit()
        self._say_what_stops_us()
        return taken[0] if taken else None

    def _say_what_stops_us(self) -> None:
        """Have the runs show what they wait for, when it is the mail server."""
        if self._opened is not None:
            service.wait_for_server(self._opened.fault, self._opened.until)
            db.session.commit()

    def _after_record(self, done: _Done, ended: list[int]) -> None:
        self._journal.recorded(done.journal)
        tried = Counter(outcome.run_id for outcome in done.outcomes.values() if outcome.answer is not None)
        pace.note(self._work.redis, tried, done.seconds)
        if done.batch.was_at_fault and done.is_well:
            service.server_is_back()
            db.session.commit()
        self._work.ended_runs.extend(ended)

    def _record_late(self, done: _Done) -> None:
        """The sweep took us for dead and has settled our claim. What we know better, it takes from us."""
        corrected = service.correct_unknown(list(done.outcomes.values()))
        db.session.commit()
        log.error("claim.lost", claim=done.batch.claim_id, size=len(done.outcomes), corrected=corrected)

    def _record_patiently(self, done: _Done) -> None:
        """The database is away. If it stays away, the journal has all of it, and the sweep reads it there."""
        ends = time.monotonic() + (RECORD_SECONDS if not stopping.is_set() else STOP_SECONDS / 2)
        while time.monotonic() < ends:
            time.sleep(RECORD_AGAIN_SECONDS)
            try:
                ended = service.move(service.record(done.batch, list(done.outcomes.values())))
                db.session.commit()
            except LostClaim:  # or the first try did reach it, before the connection broke
                db.session.rollback()
                return
            except DBAPIError:
                db.session.rollback()
                continue
            self._after_record(done, ended)
            return
        log.error("record.failed", claim=done.batch.claim_id, help="the sweep will read its journal")

    def _claim(self, empty: list[int]) -> tuple[Batch, list[Move]] | None:
        if not self._breaker_lets_through():
            return None
        taken = self._take(empty) if self._work.goes_on() else None
        if self._may_probe and not (taken and taken[0].deliveries):
            self._work.breaker.leave_probe()
        return taken

    def _take(self, empty: list[int]) -> tuple[Batch, list[Move]] | None:
        try:
            return service.claim(
                size=self._most(),
                grant=self._grant,
                worker=worker_name(),
                lease=timedelta(seconds=self._work.settings.claim_lease_seconds),
                open_journal=self._open_journal,
                but=empty,
                counts_due=rates.are_set(self._work.settings),
            )
        except JournalAway as error:
            log.warning("journal.away", error=str(error), help="nothing is sent without a journal")
            return None

    def _open_journal(self) -> str:
        self._journal_name = self._journal.open()
        return self._journal_name

    def _breaker_lets_through(self) -> bool:
        self._may_probe, self._opened = False, None
        state = self._work.breaker.state()
        if state is None:
            return True
        now = clock.now()
        if state.until > now:
            self._opened = state
            self._work.rest_until = state.until
        elif self._work.breaker.may_probe():
            self._may_probe = True
        else:  # somebody tries at this moment
            self._work.rest_until = now + PROBE_AGAIN
        return self._may_probe

    def _grant(self, waiting: int) -> int:
        granted, again_at = rates.allowance(self._work.settings, min(waiting, self._most()))
        if again_at is not None:
            self._work.rest_until = again_at
        return granted

    # ── Sending one claim ──

    def _send(self, batch: Batch) -> _Done:
        """Send one claim; gives an outcome for each of its deliveries, whatever happens."""
        self._in_flight: dict[int, Claimed] = {}
        self._begun: set[int] = set()
        self._halted = False
        began = time.monotonic()
        outcomes: dict[int, Outcome] = {}
        is_well = False
        try:
            for answer in self._transport.send(self._envelopes(batch, outcomes), self._begin):
                outcome = self._outcome_of(self._in_flight.pop(answer.delivery_id), answer)
                # Kept before anything else can go wrong: without it the message would be sent again.
                outcomes[answer.delivery_id] = outcome
                self._journal.note(answer)
                self._heed(outcome, answer)
                is_well = self._strain == 0 and not self._halted
        except TransportAway as error:
            self._open_breaker(str(error))
        except JournalAway as error:
            log.warning("journal.away", error=str(error), help="nothing is sent without a journal")
            self._work.has_ended = True
        except NotAnyMore:
            log.warning("claim.ended", claim=batch.claim_id)
        except Exception as error:
            # A fault of our own, or the database is away. What had begun to leave may have arrived: nobody must send
            # it again.
            self._work.errors.append(error)
            self._work.has_ended = True
            db.session.rollback()
            log.exception("sending.failed", claim=batch.claim_id)
            self._transport.close()
        for delivery_id in self._begun & self._in_flight.keys():
            lost = Answer(delivery_id, Stage.BODY, Reply.NONE, None, "Golub failed while it sent this message.")
            outcomes[delivery_id] = self._outcome_of(self._in_flight[delivery_id], lost)
        for claimed in batch.deliveries:
            if claimed.delivery_id not in outcomes:
                outcomes[claimed.delivery_id] = service.untried(claimed)
        self._journal.flush()
        if self._may_probe:
            self._end_probe(is_well=is_well)
        return _Done(batch, self._journal_name, outcomes, time.monotonic() - began, is_well)

    def _end_probe(self, *, is_well: bool) -> None:
        if is_well:
            self._work.breaker.close()
        elif not self._halted:  # nobody was asked: all of the claim was to be skipped, or it was broken off
            self._work.breaker.leave_probe()

    def _begin(self, delivery_id: int) -> None:
        if self._halted or not self._work.may_begin():
            raise NotAnyMore
        self._journal.begin(delivery_id)
        self._begun.add(delivery_id)

    def _envelopes(self, batch: Batch, outcomes: dict[int, Outcome]) -> Iterator[Envelope]:
        lease = _Lease(batch, self._work.settings)
        for claimed in batch.deliveries:
            if claimed.skip_reason:
                continue
            if self._halted or not self._work.may_begin() or not lease.holds():
                return
            try:
                envelope = self._work.envelope_for(claimed.run_id)(claimed.recipient)
            except SQLAlchemyError:
                raise  # that is no fault of the letter's
            except Exception as error:
                # One letter that can't be written must not stop the others for ever.
                log.exception("render.failed", delivery=claimed.delivery_id)
                refusal = Answer(
                    claimed.delivery_id, Stage.CONNECT, Reply.REFUSED, None, f"The letter could not be written: {error}"
                )
                outcomes[claimed.delivery_id] = outcome = self._outcome_of(claimed, refusal)
                self._warn(outcome, refusal)
                continue
            self._in_flight[claimed.delivery_id] = claimed
            yield envelope

    def _outcome_of(self, claimed: Claimed, answer: Answer) -> Outcome:
        outcome = service.outcome_of(claimed, answer, self._work.settings)
        if answer.kind is Reply.OUR_FAULT:
            db.session.commit()  # it has looked into the ledger
        return outcome

    def _heed(self, outcome: Outcome, answer: Answer) -> None:
        """What an answer says of the mail server."""
        strain = policy.verdict_on(answer).strain
        self._strain = self._strain + strain if strain else 0
        if self._strain >= policy.OPENS_THE_BREAKER or (strain and self._may_probe):
            self._open_breaker(f"{answer.code or ''} {answer.reply}".strip())
        self._warn(outcome, answer)

    def _warn(self, outcome: Outcome, answer: Answer) -> None:
        if outcome.status is not DeliveryStatus.SENT:
            log.warning(
                "attempt.failed",
                delivery=answer.delivery_id,
                outcome=outcome.status.value,
                stage=answer.stage.value,
                code=answer.code,
                reply=answer.reply,
            )

    def _open_breaker(self, fault: str) -> None:
        opened = self._work.breaker.open(fault)
        log.warning("server.away", fault=fault, until=opened.until.isoformat())
        self._strain = 0
        self._halted = True
        self._work.rest_until = opened.until


class _Lease:
    """Keeps a claim ours while its messages leave, however slow the server is."""

    def __init__(self, batch: Batch, settings: Settings) -> None:
        self._batch = batch
        self._length = timedelta(seconds=settings.claim_lease_seconds)
        self._renew_at = time.monotonic() + settings.claim_lease_seconds / 2

    def holds(self) -> bool:
        """False when the sweep has settled the claim: what is left of it is not ours."""
        if time.monotonic() < self._renew_at:
            return True
        is_ours = service.renew(self._batch, self._length)
        db.session.commit()
        self._renew_at = time.monotonic() + self._length.total_seconds() / 2
        return is_ours
