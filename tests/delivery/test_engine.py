"""One slice of sending, over a real SMTP server."""

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

import pytest
from flask import current_app
from sqlalchemy import func, select, update

from app import clock
from app.clients.models import Client, ClientStatus
from app.config import Settings
from app.delivery import engine
from app.delivery.engine import Courier
from app.delivery.journal import Journal
from app.delivery.models import Attempt, Claim, Delivery, DeliveryStatus, Run, RunStatus, SkipReason, Stage
from app.delivery.smtp import SmtpTransport
from app.delivery.transport import Answer, Begin, Envelope, Reply, Transport
from app.extensions import db
from app.queue import connection
from dev.servers import free_port
from tests.delivery.conftest import assert_reconciles
from tests.smtp import RecordingSmtp

PlannedRun = Callable[..., Run]


def deliver(
    transport: Transport | None = None, *, couriers: int = 1, is_over: Callable[[], bool] = bool, **changes: object
) -> datetime | None:
    """One slice of sending; gives the moment at which somebody has to go on."""
    settings: Settings = current_app.config["SETTINGS"].model_copy(update=changes)
    work = engine.Slice(settings, connection(), is_over, call_for_help=lambda: calls.append(1), settle=list)
    crew = [Courier(transport or SmtpTransport(settings), Journal(connection())) for _ in range(couriers)]
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    db.session.commit()  # SQLite has one writer, and the couriers want to be it
    try:
        engine.deliver(crew, work, app.app_context)
        return engine.when_to_go_on(work)
    finally:
        for courier in crew:
            courier.close()
        db.session.expire_all()


calls: list[int] = []


@pytest.fixture(autouse=True)
def closed_breaker(context: None) -> None:
    calls.clear()
    connection().flushdb()


def test_everyone_gets_one_letter_and_the_ledger_has_the_servers_words(
    planned_run: PlannedRun, smtp: RecordingSmtp
) -> None:
    run = planned_run(5)
    assert deliver(claim_size=2) is None
    run = assert_reconciles(run.id)
    assert (run.sent, run.status) == (5, RunStatus.DONE)
    assert sorted(letter.recipients[0] for letter in smtp.letters) == [f"client{n}@example.test" for n in range(5)]
    assert smtp.connections == 1
    assert set(db.session.scalars(select(Attempt.reply))) == {"2.0.0 accepted"}


def test_the_letter_is_the_frozen_message(planned_run: PlannedRun, smtp: RecordingSmtp) -> None:
    planned_run(1)
    deliver()
    message = smtp.letters[0].message
    assert message["Subject"] == "News"
    text, html = message.iter_parts()
    assert text.get_content().startswith("Hello!")
    assert html.get_content().startswith("<p>Hello!</p>")


def test_each_answer_finds_its_own_delivery(planned_run: PlannedRun, smtp: RecordingSmtp) -> None:
    run = planned_run(4)
    smtp.answer_rcpt = {"client1@example.test": "550 5.1.1 unknown", "client2@example.test": "450 4.2.2 full"}.get
    go_on_at = deliver()
    run = assert_reconciles(run.id)
    assert (run.sent, run.failed, run.pending) == (2, 1, 1)
    assert go_on_at is not None
    assert timedelta(seconds=50) < go_on_at - clock.now() <= timedelta(seconds=72)
    later = db.session.scalars(select(Delivery).where(Delivery.status == DeliveryStatus.PENDING)).one()
    assert (later.email, later.attempts, later.not_before) == ("client2@example.test", 1, go_on_at)


def test_a_server_that_says_later_for_ever_is_given_up(planned_run: PlannedRun, smtp: RecordingSmtp) -> None:
    run = planned_run(1)
    smtp.answer_rcpt = lambda _address: "450 4.2.2 full"
    for _ in range(3):
        db.session.execute(update(Delivery).values(not_before=None))
        db.session.execute(update(Run).values(resume_at=None))
        db.session.commit()
        deliver(attempts_max=3)
    run = assert_reconciles(run.id)
    assert (run.failed, run.status) == (1, RunStatus.DONE)
    assert db.session.scalar(select(func.count()).select_from(Attempt)) == 3


def test_a_dead_mail_server_costs_no_recipient_an_attempt(planned_run: PlannedRun) -> None:
    run = planned_run(3)
    go_on_at = deliver(mail_port=free_port())
    run = assert_reconciles(run.id)
    assert (run.pending, run.resume_at) == (3, go_on_at)
    assert "refused" in run.fault
    assert db.session.scalar(select(func.count()).select_from(Attempt)) == 0
    assert set(db.session.scalars(select(Delivery.attempts))) == {0}


def test_the_fault_is_gone_when_the_server_is_back(planned_run: PlannedRun, smtp: RecordingSmtp) -> None:
    run = planned_run(3)
    deliver(mail_port=free_port())
    db.session.execute(update(Run).values(resume_at=clock.now()))
    db.session.commit()
    assert deliver() is None
    run = assert_reconciles(run.id)
    assert (run.sent, run.fault, run.resume_at) == (3, "", None)
    assert len(smtp.letters) == 3


def test_a_pause_holds_from_the_next_claim_on(planned_run: PlannedRun, smtp: RecordingSmtp) -> None:
    run = planned_run(6)
    database = db.engine  # the server's thread stands in for somebody at a page, and has no context

    def pause_after_the_first(letter: object) -> str:
        with database.begin() as connection:
            connection.execute(update(Run).values(held_at=clock.now()))
        return "250 2.0.0 accepted"

    smtp.answer_data = pause_after_the_first
    assert deliver(claim_size=2) is None
    run = assert_reconciles(run.id)
    assert (run.sent, run.pending, run.status) == (2, 4, RunStatus.SENDING)


def test_who_unsubscribed_meanwhile_is_skipped_with_the_reason(planned_run: PlannedRun, smtp: RecordingSmtp) -> None:
    run = planned_run(2)
    db.session.execute(
        update(Client).where(Client.email == "client0@example.test").values(status=ClientStatus.UNSUBSCRIBED)
    )
    db.session.commit()
    deliver()
    run = assert_reconciles(run.id)
    assert (run.sent, run.skipped, run.status) == (1, 1, RunStatus.DONE)
    skipped = db.session.scalars(select(Delivery).where(Delivery.status == DeliveryStatus.SKIPPED)).one()
    assert skipped.skip_reason is SkipReason.SUPPRESSED
    assert [letter.recipients for letter in smtp.letters] == [["client1@example.test"]]


def test_what_is_left_at_the_end_is_skipped_with_the_reason(planned_run: PlannedRun, smtp: RecordingSmtp) -> None:
    run = planned_run(2, last_moment=clock.now() - timedelta(seconds=1))
    assert deliver() is None
    run = assert_reconciles(run.id)
    assert (run.skipped, run.status, smtp.letters) == (2, RunStatus.DONE, [])
    assert set(db.session.scalars(select(Delivery.skip_reason))) == {SkipReason.ENDED}


def test_a_slice_ends_when_its_time_is_over(planned_run: PlannedRun) -> None:
    run = planned_run(4)
    go_on_at = deliver(claim_size=1, is_over=lambda: True)
    assert go_on_at is not None
    assert go_on_at <= clock.now()
    assert assert_reconciles(run.id).pending == 4


def test_help_is_called_once_and_only_when_there_is_more(planned_run: PlannedRun) -> None:
    planned_run(5)
    deliver(claim_size=2)
    assert calls == [1]


def test_several_connections_share_the_work(planned_run: PlannedRun, smtp: RecordingSmtp) -> None:
    run = planned_run(30)
    smtp.answer_data = slowly
    assert deliver(couriers=3, claim_size=5) is None
    assert assert_reconciles(run.id).sent == 30
    assert len({letter.recipients[0] for letter in smtp.letters}) == len(smtp.letters) == 30
    assert smtp.connections == 3


def slowly(_letter: object) -> str:
    time.sleep(0.02)
    return "250 2.0.0 accepted"


def test_runs_take_turns_so_that_a_big_one_starves_nobody(planned_run: PlannedRun, smtp: RecordingSmtp) -> None:
    big = planned_run(6)
    small = planned_run(2)
    deliver(claim_size=2)
    order = [letter.message["Message-ID"].split(".run-")[1].split("@")[0] for letter in smtp.letters]
    assert order == [str(run_id) for run_id in (big.id, big.id, small.id, small.id, big.id, big.id, big.id, big.id)]


def test_a_job_whose_time_is_over_stops_its_couriers_and_not_the_next_job(
    planned_run: PlannedRun, smtp: RecordingSmtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned_run(30)
    smtp.answer_data = slowly

    def time_is_over(_crew: object) -> None:
        raise TimeoutError("the job's time is over")

    with monkeypatch.context() as soon:
        soon.setattr("app.delivery.engine._Crew.wait", time_is_over)
        with pytest.raises(TimeoutError):
            deliver()
    assert assert_reconciles(run.id).sending == 0
    db.session.commit()
    smtp.answer_data = lambda _letter: "250 2.0.0 accepted"
    deliver()
    run = assert_reconciles(run.id)
    assert (run.pending, run.sent + run.unknown) == (0, 30)
    assert len({letter.recipients[0] for letter in smtp.letters}) == len(smtp.letters)


class FaultyTransport:
    """Takes three envelopes, answers two, and fails as only a bug of ours can."""

    def send(self, envelopes: Iterable[Envelope], begin: Begin) -> Iterator[Answer]:
        iterator = iter(envelopes)
        for _ in range(2):
            envelope = next(iterator)
            begin(envelope.delivery_id)
            yield Answer(envelope.delivery_id, Stage.BODY, Reply.ACCEPTED, 250, "ok")
        begin(next(iterator).delivery_id)
        next(iterator)
        raise RuntimeError("a bug")

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_bug_of_ours_loses_nothing_and_repeats_nothing(planned_run: PlannedRun) -> None:
    run = planned_run(5)
    with pytest.raises(RuntimeError, match="a bug"):
        deliver(FaultyTransport())
    run = assert_reconciles(run.id)
    assert (run.sent, run.unknown, run.pending) == (2, 1, 2)
    assert db.session.scalar(select(func.count()).select_from(Claim)) == 0


def test_a_lease_is_renewed_while_the_server_is_slow(planned_run: PlannedRun, smtp: RecordingSmtp) -> None:
    planned_run(3)
    seen: list[datetime] = []
    database = db.engine  # the server's thread stands in for somebody at a page, and has no context

    def look_at_the_lease(letter: object) -> str:
        with database.begin() as connection:
            seen.append(connection.scalars(select(Claim.leased_until)).one())
        return "250 2.0.0 accepted"

    smtp.answer_data = look_at_the_lease
    deliver(claim_lease_seconds=0)  # always half over
    assert seen[0] < seen[1] < seen[2]


def test_whose_claim_was_lost_sends_no_more_of_it(planned_run: PlannedRun, smtp: RecordingSmtp) -> None:
    planned_run(3)
    database = db.engine  # the server's thread stands in for somebody at a page, and has no context

    def lose_the_claim(letter: object) -> str:
        with database.begin() as connection:
            connection.execute(Claim.__table__.delete())
        return "250 2.0.0 accepted"

    smtp.answer_data = lose_the_claim
    deliver(claim_lease_seconds=0)
    assert len(smtp.letters) == 1
