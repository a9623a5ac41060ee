"""No form of another site can act in somebody's name. Other tests switch this off; these switch it on."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.auth.models import User
from app.extensions import db
from tests import make

HTMX = {"HX-Request": "true"}


@pytest.fixture
def guarded(app: Flask) -> Iterator[Flask]:
    app.config["WTF_CSRF_ENABLED"] = True
    yield app
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def browser(guarded: Flask, owner: User) -> FlaskClient:
    """Somebody logged in, whose pages carry tokens."""
    client = guarded.test_client()
    make.session_of(guarded, client, owner)
    return client


def token_on(client: FlaskClient, path: str) -> str:
    """What the page's wrapper gives to HTMX for its header."""
    found = re.search(r'"X-CSRFToken": "([^"]+)"', client.get(path).text)
    assert found
    return found[1]


def new_client(**fields: str) -> dict[str, str]:
    return {"email": "anna@golub.test", "last_name": "", "first_name": "Anna", "patronymic": "", **fields}


def count_clients(app: Flask) -> Any:
    from app.clients.models import Client  # noqa: PLC0415

    with app.app_context():
        return db.session.query(Client).count()


def test_a_post_without_a_token_is_a_400_page(browser: FlaskClient, guarded: Flask) -> None:
    answer = browser.post("/clients/new", data=new_client())
    assert answer.status_code == 400
    assert answer.text.lstrip().startswith("<!doctype html>")
    assert "This form is too old" in answer.text
    assert count_clients(guarded) == 0


def test_htmx_without_a_token_gets_a_flash(browser: FlaskClient, guarded: Flask) -> None:
    answer = browser.post("/clients/new", data=new_client(), headers=HTMX)
    assert answer.status_code == 400
    assert answer.headers["HX-Reswap"] == "none"
    assert "<hx-partial" in answer.text
    assert count_clients(guarded) == 0


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_the_token_in_the_header_is_taken(browser: FlaskClient, guarded: Flask, headers: dict[str, str]) -> None:
    token = token_on(browser, "/clients/")
    answer = browser.post("/clients/new", data=new_client(), headers=headers | {"X-CSRFToken": token})
    assert answer.status_code in (204, 303), answer.text
    assert count_clients(guarded) == 1


def test_the_token_in_the_form_is_taken(browser: FlaskClient, guarded: Flask) -> None:
    token = token_on(browser, "/clients/")
    assert browser.post("/clients/new", data=new_client(csrf_token=token)).status_code == 303
    assert count_clients(guarded) == 1


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "\u0416", "x" * 5000])
def test_a_made_up_token_is_refused(browser: FlaskClient, guarded: Flask, token: str) -> None:
    assert browser.post("/clients/new", data=new_client(csrf_token=token)).status_code == 400
    assert count_clients(guarded) == 0


def test_somebody_elses_token_is_refused(browser: FlaskClient, guarded: Flask) -> None:
    theirs = token_on(guarded.test_client(), "/auth/login")
    browser.get("/clients/")
    assert browser.post("/clients/new", data=new_client(csrf_token=theirs)).status_code == 400
    assert count_clients(guarded) == 0


def test_the_token_is_not_taken_from_the_address(browser: FlaskClient, guarded: Flask) -> None:
    """There it would stand in logs and in other sites' Referer."""
    token = token_on(browser, "/clients/")
    assert browser.post(f"/clients/new?csrf_token={token}", data=new_client()).status_code == 400


def test_a_page_left_open_overnight_still_works(guarded: Flask) -> None:
    assert guarded.config["WTF_CSRF_TIME_LIMIT"] is None


def test_the_log_in_form_has_a_token_too(guarded: Flask) -> None:
    """Without one, another site could log a visitor in as somebody else."""
    visitor = guarded.test_client()
    fields = {"email": "owner@golub.test", "password": "x"}
    assert visitor.post("/auth/login", data=fields).status_code == 400
    token = token_on(visitor, "/auth/login")
    assert visitor.post("/auth/login", data=fields | {"csrf_token": token}).status_code == 422


def test_every_view_that_changes_something_is_guarded(guarded: Flask, browser: FlaskClient) -> None:
    asked = []
    for rule in guarded.url_map.iter_rules():
        if rule.rule.startswith("/unsubscribe/"):
            continue  # the address itself is the secret: tests/clients/test_unsubscribe.py
        for method in sorted((rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}):
            path = re.sub(r"<(?:[^:>]+:)?[^>]+>", "1", rule.rule)
            answer = browser.open(path, method=method)
            assert answer.status_code == 400, f"{method} {rule.rule} answered {answer.status_code}"
            asked.append(rule.rule)
    assert len(asked) > 5
