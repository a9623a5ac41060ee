"""From what is due to runs."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import func, select

from app import clock
from app.auth.models import Letter, LetterKind, User
from app.delivery.models import Missed, Run, RunStatus
from app.extensions import db
from app.mailings import dispatch, misfires
from app.mailings.models import Mailing, MailingStatus, Misfire
from app.mailings.schedule import Period
from app.messages.models import Message
from tests import make

SENDER = "golub@golub.test"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


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


# ── Missed occurrences ─────────────────────────────────────────────────────────────────────────────────────


def missed(user: User, days: int, late: timedelta, **fields: object) -> Mailing:
    """A daily mailing that was due for the first time so many days and so long ago, and whenever a day had gone by."""
    return due(user, start_at=clock.now() - days * DAY - late, period=Period.DAILY, **fields)


def missed_rows(mailing: Mailing) -> dict[datetime, Missed]:
    return {run.scheduled_for: run.missed for run in runs_of(mailing) if run.missed}


def days_of(mailing: Mailing, *reasons: Missed) -> dict[datetime, Missed]:
    """These reasons for the first day, the second day, and so on."""
    return {mailing.start_at + number * DAY: reason for number, reason in enumerate(reasons)}


def test_one_that_is_never_late_leaves_a_row_for_each_day_and_waits_for_the_next(user: User) -> None:
    mailing = missed(user, 2, HOUR, misfire=Misfire.SKIP)
    assert dispatched() == []
    assert missed_rows(mailing) == days_of(mailing, Missed.RULE, Missed.RULE, Missed.RULE)
    assert (mailing.next_run_at, mailing.status) == (mailing.start_at + 3 * DAY, MailingStatus.CREATED)


def test_what_was_missed_is_done_and_empty(user: User) -> None:
    mailing = missed(user, 0, HOUR, misfire=Misfire.SKIP)
    dispatched()
    [run] = runs_of(mailing)
    assert (run.status, run.planned, run.subject, run.html, run.owner_id) == (RunStatus.DONE, 0, "", "", user.id)


def test_a_one_off_that_is_never_late_is_over(user: User) -> None:
    mailing = due(user, start_at=clock.now() - HOUR, misfire=Misfire.SKIP)
    assert dispatched() == []
    assert missed_rows(mailing) == {mailing.start_at: Missed.RULE}
    assert (mailing.next_run_at, mailing.status) == (None, MailingStatus.COMPLETED)


@pytest.mark.parametrize("misfire", Misfire)
def test_a_few_minutes_are_on_time_whatever_the_rule(user: User, misfire: Misfire) -> None:
    mailing = missed(user, 0, misfires.ON_TIME - timedelta(seconds=20), misfire=misfire)
    assert len(dispatched()) == 1
    assert missed_rows(mailing) == {}


def test_its_owner_is_asked_about_the_latest_and_by_one_letter(user: User) -> None:
    first, second = (missed(user, 2, HOUR, misfire=Misfire.ASK, name=name) for name in ("First", "Second"))
    assert dispatched() == []
    for mailing in (first, second):
        assert missed_rows(mailing) == days_of(mailing, Missed.COLLAPSED, Missed.COLLAPSED, Missed.ASKED)
    [letter] = db.session.scalars(select(Letter)).all()
    assert (letter.kind, letter.user_id) == (LetterKind.RUNS_MISSED, user.id)


@pytest.mark.parametrize(
    ("late", "begun", "reason"), [(timedelta(0), 1, None), (HOUR, 0, Missed.ASKED)], ids=["on time", "missed, too"]
)
def test_a_question_ends_when_the_next_one_comes(
    user: User, monkeypatch: pytest.MonkeyPatch, late: timedelta, begun: int, reason: Missed | None
) -> None:
    mailing = missed(user, 0, HOUR, misfire=Misfire.ASK)
    dispatched()
    later = mailing.start_at + DAY + late
    monkeypatch.setattr(clock, "now", lambda: later)
    assert len(dispatched()) == begun
    assert [run.missed for run in runs_of(mailing)] == [Missed.UNANSWERED, reason]


def test_a_decision_stays_when_the_next_one_comes(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    mailing = missed(user, 0, HOUR, misfire=Misfire.ASK)
    dispatched()
    runs_of(mailing)[0].missed = Missed.DECLINED
    later = mailing.start_at + DAY
    monkeypatch.setattr(clock, "now", lambda: later)
    dispatched()
    assert [run.missed for run in runs_of(mailing)] == [Missed.DECLINED, None]


@pytest.mark.parametrize(("allowed", "begun"), [(HOUR, 0), (3 * HOUR, 1)])
def test_it_is_sent_late_within_what_it_allows(user: User, allowed: timedelta, begun: int) -> None:
    mailing = missed(user, 1, 2 * HOUR, late_seconds_max=int(allowed.total_seconds()))
    assert len(dispatched()) == begun
    reasons = [Missed.COLLAPSED] if begun else [Missed.COLLAPSED, Missed.TOO_LATE]
    assert missed_rows(mailing) == days_of(mailing, *reasons)


@pytest.mark.parametrize(("late", "begun"), [(11 * HOUR, 1), (13 * HOUR, 0)])
def test_it_is_not_sent_late_when_the_next_one_is_nearer(user: User, late: timedelta, begun: int) -> None:
    mailing = missed(user, 0, late)
    assert len(dispatched()) == begun
    assert missed_rows(mailing) == ({} if begun else {mailing.start_at: Missed.NEXT_NEARER})
    assert mailing.next_run_at == mailing.start_at + DAY


def test_missed_ones_count_where_their_number_is_limited(user: User) -> None:
    mailing = missed(user, 4, HOUR, misfire=Misfire.SKIP, occurrences_max=3)
    dispatched()
    assert missed_rows(mailing) == days_of(mailing, Missed.RULE, Missed.RULE, Missed.RULE)
    assert (mailing.next_run_at, mailing.status) == (None, MailingStatus.COMPLETED)


def test_of_a_long_downtime_only_so_many_rows_are_kept(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(misfires, "ROWS_MAX", 4)
    mailing = missed(user, 9, HOUR)
    assert len(dispatched()) == 1
    assert [run.scheduled_for for run in runs_of(mailing)] == [mailing.start_at + day * DAY for day in (6, 7, 8, 9)]


@pytest.mark.parametrize("misfire", [Misfire.LATE, Misfire.SKIP])
def test_dispatching_it_again_changes_nothing(user: User, misfire: Misfire) -> None:
    """As if somebody had restored `next_run_at` from yesterday's backup."""
    mailing = missed(user, 3, HOUR, misfire=misfire)
    dispatched()
    before = [(run.id, run.scheduled_for, run.missed, run.status) for run in runs_of(mailing)]
    mailing.next_run_at = mailing.start_at
    db.session.commit()
    assert dispatched() == []
    assert [(run.id, run.scheduled_for, run.missed, run.status) for run in runs_of(mailing)] == before
    assert mailing.next_run_at == mailing.start_at + 4 * DAY


def test_one_of_many_that_was_missed_does_not_hold_up_the_others(user: User) -> None:
    skipped, sent = missed(user, 1, HOUR, misfire=Misfire.SKIP), due(user)
    assert len(dispatched()) == 1
    assert [run.missed for run in runs_of(sent)] == [None]
    assert set(missed_rows(skipped).values()) == {Missed.RULE}
    assert dispatch.dispatch_due(SENDER) is None
