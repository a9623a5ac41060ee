"""From what is due to runs."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import func, select

from app import clock
from app.auth.models import User
from app.delivery.models import Missed, Run, RunStatus
from app.extensions import db
from app.mailings import dispatch
from app.mailings.models import Mailing, MailingStatus
from app.mailings.schedule import Period
from app.messages.models import Message
from tests import make

SENDER = "golub@golub.test"
HOUR = timedelta(hours=1)


@pytest.fixture
def user(context: None) -> User:
    return make.user("owner@golub.test")


def due(user: User, **fields: object) -> Mailing:
    return make.mailing(user, **({"start_at": clock.now() - timedelta(seconds=1)} | fields))


def dispatched() -> list[int]:
    runs = dispatch.dispatch_due(SENDER)
    db.session.commit()
    return runs or []


def runs_of(mailing: Mailing) -> list[Run]:
    return list(db.session.scalars(select(Run).where(Run.mailing_id == mailing.id).order_by(Run.id)))


def test_a_due_mailing_begins_a_run_with_its_message_frozen(user: User) -> None:
    mailing = due(user, end_at=clock.now() + HOUR)
    assert len(dispatched()) == 1
    mailing.message.subject = "Changed"
    db.session.commit()
    [run] = runs_of(mailing)
    assert (run.subject, run.html, run.sender, run.status) == ("News", "<p>Hello!</p>", SENDER, RunStatus.PREPARING)
    assert (run.scheduled_for, run.last_moment, run.owner_id) == (mailing.start_at, mailing.end_at, user.id)
    assert mailing.status is MailingStatus.RUNNING


def test_once_is_dispatched_once(user: User) -> None:
    mailing = due(user)
    assert len(dispatched()) == 1
    assert dispatched() == []
    assert mailing.next_run_at is None


def test_a_periodic_mailing_gets_its_next_occurrence(user: User) -> None:
    mailing = due(user, period=Period.DAILY)
    dispatched()
    assert mailing.next_run_at == mailing.start_at + timedelta(days=1)


@pytest.mark.parametrize(
    "obstacle",
    [
        {"start_at": clock.now() + HOUR},
        {"paused_at": clock.now()},
        {"disabled_at": clock.now()},
        {"deleted_at": clock.now()},
        {"next_run_at": None},
    ],
    ids=["not yet", "paused", "disabled", "deleted", "over"],
)
def test_what_may_not_run_is_left_alone(user: User, obstacle: dict[str, object]) -> None:
    mailing = due(user, **obstacle)
    assert dispatched() == []
    assert runs_of(mailing) == []


def test_a_blocked_owners_mailings_wait(user: User) -> None:
    due(user)
    user.blocked_at = clock.now()
    db.session.flush()
    assert dispatched() == []


def test_occurrences_missed_in_a_downtime_collapse_into_the_latest(user: User) -> None:
    start = clock.now() - timedelta(days=10, minutes=5)
    mailing = due(user, start_at=start, period=Period.DAILY)
    assert len(dispatched()) == 1
    [run] = [run for run in runs_of(mailing) if run.missed is None]
    assert run.scheduled_for == start + timedelta(days=10)
    assert mailing.next_run_at == start + timedelta(days=11)
    missed = {run.scheduled_for: run.missed for run in runs_of(mailing) if run.missed}
    assert missed == {start + timedelta(days=day): Missed.COLLAPSED for day in range(10)}


def test_what_was_missed_beyond_its_end_is_not_sent_and_completed(user: User) -> None:
    mailing = due(user, start_at=clock.now() - 3 * HOUR, end_at=clock.now() - HOUR, period=Period.DAILY)
    assert dispatched() == []
    [run] = runs_of(mailing)
    assert (run.missed, run.status, run.planned) == (Missed.ENDED, RunStatus.DONE, 0)
    assert (mailing.status, mailing.next_run_at) == (MailingStatus.COMPLETED, None)


def test_an_occurrence_never_runs_twice_whatever_next_run_at_says(user: User) -> None:
    mailing = due(user)
    dispatched()
    mailing.next_run_at = mailing.start_at
    db.session.commit()
    assert dispatched() == []
    assert len(runs_of(mailing)) == 1


def test_many_are_taken_in_batches(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "BATCH", 2)
    message = make.message(user)
    for _ in range(5):
        due(user, message=message)
    db.session.commit()
    assert [len(dispatched()) for _ in range(4)] == [2, 2, 1, 0]


def test_two_dispatchers_at_once_begin_each_run_once(app: Flask) -> None:
    with app.app_context():
        user = make.user("owner@golub.test")
        message = make.message(user)
        for _ in range(50):
            due(user, message=message)
        db.session.commit()

    def dispatch_all() -> int:
        count = 0
        with app.app_context():
            while runs := dispatched():
                count += len(runs)
        return count

    with ThreadPoolExecutor(4) as pool:
        counts = [future.result(60) for future in [pool.submit(dispatch_all) for _ in range(4)]]
    with app.app_context():
        assert sum(counts) == 50
        assert db.session.scalar(select(func.count()).select_from(Run)) == 50


def test_the_moments_to_set_alarms_for_are_each_named_once(user: User) -> None:
    soon = clock.now() + timedelta(minutes=1)
    make.mailing(user, start_at=soon)
    make.mailing(user, start_at=soon)
    make.mailing(user, start_at=soon + HOUR)
    now = clock.now()
    assert db.session.scalars(dispatch.due_between(now, now + timedelta(minutes=2))).all() == [soon]


def test_a_shared_message_may_be_somebody_elses(user: User) -> None:
    other = make.user("stranger@golub.test")
    message: Message = make.message(other, subject="Shared", is_shared=True)
    mailing = due(user, message=message)
    dispatched()
    assert [(run.subject, run.owner_id) for run in runs_of(mailing)] == [("Shared", user.id)]
