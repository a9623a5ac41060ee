"""The way of a message through real jobs, a real Redis and a real mail server; and what heals it."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from rq_scheduler import Scheduler
from sqlalchemy import func, select, update

from app import clock, queue
from app.auth.models import User
from app.delivery import service as delivery
from app.delivery.models import Claim, Delivery, Run, RunStatus
from app.extensions import db
from app.mailings import jobs, service
from app.mailings.models import Mailing, MailingStatus
from app.mailings.schedule import Period
from tests import make
from tests.smtp import RecordingSmtp

RunJobs = Callable[[], None]


@pytest.fixture
def user(context: None) -> User:
    return make.user("owner@golub.test")


@pytest.fixture
def due(user: User) -> Mailing:
    """A mailing to three clients that is due now."""
    make.clients(user, 3)
    mailing = make.mailing(user, start_at=clock.now() - timedelta(seconds=1))
    db.session.commit()
    return mailing


def the_run() -> Run:
    db.session.rollback()
    return db.session.scalars(select(Run).execution_options(populate_existing=True)).one()


def alarms() -> list[str]:
    return [job.id for job in Scheduler(queue.QUEUE_NAME, connection=queue.connection()).get_jobs()]


def test_a_due_mailing_is_sent(due: Mailing, run_jobs: RunJobs, smtp: RecordingSmtp) -> None:
    jobs.announce(due)
    run_jobs()
    assert sorted(letter.recipients[0] for letter in smtp.letters) == [f"client{n}@example.test" for n in range(3)]
    run = the_run()
    assert (run.planned, run.sent, run.status, run.text) == (3, 3, RunStatus.DONE, "Hello!")
    db.session.refresh(due)
    assert (due.status, due.last_sent_at) == (MailingStatus.COMPLETED, run.finished_at)


def test_every_job_may_run_twice(due: Mailing, run_jobs: RunJobs, smtp: RecordingSmtp) -> None:
    for _ in range(2):
        jobs.dispatch_due()
    for _ in range(2):
        jobs.prepare_runs()
    for _ in range(2):
        jobs.deliver()
    run_jobs()
    assert len(smtp.letters) == 3


def test_a_mailing_of_tomorrow_sets_one_alarm_for_its_instant(user: User) -> None:
    start = clock.now() + timedelta(days=1)
    for _ in range(2):
        mailing = make.mailing(user, start_at=start)
        db.session.commit()
        jobs.announce(mailing)
    at = int(clock.whole_second_after(start).timestamp())
    assert alarms() == [f"alarm-dispatch_due-{at}"]
    assert queue.queue_depth() == 0


def test_a_deferred_message_sets_an_alarm_for_its_next_try(
    due: Mailing, run_jobs: RunJobs, smtp: RecordingSmtp
) -> None:
    smtp.answer_rcpt = {"client1@example.test": "450 4.2.1 busy"}.get
    jobs.announce(due)
    run_jobs()
    run = the_run()
    assert (run.sent, run.pending) == (2, 1)
    assert [name.rsplit("-", 1)[0] for name in alarms()] == ["alarm-deliver"]


def test_the_sweep_alone_brings_everything_to_its_end(due: Mailing, run_jobs: RunJobs, smtp: RecordingSmtp) -> None:
    """Redis may forget all it knows at each step of the way."""
    jobs.sweep()
    queue.connection().flushdb()
    assert the_run().status is RunStatus.PREPARING
    jobs.sweep()
    assert queue.queue_depth() == 2
    jobs.prepare_runs()
    queue.connection().flushdb()
    assert (the_run().status, smtp.letters) == (RunStatus.SENDING, [])
    jobs.sweep()
    run_jobs()
    assert the_run().status is RunStatus.DONE
    assert len(smtp.letters) == 3


def test_the_sweep_sets_lost_alarms_again(user: User) -> None:
    make.mailing(user, start_at=clock.now() + timedelta(minutes=1))
    make.mailing(user, start_at=clock.now() + timedelta(days=1))
    db.session.commit()
    jobs.sweep()
    assert len(alarms()) == 1  # the one of tomorrow is set again when it comes near


def test_the_sweep_does_not_pile_up_jobs_that_wait(due: Mailing) -> None:
    jobs.dispatch_due()
    for _ in range(5):
        jobs.sweep()
    assert queue.queue_depth() == 2  # one that prepares, one that sends


def test_the_sweep_queues_a_job_that_was_lost_with_its_worker(due: Mailing) -> None:
    jobs.sweep()
    queue.connection().delete("rq:queue:default")  # the marks of its jobs are still there
    jobs.sweep()
    assert queue.queue_depth() == 2


def test_the_sweep_settles_what_a_dead_worker_held(due: Mailing, run_jobs: RunJobs, smtp: RecordingSmtp) -> None:
    jobs.dispatch_due()
    jobs.prepare_runs()
    taken = delivery.claim(size=1, grant=lambda _: 1, worker="dead", lease=timedelta(seconds=-1), open_journal=str)
    assert taken
    delivery.move(taken[1])
    db.session.commit()
    jobs.sweep()
    run_jobs()
    run = the_run()
    assert (run.unknown, run.sent, run.status) == (1, 2, RunStatus.DONE)
    assert len(smtp.letters) == 2
    db.session.refresh(due)
    assert due.status is MailingStatus.COMPLETED


def test_the_sweep_ends_a_held_run_at_its_end(due: Mailing) -> None:
    jobs.dispatch_due()
    jobs.prepare_runs()
    db.session.execute(update(Run).values(held_at=clock.now(), last_moment=clock.now()))
    db.session.commit()
    jobs.sweep()
    assert (the_run().skipped, the_run().status) == (3, RunStatus.DONE)


def test_a_paused_run_goes_on_where_it_stopped(due: Mailing, run_jobs: RunJobs, smtp: RecordingSmtp) -> None:
    jobs.dispatch_due()
    jobs.prepare_runs()
    service.pause(due)
    db.session.commit()
    run_jobs()
    assert (smtp.letters, the_run().pending) == ([], 3)
    service.resume(due)
    db.session.commit()
    jobs.announce(due)
    run_jobs()
    assert (len(smtp.letters), the_run().status) == (3, RunStatus.DONE)


def test_a_run_deleted_before_it_was_prepared_sends_nothing(
    due: Mailing, run_jobs: RunJobs, smtp: RecordingSmtp
) -> None:
    jobs.dispatch_due()
    service.delete(due)
    db.session.commit()
    run_jobs()
    assert (smtp.letters, the_run().pending) == ([], 3)  # as long as it can come back
    db.session.execute(update(Mailing).values(deleted_at=clock.now() - timedelta(hours=1)))
    jobs.bury_deleted()
    run_jobs()
    assert (smtp.letters, the_run().skipped, the_run().status) == ([], 3, RunStatus.DONE)


def test_a_daily_mailing_to_nobody_waits_for_its_next_day(user: User, run_jobs: RunJobs) -> None:
    mailing = make.mailing(user, start_at=clock.now() - timedelta(seconds=1), period=Period.DAILY)
    db.session.commit()
    jobs.announce(mailing)
    run_jobs()
    db.session.refresh(mailing)
    assert mailing.status is MailingStatus.SENT
    assert db.session.scalar(select(func.count()).select_from(Delivery)) == 0
    assert db.session.scalar(select(func.count()).select_from(Claim)) == 0


def test_the_written_text_part_is_sent_as_it_was_written(user: User, run_jobs: RunJobs, smtp: RecordingSmtp) -> None:
    make.client(user)
    message = make.message(user, text="By hand")
    mailing = make.mailing(user, message=message, start_at=clock.now() - timedelta(seconds=1))
    db.session.commit()
    jobs.announce(mailing)
    run_jobs()
    text, _html = smtp.letters[0].message.iter_parts()
    assert text.get_content().startswith("By hand")
