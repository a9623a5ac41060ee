"""Password and address."""

import pytest

from app.addresses import parse_address
from app.auth import service
from app.auth.models import User
from app.auth.tokens import Purpose, make_token
from app.extensions import db
from tests import make
from tests.auth.links import link_in, without_tokens
from tests.auth.test_login import change, is_let_in, log_in
from tests.make import PASSWORD

NEW = "quite another sentence"
HTMX = {"HX-Request": "true"}


def user(app, person):
    with app.app_context():
        return db.session.get(User, person.id)


def ask(client, email, password=PASSWORD, **options):
    return client.post("/account/email", data={"new_email": email, "password": password}, **options)


# ── Password ──


def test_a_new_password_logs_all_other_devices_out(app, owner, owner_client, smtp, run_jobs):
    phone = app.test_client()
    log_in(phone, owner.email)
    answer = owner_client.post("/account/password", data={"password": PASSWORD, "new": NEW})
    assert answer.location == "/account/security"
    assert is_let_in(owner_client)
    assert not is_let_in(phone)
    assert log_in(phone, owner.email).status_code == 422
    assert log_in(phone, owner.email, NEW).status_code == 303
    run_jobs()
    assert smtp.to(owner.email)[-1].message["Subject"] == "Your password was changed"


@pytest.mark.parametrize(
    "wrong", [{"password": "x"}, {"password": ""}, {"new": "short"}, {"new": ""}, {"new": "a" * 12}]
)
@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_wrong_or_a_weak_one_changes_nothing(app, owner, owner_client, wrong, headers):
    answer = owner_client.post("/account/password", data={"password": PASSWORD, "new": NEW} | wrong, headers=headers)
    assert answer.status_code == 422
    assert "is-invalid" in answer.text
    assert ("<html" in answer.text) is not bool(headers)
    assert log_in(app.test_client(), owner.email).status_code == 303


# ── Address ──


def test_an_address_changes_when_its_owner_confirms_it_and_the_old_one_is_told(
    app, owner, owner_client, smtp, run_jobs
):
    assert ask(owner_client, "Anna@пример.рф").location == "/account/security"
    assert user(app, owner).email == owner.email, "not yet"
    run_jobs()
    assert smtp.to(owner.email) == []
    link = link_in(smtp, "Anna@xn--e1afmkfd.xn--p1ai")
    assert "Anna@пример.рф" in app.test_client().get(link).text
    assert user(app, owner).email == owner.email, "looking at the page changes nothing"
    assert app.test_client().post(link).status_code == 303
    assert (user(app, owner).email, user(app, owner).email_key) == ("Anna@пример.рф", "anna@xn--e1afmkfd.xn--p1ai")
    run_jobs()
    [notice] = smtp.to(owner.email)
    assert notice.message["Subject"] == "Your e-mail address was changed"
    assert log_in(app.test_client(), "anna@пример.рф").status_code == 303
    assert app.test_client().post(link).status_code == 410, "the link works once"


@pytest.mark.parametrize(
    ("email", "password", "words"),
    [
        ("", PASSWORD, "Write an e-mail address."),
        ("anna", PASSWORD, "not a usable e-mail address"),
        ("anna@example.test\r\nBcc: eve@example.test", PASSWORD, "not a usable e-mail address"),
        ("OWNER@golub.test", PASSWORD, "your address already"),
        ("anna@example.test", "a wrong password", "This is not your password."),
    ],
)
def test_bad_input_is_said_at_its_field(owner_client, smtp, run_jobs, email, *, password, words):
    for headers in ({}, HTMX):
        answer = ask(owner_client, email, password, headers=headers)
        assert answer.status_code == 422
        assert words in answer.text
    run_jobs()
    assert smtp.letters == []


def test_whether_an_address_is_taken_only_its_owner_learns(app, owner, owner_client, stranger, *, smtp, run_jobs):
    def answer_to(email):
        answer = ask(owner_client, email)
        page = owner_client.get(answer.location).text
        return answer.status_code, without_tokens(page).replace(email, "the address")

    assert answer_to(stranger.email) == answer_to("anna@example.test")
    run_jobs()
    assert smtp.to(stranger.email)[0].message["Subject"] == "You have an account already"


def test_an_address_that_was_taken_meanwhile_is_refused(app, owner, owner_client, smtp, run_jobs):
    ask(owner_client, "anna@example.test")
    run_jobs()
    with app.app_context():
        make.user("anna@example.test")
        db.session.commit()
    answer = app.test_client().post(link_in(smtp, "anna@example.test"))
    assert answer.status_code == 409
    assert user(app, owner).email == owner.email


def test_whoever_registered_the_address_and_never_confirmed_it_gives_way(app, owner, owner_client, smtp, run_jobs):
    with app.app_context():
        squatter = service.register("anna@example.test", "ten letters and more").user_id
        db.session.commit()
    ask(owner_client, "anna@example.test")
    run_jobs()
    assert app.test_client().post(link_in(smtp, "anna@example.test")).status_code == 303
    with app.app_context():
        assert db.session.get(User, squatter) is None
        assert db.session.get(User, owner.id).email == "anna@example.test"


def test_a_link_dies_with_a_new_password(app, owner, owner_client, smtp, run_jobs):
    ask(owner_client, "anna@example.test")
    run_jobs()
    change(app, owner, password_hash="another")
    assert app.test_client().post(link_in(smtp, "anna@example.test")).status_code == 410


def test_a_link_to_one_address_confirms_no_other(app, owner):
    with app.app_context():
        token = make_token(Purpose.VERIFY, db.session.get(User, owner.id), "evil@example.test")
    assert app.test_client().post(f"/auth/email/{token}").status_code == 410


@pytest.mark.parametrize(
    ("known", "same"),
    [
        ("anna@example.test", "ANNA@EXAMPLE.TEST"),
        ("anna@straße.test", "anna@xn--strae-oqa.test"),
        ("anna@пример.рф", "anna@xn--e1afmkfd.xn--p1ai"),
        ("jos\u00e9@example.test", "jose\u0301@example.test"),
    ],
)
def test_one_address_in_two_spellings_is_one_account(known, same):
    assert parse_address(known).key == parse_address(same).key


@pytest.mark.parametrize(
    "trick",
    [
        "anna\u200b@example.test",  # zero width
        "anna@exam\u200bple.test",
        "anna\u202e@example.test",  # right to left
        "anna@example\u3002test\u0000",
        "anna@example.test\u2028x",
        "\ufeffanna@@example.test",
        "anna@[127.0.0.1]",
        '"a b"@example.test',
    ],
)
def test_tricks_with_unicode_are_no_addresses(owner_client, trick):
    assert ask(owner_client, trick).status_code == 422
