"""The main job on real parts: gunicorn, worker.py, scheduler.py, Redis and a mail server, used over HTTP alone."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from app.delivery.models import Attempt, Delivery, DeliveryStatus, Run, RunStatus
from app.mailings.models import Mailing, MailingStatus
from tests.browsing import Person
from tests.live import running
from tests.smtp import Received, RecordingSmtp
from tests.waiting import wait_until

CLIENTS = {"anna@example.test", "boris@example.test", "вера@example.test"}


@pytest.fixture(scope="module")
def mail_server() -> Iterator[RecordingSmtp]:
    with RecordingSmtp() as server:
        yield server


@pytest.fixture(scope="module")
def database_url(new_database: Callable[[str], str]) -> str:
    return new_database("processes")


@pytest.fixture(scope="module")
def service(database_url: str, mail_server: RecordingSmtp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(database_url, mail_server, tmp_path_factory.mktemp("service")) as base_url:
        yield base_url


def letters_with(mail_server: RecordingSmtp, subject: str) -> list[Received]:
    return [letter for letter in mail_server.letters if letter.message["Subject"] == subject]


def recipients(letters: list[Received]) -> list[str]:
    return sorted(address for letter in letters for address in letter.recipients)


def test_what_is_planned_in_the_browser_is_delivered_by_the_workers(
    service: str, mail_server: RecordingSmtp, database_url: str
) -> None:
    person = Person(service)
    person.sign_up("owner@golub.test", mail_server)
    for email in CLIENTS:
        person.fill_in("/clients/new", email=email, first_name="Client", status="active")
    first, second = person.write_message("First news"), person.write_message("Daily news")

    # Whole seconds, at least two seconds ahead when the form is sent.
    start = datetime.now(UTC).replace(microsecond=0, tzinfo=None) + timedelta(seconds=3)
    person.plan("Once", first, start, "once")
    person.plan("Every day", second, start + timedelta(seconds=1), "daily")
    wait_until(lambda: len(letters_with(mail_server, "Daily news")) == len(CLIENTS))
    wait_until(lambda: len(letters_with(mail_server, "First news")) == len(CLIENTS))

    due_at = start.replace(tzinfo=UTC).timestamp()
    left_at = min(letter.at for letter in letters_with(mail_server, "First news"))
    assert 0 <= left_at - due_at <= 20  # how late it is, `make bench` measures: this machine may be busy
    assert min(letter.at for letter in letters_with(mail_server, "Daily news")) >= due_at + 1

    wait_until(lambda: "Completed" in person.see("/mailings/"))
    time.sleep(1)  # long enough for a second copy to come, were there one
    assert recipients(letters_with(mail_server, "First news")) == sorted(CLIENTS)
    assert recipients(letters_with(mail_server, "Daily news")) == sorted(CLIENTS)
    assert len(mail_server.letters) == 1 + 2 * len(CLIENTS)
    assert_ledger(database_url, start.replace(tzinfo=UTC))
    person.close()


def assert_ledger(database_url: str, start: datetime) -> None:
    """Exactly two runs, three deliveries and three attempts each, all sent, with the server's words."""
    engine = create_engine(database_url)
    with Session(engine) as session:
        once, daily = session.scalars(select(Mailing).order_by(Mailing.id)).all()
        assert (once.status, once.next_run_at) == (MailingStatus.COMPLETED, None)
        assert (daily.status, daily.next_run_at) == (MailingStatus.SENT, start + timedelta(seconds=1, days=1))
        runs = session.scalars(select(Run).order_by(Run.scheduled_for)).all()
        assert [(run.mailing_id, run.scheduled_for) for run in runs] == [
            (once.id, start),
            (daily.id, start + timedelta(seconds=1)),
        ]
        for run in runs:
            assert run.status is RunStatus.DONE
            assert (run.planned, run.sent) == (3, 3)
            deliveries = session.scalars(select(Delivery).where(Delivery.run_id == run.id)).all()
            assert {delivery.email for delivery in deliveries} == CLIENTS
            assert {delivery.status for delivery in deliveries} == {DeliveryStatus.SENT}
            attempts = session.scalars(select(Attempt).where(Attempt.run_id == run.id)).all()
            assert sorted(attempt.delivery_id for attempt in attempts) == sorted(d.id for d in deliveries)
            assert {(attempt.code, attempt.reply) for attempt in attempts} == {(250, "2.0.0 accepted")}
    engine.dispose()
