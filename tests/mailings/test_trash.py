"""Mailings and messages in their lists: many at once, deleted, and brought back."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, update

from app import clock
from app.auth.models import User
from app.clients import service as clients
from app.clients.models import Client
from app.clients.queries import owned_by as clients_of
from app.delivery import service as delivery
from app.delivery.models import Delivery, DeliveryStatus, Run, RunStatus, SkipReason
from app.extensions import db
from app.mailings import jobs, service, trash
from app.mailings.models import Mailing, MailingStatus
from app.messages.models import Message
from tests import make
from tests.mailings import ledger
from tests.smtp import RecordingSmtp

HTMX = {"HX-Request": "true"}
AT = re.compile(r'name="at" value="([^"]+)"')


@pytest.fixture
def running(app: Flask, owner: User) -> int:
    """A mailing whose run to three clients is prepared; its id."""
    with app.app_context():
        user = db.session.get_one(User, owner.id)
        make.clients(user, 3)
        mailing = make.mailing(user, name="News")
        service.start_now(mailing)
        db.session.commit()
        jobs.prepare_runs()
        return int(mailing.id)


def press_delete(browser: FlaskClient, ids: list[int], url: str = "/mailings/bulk") -> str:
    browser.post(url, data={"action": "delete", "ids": ids, "sure": "1"})
    found = AT.search(browser.get(url.replace("bulk", "")).text)
    assert found
    return found[1]


def test_a_deleted_mailing_sends_nothing_and_goes_on_when_it_is_back(
    app: Flask, owner_client: FlaskClient, running: int, run_jobs: Callable[[], None], smtp: RecordingSmtp
) -> None:
    question = owner_client.post("/mailings/bulk", data={"action": "delete", "ids": [running]}).text
    assert "3 messages that wait are not sent any more." in question
    with app.app_context():
        before = db.session.get_one(Mailing, running).next_run_at
    at = press_delete(owner_client, [running])
    run_jobs()
    assert len(smtp.letters) == 0
    assert owner_client.get(f"/mailings/{running}").status_code == 404
    text = owner_client.post("/mailings/undo", data={"at": at}, follow_redirects=True).text
    assert "1 mailing is back, and goes on with what it had planned." in text
    run_jobs()
    assert len(smtp.letters) == 3
    with app.app_context():
        run = db.session.scalars(select(Run)).one()
        assert (run.status, run.sent, run.skipped) == (RunStatus.DONE, 3, 0)
        assert db.session.get_one(Mailing, running).next_run_at == before


@pytest.mark.parametrize("stopped", ["paused_at", "disabled_at", "blocked_at"])
def test_what_was_stopped_before_stays_stopped(app: Flask, owner: User, running: int, stopped: str) -> None:
    with app.app_context():
        mailing = db.session.get_one(Mailing, running)
        setattr(mailing.owner if stopped == "blocked_at" else mailing, stopped, clock.now())
        deleted = service.delete(mailing)
        db.session.commit()
        trash.restore(db.session.get_one(User, owner.id), deleted.moment)
        db.session.commit()
        assert db.session.scalars(select(Run.held_at)).one() is not None


def test_unblocking_frees_nothing_of_a_deleted_mailing(app: Flask, owner: User, running: int) -> None:
    with app.app_context():
        service.delete(db.session.get_one(Mailing, running))
        service.hold_runs_of(db.session.get_one(User, owner.id))
        db.session.commit()
        assert db.session.scalars(select(Run.held_at)).one() is not None


def test_what_can_not_come_back_is_cancelled(app: Flask, owner_client: FlaskClient, running: int) -> None:
    at = press_delete(owner_client, [running])
    with app.app_context():
        jobs.bury_deleted()
        assert db.session.scalars(select(Run.pending)).one() == 3, "not yet"
        mailing = db.session.get_one(Mailing, running)
        mailing.deleted_at = datetime.fromisoformat(at) - timedelta(hours=1)
        db.session.commit()
        jobs.bury_deleted()
        run = db.session.scalars(select(Run)).one()
        assert (run.status, run.skipped) == (RunStatus.DONE, 3)
        assert set(db.session.scalars(select(Delivery.skip_reason))) == {SkipReason.CANCELLED}
        assert db.session.get_one(Mailing, running).next_run_at is None
    assert owner_client.post("/mailings/undo", data={"at": at}, follow_redirects=True).status_code == 200
    assert owner_client.get(f"/mailings/{running}").status_code == 404


def test_a_letter_to_somebody_deleted_is_skipped_and_stays_so(
    app: Flask, owner: User, running: int, run_jobs: Callable[[], None], smtp: RecordingSmtp
) -> None:
    with app.app_context():
        user = db.session.get_one(User, owner.id)
        deleted = clients.delete_clients(user, clients_of(user).where(Client.email == "client1@example.test"))
        db.session.commit()
        jobs.announce_all()
    run_jobs()
    assert sorted(letter.recipients[0] for letter in smtp.letters) == ["client0@example.test", "client2@example.test"]
    with app.app_context():
        skipped = db.session.scalars(select(Delivery).where(Delivery.status == DeliveryStatus.SKIPPED)).one()
        assert (skipped.email, skipped.skip_reason) == ("client1@example.test", SkipReason.DELETED)
        assert clients.restore_clients(db.session.get_one(User, owner.id), deleted.moment) == (1, 0)
        db.session.commit()
        db.session.refresh(skipped)
        assert (skipped.status, skipped.client_id is not None) == (DeliveryStatus.SKIPPED, True)
        run = db.session.scalars(select(Run)).one()
        assert run.planned == run.sent + run.skipped == 3


def test_nobody_who_is_deleted_is_sent_to_again(app: Flask, owner: User, running: int) -> None:
    with app.app_context():
        user = db.session.get_one(User, owner.id)
        run = db.session.scalars(select(Run)).one()
        everything = select(Delivery).where(Delivery.run_id == run.id)
        for one in db.session.scalars(everything):
            one.status, one.finished_at = DeliveryStatus.FAILED, clock.now()
        run.pending, run.failed, run.status, run.finished_at = 0, 3, RunStatus.DONE, clock.now()
        db.session.commit()
        clients.delete_clients(user, clients_of(user).where(Client.email == "client1@example.test"))
        assert delivery.resend(run.id, DeliveryStatus.FAILED) == 2
        db.session.commit()


class TestMailingsList:
    def test_many_are_paused_and_go_on(self, app: Flask, owner: User, owner_client: FlaskClient) -> None:
        with app.app_context():
            user = db.session.get_one(User, owner.id)
            ids = [make.mailing(user, name=name).id for name in ("One", "Two", "Three")]
            db.session.commit()
        owner_client.post("/mailings/bulk?q=t", data={"action": "pause", "all": "1"})
        with app.app_context():
            paused = db.session.scalars(select(Mailing.id).where(Mailing.status == MailingStatus.PAUSED)).all()
            assert sorted(paused) == ids[1:]
        assert "2 mailings are paused." in owner_client.get("/mailings/").text
        owner_client.post("/mailings/bulk", data={"action": "resume", "ids": ids})
        assert "2 mailings go on." in owner_client.get("/mailings/").text
        with app.app_context():
            assert db.session.scalars(select(Mailing.id).where(Mailing.paused_at.is_not(None))).all() == []

    def test_it_sorts_by_name_and_by_the_next_run(self, app: Flask, owner: User, owner_client: FlaskClient) -> None:
        now = clock.now()
        with app.app_context():
            user = db.session.get_one(User, owner.id)
            for name, next_run_at in (("B", None), ("C", now + timedelta(days=1)), ("A", now + timedelta(days=2))):
                make.mailing(user, name=name, next_run_at=next_run_at)
            db.session.commit()
        for sort, expected in {"": "ACB", "name": "ABC", "-name": "CBA", "next": "CAB", "-next": "BAC"}.items():
            page = owner_client.get(f"/mailings/?sort={sort}").text
            assert "".join(re.findall(r'data-row-link href="[^"]+">(\w)<', page)) == expected, sort

    def test_moments_that_are_not_known_are_paged_over(
        self, app: Flask, owner: User, owner_client: FlaskClient
    ) -> None:
        with app.app_context():
            user = db.session.get_one(User, owner.id)
            message = make.message(user)
            for n in range(110):
                at = clock.now() + timedelta(minutes=n) if n % 2 else None
                make.mailing(user, message=message, next_run_at=at)
            db.session.commit()
        for sort in ("next", "-next"):
            url: str | None = f"/mailings/?sort={sort}"
            seen: list[str] = []
            while url:
                text = owner_client.get(url, headers=HTMX).text
                seen += re.findall(r'data-row="(\d+)"', text)
                more = re.search(r'data-pager.*?hx-get="([^"]+)"', text, re.DOTALL)
                url = more[1].replace("&amp;", "&") if more else None
            assert len(seen) == len(set(seen)) == 110

    def test_nothing_of_others_is_changed(
        self, app: Flask, running: int, stranger_client: FlaskClient, owner_client: FlaskClient
    ) -> None:
        for action in ("delete", "pause"):
            for data in ({"ids": str(running)}, {"all": "1"}):
                stranger_client.post("/mailings/bulk", data={"action": action, "sure": "1"} | data)
        at = press_delete(owner_client, [running])
        stranger_client.post("/mailings/undo", data={"at": at})
        with app.app_context():
            mailing = db.session.get_one(Mailing, running)
            assert (mailing.paused_at, mailing.deleted_at is not None) == (None, True)


class TestMessagesList:
    def test_many_are_deleted_and_come_back_shared(self, app: Flask, owner: User, owner_client: FlaskClient) -> None:
        with app.app_context():
            user = db.session.get_one(User, owner.id)
            made = [make.message(user, subject=subject, is_shared=True) for subject in ("One", "Two", "Three")]
            make.mailing(user, message=made[0])
            db.session.commit()
            ids, changed = [message.id for message in made], [message.updated_at for message in made]
        question = owner_client.post("/messages/bulk", data={"action": "delete", "ids": ids}).text
        assert "Delete 3 messages?" in question
        assert "1 mailing uses them, and keeps sending what it has." in question
        at = press_delete(owner_client, ids, "/messages/bulk")
        assert "No messages yet" in owner_client.get("/messages/").text
        text = owner_client.post("/messages/undo", data={"at": at}, follow_redirects=True).text
        assert "3 messages are back." in text
        with app.app_context():
            messages = db.session.scalars(select(Message).where(Message.id.in_(ids)).order_by(Message.id)).all()
            assert [message.is_shared for message in messages] == [True] * 3
            assert [message.updated_at for message in messages] == changed

    def test_who_takes_away_for_good_gives_way_to_who_sends(self, app: Flask, owner: User) -> None:
        """Both would else wait in a circle, with a worker's answers in it."""
        with app.app_context():
            if db.engine.dialect.name == "sqlite":
                return  # has one writer at a time
            user = db.session.get_one(User, owner.id)
            client = make.client(user, deleted_at=clock.now() - timedelta(hours=1))
            run = ledger.run(make.mailing(user), DeliveryStatus.SENDING)
            db.session.execute(update(Delivery).where(Delivery.run_id == run.id).values(client_id=client.id))
            db.session.commit()
            with db.engine.connect() as worker:
                worker.execute(select(Delivery.id).with_for_update())
                jobs.bury_deleted()
                assert db.session.scalar(select(func.count()).select_from(Client)) == 1
            jobs.bury_deleted()
            assert db.session.scalar(select(func.count()).select_from(Client)) == 0

    def test_what_no_mailing_sends_is_gone_for_good_later(self, app: Flask, owner: User) -> None:
        with app.app_context():
            user, old = db.session.get_one(User, owner.id), clock.now() - timedelta(hours=1)
            make.message(user, subject="Unused", deleted_at=old)
            make.mailing(user, message=make.message(user, subject="Used", deleted_at=old))
            make.message(user, subject="Fresh", deleted_at=clock.now())
            db.session.commit()
            jobs.bury_deleted()
            assert sorted(db.session.scalars(select(Message.subject))) == ["Fresh", "Used"]

    def test_others_messages_of_the_library_are_left_alone(
        self, app: Flask, owner: User, stranger_client: FlaskClient
    ) -> None:
        with app.app_context():
            message = make.message(db.session.get_one(User, owner.id), is_shared=True)
            db.session.commit()
            message_id = message.id
        for data in ({"ids": str(message_id)}, {"all": "1"}):
            stranger_client.post("/messages/bulk?shared=1", data={"action": "delete", "sure": "1"} | data)
        with app.app_context():
            assert db.session.get_one(Message, message_id).deleted_at is None
