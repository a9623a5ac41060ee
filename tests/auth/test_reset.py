"""A forgotten password: over HTTP, with the letters that really left."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from app import clock
from app.auth import tokens
from app.auth.models import Letter, User
from app.extensions import db
from tests import make
from tests.auth.links import link_in, text_of, without_tokens
from tests.auth.test_login import change, is_let_in, log_in

NEW = "quite another sentence"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def link(client, owner, smtp, run_jobs):
    assert client.post("/auth/forgot", data={"email": owner.email.upper()}).status_code == 303
    run_jobs()
    return link_in(smtp, owner.email)


def test_the_whole_way_to_a_new_password(app, client, owner, owner_client, *, link, smtp, run_jobs):
    assert owner.email in client.get(link).text
    assert log_in(app.test_client(), owner.email).status_code == 303, "looking at the page changes nothing"
    answer = client.post(link, data={"password": NEW})
    assert answer.location == "/auth/login"
    assert not is_let_in(owner_client), "every log-in ends"
    assert not is_let_in(client), "a stolen letter alone shall not do where there is a second factor"
    assert log_in(client, owner.email).status_code == 422
    assert log_in(client, owner.email, NEW).status_code == 303
    run_jobs()
    assert smtp.to(owner.email)[-1].message["Subject"] == "Your password was changed"


def test_the_calendars_secret_address_ends_with_the_log_ins(app, client, owner, owner_client, link):
    page = owner_client.post("/mailings/calendar/address", follow_redirects=True).text
    feed = re.search(r"http://golub\.test(/\S+\.ics)", page)[1]
    assert client.get(feed).status_code == 200
    client.post(link, data={"password": NEW})
    assert client.get(feed).status_code == 404


def test_the_link_works_once(client, link):
    client.post(link, data={"password": NEW})
    for answer in (client.get(link), client.post(link, data={"password": "and one more sentence"})):
        assert answer.status_code == 410
        assert 'action="/auth/forgot"' in answer.text


def test_the_link_is_good_for_an_hour(client, link, monkeypatch):
    assert tokens.LIFETIMES[tokens.Purpose.RESET] == timedelta(hours=1)
    monkeypatch.setitem(tokens.LIFETIMES, tokens.Purpose.RESET, timedelta(seconds=-1))
    assert client.get(link).status_code == 410


def test_a_newer_password_or_address_kills_the_link(app, client, owner, link):
    change(app, owner, email_key="new@golub.test")
    assert client.get(link).status_code == 410


def test_a_link_of_another_kind_sets_no_password(app, client, owner):
    with app.app_context():
        token = tokens.make_token(tokens.Purpose.VERIFY, db.session.get(User, owner.id))
    assert client.post(f"/auth/reset/{token}", data={"password": NEW}).status_code == 410


@pytest.mark.parametrize("headers", [{}, HTMX])
@pytest.mark.parametrize("password", ["", "short", "password12345", "owner@golub.test", "x" * 129])
def test_a_weak_password_is_refused_at_its_field(client, owner, link, password, headers):
    answer = client.post(link, data={"password": password}, headers=headers)
    assert answer.status_code == 422
    assert "is-invalid" in answer.text
    assert ("<html" in answer.text) is not bool(headers)
    assert log_in(client, owner.email).status_code == 303, "the old one holds"


def test_nobody_learns_who_has_an_account(app, client, owner, smtp, run_jobs):
    def answer_to(email):
        answer = client.post("/auth/forgot", data={"email": email})
        return answer.status_code, without_tokens(client.get(answer.location).text).replace(email, "the address")

    assert answer_to(owner.email) == answer_to("nobody@example.test")
    with app.app_context():
        assert db.session.scalar(select(func.count(Letter.id))) == 2, "the same work for both"
    run_jobs()
    assert [letter.recipients for letter in smtp.letters] == [[owner.email]]
    with app.app_context():
        assert db.session.scalar(select(func.count(Letter.id))) == 1, "and nothing is kept of who has none"


def test_whoever_never_confirmed_the_address_has_confirmed_it_by_this_letter(app, client, owner, smtp, run_jobs):
    change(app, owner, verified_at=None)
    client.post("/auth/forgot", data={"email": owner.email})
    run_jobs()
    client.post(link_in(smtp, owner.email), data={"password": NEW})
    assert log_in(client, owner.email, NEW).status_code == 303


def test_a_blocked_account_stays_blocked(app, client, owner, link):
    change(app, owner, blocked_at=clock.now())
    client.post(link, data={"password": NEW})
    assert log_in(client, owner.email, NEW).status_code == 422


def test_the_letter_is_in_the_language_of_its_reader(app, client, smtp, run_jobs):
    with app.app_context():
        make.user("anna@example.test", locale="ru")
        db.session.commit()
    client.post("/auth/forgot", data={"email": "anna@example.test"})
    run_jobs()
    assert "парол" in text_of(smtp.letters[0])


def test_bad_input_shows_the_form_again(client):
    assert client.post("/auth/forgot", data={"email": "anna"}).status_code == 422
    assert client.get("/auth/forgot").status_code == 200
    assert client.get("/auth/forgot/sent").status_code == 200
