"""The loop that sends: claim a few dozen, hand them to the transport, record what came of them, and again.

It commits between these steps, so that no transaction is open while a mail server thinks.
"""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import structlog

from app import clock
from app.config import Settings
from app.delivery import queries, render, service
from app.delivery.models import DeliveryStatus, Run, RunStatus, SkipReason, Stage
from app.delivery.render import EnvelopeMaker
from app.delivery.service import Batch, Claimed, LostClaim, Outcome
from app.delivery.transport import Answer, Envelope, Transport, TransportAway
from app.extensions import db
from app.queue import worker_name

log = structlog.get_logger(__name__)

SERVER_AWAY_DELAY = timedelta(seconds=30)


def deliver(
    run_id: int, transport: Transport, settings: Settings, call_for_help: Callable[[], None]
) -> datetime | None:
    """Send a run's messages for one slice of time, so that no big mailing starves a small one.

    call_for_help: asks for one more worker at this run; each that comes asks for the next.

    Returns:
        When to call again: now for more work, a later moment for messages or a server that wait, None for nothing
        more to do (drained, held, or enough workers at it).
    """
    structlog.contextvars.bind_contextvars(run=run_id)
    run = db.session.get(Run, run_id)
    helpers = db.session.scalars(queries.claims_of(run_id)).one()
    if run is None or helpers >= settings.deliver_parallel:
        db.session.rollback()
        return None
    envelope_for = render.compile_message(run.id, run.sender, run.subject, run.html, run.text)
    db.session.commit()
    ends = time.monotonic() + settings.deliver_slice_seconds
    lease = timedelta(seconds=settings.claim_lease_seconds)
    needs_help = True
    while time.monotonic() < ends:
        batch = service.claim(run_id, limit=settings.claim_size, worker=worker_name(), lease=lease)
        db.session.commit()
        if batch is None:
            break
        if needs_help and len(batch.deliveries) == settings.claim_size:
            call_for_help()
            needs_help = False
        if not _send(batch, envelope_for, transport, settings):
            break
    return _when_to_go_on(run_id)


class _Lease:
    """Keeps a claim ours while its messages leave, however slow the server is."""

    def __init__(self, batch: Batch, settings: Settings) -> None:
        self._batch = batch
        self._length = timedelta(seconds=settings.claim_lease_seconds)
        self._renew_at = clock.now() + self._length / 2
        self.lost = False

    def holds(self) -> bool:
        if clock.now() >= self._renew_at:
            self.lost = not service.renew(self._batch, self._length)
            db.session.commit()
            self._renew_at = clock.now() + self._length / 2
        return not self.lost


def _send(batch: Batch, envelope_for: EnvelopeMaker, transport: Transport, settings: Settings) -> bool:
    """Send one claim and record it. False: go no further in this slice."""
    outcomes: dict[int, Outcome] = {}
    in_flight: dict[int, Claimed] = {}
    envelopes = _envelopes(batch, envelope_for, _Lease(batch, settings), in_flight)
    away: TransportAway | None = None
    try:
        for answer in transport.send(envelopes):
            outcomes[answer.delivery_id] = _judge(in_flight.pop(answer.delivery_id), answer, settings)
    except TransportAway as error:
        away = error
    except Exception as error:
        # A fault of our own. What was handed over without an answer may have left: nobody must send it again.
        for claimed in in_flight.values():
            lost = Answer(claimed.delivery_id, Stage.BODY, None, f"Golub failed while sending: {error!r}")
            outcomes[claimed.delivery_id] = _judge(claimed, lost, settings)
        _record(batch, outcomes, away)
        raise
    return _record(batch, outcomes, away)


def _envelopes(
    batch: Batch, envelope_for: EnvelopeMaker, lease: _Lease, in_flight: dict[int, Claimed]
) -> Iterator[Envelope]:
    for claimed in batch.deliveries:
        if claimed.skip_reason:
            continue
        if not lease.holds():
            return
        envelope = envelope_for(claimed.delivery_id, claimed.email)
        in_flight[claimed.delivery_id] = claimed
        yield envelope


def _judge(claimed: Claimed, answer: Answer, settings: Settings) -> Outcome:
    outcome = service.outcome_of(claimed, answer, settings.attempts_max)
    if outcome.status is not DeliveryStatus.SENT:
        log.warning(
            "attempt.failed",
            delivery=claimed.delivery_id,
            outcome=outcome.status.value,
            stage=answer.stage.value,
            code=answer.code,
            reply=answer.reply,
        )
    return outcome


def _untried(claimed: Claimed) -> Outcome:
    """What was never handed over waits as it did before, or is skipped for good."""
    status = DeliveryStatus.SKIPPED if claimed.skip_reason else DeliveryStatus.PENDING
    return Outcome(claimed.delivery_id, status, attempts=claimed.attempts, skip_reason=claimed.skip_reason)


def _record(batch: Batch, outcomes: dict[int, Outcome], away: TransportAway | None) -> bool:
    """Write down the whole claim. False: go no further in this slice."""
    for claimed in batch.deliveries:
        outcomes.setdefault(claimed.delivery_id, _untried(claimed))
    try:
        service.record(batch, list(outcomes.values()))
    except LostClaim:
        db.session.rollback()
        log.error("claim.lost", claim=batch.claim_id, size=len(outcomes))
        return False
    if away is None:
        service.server_is_back(batch.run_id)
    else:
        log.warning("server.away", fault=str(away))
        service.wait_for_server(batch.run_id, str(away), clock.now() + SERVER_AWAY_DELAY)
    db.session.commit()
    return away is None


def _when_to_go_on(run_id: int) -> datetime | None:
    """Look at what is left of the run, and end it when its last moment is over."""
    run = db.session.get(Run, run_id, populate_existing=True)
    now = clock.now()
    try:
        if run is None or run.status is not RunStatus.SENDING or not run.pending:
            return None
        if run.last_moment is not None and run.last_moment <= now:
            service.skip_pending(run_id, SkipReason.ENDED)
            return None
        if run.held_at is not None:
            log.info("run.paused", pending=run.pending)
            return None
        moments = [run.resume_at, db.session.scalar(queries.next_try(run_id))]
        later = max((moment for moment in moments if moment is not None), default=now)
        return min(later, run.last_moment) if run.last_moment else later
    finally:
        db.session.commit()
