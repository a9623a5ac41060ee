"""The second factor: codes of an app, recovery codes, and nothing without them."""

from datetime import timedelta

import pyotp
import pytest
from sqlalchemy import select

from app import clock
from app.auth import second_factor
from app.auth.models import RecoveryCode, User
from app.extensions import db
from tests.auth.test_login import change, is_let_in, log_in
from tests.make import PASSWORD

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def code(**ahead):
    return pyotp.TOTP(SECRET).at(clock.now() + timedelta(**ahead))


@pytest.fixture
def codes(app, owner):
    """The owner's recovery codes: the factor is on, and no code of it spent."""
    with app.app_context():
        user = db.session.get(User, owner.id)
        made = second_factor.switch_on(user, SECRET, code())
        user.totp_last_step = 0
        db.session.commit()
        return made


def test_without_the_code_a_password_opens_nothing(client, owner, codes):
    answer = log_in(client, owner.email, to="/auth/login?next=/clients/")
    assert answer.location == "/auth/second-factor"
    assert not is_let_in(client)
    for path in ("/overview", "/account/", "/account/second-factor/off"):
        assert client.get(path).status_code == 302
    assert 'autocomplete="one-time-code"' in client.get("/auth/second-factor").text
    assert client.post("/auth/second-factor", data={"code": code()}).location == "/clients/"
    assert is_let_in(client)


@pytest.mark.parametrize("wrong", ["", "000000", "abc", "９９９９９９", "1" * 41, "0 0 0 0 0 0"])
@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
def test_a_wrong_code_is_422(client, owner, codes, wrong, headers):
    log_in(client, owner.email)
    answer = client.post("/auth/second-factor", data={"code": wrong}, headers=headers)
    assert answer.status_code == 422
    assert ("<html" in answer.text) is not bool(headers)
    assert not is_let_in(client)


def test_a_code_works_once(app, client, owner, codes):
    shown = code()
    log_in(client, owner.email)
    assert client.post("/auth/second-factor", data={"code": shown}).status_code == 303
    other = app.test_client()
    log_in(other, owner.email)
    assert other.post("/auth/second-factor", data={"code": shown}).status_code == 422


@pytest.mark.parametrize(("ahead", "status"), [(-30, 303), (30, 303), (-90, 422), (90, 422)])
def test_clocks_may_differ_by_one_step(client, owner, codes, ahead, status):
    log_in(client, owner.email)
    assert client.post("/auth/second-factor", data={"code": code(seconds=ahead)}).status_code == status


def test_a_recovery_code_works_once_in_any_spelling(app, client, owner, codes):
    typed = codes[3].upper().replace("-", " ")
    log_in(client, owner.email)
    assert client.post("/auth/second-factor", data={"code": typed}).status_code == 303
    other = app.test_client()
    log_in(other, owner.email)
    assert other.post("/auth/second-factor", data={"code": typed}).status_code == 422
    with app.app_context():
        assert second_factor.recovery_codes_left(owner) == 9


def test_of_the_secret_and_the_codes_the_database_knows_nothing(app, owner, codes):
    with app.app_context():
        assert SECRET not in db.session.get(User, owner.id).totp_secret
        assert not {row.code_hash for row in db.session.scalars(select(RecoveryCode))} & set(codes)


def test_with_another_secret_key_only_a_recovery_code_helps(app, client, owner, codes, monkeypatch):
    monkeypatch.setitem(app.config, "SECRET_KEY", "a new one")
    log_in(client, owner.email)
    assert client.post("/auth/second-factor", data={"code": code()}).status_code == 422
    assert client.post("/auth/second-factor", data={"code": codes[0]}).status_code == 303


def test_the_code_has_to_come_soon_and_the_account_to_be_open(app, client, owner, codes, monkeypatch):
    log_in(client, owner.email)
    later = clock.now() + timedelta(minutes=11)
    with monkeypatch.context() as patch:
        patch.setattr(clock, "now", lambda: later)
        assert client.get("/auth/second-factor").location == "/auth/login"
    change(app, owner, blocked_at=clock.now())
    assert client.post("/auth/second-factor", data={"code": code()}).location == "/auth/login"
    assert not is_let_in(client)


def test_a_new_password_makes_the_half_way_worthless(app, client, owner, codes):
    log_in(client, owner.email)
    change(app, owner, password_hash="another")
    assert client.post("/auth/second-factor", data={"code": code()}).location == "/auth/login"


def test_nobody_begins_with_the_code(client):
    assert client.get("/auth/second-factor").location == "/auth/login"
    assert client.post("/auth/second-factor", data={"code": "123456"}).location == "/auth/login"


@pytest.mark.parametrize("forged", ["x", [], [1], {"a": 1}, [1, 2, 3, 4, 5]])
def test_a_session_that_makes_no_sense_is_none(client, forged):
    with client.session_transaction() as session:
        session["second_factor"] = forged
    assert client.get("/auth/second-factor").location == "/auth/login"


# ── On and off ──


def begin(client):
    """The secret on the page, as somebody without a camera copies it."""
    page = client.get("/account/second-factor").text
    assert "data:image/svg+xml" in page
    return page.split("secret=")[1].split("&")[0]


def test_the_factor_is_switched_on_and_off(app, owner, owner_client, smtp, run_jobs):
    phone = app.test_client()
    log_in(phone, owner.email)
    secret = begin(owner_client)
    sent = {"code": pyotp.TOTP(secret).at(clock.now()), "password": PASSWORD}
    page = owner_client.post("/account/second-factor", data=sent).text
    assert page.count("-") > 30, "ten codes of four groups"
    assert not is_let_in(phone), "whoever was in without it has to log in again"
    run_jobs()
    assert smtp.to(owner.email)[-1].message["Subject"] == "The second factor is on"
    assert log_in(phone, owner.email).location == "/auth/second-factor"
    assert owner_client.get("/account/second-factor").location == "/account/security"

    assert owner_client.post("/account/second-factor/off", data={"password": "wrong password"}).status_code == 422
    assert owner_client.post("/account/second-factor/off", data={"password": PASSWORD}).status_code == 303
    run_jobs()
    assert smtp.to(owner.email)[-1].message["Subject"] == "The second factor is off"
    assert log_in(phone, owner.email).location == "/overview"


@pytest.mark.parametrize("wrong", [{"code": "000000"}, {"password": "wrong password"}, {"code": ""}, {"password": ""}])
def test_without_code_and_password_it_stays_off(app, owner, owner_client, wrong):
    secret = begin(owner_client)
    sent = {"code": pyotp.TOTP(secret).at(clock.now()), "password": PASSWORD} | wrong
    assert owner_client.post("/account/second-factor", data=sent).status_code == 422
    assert begin(owner_client) == secret, "the app has read it already"
    with app.app_context():
        assert db.session.get(User, owner.id).totp_since is None


def test_new_recovery_codes_take_the_place_of_the_old_ones(app, client, owner, codes):
    log_in(client, owner.email)
    client.post("/auth/second-factor", data={"code": codes[0]})
    assert client.post("/account/second-factor/codes", data={"password": "wrong password"}).status_code == 422
    page = client.post("/account/second-factor/codes", data={"password": PASSWORD}).text
    assert codes[1] not in page
    other = app.test_client()
    log_in(other, owner.email)
    assert other.post("/auth/second-factor", data={"code": codes[1]}).status_code == 422


def test_there_are_no_recovery_codes_without_the_factor(owner_client):
    assert owner_client.get("/account/second-factor/codes").location == "/account/security"
