"""The audit log: who, when, from where, on what, why; and for ever."""

import pytest
from flask_migrate import upgrade
from sqlalchemy import select, text
from sqlalchemy.exc import DatabaseError

from app import create_app
from app.auth import audit, service
from app.auth.models import Action, AuditEntry
from app.extensions import db
from tests import make
from tests.auth.test_login import change, log_in

FROM = {"REMOTE_ADDR": "192.0.2.7"}


def entries(app):
    with app.app_context():
        return db.session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()


def test_log_ins_and_failures_are_on_record(app, client, owner):
    data = {"email": owner.email, "password": "a wrong password"}
    agent = {"User-Agent": "Lynx/2.9"}
    client.post("/auth/login", data=data, environ_overrides=FROM, headers=agent)
    log_in(client, owner.email)
    client.post("/auth/logout")
    failed, logged_in, logged_out = entries(app)
    assert (failed.action, failed.owner_id, failed.actor_id) == (Action.LOGIN_FAILED, owner.id, None)
    assert (failed.origin, failed.device) == ("192.0.2.7", "Lynx/2.9")
    assert (logged_in.action, logged_in.actor_id) == (Action.LOGGED_IN, owner.id)
    assert (logged_out.action, logged_out.actor_id) == (Action.LOGGED_OUT, owner.id)


def test_a_failure_at_an_unknown_address_keeps_nothing_of_what_was_typed(app, client):
    log_in(client, "my-password@example.test", "a wrong password")
    [failed] = entries(app)
    assert (failed.owner_id, failed.subject, failed.why) == (None, "", "password")


def test_a_refused_log_in_says_why(app, client, owner):
    change(app, owner, verified_at=None)
    log_in(client, owner.email)
    assert [(entry.action, entry.why) for entry in entries(app)] == [(Action.LOGIN_FAILED, "NotVerified")]


def test_a_command_is_no_guest(app, runner, owner):
    assert runner.invoke(args=["set-role", owner.email, "editor"]).exit_code == 0
    [entry] = entries(app)
    assert (entry.action, entry.origin, entry.why) == (Action.ROLE_CHANGED, audit.COMMAND, "user → editor")
    assert (entry.owner_id, entry.subject) == (owner.id, f"user {owner.id}")


def test_deletions_are_on_record(app, owner, owner_client):
    with app.app_context():
        client, message, mailing = make.client(owner), make.message(owner), make.mailing(owner)
        db.session.commit()
        paths = {
            f"/clients/{client.id}/delete": f"client {client.id}",
            f"/messages/{message.id}/delete": f"message {message.id}",
            f"/mailings/{mailing.id}/delete": f"mailing {mailing.id}",
        }
    for path in paths:
        assert owner_client.post(path).status_code == 303
    deleted = [entry for entry in entries(app) if entry.action is Action.DELETED]
    assert [entry.subject for entry in deleted] == list(paths.values())
    assert {(entry.actor_id, entry.owner_id) for entry in deleted} == {(owner.id, owner.id)}


def test_an_entry_and_its_change_stand_or_fall_together(app, owner):
    with app.app_context():
        service.create_admin("boss@example.test", "ten letters and more")
        db.session.rollback()
    assert entries(app) == []


@pytest.mark.parametrize("statement", ["UPDATE audit_entry SET why = 'never'", "DELETE FROM audit_entry"])
def test_the_database_itself_refuses_to_change_an_entry(settings, new_database, statement):
    url = new_database(f"append_only_{statement[:6].lower()}")
    app = create_app(settings.model_copy(update={"database_url": url}))
    with app.app_context():
        upgrade()
        audit.record(Action.EXPORTED, owner_id=7)
        db.session.commit()
        with pytest.raises(DatabaseError, match="append-only"):
            db.session.execute(text(statement))
        db.session.rollback()
        assert db.session.scalar(select(AuditEntry.owner_id)) == 7
        db.session.rollback()
        db.engine.dispose()


def test_everybody_sees_what_concerns_them_and_no_more(app, client, owner, owner_client, stranger_client):
    log_in(client, owner.email, "a wrong password")
    page = owner_client.get("/account/activity").text
    assert page.count("Log-in failed") == 1
    assert page.count("Logged in") == 1
    assert "Log-in failed" not in stranger_client.get("/account/activity").text
