"""One's data, closing the account, coming back, and being forgotten."""

import csv
import io
import json
import zipfile
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from app import clock
from app.account import jobs, service
from app.auth import service as auth
from app.auth.models import Action, AuditEntry, Letter, User
from app.auth.roles import Role
from app.clients.models import Client, Segment, Tag
from app.delivery.models import Attempt, Delivery, Run
from app.extensions import db
from app.mailings import jobs as mailing_jobs
from app.mailings import service as mailings
from app.mailings.models import Mailing
from app.messages.models import Message
from tests import make
from tests.auth.links import link_in
from tests.auth.test_login import is_let_in, log_in
from tests.make import PASSWORD


def files_of(client):
    answer = client.post("/account/export")
    assert answer.status_code == 200
    assert answer.mimetype == "application/zip"
    assert "attachment" in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.fixture
def sent(app, owner, smtp, run_jobs):
    """A mailing of the owner's that went to two clients."""
    with app.app_context():
        make.client(
            owner, "anna@example.test", first_name="=cmd|' /C calc'!A0", comment="+7 912", attributes={"city": "Пермь"}
        )
        make.client(owner, "boris@example.test", tags=[Tag(owner_id=owner.id, name="VIP")])
        mailing = make.mailing(owner)
        mailings.start_now(mailing)
        db.session.commit()
        mailing_jobs.prepare_runs()
    run_jobs()
    assert len(smtp.letters) == 2


# ── Export ──


def test_all_of_ones_data_comes_in_one_file(sent, owner, owner_client):
    files = files_of(owner_client)
    account, *more = json.loads(files["account.json"])
    assert (account["email"], more) == (owner.email, [])
    anna, boris = rows(files["clients.csv"])
    assert (anna["email"], json.loads(anna["attributes"])) == ("anna@example.test", {"city": "Пермь"})
    assert boris["tags"] == "VIP"
    assert [len(rows(files[name])) for name in ("runs.csv", "deliveries.csv", "attempts.csv")] == [1, 2, 2]
    assert {row["status"] for row in rows(files["deliveries.csv"])} == {"sent"}
    assert len(json.loads(files["mailings.json"])) == len(json.loads(files["messages.json"])) == 1
    assert json.loads(files["segments.json"]) == []
    assert "logged_in" in files["activity.csv"]


def test_no_cell_is_a_formula(sent, owner_client):
    anna, _boris = rows(files_of(owner_client)["clients.csv"])
    assert anna["first_name"] == "'=cmd|' /C calc'!A0"
    assert anna["comment"] == "'+7 912"


def test_no_secret_and_nothing_of_anybody_else_is_in_it(app, sent, owner, owner_client, stranger):
    with app.app_context():
        make.mailing(stranger, name="Not yours")
        make.client(stranger, "theirs@example.test")
        db.session.commit()
        secret = db.session.get(User, owner.id).password_hash
    everything = "".join(files_of(owner_client).values())
    for not_there in (
        secret,
        "argon2",
        "password_hash",
        "key_hash",
        "Not yours",
        "theirs@example.test",
        stranger.email,
    ):
        assert not_there not in everything


def test_the_staffs_addresses_are_not_in_it(app, owner, owner_client, manager_client):
    elsewhere = {"REMOTE_ADDR": "203.0.113.9"}
    manager_client.post(f"/manager/users/{owner.id}/block", data={"reason": "why"}, environ_overrides=elsewhere)
    manager_client.post(f"/manager/users/{owner.id}/unblock", environ_overrides=elsewhere)
    log_in(owner_client, owner.email)
    activity = files_of(owner_client)["activity.csv"]
    assert "blocked" in activity
    assert "203.0.113.9" not in activity
    assert "203.0.113.9" not in owner_client.get("/account/activity").text


def test_an_empty_account_has_an_export_too_and_it_is_on_record(app, editor, editor_client):
    assert rows(files_of(editor_client)["clients.csv"]) == []
    with app.app_context():
        assert db.session.scalar(select(AuditEntry.actor_id).where(AuditEntry.action == Action.EXPORTED)) == editor.id


# ── Closing and coming back ──


def close(client, password=PASSWORD, **more):
    return client.post("/account/close", data={"password": password} | more)


def test_closing_stops_everything_and_a_letter_opens_it_again(app, owner, owner_client, smtp, run_jobs):
    with app.app_context():
        make.clients(owner, 3)
        run = mailings.start_now(make.mailing(owner))
        db.session.commit()
        mailing_jobs.prepare_runs()
        run_id = run.id
    assert close(owner_client).location == "/auth/login"
    assert not is_let_in(owner_client)
    refused = log_in(owner_client, owner.email)
    assert "closed" in refused.text
    assert 'action="/auth/resend"' in refused.text
    run_jobs()
    assert [letter.recipients for letter in smtp.letters] == [[owner.email]], "and no letter to a client"
    link = link_in(smtp, owner.email)
    assert app.test_client().get(link).status_code == 200
    assert app.test_client().post(link).location == "/auth/login"
    run_jobs()
    with app.app_context():
        assert db.session.get(Run, run_id).sent == 3, "it went on where it was"
    assert log_in(owner_client, owner.email).status_code == 303
    assert app.test_client().post(link).status_code == 410


def test_what_is_being_erased_is_not_restored(app, owner, owner_client, smtp, run_jobs):
    close(owner_client)
    run_jobs()
    link = link_in(smtp, owner.email)
    let_days_pass(app, owner)
    assert app.test_client().get(link).status_code == 410
    assert app.test_client().post(link).status_code == 410
    with app.app_context():
        assert db.session.get(User, owner.id).closed_at


def test_the_letter_can_be_asked_for_again(app, client, owner, owner_client, *, smtp, run_jobs):
    close(owner_client)
    client.post("/auth/resend", data={"email": owner.email})
    run_jobs()
    assert [letter.message["Subject"] for letter in smtp.to(owner.email)] == ["Your account is closed"] * 2


def test_closing_asks_for_the_password(app, owner_client):
    assert close(owner_client, "a wrong password").status_code == 422
    assert close(owner_client, "").status_code == 422
    assert is_let_in(owner_client)


def test_the_last_administrator_stays(app, admin, admin_client):
    assert close(admin_client).status_code == 409
    assert is_let_in(admin_client)
    with app.app_context():
        make.user("other@golub.test", Role.ADMIN)
        db.session.commit()
    assert close(admin_client).status_code == 303


def test_a_closed_account_starts_no_mailing(app, owner, owner_client, run_jobs):
    with app.app_context():
        make.client(owner)
        make.mailing(owner, start_at=clock.now() - timedelta(minutes=1))
        db.session.commit()
    close(owner_client)
    with app.app_context():
        mailing_jobs.dispatch_due()
        assert db.session.scalar(select(func.count(Run.id))) == 0


# ── Being forgotten ──


def let_days_pass(app, owner):
    with app.app_context():
        db.session.get(User, owner.id).closed_at = clock.now() - auth.ERASED_AFTER - timedelta(seconds=1)
        db.session.commit()


def erase(app):
    with app.app_context():
        jobs.erase_closed_accounts()


def test_after_seven_days_nothing_is_left(app, sent, owner, owner_client, *, stranger, monkeypatch):
    monkeypatch.setattr(service, "ROWS_AT_ONCE", 1)
    with app.app_context():
        make.mailing(stranger)
        make.client(stranger)
        db.session.add(Segment(owner_id=owner.id, name="All", conditions={}))
        db.session.commit()
    close(owner_client)
    erase(app)
    with app.app_context():
        assert db.session.get(User, owner.id), "not before its days are over"
    let_days_pass(app, owner)
    erase(app)
    erase(app)
    with app.app_context():
        assert db.session.get(User, owner.id) is None
        for table in (Client, Message, Mailing, Segment, Tag):
            assert set(db.session.scalars(select(table.owner_id))) <= {stranger.id}
        for table in (Run, Delivery, Attempt, Letter):
            assert db.session.scalar(select(func.count()).select_from(table)) == 0
        assert db.session.scalar(select(func.count()).select_from(Mailing)) == 1
        last = db.session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
        assert (last.action, last.owner_id) == (Action.ACCOUNT_ERASED, owner.id)


def test_nobody_inherits_the_number_of_somebody_who_was_erased(app, owner, owner_client):
    close(owner_client)
    let_days_pass(app, owner)
    erase(app)
    with app.app_context():
        assert make.user("next@golub.test").id > owner.id
        db.session.rollback()


def test_whoever_sends_a_shared_message_keeps_a_copy(app, owner, owner_client, stranger):
    with app.app_context():
        shared = make.message(owner, subject="For all", is_shared=True)
        for name in ("first", "second"):
            make.mailing(stranger, name=name, message=shared)
        db.session.commit()
    close(owner_client)
    let_days_pass(app, owner)
    erase(app)
    with app.app_context():
        [copy] = db.session.scalars(select(Message)).all()
        assert (copy.owner_id, copy.subject, copy.is_shared) == (stranger.id, "For all", False)
        assert {mailing.message_id for mailing in db.session.scalars(select(Mailing))} == {copy.id}


def test_what_a_worker_holds_is_waited_for(app, sent, owner, owner_client):
    close(owner_client)
    let_days_pass(app, owner)
    with app.app_context():
        run_id = db.session.scalar(select(Run.id))
        db.session.execute(update(Run).values(pending=Run.pending - 1, sending=1))
        db.session.commit()
    erase(app)
    with app.app_context():
        assert db.session.get(Run, run_id)


def test_an_open_account_is_never_erased(app, owner):
    with app.app_context():
        assert not service.erase_some(owner.id)
        assert not service.erase_some(10**6)
    erase(app)
    with app.app_context():
        assert db.session.get(User, owner.id)
