"""Log-ins are rows: seen, ended, and asked for in the query that loads the user."""

from datetime import timedelta

import pytest
from sqlalchemy import event, select

from app import clock
from app.auth import logins
from app.auth.models import FORGOTTEN_AFTER, REMEMBERED_FOR, Login
from app.extensions import db
from tests.auth.test_login import change, is_let_in, log_in

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"


def rows(app, user):
    with app.app_context():
        return db.session.scalars(select(Login).where(Login.user_id == user.id).order_by(Login.id)).all()


def later(monkeypatch, **by):
    moment = clock.now() + timedelta(**by)
    monkeypatch.setattr(clock, "now", lambda: moment)


def test_each_log_in_has_a_key_of_its_own_and_the_database_keeps_none(app, client, owner):
    keys = set()
    for _time in range(2):
        log_in(client, owner.email)
        with client.session_transaction() as session:
            keys.add(session["_user_id"])
    assert len(keys) == 2
    assert not keys & {row.key_hash for row in rows(app, owner)}
    assert len(rows(app, owner)) == 1, "a second log-in in one browser ends the first"


def test_device_and_address_are_noted(app, owner):
    client = app.test_client()
    client.post(
        "/auth/login",
        data={"email": owner.email, "password": "correct horse battery staple"},
        headers={"User-Agent": FIREFOX},
        environ_overrides={"REMOTE_ADDR": "2001:db8::7"},
    )
    [row] = rows(app, owner)
    assert (row.device, row.address) == (FIREFOX, "2001:db8::7")
    assert "Firefox on Linux" in client.get("/account/security").text


def test_a_monstrous_browser_name_fits(app, client, owner):
    headers = {"User-Agent": "x" * 5000}
    data = {"email": owner.email, "password": "correct horse battery staple"}
    assert client.post("/auth/login", data=data, headers=headers).status_code == 303
    assert len(rows(app, owner)[0].device) == 300


def test_user_and_log_in_are_loaded_by_one_query(app, owner_client):
    statements = []
    with app.app_context():
        engine = db.engine

    def note(_connection, _cursor, statement, *_rest):
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        owner_client.get("/blog/")
    finally:
        event.remove(engine, "before_cursor_execute", note)
    about_them = ("login", "FROM user", 'FROM "user"')
    assert len([statement for statement in statements if any(words in statement for words in about_them)]) == 1


def test_a_visit_is_noted_every_few_minutes(app, owner, owner_client, monkeypatch):
    before = rows(app, owner)[0].last_seen_at
    owner_client.get("/overview")
    assert rows(app, owner)[0].last_seen_at == before
    later(monkeypatch, minutes=6)
    owner_client.get("/overview", environ_overrides={"REMOTE_ADDR": "192.0.2.7"})
    row = rows(app, owner)[0]
    assert row.last_seen_at == clock.now()
    assert row.address == "192.0.2.7"
    assert row.good_until == clock.now() + FORGOTTEN_AFTER


@pytest.mark.parametrize(("remember", "lifetime"), [({}, FORGOTTEN_AFTER), ({"remember": "y"}, REMEMBERED_FOR)])
def test_a_log_in_ends_when_nobody_comes_back_in_time(app, client, owner, monkeypatch, *, remember, lifetime):
    log_in(client, owner.email, **remember)
    later(monkeypatch, seconds=lifetime.total_seconds() - 60)
    assert is_let_in(client)
    later(monkeypatch, seconds=lifetime.total_seconds() + 60)
    assert not is_let_in(client)
    with app.app_context():
        logins.forget_old()
        db.session.commit()
    assert rows(app, owner) == []


@pytest.mark.parametrize("fields", [{"blocked_at": clock.now()}, {"closed_at": clock.now()}, {"verified_at": None}])
def test_a_block_holds_from_the_next_request_on(app, owner, owner_client, fields):
    assert is_let_in(owner_client)
    change(app, owner, **fields)
    assert not is_let_in(owner_client)


def test_one_device_is_logged_out_from_another(app, owner, owner_client):
    phone = app.test_client()
    log_in(phone, owner.email)
    theirs = rows(app, owner)[1].id
    assert owner_client.post(f"/account/logins/{theirs}/end").status_code == 303
    assert not is_let_in(phone)
    assert is_let_in(owner_client)


def test_for_htmx_the_list_comes_back_without_the_device(app, owner, owner_client):
    log_in(app.test_client(), owner.email)
    theirs = rows(app, owner)[1].id
    answer = owner_client.post(f"/account/logins/{theirs}/end", headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert "<html" not in answer.text
    assert f"login-{theirs}" not in answer.text
    assert "This device is logged out." in answer.text


def test_all_others_or_all_can_be_ended(app, owner, owner_client):
    phone, tablet = app.test_client(), app.test_client()
    for browser in (phone, tablet):
        log_in(browser, owner.email)
    assert owner_client.post("/account/logins/end-others").status_code == 303
    assert [is_let_in(browser) for browser in (owner_client, phone, tablet)] == [True, False, False]
    log_in(phone, owner.email)
    assert owner_client.post("/account/logins/end-all").location == "/auth/login"
    assert [is_let_in(browser) for browser in (owner_client, phone)] == [False, False]


def test_ending_this_one_logs_out(app, owner, owner_client):
    [row] = rows(app, owner)
    assert owner_client.post(f"/account/logins/{row.id}/end").location == "/auth/login"
    assert not is_let_in(owner_client)


def test_nobody_ends_the_log_in_of_somebody_else(app, owner, owner_client, stranger_client):
    [row] = rows(app, owner)
    assert stranger_client.post(f"/account/logins/{row.id}/end").status_code == 404
    assert is_let_in(owner_client)


def test_logging_out_takes_the_row_away(app, owner, owner_client):
    owner_client.post("/auth/logout")
    assert rows(app, owner) == []


def test_a_stolen_cookie_is_worth_nothing_after_the_log_out(app, owner_client):
    thief = app.test_client()
    cookie = owner_client.get_cookie("session")
    thief.set_cookie("session", cookie.value)
    assert is_let_in(thief)
    owner_client.post("/auth/logout")
    assert not is_let_in(thief)
