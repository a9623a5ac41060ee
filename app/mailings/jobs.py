"""What RQ runs: the way of a message, step by step. Every job may run twice, at once or never, without harm."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog
from flask import current_app
from redis import Redis, RedisError
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from app import clock, undo
from app.auth.jobs import send_due_letters
from app.clients import service as clients
from app.config import Settings
from app.database import give_way, is_held
from app.delivery import engine, journal, render, reports
from app.delivery import queries as ledger
from app.delivery import service as delivery
from app.delivery.engine import Courier, Slice
from app.delivery.journal import Journal
from app.delivery.models import Claim, Run, RunStatus
from app.delivery.transports import open_transport
from app.extensions import db
from app.mailings import dispatch, service, status, trash
from app.mailings.models import Mailing
from app.messages import content
from app.queue import alarm, connection, enqueue, enqueue_lost, enqueue_many, job, others_wait

log = structlog.get_logger(__name__)

SWEEP_EVERY = timedelta(seconds=30)
ALARMS_AHEAD = 4 * SWEEP_EVERY  # the sweep sets lost alarms again before they are due
PREPARE_SECONDS = 0.1  # so long runs are prepared before they are committed together
SHORTEST_SLICE_SECONDS = 0.5  # a slice that has gone on for so long gives way to other jobs
BURY_EVERY = timedelta(minutes=1)
BURY_SECONDS = 5
BURIED_AT_ONCE = 200
SWEEP_LIMIT = 10_000  # what one sweep heals at the most; the next one goes on


@job(urgent=True)
def dispatch_due() -> None:
    """Begin a run of every mailing that is due now."""
    begin_due_runs()


@job(urgent=True)
def prepare_runs() -> None:
    """Freeze the audience of every run that is not prepared yet, and the last of its message; call the workers."""
    ends = time.monotonic() + _settings().deliver_slice_seconds
    while (prepared := _prepare_some()) and time.monotonic() < ends:
        enqueue(deliver)
    if prepared:
        enqueue_many([(prepare_runs, ()), (deliver, ())])


def _prepare_some() -> bool:
    """Prepare for a moment, and commit: a thousand small runs need no thousand flushes to the disk."""
    commit_at = time.monotonic() + PREPARE_SECONDS
    prepared: dict[int, int] = {}
    while time.monotonic() < commit_at and (run := _next_to_prepare()) is not None:
        mailing = db.session.get_one(Mailing, run.mailing_id)
        run.text = run.text or content.text_of(run.html)
        run.html = render.inline_css(run.html)
        prepared[run.id] = delivery.plan(run, service.audience_of(mailing))
    db.session.commit()
    for run_id, planned in prepared.items():
        log.info("run.prepared", run=run_id, planned=planned)
    # In a transaction of its own: a pause locks the mailing first and its runs then, and would wait in a circle.
    _settle([run_id for run_id, planned in prepared.items() if not planned])
    return bool(prepared)


def _next_to_prepare() -> Run | None:
    preparing = select(Run).where(Run.status == RunStatus.PREPARING).order_by(Run.id).limit(1)
    return db.session.scalar(preparing.with_for_update(skip_locked=True))


@job()
def deliver() -> None:
    """Send what is due for one slice, whatever runs it belongs to, and see to it that somebody goes on."""
    settings = _settings()
    began = time.monotonic()

    def is_over() -> bool:
        used = time.monotonic() - began
        return used > settings.deliver_slice_seconds or (used > SHORTEST_SLICE_SECONDS and others_wait(deliver))

    work = Slice(settings, connection(), is_over, call_for_help=lambda: enqueue(deliver), settle=_settle)
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # the couriers' threads have no current one
    couriers = _couriers(settings)
    go_on_at = None
    try:
        engine.deliver(couriers, work, app.app_context)
        go_on_at = engine.when_to_go_on(work)
    finally:
        if go_on_at is None:
            _close(couriers)
    if go_on_at is None:
        return
    if go_on_at <= clock.now():
        enqueue(deliver)
    else:
        alarm(go_on_at, deliver)


_kept: list[Courier] = []


def _couriers(settings: Settings) -> list[Courier]:
    """This process' connections to the mail server, kept from job to job while there is something to send."""
    if not _kept:
        _kept.extend(
            Courier(open_transport(settings), Journal(connection())) for _ in range(settings.deliver_connections)
        )
    return _kept


def _close(couriers: list[Courier]) -> None:
    for courier in couriers:
        courier.close()
    couriers.clear()


@job(urgent=True)
def sweep() -> None:
    """Heal what was lost: due mailings, dead workers' claims, jobs and alarms that Redis forgot, letters unsent."""
    dispatch_due()
    recover_claims()
    for run_id in db.session.scalars(ledger.overdue_runs(clock.now()).limit(SWEEP_LIMIT)).all():
        delivery.end_overdue(run_id)
        db.session.commit()
    dispatch.end_late_questions()
    status.settle(db.session.scalars(status.unsettled().limit(SWEEP_LIMIT)).all())
    db.session.commit()
    _set_lost_jobs_again()
    send_due_letters()


@job()
def count_run(run_id: int) -> None:
    """Count what became of a big run, for its page."""
    reports.make(run_id)
    db.session.commit()


@job()
def bury_deleted() -> None:
    """Take away for good what was deleted a while ago, piece by piece: a client may have years of letters."""
    before = undo.for_good(clock.now())
    ends = time.monotonic() + BURY_SECONDS
    while is_more := bury(before):
        if time.monotonic() > ends:
            break
    if is_more:
        enqueue(bury_deleted)


def bury(before: datetime) -> bool:
    """One piece of what was deleted before then; whether there may be more."""
    clients.bury_segments(before)
    trash.bury_messages(before)
    db.session.commit()
    gone = _cancel_runs(before), _bury(trash.bury, before), _bury(clients.bury_clients, before)
    return max(gone) == BURIED_AT_ONCE


def _cancel_runs(before: datetime) -> int:
    """Each in a transaction of its own: workers hold messages of several, and take the runs in another order."""
    runs = db.session.execute(trash.runs_to_cancel(before).limit(BURIED_AT_ONCE)).all()
    for run_id, mailing_id in runs:
        delivery.cancel(db.session.get_one(Run, run_id))
        db.session.commit()
        status.settle([mailing_id])
        db.session.commit()
    return len(runs)


def _bury(take_away: Callable[[datetime, int], int], before: datetime) -> int:
    """One piece; 0 when nothing is left, or when somebody works with it just now: its turn comes again."""
    try:
        give_way(db.session())
        buried = take_away(before, BURIED_AT_ONCE)
        db.session.commit()
    except OperationalError as error:
        if not is_held(error):
            raise
        db.session.rollback()
        return 0
    return buried


def recover_claims() -> int:
    """Settle what dead workers held, by their journals; how many claims those were."""
    settings, redis = _settings(), connection()
    expired = db.session.execute(delivery.expired_claims(settings).with_only_columns(Claim.id, Claim.journal)).all()
    db.session.commit()
    if not expired:
        return 0
    names = [name for _, name in expired if name]
    try:
        journal.seal(names, redis)
        # Who lives in spite of it all has noticed the seal by then: see app.delivery.journal.
        time.sleep(journal.SEAL_SECONDS)
        recovered = sum(_recover(claim_id, settings, redis) for claim_id, _ in expired)
        # Another sweep may hold some of them at this moment, and has yet to read their journals.
        unsettled = db.session.scalars(select(Claim.journal).where(Claim.journal.in_(names))).all()
        db.session.commit()
        journal.forget(set(names).difference(unsettled), redis)
    except RedisError as error:
        db.session.rollback()
        log.warning("journal.away", error=str(error), help="the next sweep tries again")
        return 0
    log.warning("claims.recovered", claims=recovered)
    return recovered


def _recover(claim_id: int, settings: Settings, redis: Redis) -> bool:
    """One claim must not hold back the others, nor what else the sweep heals, whatever is wrong with it."""
    try:
        ended = delivery.recover(claim_id, settings, redis)
        db.session.commit()
    except RedisError:
        raise
    except Exception:
        db.session.rollback()
        log.exception("claim.not_recovered", claim=claim_id)
        return False
    _settle(ended)
    return True


def begin_due_runs() -> int:
    """What `dispatch_due` does, for whoever wants to know how many runs began."""
    begun = 0
    while (runs := dispatch.dispatch_due(_settings().mail_default_sender)) is not None:
        # Commit before enqueueing: a worker may start within a millisecond and must find the row.
        db.session.commit()
        if runs:
            log.info("runs.begun", count=len(runs), first=runs[0])
            enqueue(prepare_runs)
        begun += len(runs)
    db.session.commit()
    return begun


def announce(mailing: Mailing) -> None:
    """Let the workers know of a mailing that was created, changed or resumed. Commit first."""
    unfinished = select(Run.id).where(Run.mailing_id == mailing.id, Run.status != RunStatus.DONE).limit(1)
    if db.session.scalar(unfinished) is not None:
        enqueue_many([(prepare_runs, ()), (deliver, ())])
    if mailing.next_run_at is None:
        return
    if mailing.next_run_at <= clock.now():
        enqueue(dispatch_due)
    else:
        alarm(mailing.next_run_at, dispatch_due)


def announce_all() -> None:
    """Let the workers know that everything of somebody's goes on, who was unblocked or came back. Commit first."""
    enqueue_many([(dispatch_due, ()), (prepare_runs, ()), (deliver, ())])


def _set_lost_jobs_again() -> None:
    """A job or an alarm that is there already is not doubled."""
    now = clock.now()
    soon = db.session.scalars(dispatch.due_between(now, now + ALARMS_AHEAD)).all()
    db.session.commit()
    enqueue_lost([(prepare_runs, ()), (deliver, ())])
    for moment in soon:
        if moment is not None:  # the query says so, its type can't
            alarm(moment, dispatch_due)


def _settle(run_ids: Sequence[int]) -> None:
    """Bring the mailings of these runs up to date, those that are done."""
    done = db.session.scalars(select(Run).where(Run.id.in_(run_ids), Run.status == RunStatus.DONE)).all()
    status.settle([run.mailing_id for run in done])
    for run in done:
        log.info(
            "run.drained", run=run.id, mailing=run.mailing_id, sent=run.sent, failed=run.failed, planned=run.planned
        )
    big = [run.id for run in done if run.planned > reports.SMALL]
    db.session.commit()
    enqueue_many([(count_run, (run_id,)) for run_id in big])


def _settings() -> Settings:
    settings: Settings = current_app.config["SETTINGS"]
    return settings
