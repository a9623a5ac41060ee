"""What the form of a message asks the service while somebody writes."""

import time

import pytest
from sqlalchemy import func, select

from app.auth import limits
from app.auth.models import Letter
from app.extensions import db
from app.messages import content
from app.messages.models import Message
from tests import make

HTMX = {"HX-Request": "true"}
LETTER = {"subject": "For {{ first_name }}", "html": "<p>Dear {{ first_name }}!</p>", "text": ""}


@pytest.fixture
def boris(app, owner):
    with app.app_context():
        client = make.client(owner, "boris@example.test", first_name="Boris")
        db.session.commit()
        return client.id


def test_what_is_typed_is_shown_as_the_chosen_client_gets_it(owner_client, boris):
    shown = owner_client.post("/messages/preview", data=LETTER | {"client": boris})
    assert "<p>Dear Boris!</p>" in shown.text
    assert "sandbox" in shown.headers["Content-Security-Policy"]
    assert "Dear Anna!" in owner_client.post("/messages/preview", data=LETTER).text


@pytest.mark.parametrize("number", ["x", "-1", "99999999999999999999", "0"])
def test_a_client_that_is_none_is_the_sample(owner_client, number):
    assert "Dear Anna!" in owner_client.post("/messages/preview", data=LETTER | {"client": number}).text


def test_a_strangers_client_is_shown_to_nobody(stranger_client, boris):
    assert "Boris" not in stranger_client.post("/messages/preview", data=LETTER | {"client": boris}).text
    assert "boris" not in stranger_client.get("/messages/clients?client_search=boris").text


def test_nothing_active_gets_into_the_preview(owner_client):
    typed = {"html": "<p onclick=x>Hi<script>alert(1)</script><img src=https://other.example/x.png alt=Bird>"}
    shown = owner_client.post("/messages/preview", data=typed).text
    assert "<script" not in shown
    assert "onclick" not in shown
    assert ' src="https://other' not in shown
    assert 'alt="Bird"' in shown


def test_what_cannot_be_shown_says_why(owner_client):
    answer = owner_client.post("/messages/preview", data={"html": "<div>" * 10_000})
    assert answer.status_code == 422
    assert "too tangled" in answer.text


def test_clients_are_found_by_their_names(owner_client, boris):
    assert "boris@example.test" in owner_client.get("/messages/clients?client_search=BOR", headers=HTMX).text
    assert "boris" not in owner_client.get("/messages/clients?client_search=clara", headers=HTMX).text


def test_the_checks_are_asked_with_what_is_typed(owner_client):
    answer = owner_client.post("/messages/check", data=LETTER | {"subject": "{{ x }}"}, headers=HTMX).text
    assert "there is no field “x”" in answer
    assert "A link to unsubscribe is added" in answer
    assert "As you write" in owner_client.post("/messages/check", headers=HTMX).text


def test_the_text_part_is_made_of_what_is_typed(owner_client):
    html = "<p>Read <a href='https://example.org'>this</a></p>"
    assert "Read this (https://example.org)" in owner_client.post("/messages/text", data={"html": html}).text


HUGE, TANGLED = "x" * (content.LARGEST_BODY + 1), "<a href='http://x'><div>" * 10_000


@pytest.mark.parametrize("field", ["html", "text", "subject", "preheader"])
@pytest.mark.parametrize("path", ["preview", "check", "text"])
def test_what_is_too_large_is_not_looked_into(owner_client, path, field):
    answer = owner_client.post(f"/messages/{path}", data=LETTER | {field: HUGE}, headers=HTMX)
    assert "That is larger than 500 kB." in answer.text


@pytest.mark.parametrize("path", ["preview", "check", "text"])
def test_what_is_too_tangled_takes_no_time(owner_client, path):
    began = time.process_time()
    answer = owner_client.post(f"/messages/{path}", data={"html": TANGLED}, headers=HTMX)
    assert time.process_time() - began < 2
    assert "too tangled" in answer.text


def test_the_form_offers_layouts_for_a_new_message_alone(app, owner, owner_client):
    page = owner_client.get("/messages/new?layout=digest").text
    assert "Three things worth your time" in page
    assert "layout=greeting" in page
    with app.app_context():
        message = make.message(owner)
        db.session.commit()
        number = message.id
    assert "layout=greeting" not in owner_client.get(f"/messages/{number}/edit").text
    assert owner_client.get("/messages/new?layout=none").status_code == 200


# Tests


def test_a_test_leaves_for_its_author_and_nothing_is_saved(app, owner_client, boris, smtp, run_jobs):
    typed = LETTER | {"preheader": "Look, {{ first_name }}", "client": boris}
    answer = owner_client.post("/messages/test", data=typed, headers=HTMX)
    assert answer.status_code == 200
    assert "Sent to you at" in answer.text
    run_jobs()
    [letter] = smtp.letters
    assert letter.recipients == ["owner@golub.test"]
    assert letter.message["Subject"] == "[Test] For Boris"
    html = letter.message.get_body(("html",)).get_content()
    assert "<p>Dear Boris!</p>" in html
    assert "Look, Boris&zwnj;&nbsp;" in html
    assert '<a href="http://golub.test">Unsubscribe</a>' in html, "a test unsubscribes nobody"
    assert letter.message.get_body(("plain",)).get_content().startswith("Dear Boris!")
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(Message)) == 0
        assert db.session.scalars(select(Letter.details)).all() == [{}], "the outbox keeps no copy"


def test_without_htmx_the_form_stays_as_it_was_typed(owner_client):
    answer = owner_client.post("/messages/test", data=LETTER)
    assert answer.status_code == 200
    assert "A test is on its way to owner@golub.test." in answer.text
    assert "Dear {{ first_name }}!" in answer.text


def test_a_letter_that_cannot_be_one_is_no_test_either(owner_client, smtp, run_jobs):
    answer = owner_client.post("/messages/test", data=LETTER | {"subject": ""}, headers=HTMX)
    assert answer.status_code == 422
    assert answer.headers["HX-Retarget"] == "#message-form"
    assert "Write a subject." in answer.text
    run_jobs()
    assert smtp.letters == []


def test_tests_are_limited(owner_client):
    most = int(limits.TEST_LETTERS.split()[0])
    for _n in range(most):
        assert owner_client.post("/messages/test", data=LETTER, headers=HTMX).status_code == 200
    assert owner_client.post("/messages/test", data=LETTER, headers=HTMX).status_code == 429


# Versions


def test_an_owner_looks_at_a_version_and_restores_it(app, owner_client, owner):
    owner_client.post("/messages/new", data={"subject": "First", "html": "<p>First letter</p>"})
    with app.app_context():
        [message] = db.session.scalars(select(Message.id)).all()
    owner_client.post(f"/messages/{message}/edit", data={"subject": "Second", "html": "<p>Second letter</p>"})
    page = owner_client.get(f"/messages/{message}/versions").text
    assert "Changed: subject, letter · You" in page
    oldest = page.split("/restore")[0].rpartition("/versions/")[2]
    assert "First letter" in owner_client.get(f"/messages/{message}/versions/{oldest}/preview").text
    assert f"versions/{oldest}/preview" in owner_client.get(f"/messages/{message}/versions?shown={oldest}").text
    assert owner_client.post(f"/messages/{message}/versions/{oldest}/restore").location == f"/messages/{message}"
    with app.app_context():
        assert db.session.get_one(Message, message).subject == "First"


def test_a_version_of_another_message_is_not_there(app, owner, owner_client):
    for subject in ("One", "Two"):
        owner_client.post("/messages/new", data={"subject": subject, "html": "<p>x</p>"})
    with app.app_context():
        first, second = db.session.scalars(select(Message.id).order_by(Message.id)).all()
    version = owner_client.get(f"/messages/{second}/versions").text.split("/versions/")[1].split("/")[0]
    assert owner_client.get(f"/messages/{first}/versions/{version}/preview").status_code == 404
    assert owner_client.post(f"/messages/{first}/versions/{version}/restore").status_code == 404
