"""The palette: who finds what, in which order, as a fragment and as a page."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import clock
from app.auth.models import User
from app.clients.models import Segment
from app.extensions import db
from app.palette import finding
from app.palette.views import marked
from tests import make

HTMX = {"HX-Request": "true"}
HIT = re.compile(r'<a class="hit[^"]*"[^>]*href="([^"]*)"')

Making = Callable[..., Any]


@pytest.fixture
def made(app: Flask) -> Making:
    """Makes something by a function of tests.make, and gives its id."""

    def make_it(function: Callable[..., Any], *args: Any, **fields: Any) -> int:
        with app.app_context():
            thing = function(*args, **fields)
            db.session.commit()
            return int(thing.id)

    return make_it


def found(client: FlaskClient, text: str) -> list[str]:
    answer = client.get("/search", query_string={"q": text})
    assert answer.status_code == 200
    return HIT.findall(answer.text)


def found_things(client: FlaskClient, text: str) -> list[str]:
    """Without pages and actions."""
    return [url for url in found(client, text) if re.search(r"/\d+", url)]


@pytest.mark.parametrize(
    "text", ["Петр", "петр", "ПЕТР", "петров пётр", "Пётр Петров", "петр петров", "P.Petrov", "etrov"]
)
def test_a_client_is_found_by_names_and_address(
    owner_client: FlaskClient, owner: User, made: Making, text: str
) -> None:
    number = made(make.client, owner, "p.petrov@example.test", last_name="Петров", first_name="Пётр")
    made(make.client, owner, "anna@example.test", last_name="Сидорова", first_name="Анна")
    assert found_things(owner_client, text) == [f"/clients/{number}"]


def test_a_client_is_found_behind_any_number_of_newer_ones(
    app: Flask, owner_client: FlaskClient, owner: User, made: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "WINDOW", 3)
    monkeypatch.setattr(finding, "SCANNED", 3)
    oldest = made(make.client, owner, "zoe@example.test", last_name="Иванов", first_name="Яков")
    for number in range(20):
        made(make.client, owner, f"a{number}@example.test", last_name="Иванов", first_name=f"Аркадий {number:02}")
    for text in ("zoe", "zoe@example.test", "иванов яков", "яков иванов"):
        assert found_things(owner_client, text) == [f"/clients/{oldest}"]


def test_who_begins_so_comes_before_who_has_it_inside(owner_client: FlaskClient, owner: User, made: Making) -> None:
    inside = made(make.client, owner, "joanna@example.test")
    begins = made(make.client, owner, "anna@example.test")
    assert found_things(owner_client, "anna") == [f"/clients/{begins}", f"/clients/{inside}"]


def test_everything_of_ones_own_is_found(owner_client: FlaskClient, owner: User, made: Making) -> None:
    message = made(make.message, owner, subject="Spring sale")
    mailing = made(make.mailing, owner, name="The sale of spring", message_id=message)
    segment = made(lambda: make._add(Segment(owner_id=owner.id, name="Spring buyers", conditions={"tag": "x"})))
    assert found(owner_client, "spring") == [
        f"/mailings/{mailing}",
        f"/messages/{message}",
        f"/clients/segments/{segment}/edit",
    ]


def test_nobody_finds_what_is_not_theirs(
    stranger_client: FlaskClient, editor_client: FlaskClient, owner: User, made: Making
) -> None:
    made(make.client, owner, "spring@example.test", last_name="Spring")
    message = made(make.message, owner, subject="Spring sale")
    made(make.mailing, owner, name="Spring", message_id=message)
    made(lambda: make._add(Segment(owner_id=owner.id, name="Spring", conditions={"tag": "x"})))
    made(make.post, owner, title="Spring")
    assert found(stranger_client, "spring") == []
    assert found_things(stranger_client, "owner@golub") == []
    shared = made(make.message, owner, subject="Spring for all", is_shared=True)
    assert found(stranger_client, "spring") == [f"/messages/{shared}"]
    assert [url for url in found(editor_client, "spring") if not url.startswith("/blog/manage/")] == []


def test_what_is_deleted_is_not_found(owner_client: FlaskClient, owner: User, made: Making) -> None:
    made(make.message, owner, subject="Spring", deleted_at=clock.now())
    made(make.mailing, owner, name="Spring", deleted_at=clock.now())
    assert found(owner_client, "spring") == []


@pytest.mark.parametrize("text", ["Petrova", "anna@", "Petrova Anna", "trov"])
def test_a_deleted_client_is_not_found(owner_client: FlaskClient, owner: User, made: Making, text: str) -> None:
    number = made(make.client, owner, "anna@example.test", last_name="Petrova", first_name="Anna")
    assert found_things(owner_client, text)
    owner_client.post(f"/clients/{number}/delete")
    assert found_things(owner_client, text) == []


def test_a_manager_finds_users_and_everybodys_mailings(
    manager_client: FlaskClient, owner: User, stranger: User, made: Making
) -> None:
    mailing = made(make.mailing, owner, name="Golub news")
    made(make.client, owner, "golub@example.test")
    urls = found_things(manager_client, "golub")
    assert f"/mailings/{mailing}" in urls
    assert f"/manager/users/{owner.id}" in urls
    assert not any(url.startswith(("/clients/", "/messages/")) for url in urls)
    assert found_things(manager_client, "owner@") == [f"/manager/users/{owner.id}"]


def test_a_content_manager_finds_articles_and_their_pages(
    editor_client: FlaskClient, editor: User, made: Making
) -> None:
    post = made(make.post, editor, title="Spring of pigeons")
    assert found(editor_client, "pigeons") == [f"/blog/manage/{post}/edit"]
    everything = found(editor_client, "")
    assert "/blog/manage/new" in everything
    assert not any(url.startswith(("/mailings", "/clients", "/manager", "/log")) for url in everything)


def test_pages_and_actions_are_found_by_their_names_and_by_other_words(owner_client: FlaskClient) -> None:
    assert found(owner_client, "new mail") == ["/mailings/new"]
    assert found(owner_client, "csv") == ["/clients/import"]
    assert found(owner_client, "cs") == []  # a riddle
    owner_client.post("/language", data={"lang": "ru"})
    assert found(owner_client, "рассыл") == ["/mailings/new", "/mailings/"]


def test_what_was_opened_last_is_offered_first(
    owner_client: FlaskClient, stranger_client: FlaskClient, owner: User, made: Making
) -> None:
    anna, boris = made(make.client, owner, "anna@example.test"), made(make.client, owner, "boris@example.test")
    mailing = made(make.mailing, owner)
    for url in (f"/clients/{anna}", f"/mailings/{mailing}", f"/clients/{boris}", f"/clients/{anna}", "/clients/999999"):
        owner_client.get(url)
    opened = [f"/clients/{anna}", f"/clients/{boris}", f"/mailings/{mailing}"]
    assert found(owner_client, "")[:3] == opened
    # A fragment that polls is no visit.
    owner_client.get(f"/mailings/{mailing}", headers=HTMX)
    assert found(owner_client, "")[:3] == opened
    with stranger_client.session_transaction() as session:
        session["recent"] = [["client", anna], ["mailing", mailing]]
    assert found_things(stranger_client, "") == []


def test_the_dialog_gets_options_and_the_page_links(owner_client: FlaskClient, owner: User, made: Making) -> None:
    made(make.client, owner, "anna@example.test", last_name="<b>Anna</b>")
    fragment = owner_client.get("/search?q=anna", headers=HTMX)
    assert "<html" not in fragment.text
    assert 'role="listbox"' in fragment.text
    assert fragment.text.count('role="option"') == 1
    assert "1 result<" in fragment.text
    page = owner_client.get("/search?q=anna").text
    assert "<html" in page
    assert 'role="option"' not in page
    for text in (fragment.text, page):
        assert "&lt;b&gt;<mark>Anna</mark>&lt;/b&gt;" in text


@pytest.mark.parametrize(
    "text", ["", " ", "\0", "a\0b", "%", "_", "[", "(", "\\", "я" * 5000, "a " * 500, "\ud83d", "'"]
)
def test_whatever_is_typed_is_answered(owner_client: FlaskClient, owner: User, made: Making, text: str) -> None:
    made(make.client, owner)
    data = {"q": text.encode("utf-8", "surrogatepass")}
    assert owner_client.get("/search", query_string=data).status_code == 200
    assert owner_client.get("/search", query_string=data, headers=HTMX).status_code == 200


@pytest.mark.one_database
def test_marks_are_put_around_what_matches() -> None:
    assert marked("Пётр & Anna", ["петр", "an"]) == "<mark>Пётр</mark> &amp; <mark>An</mark>na"
    assert marked("a<b", ["<"]) == "a<mark>&lt;</mark>b"
    assert marked("plain", []) == "plain"


@pytest.mark.one_database
def test_the_button_stands_on_every_page_of_whoever_is_in(owner_client: FlaskClient, client: FlaskClient) -> None:
    assert "data-palette-open" in owner_client.get("/clients/").text
    assert "palette" not in client.get("/").text
