"""What RQ runs: the way of a message, step by step. Every job may run twice, at once or never, without harm."""

from datetime import timedelta

import structlog
from flask import current_app
from sqlalchemy import select

from app import clock
from app.auth.jobs import send_due_letters
from app.auth.models import User
from app.config import Settings
from app.delivery import engine, render
from app.delivery import queries as ledger
from app.delivery import service as delivery
from app.delivery.models import Run, RunStatus, SkipReason
from app.delivery.smtp import SmtpTransport
from app.extensions import db
from app.mailings import dispatch, service, status
from app.mailings.models import Mailing
from app.messages import content
from app.queue import JobFunction, alarm, enqueue, enqueue_many, job

log = structlog.get_logger(__name__)

SWEEP_EVERY = timedelta(seconds=30)
ALARMS_AHEAD = 4 * SWEEP_EVERY  # the sweep sets lost alarms again before they are due
SWEEP_LIMIT = 10_000  # what one sweep heals at the most; the next one goes on


@job(urgent=True)
def dispatch_due() -> None:
    """Begin a run of every mailing that is due now."""
    begin_due_runs()


@job(urgent=True)
def prepare_run(run_id: int) -> None:
    """Freeze the run's audience and the last of its message, and call the workers."""
    preparing = select(Run).where(Run.id == run_id, Run.status == RunStatus.PREPARING)
    run = db.session.scalar(preparing.with_for_update(skip_locked=True))
    if run is None:  # prepared, cancelled, or in another worker's hands
        db.session.rollback()
        return
    mailing = db.session.get_one(Mailing, run.mailing_id)
    run.text = run.text or content.text_of(run.html)
    run.html = render.inline_css(run.html)
    delivery.plan(run, service.audience_of(mailing))
    db.session.refresh(run)
    planned = run.planned
    db.session.commit()
    log.info("run.prepared", run=run_id, planned=planned)
    if planned:
        enqueue(deliver, run_id)
    else:
        # In a transaction of its own: a pause locks the mailing first and its runs then, and would wait in a circle.
        _settle_run(run_id)


@job()
def deliver(run_id: int) -> None:
    """Send the run's messages for one slice, and see to it that somebody goes on."""
    settings = _settings()
    transport = SmtpTransport(settings)
    try:
        go_on_at = engine.deliver(run_id, transport, settings, call_for_help=lambda: enqueue(deliver, run_id))
    finally:
        transport.close()
    _settle_run(run_id)
    if go_on_at is None:
        return
    if go_on_at <= clock.now():
        enqueue(deliver, run_id)
    else:
        alarm(go_on_at, deliver, run_id)


@job(urgent=True)
def sweep() -> None:
    """Heal what was lost: due mailings, dead workers' claims, jobs and alarms that Redis forgot, letters unsent."""
    dispatch_due()
    freed = delivery.free_expired_claims()
    db.session.commit()
    if freed:
        log.warning("claims.expired", runs=freed)
    for run_id in db.session.scalars(ledger.overdue_runs(clock.now()).limit(SWEEP_LIMIT)).all():
        delivery.skip_pending(run_id, SkipReason.ENDED)
        db.session.commit()
    status.settle(db.session.scalars(status.unsettled().limit(SWEEP_LIMIT)).all())
    db.session.commit()
    _set_lost_jobs_again()
    send_due_letters()


def begin_due_runs() -> int:
    """What `dispatch_due` does, for whoever wants to know how many runs began."""
    begun = 0
    while (runs := dispatch.dispatch_due(_settings().mail_default_sender)) is not None:
        # Commit before enqueueing: a worker may start within a millisecond and must find the row.
        db.session.commit()
        if runs:
            log.info("runs.begun", count=len(runs), first=runs[0])
        enqueue_many((prepare_run, (run_id,)) for run_id in runs)
        begun += len(runs)
    db.session.commit()
    return begun


def announce(mailing: Mailing) -> None:
    """Let the workers know of a mailing that was created, changed or resumed. Commit first."""
    unfinished = select(Run.id, Run.status).where(Run.mailing_id == mailing.id, Run.status != RunStatus.DONE)
    for run_id, run_status in db.session.execute(unfinished):
        enqueue(_next_step(run_status), run_id)
    if mailing.next_run_at is None:
        return
    if mailing.next_run_at <= clock.now():
        enqueue(dispatch_due)
    else:
        alarm(mailing.next_run_at, dispatch_due)


def announce_all(owner: User) -> None:
    """Let the workers know that everything of somebody's goes on, who was unblocked or came back. Commit first."""
    unfinished = select(Run.id, Run.status).where(Run.owner_id == owner.id, Run.status != RunStatus.DONE)
    calls = [(_next_step(run_status), (run_id,)) for run_id, run_status in db.session.execute(unfinished)]
    enqueue_many([(dispatch_due, ()), *calls])


def _next_step(run_status: RunStatus) -> JobFunction:
    return prepare_run if run_status is RunStatus.PREPARING else deliver


def _set_lost_jobs_again() -> None:
    """A job or an alarm that is there already is not doubled."""
    now = clock.now()
    unprepared = db.session.scalars(
        select(Run.id).where(Run.status == RunStatus.PREPARING).order_by(Run.id).limit(SWEEP_LIMIT)
    ).all()
    idle = db.session.scalars(ledger.idle_runs(now).limit(SWEEP_LIMIT)).all()
    soon = db.session.scalars(dispatch.due_between(now, now + ALARMS_AHEAD)).all()
    db.session.commit()
    enqueue_many((prepare_run, (run_id,)) for run_id in unprepared)
    enqueue_many((deliver, (run_id,)) for run_id in idle)
    for moment in soon:
        if moment is not None:  # the query says so, its type can't
            alarm(moment, dispatch_due)


def _settle_run(run_id: int) -> None:
    run = db.session.get(Run, run_id, populate_existing=True)
    if run is not None and run.is_finished:
        status.settle([run.mailing_id])
        log.info(
            "run.drained", run=run_id, mailing=run.mailing_id, sent=run.sent, failed=run.failed, planned=run.planned
        )
    db.session.commit()


def _settings() -> Settings:
    settings: Settings = current_app.config["SETTINGS"]
    return settings
