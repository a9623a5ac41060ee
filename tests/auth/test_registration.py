"""Signing up, and the link in the letter: over HTTP, with the letters that really left."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from app import clock
from app.auth import service, tokens
from app.auth.models import Letter, LetterKind, User
from app.auth.roles import Role
from app.extensions import db
from tests import make
from tests.auth.links import link_in, text_of, without_tokens

ANNA = "anna@example.test"
FORM = {"email": ANNA, "password": "ten letters", "name": "Anna", "timezone": "Europe/Moscow"}
HTMX = {"HX-Request": "true"}


def user(app, email=ANNA):
    with app.app_context():
        return db.session.scalar(select(User).where(User.email_key == email))


def change(app, **fields):
    with app.app_context():
        db.session.execute(User.__table__.update().values(**fields))
        db.session.commit()


def is_logged_in(client):
    with client.session_transaction() as session:
        return "_user_id" in session


@pytest.fixture
def link(client, smtp, run_jobs):
    """The link in the letter of somebody who has signed up."""
    client.post("/auth/register", data=FORM)
    run_jobs()
    return link_in(smtp, ANNA)


def test_the_whole_way_in(app, client, smtp, run_jobs):
    answer = client.post("/auth/register", data=FORM | {"email": "Anna@Example.test "})
    assert answer.status_code == 303
    assert "Look into your inbox" in client.get(answer.location).text
    run_jobs()
    link = link_in(smtp, "Anna@example.test")

    assert "Anna@example.test" in client.get(link).text
    assert client.post("/auth/login", data=FORM).status_code == 422, "looking at the page confirms nothing"
    assert client.post(link).status_code == 303
    assert is_logged_in(client)

    assert client.post("/auth/logout").status_code == 303
    assert not is_logged_in(client)
    assert client.post("/auth/login", data=FORM | {"email": "anna@EXAMPLE.test"}).status_code == 303
    anna = user(app)
    assert (anna.name, anna.timezone, anna.locale, anna.role) == ("Anna", "Europe/Moscow", "en", Role.USER)


def test_the_page_has_the_form(client):
    page = client.get("/auth/register").text
    assert 'name="email"' in page
    assert "data-browser-timezone" in page


def test_a_known_address_gets_the_same_answer_and_its_owner_another_letter(app, client, owner, smtp, run_jobs):
    def answer_to(email):
        answer = client.post("/auth/register", data=FORM | {"email": email})
        page = without_tokens(client.get(answer.location).text).replace(email, "the address")
        return answer.status_code, answer.location, page

    assert answer_to(owner.email) == answer_to(ANNA)
    run_jobs()
    [letter] = smtp.to(owner.email)
    assert letter.message["Subject"] == "You have an account already"
    assert "http://golub.test/auth/login" in text_of(letter)
    assert user(app, owner.email).password_hash == owner.password_hash


def test_whoever_registers_again_gets_a_new_letter_and_the_newest_password_counts(client, link, smtp, run_jobs):
    client.post("/auth/register", data=FORM | {"password": "another password"})
    run_jobs()
    assert client.post(link).status_code == 410, "the first link belonged to the first password"
    assert client.post(link_in(smtp, ANNA)).status_code == 303
    client.post("/auth/logout")
    assert client.post("/auth/login", data=FORM).status_code == 422
    assert client.post("/auth/login", data=FORM | {"password": "another password"}).status_code == 303


def test_the_same_address_registered_in_one_moment_makes_one_account(app):
    def register(_number):
        return app.test_client().post("/auth/register", data=FORM).status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(register, range(4))) == {303}
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(User)) == 1


def test_the_unique_key_catches_who_came_first(app, client, monkeypatch):
    register, calls = service.register, []

    def late(**given):
        calls.append(given)
        if len(calls) == 1:
            raise IntegrityError("INSERT", {}, Exception("unique"))
        return register(**given)

    monkeypatch.setattr(service, "register", late)
    assert client.post("/auth/register", data=FORM).status_code == 303
    assert user(app)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"email": ""}, "Write an e-mail address."),
        ({"email": "anna"}, "not a usable e-mail address"),
        ({"email": "anna@example.test\r\nBcc: eve@example.test"}, "not a usable e-mail address"),
        ({"password": ""}, "Write a password."),
        ({"password": "nine char"}, "at least 10 characters"),
        ({"password": "x" * 129}, "at most 128 characters"),
        ({"name": "x" * 151}, "at most 150 characters"),
    ],
)
def test_bad_input_is_said_at_its_field(app, client, wrong, words):
    page = client.post("/auth/register", data=FORM | wrong)
    assert page.status_code == 422
    assert words in page.text
    assert "<html" in page.text
    fragment = client.post("/auth/register", data=FORM | wrong, headers=HTMX)
    assert fragment.status_code == 422
    assert words in fragment.text
    assert "<html" not in fragment.text
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(User)) == 0


def test_for_htmx_the_answer_is_a_redirect_in_a_header(client):
    answer = client.post("/auth/register", data=FORM, headers=HTMX)
    assert answer.status_code == 204
    assert answer.headers["HX-Redirect"] == "/auth/inbox"


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "x" * 1000])
def test_an_unknown_time_zone_becomes_the_services_own(app, client, zone):
    client.post("/auth/register", data=FORM | {"timezone": zone})
    assert user(app).timezone == "UTC"


def test_the_letters_language_is_that_of_the_page(app, client):
    client.post("/auth/register", data=FORM, headers={"Accept-Language": "ru"})
    assert user(app).locale == "ru"


def test_a_name_cannot_reach_a_header_or_a_letter(app, client, smtp, run_jobs):
    client.post("/auth/register", data=FORM | {"name": "Anna\r\nBcc: eve@example.test\r\n\r\nBuy now"})
    run_jobs()
    [letter] = smtp.letters
    assert letter.recipients == [ANNA]
    assert letter.message["Bcc"] is None
    assert b"Buy now" not in letter.content
    assert user(app).name == "Anna Bcc: eve@example.test Buy now"


def test_links_never_come_from_the_host_header(client, smtp, run_jobs):
    assert client.post("/auth/register", data=FORM, headers={"Host": "evil.example"}).status_code == 400
    client.post("/auth/register", data=FORM, headers={"Host": "127.0.0.1:5000"})
    run_jobs()
    assert b"127.0.0.1" not in smtp.letters[0].content
    assert "http://golub.test/auth/verify/" in text_of(smtp.letters[0])
    assert "http://golub.test/auth/verify/" in text_of(smtp.letters[0], "html")


def test_a_link_works_once(client, link):
    client.post(link)
    assert client.get(link).status_code == 303, "who is in already goes on"
    client.post("/auth/logout")
    for answer in (client.get(link), client.post(link)):
        assert answer.status_code == 200
        assert "Just log in" in answer.text
    assert not is_logged_in(client)


def test_a_link_is_good_for_24_hours(client, link, monkeypatch):
    monkeypatch.setitem(tokens.LIFETIMES, tokens.Purpose.VERIFY, timedelta(seconds=-1))
    for answer in (client.get(link), client.post(link)):
        assert answer.status_code == 410
        assert "This link was good for" in answer.text
        assert 'action="/auth/resend"' in answer.text
    assert not is_logged_in(client)


def test_a_tampered_link_opens_nothing(app, client, link):
    for bad in (link[:-1], link + "x", "/auth/verify/x", link.replace("verify/", "verify/x")):
        assert client.get(bad).status_code == 410
        assert client.post(bad).status_code == 410
    assert user(app).verified_at is None


def test_a_link_is_dead_when_the_address_has_changed(app, client, link):
    change(app, email="new@example.test", email_key="new@example.test")
    assert client.post(link).status_code == 410


def test_a_link_of_a_deleted_account_is_dead(app, client, link):
    with app.app_context():
        db.session.execute(Letter.__table__.delete())
        db.session.execute(User.__table__.delete())
        db.session.commit()
    assert client.post(link).status_code == 410


def test_a_token_for_another_purpose_confirms_nothing(app, client, link, monkeypatch):
    with app.app_context():
        other = tokens.make_token("reset", db.session.scalar(select(User)))
    assert client.post(f"/auth/verify/{other}").status_code == 410


def test_a_blocked_account_may_confirm_but_not_enter(app, client, link):
    change(app, blocked_at=clock.now())
    assert client.post(link).location == "/auth/login"
    assert not is_logged_in(client)


def test_the_letter_comes_again(client, link, smtp, run_jobs):
    answer = client.post("/auth/resend", data={"email": "ANNA@example.test"})
    assert answer.status_code == 303
    run_jobs()
    assert len(smtp.to(ANNA)) == 2
    assert client.post(link_in(smtp, ANNA)).status_code == 303


def test_asking_for_the_letter_again_tells_nobody_who_has_an_account(app, client, owner, smtp, run_jobs):
    def answer_to(email):
        answer = client.post("/auth/resend", data={"email": email})
        return answer.status_code, without_tokens(client.get(answer.location).text).replace(email, "the address")

    assert answer_to(owner.email) == answer_to("nobody@example.test")
    run_jobs()
    with app.app_context():
        assert db.session.scalars(select(Letter.kind)).all() == [LetterKind.ALREADY_REGISTERED], "none to nobody"
    assert [letter.recipients for letter in smtp.letters] == [[owner.email]]


def test_asking_again_with_a_bad_address_shows_the_form(client):
    page = client.post("/auth/resend", data={"email": "anna"})
    assert page.status_code == 422
    assert "not a usable e-mail address" in page.text
    fragment = client.post("/auth/resend", data={"email": "anna"}, headers=HTMX)
    assert fragment.status_code == 422
    assert "<html" not in fragment.text


def test_whoever_is_logged_in_needs_no_second_account(owner_client):
    assert owner_client.get("/auth/register").status_code == 303


def test_the_inbox_page_can_be_opened_by_itself(client):
    assert client.get("/auth/inbox").status_code == 200


def test_the_cast_can_log_in(app, client):
    with app.app_context():
        make.user(ANNA)
        db.session.commit()
    assert client.post("/auth/login", data={"email": ANNA, "password": make.PASSWORD}).status_code == 303
