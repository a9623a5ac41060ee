"""What owners do with mailings."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from app import clock
from app.auth.models import User
from app.clients.models import Client, ClientStatus, Segment
from app.delivery import service as delivery
from app.delivery.models import Delivery, DeliveryStatus, Missed, Run, RunStatus, SkipReason
from app.errors import NotFound, RuleBroken
from app.extensions import db
from app.mailings import dispatch, jobs, service
from app.mailings.models import Audience, Mailing, MailingStatus, Misfire
from app.mailings.schedule import Period, Schedule, occurrences
from app.mailings.service import Draft
from app.mailings.status import settle
from tests import make
from tests.smtp import ACCEPTED, Received, RecordingSmtp

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def user(context: None) -> User:
    return make.user("owner@golub.test")


@pytest.fixture
def other(context: None) -> User:
    return make.user("stranger@golub.test")


def draft(user: User, **fields: Any) -> Draft:
    values: dict[str, Any] = {
        "name": "Weekly news",
        "audience": Audience.ALL,
        "segment_id": None,
        "client_ids": (),
    } | fields
    plan = {"start_at": clock.now() + HOUR, "end_at": None, "period": Period.ONCE, "timezone": "Europe/Moscow"}
    values["schedule"] = Schedule(**{name: values.pop(name, default) for name, default in plan.items()})
    if "message_id" not in values:
        values["message_id"] = make.message(user).id
    return Draft(**values)


def emails(mailing: Mailing) -> list[str]:
    return sorted(client.email for client in db.session.scalars(service.audience_of(mailing)))


def recipients(run: Run) -> list[str]:
    return list(db.session.scalars(select(Delivery.email).where(Delivery.run_id == run.id).order_by(Delivery.email)))


def prepared(mailing: Mailing) -> Run:
    run = service.start_now(mailing)
    delivery.plan(run, service.audience_of(mailing))
    db.session.commit()
    db.session.refresh(run)
    return run


def test_a_mailing_before_its_window_waits_for_its_start(user: User) -> None:
    wanted = draft(user)
    mailing = service.create(user, wanted)
    assert (mailing.next_run_at, mailing.status) == (wanted.schedule.start_at, MailingStatus.CREATED)


def test_a_mailing_inside_its_window_is_due_at_once(user: User) -> None:
    mailing = service.create(user, draft(user, start_at=clock.now() - HOUR, end_at=clock.now() + HOUR))
    assert len(dispatch.dispatch_due("golub@golub.test")) == 1
    assert mailing.status is MailingStatus.RUNNING


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [(HOUR, HOUR, "after the start"), (2 * HOUR, HOUR, "after the start"), (-2 * HOUR, -HOUR, "over already")],
)
def test_a_window_that_could_never_send_is_refused(user: User, start: timedelta, end: timedelta, words: str) -> None:
    now = clock.now()
    with pytest.raises(RuleBroken, match=words):
        service.create(user, draft(user, start_at=now + start, end_at=now + end))


def test_what_is_somebody_elses_can_not_be_used(user: User, other: User) -> None:
    foreign_segment = Segment(owner_id=other.id, name="Theirs", conditions={})
    db.session.add(foreign_segment)
    db.session.flush()
    for fields in (
        {"message_id": make.message(other).id},
        {"message_id": 4711},
        {"audience": Audience.SEGMENT, "segment_id": foreign_segment.id},
        {"audience": Audience.SEGMENT},
        {"audience": Audience.CHOSEN, "client_ids": (make.client(other).id,)},
    ):
        with pytest.raises(NotFound):
            service.create(user, draft(user, **fields))
        db.session.expunge_all()
        user = db.session.get_one(User, user.id)


def test_of_a_shared_message_a_copy_is_used(user: User, other: User) -> None:
    shared = make.message(other, is_shared=True)
    first, second = (service.create(user, draft(user, message_id=shared.id)).message for _time in range(2))
    assert (first.owner_id, first.subject, first.html) == (user.id, shared.subject, shared.html)
    assert second is first, "one copy is enough"


def test_an_audience_is_the_owners_active_clients(user: User, other: User) -> None:
    first, _second = make.clients(user, 2)
    make.client(user, "gone@example.test", status=ClientStatus.UNSUBSCRIBED)
    make.client(other, "theirs@example.test")
    assert emails(service.create(user, draft(user))) == ["client0@example.test", "client1@example.test"]
    chosen = service.create(user, draft(user, audience=Audience.CHOSEN, client_ids=(first.id,)))
    assert emails(chosen) == ["client0@example.test"]


def test_starting_by_hand_brings_a_one_off_forward_and_leaves_a_periodic_schedule(user: User) -> None:
    once = service.create(user, draft(user))
    daily = service.create(user, draft(user, period=Period.DAILY))
    assert service.start_now(once).status is RunStatus.PREPARING
    service.start_now(daily)
    assert once.next_run_at is None
    assert daily.next_run_at == daily.start_at


def test_a_mailing_can_not_be_started_twice_at_once(user: User) -> None:
    mailing = service.create(user, draft(user))
    service.start_now(mailing)
    with pytest.raises(RuleBroken, match="not finished"):
        service.start_now(mailing)


@pytest.mark.parametrize(
    ("state", "words"),
    [({"paused_at": clock.now()}, "paused"), ({"disabled_at": clock.now()}, "manager"), ({"end_at": None}, "over")],
)
def test_what_may_not_send_can_not_be_started(user: User, state: dict[str, Any], words: str) -> None:
    mailing = service.create(user, draft(user))
    if "end_at" in state:
        state = {"start_at": clock.now() - 2 * DAY, "end_at": clock.now() - DAY}
    for name, value in state.items():
        setattr(mailing, name, value)
    with pytest.raises(RuleBroken, match=words):
        service.start_now(mailing)


def test_a_pause_holds_the_run_and_a_resume_frees_it(user: User) -> None:
    make.clients(user, 2)
    mailing = service.create(user, draft(user))
    run = prepared(mailing)
    service.pause(mailing)
    db.session.refresh(run)
    assert (mailing.status, run.held_at is not None) == (MailingStatus.PAUSED, True)
    with pytest.raises(RuleBroken):
        service.pause(mailing)
    service.resume(mailing)
    db.session.refresh(run)
    assert (mailing.status, run.held_at) == (MailingStatus.RUNNING, None)
    with pytest.raises(RuleBroken):
        service.resume(mailing)


def test_a_resumed_run_stays_held_while_another_hand_holds_it(user: User) -> None:
    make.clients(user, 1)
    mailing = service.create(user, draft(user))
    run = prepared(mailing)
    service.pause(mailing)
    mailing.disabled_at = clock.now()
    service.resume(mailing)
    db.session.refresh(run)
    assert run.held_at is not None


def test_editing_while_its_audience_is_being_frozen_is_refused(user: User) -> None:
    mailing = service.create(user, draft(user))
    service.start_now(mailing)
    with pytest.raises(RuleBroken, match="being prepared"):
        service.edit(mailing, draft(user))


def test_editing_while_it_is_sent_holds_from_the_next_run_on(user: User) -> None:
    make.client(user)
    mailing = service.create(user, draft(user, period=Period.DAILY))
    run = prepared(mailing)
    other_message = make.message(user, subject="Other news")
    start = clock.now() + 3 * HOUR
    service.edit(mailing, draft(user, period=Period.WEEKLY, start_at=start, message_id=other_message.id))
    db.session.refresh(run)
    assert (run.subject, run.planned, run.status, run.last_moment) == ("News", 1, RunStatus.SENDING, None)
    assert (mailing.next_run_at, mailing.status) == (start, MailingStatus.RUNNING)
    delivery.cancel(run)
    again = prepared(mailing)
    assert again.subject == "Other news"


def test_editing_while_it_is_sent_leaves_its_audience_as_it_was_frozen(user: User) -> None:
    first, second = make.clients(user, 2)
    plan = draft(user, period=Period.DAILY, audience=Audience.CHOSEN, client_ids=(first.id,))
    mailing = service.create(user, plan)
    run = prepared(mailing)
    service.edit(mailing, Draft(**(vars(plan) | {"client_ids": (second.id,)})))
    db.session.commit()
    assert recipients(run) == [first.email]
    delivery.cancel(run)
    assert recipients(prepared(mailing)) == [second.email]


@pytest.mark.parametrize(
    "change",
    [
        {"start_at": clock.now() + 5 * HOUR},
        {"period": Period.WEEKLY, "start_at": clock.now() + 2 * DAY},
        {"period": Period.ONCE, "start_at": clock.now() + 3 * HOUR},
    ],
)
def test_editing_moves_the_next_run_to_the_new_start(user: User, change: dict[str, Any]) -> None:
    plan = draft(user, period=Period.DAILY)
    mailing = service.create(user, plan)
    service.edit(mailing, Draft(**(vars(plan) | {"schedule": replace(plan.schedule, **change)})))
    assert mailing.next_run_at == change["start_at"]


def test_editing_the_zone_alone_keeps_the_next_run_and_moves_the_ones_after_a_change_of_the_clocks(user: User) -> None:
    start = datetime(2050, 3, 26, 9, 0, tzinfo=UTC)
    plan = draft(user, period=Period.DAILY, start_at=start, timezone="UTC")
    mailing = service.create(user, plan)
    service.edit(mailing, Draft(**(vars(plan) | {"schedule": replace(plan.schedule, timezone="Europe/Berlin")})))
    assert mailing.next_run_at == start
    assert [moment.hour for moment in islice(occurrences(mailing.schedule, after=start), 1)] == [8]


def test_an_edit_that_could_never_run_is_refused(user: User) -> None:
    plan = draft(user, period=Period.DAILY)
    mailing = service.create(user, plan)
    over = replace(plan.schedule, start_at=clock.now() - 2 * DAY, end_at=clock.now() - DAY)
    with pytest.raises(RuleBroken, match="over already"):
        service.edit(mailing, Draft(**(vars(plan) | {"schedule": over})))


def test_editing_the_name_does_not_move_the_next_run(user: User) -> None:
    first = draft(user, period=Period.DAILY, start_at=clock.now() - HOUR)
    mailing = service.create(user, first)
    dispatch.dispatch_due("golub@golub.test")
    delivery.cancel(db.session.scalars(select(Run)).one())
    planned = mailing.next_run_at
    service.edit(mailing, Draft(**(vars(first) | {"name": "Renamed"})))
    assert (mailing.name, mailing.next_run_at) == ("Renamed", planned)


def test_moving_the_schedule_of_one_that_has_run_never_sends_at_once(user: User) -> None:
    mailing = service.create(user, draft(user, period=Period.DAILY, start_at=clock.now() - HOUR))
    dispatch.dispatch_due("golub@golub.test")
    delivery.cancel(db.session.scalars(select(Run)).one())
    db.session.expire_all()
    moved = clock.now() - 2 * HOUR
    service.edit(mailing, draft(user, period=Period.DAILY, start_at=moved, message_id=mailing.message_id))
    assert mailing.next_run_at == moved + DAY
    assert mailing.status is MailingStatus.SENT


def test_deleting_skips_what_waits_and_keeps_the_ledger(user: User) -> None:
    make.clients(user, 3)
    mailing = service.create(user, draft(user))
    run = prepared(mailing)
    service.delete(mailing)
    db.session.refresh(run)
    assert (run.pending, run.held_at is not None) == (3, True), "they can come back"
    db.session.commit()
    jobs.bury(clock.now())
    db.session.refresh(run)
    assert (run.skipped, run.status, mailing.next_run_at) == (3, RunStatus.DONE, None)
    assert set(db.session.scalars(select(Delivery.skip_reason))) == {SkipReason.CANCELLED}


@pytest.mark.parametrize(
    ("fields", "runs", "status"),
    [
        ({}, [], MailingStatus.CREATED),
        ({}, [{"status": RunStatus.SENDING}], MailingStatus.RUNNING),
        ({}, [{}], MailingStatus.SENT),
        ({}, [{"missed": Missed.RULE}], MailingStatus.CREATED),
        ({"next_run_at": None}, [{}], MailingStatus.COMPLETED),
        ({"next_run_at": None}, [], MailingStatus.COMPLETED),
        ({"paused_at": clock.now()}, [{"status": RunStatus.SENDING}], MailingStatus.PAUSED),
    ],
)
def test_the_status_follows(
    user: User, fields: dict[str, Any], runs: list[dict[str, Any]], status: MailingStatus
) -> None:
    mailing = make.mailing(user, **fields)
    for run in runs:
        make.run(mailing, **run)
    settle([mailing.id])
    assert mailing.status is status


def test_clients_of_others_never_get_into_a_run(user: User, other: User) -> None:
    make.client(other, "theirs@example.test")
    make.client(user, "mine@example.test")
    prepared(service.create(user, draft(user)))
    assert db.session.scalars(select(Delivery.email)).all() == ["mine@example.test"]
    assert db.session.scalar(select(Client.email).where(Client.owner_id == other.id)) == "theirs@example.test"


def test_deleting_in_the_middle_of_a_run_stops_at_the_next_claim_and_keeps_the_ledger(
    app: Flask, user: User, run_jobs: Callable[[], None], smtp: RecordingSmtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = app.config["SETTINGS"].model_copy(update={"claim_size": 2, "deliver_connections": 1})
    monkeypatch.setitem(app.config, "SETTINGS", settings)
    make.clients(user, 9)
    mailing = service.create(user, draft(user, start_at=clock.now() - HOUR))
    mailing_id = mailing.id
    db.session.commit()

    def delete_at_the_third(letter: Received) -> str:
        if len(smtp.letters) == 2:
            with app.app_context():
                service.delete(db.session.get_one(Mailing, mailing_id))
                db.session.commit()
        return ACCEPTED

    smtp.answer_data = delete_at_the_third
    jobs.announce(mailing)
    run_jobs()
    db.session.expire_all()
    run = db.session.scalars(select(Run)).one()
    sent = len(smtp.letters)
    assert 3 <= sent < 9, "what a worker holds is sent, and no more"
    assert (run.status, run.sent, run.pending) == (RunStatus.SENDING, sent, 9 - sent)
    jobs.bury(clock.now())
    db.session.refresh(run)
    assert (run.status, run.planned, run.sent, run.skipped) == (RunStatus.DONE, 9, sent, 9 - sent)
    counts = make.delivery_counts(run.id)
    assert (counts[DeliveryStatus.SENT], counts[DeliveryStatus.SKIPPED]) == (sent, 9 - sent)
    mailing = db.session.get_one(Mailing, mailing_id)
    assert (mailing.deleted_at is not None, mailing.next_run_at) == (True, None)


def test_starting_by_hand_counts_for_no_occurrence(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    mailing = service.create(user, draft(user, period=Period.DAILY))
    delivery.cancel(service.start_now(mailing))
    db.session.commit()
    start = mailing.start_at
    monkeypatch.setattr(clock, "now", lambda: start)
    assert len(dispatch.dispatch_due("golub@golub.test") or []) == 1
    runs = db.session.scalars(select(Run).order_by(Run.scheduled_for)).all()
    assert [run.missed for run in runs] == [None, None]
    assert runs[1].scheduled_for == start


class TestAfterAPause:
    """A daily mailing, paused for two days and a half hour beyond its third moment."""

    @pytest.fixture
    def paused(self, user: User, monkeypatch: pytest.MonkeyPatch) -> Callable[[Misfire], Mailing]:
        def pause(misfire: Misfire) -> Mailing:
            mailing = service.create(user, draft(user, period=Period.DAILY))
            mailing.misfire = misfire
            service.pause(mailing)
            db.session.commit()
            resumed_at = mailing.start_at + 2 * DAY + HOUR / 2
            monkeypatch.setattr(clock, "now", lambda: resumed_at)
            assert dispatch.dispatch_due("golub@golub.test") is None
            service.resume(mailing)
            db.session.commit()
            return mailing

        return pause

    def reasons(self, mailing: Mailing) -> list[Missed | None]:
        dispatch.dispatch_due("golub@golub.test")
        db.session.commit()
        runs = db.session.scalars(select(Run).order_by(Run.scheduled_for)).all()
        assert [run.scheduled_for for run in runs] == [mailing.start_at + day * DAY for day in range(3)]
        assert mailing.next_run_at == mailing.start_at + 3 * DAY
        return [run.missed for run in runs]

    def test_what_was_missed_collapses_into_one_late_run(self, paused: Callable[[Misfire], Mailing]) -> None:
        assert self.reasons(mailing := paused(Misfire.LATE)) == [Missed.COLLAPSED, Missed.COLLAPSED, None]
        assert mailing.status is MailingStatus.RUNNING

    def test_one_that_is_never_late_waits_for_its_next(self, paused: Callable[[Misfire], Mailing]) -> None:
        assert self.reasons(mailing := paused(Misfire.SKIP)) == [Missed.RULE] * 3
        assert mailing.status is MailingStatus.CREATED

    def test_one_that_asks_asks(self, paused: Callable[[Misfire], Mailing]) -> None:
        assert self.reasons(paused(Misfire.ASK)) == [Missed.COLLAPSED, Missed.COLLAPSED, Missed.ASKED]


class TestMissed:
    """What an owner does about an occurrence that was missed."""

    @pytest.fixture
    def mailing(self, user: User) -> Mailing:
        make.client(user)
        return make.mailing(user, period=Period.DAILY)

    @pytest.mark.parametrize("why", sorted(service.SENDABLE))
    def test_it_can_be_sent_after_all_as_things_are_now(self, mailing: Mailing, why: Missed) -> None:
        run = make.run(mailing, missed=why, subject="", html="", text="", sender="")
        moment, planned = run.scheduled_for, mailing.next_run_at
        mailing.message.subject = "News of today"
        service.send_missed(mailing, run)
        delivery.plan(run, service.audience_of(mailing))
        db.session.commit()
        db.session.refresh(run)
        assert (run.missed, run.subject, run.planned) == (None, "News of today", 1)
        assert (run.scheduled_for, mailing.next_run_at) == (moment, planned)
        assert mailing.status is MailingStatus.RUNNING

    def test_it_is_held_when_its_owner_was_blocked_a_moment_ago(self, mailing: Mailing) -> None:
        run = make.run(mailing, missed=Missed.ASKED)
        assert not mailing.owner.is_stopped  # as this request saw them
        db.session.execute(
            update(User).values(blocked_at=clock.now()), execution_options={"synchronize_session": False}
        )
        service.send_missed(mailing, run)
        assert run.held_at is not None

    @pytest.mark.parametrize("why", sorted(set(Missed) - service.SENDABLE))
    def test_what_a_later_one_stands_for_or_came_after_the_end_can_not(self, mailing: Mailing, why: Missed) -> None:
        run = make.run(mailing, missed=why)
        with pytest.raises(RuleBroken, match="later one stands"):
            service.send_missed(mailing, run)

    def test_it_is_sent_once(self, mailing: Mailing) -> None:
        run = make.run(mailing, missed=Missed.ASKED)
        service.send_missed(mailing, run)
        with pytest.raises(RuleBroken, match="not finished"):
            service.send_missed(mailing, run)
        delivery.cancel(run)
        db.session.commit()
        with pytest.raises(RuleBroken, match="not missed"):
            service.send_missed(mailing, run)

    def test_not_while_another_run_is_sent(self, mailing: Mailing) -> None:
        run = make.run(mailing, missed=Missed.ASKED)
        service.start_now(mailing)
        with pytest.raises(RuleBroken, match="not finished"):
            service.send_missed(mailing, run)

    @pytest.mark.parametrize(
        ("state", "words"),
        [
            ({"paused_at": clock.now()}, "paused"),
            ({"disabled_at": clock.now()}, "manager"),
            ({"start_at": clock.now() - 2 * DAY, "end_at": clock.now() - DAY}, "over"),
        ],
    )
    def test_not_where_nothing_may_be_started(self, mailing: Mailing, state: dict[str, Any], words: str) -> None:
        run = make.run(mailing, missed=Missed.ASKED)
        for name, value in state.items():
            setattr(mailing, name, value)
        with pytest.raises(RuleBroken, match=words):
            service.send_missed(mailing, run)
        assert run.missed is Missed.ASKED

    def test_declining_ends_the_question(self, mailing: Mailing) -> None:
        run = make.run(mailing, missed=Missed.ASKED)
        service.decline(mailing, run)
        assert (run.missed, run.status) == (Missed.DECLINED, RunStatus.DONE)
        with pytest.raises(RuleBroken, match="nothing to decide"):
            service.decline(mailing, run)

    @pytest.mark.parametrize("why", sorted(set(Missed) - {Missed.ASKED}))
    def test_nothing_else_can_be_declined(self, mailing: Mailing, why: Missed) -> None:
        with pytest.raises(RuleBroken, match="nothing to decide"):
            service.decline(mailing, make.run(mailing, missed=why))
