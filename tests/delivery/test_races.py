"""What goes wrong between two steps: a database, a Redis or another worker that changes things just then."""

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from flask import current_app
from redis import Redis
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from app import clock
from app.clients.models import Client, ClientStatus
from app.config import Settings
from app.delivery import engine, journal, queries, render, service
from app.delivery.breaker import Breaker
from app.delivery.engine import Courier
from app.delivery.journal import Journal, JournalAway
from app.delivery.models import Attempt, Claim, Delivery, DeliveryStatus, Run, RunStatus, SkipReason
from app.delivery.service import Batch, LostClaim
from app.delivery.smtp import SmtpTransport
from app.delivery.transport import Reply
from app.extensions import db
from app.mailings import jobs
from app.queue import connection
from tests.delivery.conftest import assert_reconciles
from tests.delivery.test_breaker import come
from tests.delivery.test_engine import deliver, slowly
from tests.delivery.test_journal import die, held
from tests.delivery.test_service import answered, record, sent, taken
from tests.delivery.test_smtp import ENVELOPE_OK, in_turns
from tests.scripted import ScriptedServer
from tests.smtp import RecordingSmtp

PlannedRun = Callable[..., Run]


@pytest.fixture(autouse=True)
def redis(context: None) -> Redis:
    connection().flushdb()
    return connection()


@pytest.fixture
def account(redis: Redis) -> Breaker:
    """The breaker that the engine looks at."""
    return Breaker(redis, current_app.config["SETTINGS"].mail_account)


def break_the_database() -> None:
    """As a database that is stopped breaks our connection; SQLite knows no such thing, and fails all the same."""
    if db.engine.dialect.name == "postgresql":
        db.session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    else:
        db.session.execute(text("SELECT * FROM nowhere"))


# ── A probe of the breaker ──


def test_a_probe_that_is_refused_keeps_the_breaker_open(
    planned_run: PlannedRun, account: Breaker, smtp: RecordingSmtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.open("down")
    come(monkeypatch, timedelta(minutes=1))
    run = planned_run(3)
    smtp.answer_rcpt = lambda _address: "554 5.7.1 relay access denied"
    deliver()
    assert db.session.scalar(select(func.count()).select_from(Attempt)) == 1
    state = account.state()
    assert state is not None
    assert state.until - clock.now() > timedelta(seconds=20)  # twice as long as the first time
    assert assert_reconciles(run.id).resume_at == state.until


def test_a_probe_with_nobody_to_send_to_holds_nobody_up(
    planned_run: PlannedRun, account: Breaker, smtp: RecordingSmtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.open("down")
    come(monkeypatch, timedelta(minutes=1))
    run = planned_run(3)
    gone = Client.email == "client0@example.test"
    db.session.execute(update(Client).where(gone).values(status=ClientStatus.UNSUBSCRIBED))
    db.session.commit()
    deliver()
    run = assert_reconciles(run.id)
    assert (run.skipped, run.sent) == (1, 2)


def test_a_slice_that_is_over_leaves_the_probe_to_the_next(
    planned_run: PlannedRun, account: Breaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.open("down")
    come(monkeypatch, timedelta(minutes=1))
    planned_run(1)
    deliver(is_over=lambda: True)
    assert account.may_probe()


# ── The database breaks in the middle ──


def test_a_database_that_breaks_while_a_letter_is_made_fails_nobody(
    planned_run: PlannedRun, smtp: RecordingSmtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned_run(3)
    with monkeypatch.context() as broken:
        broken.setattr(render, "frozen", lambda *_: break_the_database())
        with pytest.raises(SQLAlchemyError):
            deliver()
    assert assert_reconciles(run.id).pending == 3
    deliver()
    assert assert_reconciles(run.id).sent == 3


def test_a_database_that_breaks_while_a_claim_is_sent_gets_what_came_of_it(
    planned_run: PlannedRun, smtp: RecordingSmtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned_run(3)
    renew, calls = service.renew, iter((1, 2))

    def broken_at_the_third(batch: Batch, lease: timedelta) -> bool:
        if next(calls, None) is None:
            break_the_database()
        return renew(batch, lease)

    monkeypatch.setattr(service, "renew", broken_at_the_third)
    with pytest.raises(SQLAlchemyError):
        deliver(claim_lease_seconds=0)  # always half over
    run = assert_reconciles(run.id)
    assert (run.sent, run.pending, run.sending) == (len(smtp.letters), 3 - len(smtp.letters), 0)
    assert smtp.letters


def test_a_database_that_breaks_while_a_run_is_settled_breaks_no_courier_off(
    planned_run: PlannedRun, smtp: RecordingSmtp
) -> None:
    planned_run(1)
    run = planned_run(30)
    smtp.answer_data = slowly
    settings: Settings = current_app.config["SETTINGS"].model_copy(update={"claim_size": 5})

    def broken(_runs: object) -> None:
        break_the_database()

    work = engine.Slice(settings, connection(), bool, call_for_help=list, settle=broken)
    courier = Courier(SmtpTransport(settings), Journal(connection()))
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    db.session.commit()
    with pytest.raises(SQLAlchemyError):
        engine.deliver([courier], work, app.app_context)
    courier.close()
    run = assert_reconciles(run.id)
    assert (run.unknown, run.sending, run.sent) == (0, 0, len(smtp.letters) - 1)


def test_a_fault_after_an_answer_does_not_make_it_unheard(
    planned_run: PlannedRun, smtp: RecordingSmtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message whose fate is unknown would be sent again."""
    run = planned_run(2)
    smtp.answer_data = lambda _letter: "what?"

    def full(*_args: object, **_fields: object) -> None:
        raise OSError("no space left for a log")

    monkeypatch.setattr(engine.log, "warning", full)
    with pytest.raises(OSError, match="no space"):
        deliver()
    run = assert_reconciles(run.id)
    assert (run.unknown, run.pending) == (1, 1)


def test_a_process_that_is_asked_to_end_begins_nothing_after_what_it_breaks_off(
    planned_run: PlannedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would hang as the one before, and be unknown."""
    run = planned_run(5)
    monkeypatch.setattr(engine, "STOP_SECONDS", 0.2)
    monkeypatch.setattr(engine, "stopping", threading.Event())

    def hang(connection: socket.socket) -> None:
        in_turns((b"DATA\r\n", ENVELOPE_OK), (b"DATA\r\n", b""))(connection)
        engine.stopping.set()
        connection.recv(1)

    with ScriptedServer(hang) as server:
        deliver(mail_port=server.port)
    run = assert_reconciles(run.id)
    assert (run.unknown, run.pending) == (1, 4)


# ── Redis ──


def test_a_redis_that_takes_nothing_more_stops_the_sending(
    planned_run: PlannedRun, redis: Redis, smtp: RecordingSmtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for its answers, so that nobody hears its refusals: what began then would be begun again."""
    monkeypatch.setattr(journal, "PROOF_SECONDS", 0.05)
    run = planned_run(50)
    full = Redis(connection_pool=redis.connection_pool)

    def accept_slowly(_letter: object) -> str:
        full.config_set("maxmemory", 1)
        return slowly(None)

    smtp.answer_data = accept_slowly
    try:
        deliver()
    finally:
        redis.config_set("maxmemory", 0)
    run = assert_reconciles(run.id)
    assert 0 < len(smtp.letters) < 10
    assert (run.sent, run.pending) == (len(smtp.letters), 50 - len(smtp.letters))


def test_a_journal_that_is_refused_is_no_journal(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "PROOF_SECONDS", 0.0)
    writer = Journal(redis)
    writer.open()
    writer.begin(1)
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(JournalAway):
            writer.begin(2)
    finally:
        redis.config_set("maxmemory", 0)
        writer.close()


def test_a_journal_that_nobody_can_read_does_not_hold_back_the_sweep(
    planned_run: PlannedRun, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned_run(3)
    writer = Journal(redis)
    _batch, name = held(writer)
    for strange in (b"what?", b"[[[1]], 2]", b"3"):
        redis.rpush(f"golub:journal:{name}", strange)
    die(monkeypatch)
    writer.close()
    assert assert_reconciles(run.id).unknown == 3


def test_a_journal_is_kept_for_the_sweep_that_settles_its_claim(
    planned_run: PlannedRun, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned_run(3)
    writer = Journal(redis)
    _batch, name = held(writer)
    monkeypatch.setattr(journal, "SEAL_SECONDS", 0.0)
    db.session.execute(update(Claim).values(leased_until=clock.now() - timedelta(seconds=1)))
    db.session.commit()
    with monkeypatch.context() as another:  # sweep holds it at this moment, and will read the journal in the next
        another.setattr(service, "recover", lambda *_: [])
        jobs.recover_claims()
    writer.close()
    assert redis.exists(f"golub:journal:{name}")


# ── Two at once ──


def later(claimed: service.Claimed) -> service.Outcome:
    """It is to be tried again in an hour."""
    not_before = clock.now() + timedelta(hours=1)
    return service.Outcome(
        claimed.run_id, claimed.delivery_id, DeliveryStatus.PENDING, attempts=1, not_before=not_before
    )


def test_two_big_runs_take_turns_to_the_end(planned_run: PlannedRun, smtp: RecordingSmtp) -> None:
    first, second = planned_run(6), planned_run(6)
    deliver(claim_size=2)
    order = [letter.message["Message-ID"].split(".run-")[1].split("@")[0] for letter in smtp.letters]
    assert order[::2] == [str(first.id), str(second.id)] * 3


def test_who_comes_back_with_a_claim_that_was_settled_touches_nobody_elses(
    planned_run: PlannedRun, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite has given its number to another one: to settle that, as it was at first, would send all of it again."""
    run = planned_run(3)
    slow, other = Journal(redis), Journal(redis)
    settled, _name = held(slow)
    die(monkeypatch)
    current, _name = held(other)
    current = replace(current, claim_id=settled.claim_id)
    db.session.execute(update(Claim).values(id=settled.claim_id))
    db.session.execute(update(Delivery).values(claim_id=settled.claim_id))
    db.session.commit()
    assert not service.renew(settled, timedelta(minutes=2))
    with pytest.raises(LostClaim):
        service.record(settled, [service.untried(claimed) for claimed in settled.deliveries])
    db.session.rollback()
    record(current, sent(current))
    slow.close()
    other.close()
    assert assert_reconciles(run.id).sent == 3


def test_a_sweep_does_not_settle_a_claim_that_has_got_the_number_of_an_expired_one(
    planned_run: PlannedRun, redis: Redis, settings: Settings
) -> None:
    """Its worker lives, knows nothing of it, and would go on to send what waits again by then."""
    run = planned_run(3)
    slow, other = Journal(redis), Journal(redis)
    expired, name = held(slow)
    journal.seal([name], redis)
    record(expired, [service.untried(claimed) for claimed in expired.deliveries])
    current, _name = held(other)
    db.session.execute(update(Claim).values(id=expired.claim_id))
    db.session.execute(update(Delivery).values(claim_id=expired.claim_id))
    db.session.commit()
    assert service.recover(expired.claim_id, settings, redis) == []
    db.session.commit()
    assert assert_reconciles(run.id).sending == 3
    record(replace(current, claim_id=expired.claim_id), sent(current))
    slow.close()
    other.close()


def test_what_another_worker_gives_back_ends_the_rest_of_its_run(planned_run: PlannedRun, smtp: RecordingSmtp) -> None:
    run = planned_run(2)
    first = taken(1)
    record(first, [later(claimed) for claimed in first.deliveries])
    second = taken(1)
    deliver()  # has nothing for now, and lets the run rest for an hour
    record(second, [service.untried(claimed) for claimed in second.deliveries])
    go_on_at = deliver()
    assert go_on_at is not None
    assert go_on_at - clock.now() > timedelta(minutes=50)
    assert assert_reconciles(run.id).sent == 1


def test_what_is_given_back_does_not_end_a_rest_for_the_mail_servers_sake(planned_run: PlannedRun) -> None:
    run = planned_run(2)
    batch = taken(1)
    until = clock.now() + timedelta(minutes=5)
    service.wait_for_server("away", until)
    db.session.commit()
    record(batch, [service.untried(claimed) for claimed in batch.deliveries])
    assert assert_reconciles(run.id).resume_at == until


def test_a_run_does_not_rest_while_something_of_it_may_leave(planned_run: PlannedRun) -> None:
    """Another worker's claim had it in hand when this one looked, and was rolled back."""
    run = planned_run(2)
    batch = taken(1)
    record(batch, [later(claimed) for claimed in batch.deliveries])
    service.rest_until_due(run.id)
    db.session.commit()
    assert assert_reconciles(run.id).resume_at is None


def test_who_lets_a_run_rest_waits_for_what_is_just_given_back(planned_run: PlannedRun) -> None:
    if db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    run = planned_run(2)
    first = taken(1)
    record(first, [later(claimed) for claimed in first.deliveries])
    second = taken(1)
    service.move(service.record(second, [service.untried(claimed) for claimed in second.deliveries]))
    app = current_app._get_current_object()  # type: ignore[attr-defined]

    def rest() -> None:
        with app.app_context():
            service.rest_until_due(run.id)
            db.session.commit()

    resting = threading.Thread(target=rest)
    resting.start()
    time.sleep(0.3)
    db.session.commit()
    resting.join()
    assert assert_reconciles(run.id).resume_at is None


def test_a_run_that_is_prepared_while_it_is_cancelled_sends_nothing(planned_run: PlannedRun) -> None:
    run = planned_run(2)
    seen = Run(id=run.id, status=RunStatus.PREPARING)  # as somebody has loaded it a moment ago
    service.cancel(seen)
    db.session.commit()
    run = assert_reconciles(run.id)
    assert (run.skipped, run.status) == (2, RunStatus.DONE)


@pytest.mark.parametrize("how", [later, service.untried])
def test_what_comes_back_to_a_cancelled_run_is_not_sent(
    planned_run: PlannedRun, smtp: RecordingSmtp, monkeypatch: pytest.MonkeyPatch, how: Callable[..., service.Outcome]
) -> None:
    """A worker had it in hand when the owner cancelled, and the mail server said «later»."""
    run = planned_run(3)
    batch = taken(1)
    service.cancel(run)
    db.session.commit()
    record(batch, [how(claimed) for claimed in batch.deliveries])
    come(monkeypatch, timedelta(hours=2))
    deliver()
    run = assert_reconciles(run.id)
    assert (run.skipped, run.status, smtp.letters) == (3, RunStatus.DONE, [])


def test_what_is_cancelled_stays_so_when_the_clock_is_set_back(
    planned_run: PlannedRun, smtp: RecordingSmtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned_run(2)
    batch = taken(1)
    service.cancel(run)
    db.session.commit()
    come(monkeypatch, timedelta(hours=-1))
    record(batch, [service.untried(claimed) for claimed in batch.deliveries])
    deliver()
    run = assert_reconciles(run.id)
    assert (run.skipped, run.status, smtp.letters) == (2, RunStatus.DONE, [])


def test_what_is_sent_again_is_not_ended_by_who_saw_it_before(planned_run: PlannedRun) -> None:
    run = planned_run(2)
    batch = taken(1)
    record(batch, answered(batch, Reply.REFUSED, 550, "5.2.2 full"))
    db.session.execute(update(Run).values(last_moment=clock.now() - timedelta(seconds=1)))
    db.session.commit()
    seen = db.session.scalars(queries.overdue_runs(clock.now())).all()
    assert service.resend(run.id, DeliveryStatus.FAILED) == 1
    db.session.commit()
    assert [service.end_overdue(run_id) for run_id in seen] == [0]
    db.session.commit()
    assert assert_reconciles(run.id).pending == 1


def test_sending_again_after_the_end_brings_back_nothing_else(planned_run: PlannedRun, smtp: RecordingSmtp) -> None:
    """What waits at the end is skipped, although the sweep has not come by yet."""
    run = planned_run(2)
    batch = taken(1)
    record(batch, answered(batch, Reply.REFUSED, 550, "5.2.2 full"))
    db.session.execute(update(Run).values(last_moment=clock.now() - timedelta(seconds=1)))
    db.session.commit()
    assert service.resend(run.id, DeliveryStatus.FAILED) == 1
    db.session.commit()
    deliver()
    run = assert_reconciles(run.id)
    assert (run.sent, run.skipped) == (1, 1)
    assert db.session.scalars(select(Delivery.skip_reason).where(Delivery.skip_reason.is_not(None))).one() is (
        SkipReason.ENDED
    )


# ── Rates ──


def test_what_is_not_due_yet_uses_up_no_allowance(planned_run: PlannedRun, smtp: RecordingSmtp) -> None:
    run = planned_run(30)
    db.session.execute(update(Delivery).values(not_before=clock.now() + timedelta(seconds=0.5)))
    db.session.commit()
    deliver(mail_per_hour=40)
    time.sleep(0.6)
    deliver(mail_per_hour=40)
    assert assert_reconciles(run.id).sent == 30
