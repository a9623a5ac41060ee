"""Whoever tries too often waits: per network and per account, and nobody locks somebody else out."""

import pytest
from flask import session

from app import create_app
from app.auth import limits
from app.extensions import db, limiter
from tests.auth.test_login import log_in

HTMX = {"HX-Request": "true"}


def fail(client, email, address="192.0.2.1", headers=None):
    data = {"email": email, "password": "a wrong password"}
    return client.post("/auth/login", data=data, headers=headers, environ_overrides={"REMOTE_ADDR": address})


@pytest.mark.parametrize("email", ["owner@golub.test", "nobody@example.test"])
def test_ten_wrong_passwords_and_the_account_waits_whether_there_is_one_or_not(app, client, owner, email):
    for _try in range(10):
        assert fail(client, email).status_code == 422
    answer = fail(client, email)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 15 * 60 + 1
    assert "Too many tries" in answer.text
    assert fail(client, email, headers=HTMX).status_code == 429
    assert "<html" not in fail(client, email, headers=HTMX).text
    assert fail(client, "somebody.else@example.test").status_code == 422, "others may still try from here"


@pytest.mark.parametrize("path", ["/auth/login", "/auth/forgot", "/auth/resend", "/auth/register"])
def test_a_field_that_the_form_does_not_have_changes_nothing(client, owner, path):
    for number in range(11):
        data = {"email": owner.email, "password": "a wrong password", "new_email": f"a{number}@example.test"}
        answer = client.post(path, data=data, environ_overrides={"REMOTE_ADDR": f"192.0.2.{number % 2}"})
    assert answer.status_code == (422 if path == "/auth/login" else 429)
    if path == "/auth/login":
        assert [fail(client, owner.email).status_code for _try in range(10)][-1] == 429


def test_spellings_of_one_address_are_one_account(client, owner):
    for email in ["owner@golub.test", "OWNER@golub.test", " Owner@Golub.Test "] * 4:
        answer = fail(client, email)
    assert answer.status_code == 429


def test_whoever_tries_from_elsewhere_is_not_locked_out(client, owner):
    for _try in range(11):
        answer = fail(client, owner.email, "192.0.2.1")
    assert answer.status_code == 429
    data = {"email": owner.email, "password": "correct horse battery staple"}
    assert client.post("/auth/login", data=data, environ_overrides={"REMOTE_ADDR": "192.0.2.2"}).status_code == 303


def test_a_botnet_has_a_hundred_tries_an_hour(client, owner):
    answers = [fail(client, owner.email, f"192.0.2.{number % 250}").status_code for number in range(101)]
    assert answers == [422] * 100 + [429]


def test_one_network_has_thirty_tries_over_all_accounts(client):
    answers = [fail(client, f"nobody{number}@example.test").status_code for number in range(31)]
    assert answers == [422] * 30 + [429]


def test_an_ipv6_network_is_a_slash_64(client):
    answers = [fail(client, f"a{n}@example.test", f"2001:db8::{n + 1:x}").status_code for n in range(31)]
    assert answers[-1] == 429
    assert fail(client, "b@example.test", "2001:db8:0:1::1").status_code == 422


def test_right_passwords_are_not_counted(app, owner):
    for _time in range(12):
        assert log_in(app.test_client(), owner.email).status_code == 303


def test_tries_at_the_second_factor_are_counted_by_account_whatever_the_form_says(app, owner):
    with app.test_request_context("/auth/second-factor", method="POST", data={"email": "x@example.test"}):
        session[limits.SECOND_FACTOR] = [owner.id, "x", False, None, 0]
        assert limits.own_account() == f"user-{owner.id}"


def test_a_stolen_browser_cannot_guess_the_password(owner_client):
    sent = {"password": "a wrong password", "new": "quite another sentence", "email": "x@example.test"}
    answers = [owner_client.post("/account/password", data=sent).status_code for _try in range(11)]
    assert answers == [422] * 10 + [429]
    assert owner_client.get("/account/password").status_code == 200


@pytest.mark.parametrize("path", ["/auth/forgot", "/auth/resend"])
@pytest.mark.parametrize("email", ["owner@golub.test", "nobody@example.test"])
def test_five_letters_an_hour_to_one_address(client, owner, path, email):
    answers = [client.post(path, data={"email": email}).status_code for _time in range(6)]
    assert answers == [303] * 5 + [429]


def test_all_forms_that_send_letters_count_together(client):
    data = {"email": "anna@example.test", "password": "ten letters and more", "name": ""}
    for path in ("/auth/register", "/auth/resend", "/auth/forgot", "/auth/register", "/auth/resend"):
        assert client.post(path, data=data).status_code == 303
    assert client.post("/auth/forgot", data=data).status_code == 429


def test_thirty_letters_an_hour_from_one_network(client):
    answers = [client.post("/auth/forgot", data={"email": f"a{n}@example.test"}).status_code for n in range(31)]
    assert answers == [303] * 30 + [429]


def test_an_export_is_much_work(owner_client):
    answers = [owner_client.post("/account/export").status_code for _time in range(6)]
    assert answers == [200] * 5 + [429]


def test_with_redis_away_the_limits_hold_by_process(settings, app):
    away = create_app(settings.model_copy(update={"redis_url": "unix:///no/such/redis.sock"}))
    away.config["WTF_CSRF_ENABLED"] = False
    try:
        answers = [fail(away.test_client(), "nobody@example.test").status_code for _try in range(12)]
        assert answers == [422] * 10 + [429] * 2
    finally:
        # The limiter is one for all applications of a process: give it its Redis back.
        create_app(settings)
        limiter._storage_dead = False
        with away.app_context():
            db.engine.dispose()
