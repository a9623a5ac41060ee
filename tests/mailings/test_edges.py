"""Copies, changes and questions at the edges of a schedule."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from sqlalchemy import select

from app import clock
from app.auth.models import User
from app.delivery import service as delivery
from app.delivery.models import Missed, Run
from app.errors import RuleBroken
from app.extensions import db
from app.mailings import dispatch, jobs, queries, service
from app.mailings.misfires import Rule
from app.mailings.models import MailingStatus, Misfire
from app.mailings.schedule import INSTANT, Period, Schedule, occurrences
from app.mailings.schedule_form import moved_ahead
from app.mailings.status import settle
from tests import make
from tests.mailings.test_service import draft

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def user(context: None) -> User:
    return make.user("owner@golub.test")


def runs(schedule: Schedule, count: int) -> list[datetime]:
    return list(islice(occurrences(schedule, after=schedule.start_at - INSTANT), count))


def test_a_copy_of_one_of_the_31st_stays_one_of_the_31st() -> None:
    monthly = Schedule(datetime(2027, 1, 31, 9, tzinfo=UTC), None, Period.MONTHLY, "UTC")
    copy = moved_ahead(monthly, datetime(2027, 2, 10, tzinfo=UTC))
    assert [f"{m:%m-%d}" for m in runs(copy, 3)] == ["02-28", "03-31", "04-30"]


def test_a_copy_made_the_day_before_a_gap_keeps_its_time_of_the_day() -> None:
    daily = Schedule(datetime(2027, 3, 1, 1, 30, tzinfo=UTC), None, Period.DAILY, "Europe/Berlin")
    copy = moved_ahead(daily, datetime(2027, 3, 27, 12, tzinfo=UTC))
    assert [f"{m:%d %H:%M}" for m in runs(copy, 2)] == ["29 00:30", "30 00:30"]  # 02:30 in Berlin


def test_a_one_off_that_asks_and_was_started_by_hand_does_not_go_on_asking(user: User) -> None:
    make.client(user)
    mailing = service.create(user, draft(user, start_at=clock.now() + HOUR))
    mailing.misfire = Misfire.ASK
    mailing.start_at = mailing.next_run_at = clock.now() - DAY
    db.session.commit()
    dispatch.dispatch_due("golub@golub.test")
    db.session.commit()
    asked = db.session.scalars(select(Run).where(Run.missed == Missed.ASKED)).one()
    run = service.start_now(mailing)
    delivery.plan(run, service.audience_of(mailing))
    delivery.cancel(run)
    db.session.commit()
    db.session.refresh(asked)
    assert asked.missed is not Missed.ASKED


def test_a_schedule_whose_occurrences_are_all_past_and_missed_does_not_send_at_once_when_edited(user: User) -> None:
    mailing = service.create(user, draft(user, period=Period.DAILY))
    mailing.misfire = Misfire.SKIP
    mailing.start_at = mailing.next_run_at = clock.now() - DAY - HOUR
    db.session.commit()
    dispatch.dispatch_due("golub@golub.test")
    db.session.commit()
    assert mailing.next_run_at > clock.now()
    changed = draft(user, period=Period.DAILY, start_at=mailing.start_at, message_id=mailing.message_id)
    changed = replace(
        changed, schedule=replace(mailing.schedule, end_at=clock.now() + 30 * DAY), rule=Rule(Misfire.SKIP)
    )
    service.edit(mailing, changed)
    assert mailing.next_run_at > clock.now() + timedelta(minutes=1)


def test_a_deleted_mailing_is_not_started_by_a_second_click(user: User) -> None:
    mailing = service.create(user, draft(user))
    service.delete(mailing)
    with pytest.raises(RuleBroken):
        service.start_now(mailing)


def test_editing_the_end_keeps_an_occurrence_that_is_due_this_very_second(user: User) -> None:
    start = clock.now() - DAY - timedelta(seconds=1)
    mailing = make.mailing(user, period=Period.DAILY, start_at=start, next_run_at=start + DAY)
    make.run(mailing, scheduled_for=start)
    db.session.commit()
    changed = draft(user, message_id=mailing.message_id)
    service.edit(mailing, replace(changed, schedule=replace(mailing.schedule, end_at=clock.now() + 30 * DAY)))
    assert mailing.next_run_at == start + DAY, "today's occurrence is neither begun nor told as missed"


def test_a_question_that_nobody_answered_is_closed_by_the_end(user: User) -> None:
    start = clock.now() - 3 * DAY
    mailing = make.mailing(user, period=Period.DAILY, start_at=start, next_run_at=None, end_at=clock.now() - HOUR)
    asked = make.run(mailing, missed=Missed.ASKED)
    settle([mailing.id])
    assert mailing.status is MailingStatus.CREATED
    dispatch.end_late_questions()
    db.session.refresh(asked)
    assert (asked.missed, mailing.status) == (Missed.ENDED, MailingStatus.COMPLETED)
    with pytest.raises(RuleBroken):
        service.send_missed(mailing, asked)


def test_a_one_off_that_waits_for_an_answer_is_not_completed(user: User) -> None:
    mailing = service.create(user, draft(user, rule=Rule(Misfire.ASK)))
    mailing.start_at = mailing.next_run_at = clock.now() - DAY
    db.session.commit()
    dispatch.dispatch_due("golub@golub.test")
    [asked] = db.session.scalars(select(Run))
    assert (asked.missed, mailing.status, mailing.next_run_at) == (Missed.ASKED, MailingStatus.CREATED, None)
    service.decline(mailing, asked)
    assert (asked.missed, mailing.status) == (Missed.DECLINED, MailingStatus.COMPLETED)


def test_a_deleted_mailing_asks_nobody(user: User) -> None:
    mailing = make.mailing(user)
    asked = make.run(mailing, missed=Missed.ASKED)
    service.delete(mailing)
    assert db.session.execute(queries.questions(user)).all() == []
    jobs.bury(clock.now())
    db.session.refresh(asked)
    assert asked.missed is Missed.DECLINED
