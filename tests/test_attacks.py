"""What attackers try, each way in a test of its own."""

import unicodedata
from io import BytesIO
from threading import Thread

import pyotp
import pytest
from sqlalchemy import select, update

from app import clock
from app.auth import limits, second_factor, service
from app.auth import views as auth_views
from app.auth.models import Action, AuditEntry, User
from app.extensions import db
from app.mailings import log
from app.messages.models import Message
from app.texts import MOST_MARKS, composed
from tests import make
from tests.auth.links import LINK, link_in, text_of
from tests.auth.test_login import is_let_in, log_in
from tests.make import PASSWORD

ANNA = "anna@example.test"
HERS, HIS = "what the victim has chosen", "the attackers own sentence"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def register(client, password):
    return client.post("/auth/register", data={"email": ANNA, "password": password, "name": "", "timezone": "UTC"})


# ── Somebody else's registration ──


def test_nobody_is_let_into_an_account_that_somebody_else_registered(app, smtp, run_jobs):
    victim, attacker = app.test_client(), app.test_client()
    register(attacker, HIS)
    run_jobs()
    choose = victim.post(link_in(smtp, ANNA)).location
    assert "it was another browser that registered" in victim.get(choose).text
    assert not is_let_in(victim)
    log_in(attacker, ANNA, HIS)
    assert not is_let_in(attacker), "nothing is confirmed before the one who reads the letter has chosen"
    victim.post(choose, data={"password": HERS})
    log_in(attacker, ANNA, HIS)
    assert not is_let_in(attacker)
    log_in(victim, ANNA, HERS)
    assert is_let_in(victim)


def test_a_link_confirms_the_password_that_it_was_written_for(app, smtp, run_jobs):
    victim, attacker = app.test_client(), app.test_client()
    register(victim, HERS)
    register(attacker, HIS)
    run_jobs()  # both letters are composed after the second registration
    links = [LINK.search(text_of(letter))[1] for letter in smtp.to(ANNA)]
    statuses = sorted(victim.get(link).status_code for link in links)
    assert statuses == [200, 410]


def test_the_browser_that_registered_goes_straight_in(app, client, smtp, run_jobs):
    register(client, HERS)
    run_jobs()
    assert client.post(link_in(smtp, ANNA)).location == "/overview"
    assert is_let_in(client)


# ── Links that work twice ──


def test_a_link_to_an_address_that_one_has_left_again_is_dead(app, owner, owner_client, smtp, run_jobs):
    def move(email):
        owner_client.post("/account/email", data={"new_email": email, "password": PASSWORD})
        run_jobs()
        link = link_in(smtp, email)
        app.test_client().post(link)
        run_jobs()
        return link

    first = move(ANNA)
    smtp.letters.clear()
    move(owner.email)
    assert app.test_client().post(first).status_code == 410


def test_a_link_that_has_opened_an_account_again_opens_it_no_second_time(app, owner, owner_client, smtp, run_jobs):
    owner_client.post("/account/close", data={"password": PASSWORD})
    run_jobs()
    link = link_in(smtp, owner.email)
    assert app.test_client().post(link).status_code == 303
    log_in(owner_client, owner.email)
    owner_client.post("/account/close", data={"password": PASSWORD})
    assert app.test_client().post(link).status_code == 410


# ── Sessions that outlive what ends them ──


def test_a_password_that_is_reset_between_check_and_session_lets_nobody_in(app, owner, monkeypatch):
    thief = app.test_client()
    go_on = auth_views._go_on

    def reset():
        with app.app_context():
            service.reset_password(db.session.get(User, owner.id), HERS)
            db.session.commit()

    def slowly(user, *rest):
        resetting = Thread(target=reset)
        resetting.start()
        resetting.join()
        return go_on(user, *rest)

    monkeypatch.setattr(auth_views, "_go_on", slowly)
    assert log_in(thief, owner.email).status_code == 409
    assert not is_let_in(thief)


def test_whoever_logs_in_as_somebody_else_has_left_the_first_account(app, owner, stranger):
    with app.app_context():
        second_factor.switch_on(db.session.get(User, stranger.id), SECRET, pyotp.TOTP(SECRET).at(clock.now()))
        db.session.commit()
    browser, copy = app.test_client(), app.test_client()
    log_in(browser, owner.email)
    copy.set_cookie("session", browser.get_cookie("session").value)
    log_in(browser, stranger.email)
    assert not is_let_in(copy)


# ── Limits, walked around ──


@pytest.mark.parametrize("path", ["/auth/login", "/auth/forgot", "/auth/register", "/account/password"])
@pytest.mark.parametrize("body", [{"email": ANNA, "password": "x"}, [1], "x", {"email": {"a": 1}}])
def test_a_body_that_is_no_form_is_refused(owner_client, path, body):
    assert owner_client.post(path, json=body).status_code == 415


def test_a_file_in_the_place_of_a_text_is_refused(client):
    assert client.post("/auth/login", data={"email": (BytesIO(b"x"), "x.txt")}).status_code == 415


def test_letters_to_a_new_address_count_for_that_address(client, owner_client):
    for _time in range(5):
        sent = {"new_email": ANNA, "password": PASSWORD}
        assert owner_client.post("/account/email", data=sent).status_code == 303
    assert client.post("/auth/forgot", data={"email": ANNA}).status_code == 429


def test_ipv4_behind_a_socket_for_both_kinds_is_no_one_network(app):
    networks = set()
    for address in ("::ffff:192.0.2.1", "::ffff:198.51.100.7", "192.0.2.1"):
        with app.test_request_context(environ_overrides={"REMOTE_ADDR": address}):
            networks.add(limits.network())
    assert networks == {"192.0.2.1", "198.51.100.7"}


# ── One request that keeps a process busy ──


def test_marks_without_end_are_refused_before_they_are_sorted(owner_client):
    pile = "a" + "\u0301\u0316" * MOST_MARKS
    letter = {"subject": "News", "html": "<p>Hello</p>", "text": ""}
    assert owner_client.post("/messages/new", data=letter | {"subject": pile}).status_code == 422
    assert owner_client.post("/messages/new", data=letter | {"text": pile}).status_code == 422
    client = {"email": ANNA, "first_name": "", "last_name": pile, "status": "active"}
    assert owner_client.post("/clients/new", data=client).status_code == 422


def test_what_people_write_is_composed():
    for text in ("Jose\u0301", "Й", "ế", "a" + "\u0301" * MOST_MARKS):
        assert composed(text) == unicodedata.normalize("NFC", text)
    with pytest.raises(ValueError, match="marks"):
        composed("a" + "\u0301" * (MOST_MARKS + 1))


# ── Headers that make no sense ──


def test_an_address_that_is_none_is_no_fault(client):
    headers = {"HX-Request": "true", "HX-Current-URL": "http://["}
    assert client.get("/overview", headers=headers).headers["HX-Redirect"] == "/auth/login"
    assert client.post("/language", data={"lang": "ru"}, headers={"Referer": "http://["}).location == "/"
    assert client.post("/language", data={"lang": "ru"}, headers={"Referer": "http://localhost.evil/x"}).location == "/"


# ── Others' things ──


def test_a_message_that_left_the_library_is_private_again(app, owner, owner_client, stranger, stranger_client):
    with app.app_context():
        shared = make.message(owner, subject="For all", is_shared=True).id
        make.client(stranger)
        db.session.commit()
    form = {
        "name": "News",
        "message_id": shared,
        "audience": "all",
        "period": "once",
        "timezone": "UTC",
        "start_at": "2090-01-01T00:00",
    }
    mailing = stranger_client.post("/mailings/new", data=form).location
    owner_client.post(f"/messages/{shared}/unshare")
    owner_client.post(f"/messages/{shared}/edit", data={"subject": "Mine", "html": "<p>TOP SECRET</p>", "text": ""})
    letter = stranger_client.get(f"{mailing}/letter")
    assert letter.status_code == 200
    assert "TOP SECRET" not in letter.text
    with app.app_context():
        copies = db.session.scalars(select(Message).where(Message.owner_id == stranger.id)).all()
        assert [copy.subject for copy in copies] == ["For all"]


def test_a_manager_unblocks_no_administrator(app, admin, manager_client):
    with app.app_context():
        db.session.execute(update(User).where(User.id == admin.id).values(blocked_at=clock.now()))
        db.session.commit()
    assert manager_client.post(f"/manager/users/{admin.id}/unblock").status_code == 403


@pytest.mark.parametrize(
    ("email", "reply"),
    [
        ("ivan1985@example.com", "550 5.1.1 user ivan1985 unknown"),
        ("ivan_petrov1985@example.com", "550 mailbox ivan_petrov1985 unavailable"),
        ("m\u00fcller@example.com", unicodedata.normalize("NFD", "550 m\u00fcller unknown")),
    ],
)
def test_the_masked_log_shows_no_part_of_a_name(email, reply):
    text = log.masked_reply(reply, email)
    assert not any(part in text for part in ("ivan", "petrov", "ller")), text


def test_new_recovery_codes_are_told_and_on_record(app, owner, owner_client, smtp, run_jobs):
    with app.app_context():
        second_factor.switch_on(db.session.get(User, owner.id), SECRET, pyotp.TOTP(SECRET).at(clock.now()))
        db.session.commit()
    owner_client.post("/account/second-factor/codes", data={"password": PASSWORD})
    run_jobs()
    assert smtp.to(owner.email)[-1].message["Subject"] == "Your account has new recovery codes"
    with app.app_context():
        assert db.session.scalar(select(AuditEntry.id).where(AuditEntry.action == Action.CODES_RENEWED))
