"""Log-in, log-out, and what ends a session."""

import pytest
from flask import url_for

from app import clock
from app.auth import passwords
from app.auth.models import User
from app.extensions import db
from tests import make
from tests.auth.links import without_tokens

HTMX = {"HX-Request": "true"}


def log_in(client, email, password=make.PASSWORD, to="/auth/login", **more):
    return client.post(to, data={"email": email, "password": password} | more)


def is_let_in(client):
    """The log-in page sends away whoever is in already."""
    return client.get("/auth/login").status_code == 303


def change(app, user, **fields):
    with app.app_context():
        db.session.execute(User.__table__.update().where(User.id == user.id).values(**fields))
        db.session.commit()


def test_the_page_has_the_form(client):
    assert 'name="password"' in client.get("/auth/login").text


def test_whoever_knows_the_password_gets_in(client, owner):
    assert not is_let_in(client)
    assert log_in(client, owner.email.upper()).status_code == 303
    assert is_let_in(client)


@pytest.mark.parametrize(
    ("person", "home"),
    [
        ("owner", "mailings.overview"),
        ("admin", "mailings.overview"),
        ("manager", "manager.dashboard"),
        ("editor", "blog.home"),
    ],
)
def test_everybody_begins_where_they_may_be(app, client, request, person, home):
    answer = log_in(client, request.getfixturevalue(person).email)
    with app.test_request_context():
        assert answer.location == url_for(home)
    assert client.get(answer.location).status_code == 200


def test_an_unknown_address_and_a_wrong_password_get_the_same_answer(client, owner):
    def answer_to(email):
        answer = log_in(client, email, "a wrong password")
        return answer.status_code, without_tokens(answer.text).replace(email, "the address")

    assert answer_to(owner.email) == answer_to("nobody@example.test")
    assert answer_to(owner.email)[0] == 422
    assert "The e-mail address or the password is wrong." in answer_to(owner.email)[1]


def test_an_unknown_address_costs_as_much_as_a_known_one(client, owner, monkeypatch):
    verified = []
    monkeypatch.setattr(passwords, "verify_password", lambda *given: bool(verified.append(given)))
    for email in (owner.email, "nobody@example.test", "no address"):
        log_in(client, email)
    assert len(verified) == 3


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_bad_input_is_422_with_the_form(client, headers):
    for data in ({}, {"email": "", "password": "x"}, {"email": "a@b.test", "password": "x" * 129}):
        answer = client.post("/auth/login", data=data, headers=headers)
        assert answer.status_code == 422
        assert 'name="password"' in answer.text
        assert ("<html" in answer.text) is not bool(headers)


def test_for_htmx_a_log_in_is_a_redirect_in_a_header(client, owner):
    data = {"email": owner.email, "password": make.PASSWORD}
    answer = client.post("/auth/login?next=/clients/", data=data, headers=HTMX)
    assert answer.status_code == 204
    assert answer.headers["HX-Redirect"] == "/clients/"


def test_after_the_log_in_the_page_comes_that_was_wanted(client, owner):
    assert 'action="/auth/login?next=/clients/?q%3Dx"' in client.get("/auth/login?next=/clients/?q%3Dx").text
    assert log_in(client, owner.email, to="/auth/login?next=/clients/?q%3Dx").location == "/clients/?q=x"


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:1"])
def test_next_never_leads_to_another_host(client, owner, elsewhere):
    assert 'hx-post="/auth/login"' in client.get("/auth/login", query_string={"next": elsewhere}).text
    answer = client.post(
        "/auth/login", query_string={"next": elsewhere}, data={"email": owner.email, "password": make.PASSWORD}
    )
    assert answer.status_code == 303
    assert answer.location.startswith("/")
    assert "evil" not in answer.location


def test_only_a_right_password_hears_that_the_address_waits_for_confirmation(app, client, owner, smtp, run_jobs):
    change(app, owner, verified_at=None)
    assert "Confirm your e-mail address" not in log_in(client, owner.email, "a wrong password").text
    answer = log_in(client, owner.email)
    assert answer.status_code == 422
    assert "Confirm your e-mail address" in answer.text
    assert 'action="/auth/resend"' in answer.text
    assert not is_let_in(client)


def test_only_a_right_password_hears_that_the_account_is_blocked(app, client, owner):
    change(app, owner, blocked_at=clock.now())
    assert "blocked" not in log_in(client, owner.email, "a wrong password").text
    answer = log_in(client, owner.email)
    assert answer.status_code == 422
    assert "blocked" in answer.text
    assert not is_let_in(client)


def test_the_session_is_new_but_for_the_language(client, owner):
    with client.session_transaction() as session:
        session["planted"] = "by somebody"
        session["locale"] = "ru"
    log_in(client, owner.email)
    with client.session_transaction() as session:
        assert "planted" not in session
        assert session["locale"] == "ru"


def test_a_device_is_remembered_for_30_days_or_for_the_session(client, owner):
    log_in(client, owner.email)
    assert client.get_cookie("session").expires is None
    log_in(client, owner.email, remember="y")
    days = (client.get_cookie("session").expires - clock.now()).total_seconds() / 86400
    assert days == pytest.approx(30, abs=0.01)


@pytest.mark.parametrize("fields", [{"blocked_at": clock.now()}, {"verified_at": None}])
def test_a_block_ends_the_session(app, owner, owner_client, fields):
    assert is_let_in(owner_client)
    change(app, owner, **fields)
    assert not is_let_in(owner_client)


@pytest.mark.parametrize("forged", ["", "x", ":", "1", "1:", "²:x"])
def test_a_session_that_is_none_lets_nobody_in(client, owner, forged):
    with client.session_transaction() as session:
        session["_user_id"] = forged
    assert not is_let_in(client)


def test_a_weak_hash_is_made_anew(app, client, owner, monkeypatch):
    monkeypatch.setattr(passwords, "needs_rehash", lambda _hash: True)
    log_in(client, owner.email)
    with app.app_context():
        assert db.session.get(User, owner.id).password_hash != owner.password_hash
    assert is_let_in(client)


def test_log_out_ends_the_session_and_takes_post_only(owner_client):
    assert owner_client.get("/auth/logout").status_code == 405
    assert is_let_in(owner_client)
    assert owner_client.post("/auth/logout").status_code == 303
    assert not is_let_in(owner_client)


@pytest.mark.parametrize("path", ["login", "register", "resend", "logout", "verify/x"])
def test_a_post_without_a_csrf_token_is_refused(app, client, monkeypatch, path):
    monkeypatch.setitem(app.config, "WTF_CSRF_ENABLED", True)
    assert client.post(f"/auth/{path}", data={"email": "a@b.test"}).status_code == 400
