"""The way out of a recipient, who has no account."""

import re
import timeit
from collections.abc import Callable, Iterator
from email import message_from_bytes
from time import process_time

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

from app.auth.models import User
from app.clients.models import Client, ClientStatus
from app.clients.unsubscribe import client_id_of, half_hidden, link_maker
from app.config import Settings
from app.delivery.render import FrozenMessage, Recipient, compile_message
from app.extensions import db
from tests import make

Status = Callable[[], ClientStatus]


@pytest.fixture
def guarded(app: Flask) -> Iterator[Flask]:
    """As in production: a form needs a token, where it needs one."""
    app.config["WTF_CSRF_ENABLED"] = True
    yield app
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def visitor(guarded: Flask) -> FlaskClient:
    return guarded.test_client()


@pytest.fixture
def anna(app: Flask, owner: User) -> int:
    with app.app_context():
        client = make.client(owner, "anna@example.test")
        db.session.commit()
        return int(client.id)


@pytest.fixture
def status(app: Flask, anna: int) -> Status:
    def read() -> ClientStatus:
        with app.app_context():
            return db.session.get_one(Client, anna).status

    return read


@pytest.fixture
def path(settings: Settings, anna: int) -> str:
    return link_maker(settings)(anna).removeprefix(settings.base_url)


def set_status(app: Flask, client_id: int, status: ClientStatus) -> None:
    with app.app_context():
        db.session.get_one(Client, client_id).status = status
        db.session.commit()


# ── Links ──


def test_a_link_says_whose_it_is_to_us_alone(settings: Settings) -> None:
    for client_id in (0, 1, 12345, 2**63 - 1):
        link = link_maker(settings)(client_id)
        assert link.startswith("http://golub.test/unsubscribe/")
        assert client_id_of(link.rpartition("/")[2], settings) == client_id


@pytest.mark.parametrize(
    "token", ["1", "1-", "1-aaaaaaaaaaaaaaaa", "-1-x", "x" * 5000, "1-" + "я" * 16, "٣-" + "a" * 16]
)
def test_a_forged_link_is_nobodys(settings: Settings, visitor: FlaskClient, token: str) -> None:
    assert client_id_of(token, settings) is None
    for page in (visitor.get(f"/unsubscribe/{token}"), visitor.post(f"/unsubscribe/{token}")):
        assert page.status_code == 404
    assert visitor.post(f"/unsubscribe/{token}/undo").status_code == 404


def test_no_link_is_like_another(settings: Settings) -> None:
    link = link_maker(settings)
    token = link(12).rpartition("/")[2]
    signature = token.partition("-")[2]
    assert client_id_of(f"13-{signature}", settings) is None
    assert client_id_of(f"012-{signature}", settings) is None
    assert client_id_of(f"{token}\n", settings) is None
    for place in range(len(token)):
        other = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert client_id_of(other, settings) is None


def test_another_secret_signs_other_links(settings: Settings) -> None:
    other = settings.model_copy(update={"secret_key": "another one"})
    assert client_id_of(link_maker(other)(1).rpartition("/")[2], settings) is None


def test_a_link_costs_microseconds(settings: Settings) -> None:
    link = link_maker(settings)
    assert min(timeit.repeat(lambda: link(123456), number=5000, repeat=3, timer=process_time)) / 5000 < 20e-6


@pytest.mark.parametrize(
    ("email", "shown"),
    [("anna@example.test", "a***@example.test"), ("a@b.test", "a***@b.test"), ("анна@пример.рф", "а***@пример.рф")],
)
def test_an_address_is_half_hidden(email: str, shown: str) -> None:
    assert half_hidden(email) == shown


# ── The page ──


def test_looking_changes_nothing(app: Flask, visitor: FlaskClient, path: str, status: Status) -> None:
    """Programs that look for harm follow every link of a letter."""
    writes = []
    with app.app_context():
        engine = db.engine
    listener = lambda *arguments: writes.append(arguments[2])  # noqa: E731  to be taken off again
    event.listen(engine, "before_cursor_execute", listener)
    try:
        for method in ("GET", "HEAD"):
            assert visitor.open(path, method=method).status_code == 200
    finally:
        event.remove(engine, "before_cursor_execute", listener)
    assert not [statement for statement in writes if not statement.lstrip().upper().startswith(("SELECT", "BEGIN"))]
    assert status() is ClientStatus.ACTIVE


def test_the_page_asks_with_the_address_half_hidden(visitor: FlaskClient, path: str) -> None:
    page = visitor.get(path)
    assert "No more letters?" in page.text
    assert "a***@example.test" in page.text
    assert "anna@" not in page.text
    assert page.headers["Cache-Control"] == "no-store"
    assert page.text.count(f'action="{path}"') == 1


def test_its_button_unsubscribes_and_the_way_back_is_offered(visitor: FlaskClient, path: str, status: Status) -> None:
    page = visitor.post(path)
    assert (page.status_code, status()) == (200, ClientStatus.UNSUBSCRIBED)
    assert "You are unsubscribed" in page.text
    assert visitor.post(path).status_code == 200, "a second click is no mistake"
    assert f'action="{path}/undo"' in page.text
    back = visitor.post(f"{path}/undo")
    assert (back.status_code, status()) == (200, ClientStatus.ACTIVE)
    assert "You are subscribed again" in back.text


def test_later_the_page_says_how_things_stand(visitor: FlaskClient, path: str) -> None:
    visitor.post(path)
    page = visitor.get(path)
    assert "You are unsubscribed" in page.text
    assert f'action="{path}/undo"' in page.text


def test_the_page_speaks_the_visitors_language(visitor: FlaskClient, path: str) -> None:
    assert '<html lang="ru"' in visitor.get(path, headers={"Accept-Language": "ru"}).text


# ── One click in a mail program (RFC 8058) ──


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_one_click_needs_no_session_and_no_token(guarded: Flask, path: str, status: Status, kind: str) -> None:
    program = guarded.test_client(use_cookies=False)
    answer = program.post(path, data={"List-Unsubscribe": "One-Click"}, content_type=kind)
    assert (answer.status_code, status()) == (200, ClientStatus.UNSUBSCRIBED)


def test_the_link_in_a_letters_header_is_the_one_that_works(
    guarded: Flask, settings: Settings, anna: int, status: Status
) -> None:
    frozen = FrozenMessage(1, 2, "golub@golub.test", "", "x", "<p>x</p>", "x", link_maker(settings), "Unsubscribe")
    letter = message_from_bytes(compile_message(frozen)(Recipient(3, anna, "anna@example.test")).content)
    link = re.fullmatch(r"<http://golub\.test(/.+)>", letter["List-Unsubscribe"])
    assert link
    name, _equals, value = letter["List-Unsubscribe-Post"].partition("=")
    assert guarded.test_client().post(link[1], data={name: value}).status_code == 200
    assert status() is ClientStatus.UNSUBSCRIBED


# ── Who is not active ──


def test_whoever_bounced_or_complained_stays_so(app: Flask, visitor: FlaskClient, anna: int, path: str) -> None:
    for kept in (ClientStatus.BOUNCED, ClientStatus.COMPLAINED):
        set_status(app, anna, kept)
        for page in (visitor.get(path), visitor.post(path), visitor.post(f"{path}/undo")):
            assert page.status_code == 200
            assert "You are unsubscribed" in page.text
            assert "/undo" not in page.text
        with app.app_context():
            assert db.session.get_one(Client, anna).status is kept


def test_whoever_is_deleted_is_done(app: Flask, visitor: FlaskClient, anna: int, path: str) -> None:
    with app.app_context():
        db.session.delete(db.session.get_one(Client, anna))
        db.session.commit()
    for page in (visitor.get(path), visitor.post(path), visitor.post(f"{path}/undo")):
        assert page.status_code == 200
        assert "You are unsubscribed" in page.text
        assert "/undo" not in page.text


def test_a_link_is_for_one_client_alone(app: Flask, visitor: FlaskClient, owner: User, path: str) -> None:
    with app.app_context():
        boris = make.client(owner, "boris@example.test").id
        db.session.commit()
    visitor.post(path)
    with app.app_context():
        assert db.session.get_one(Client, boris).status is ClientStatus.ACTIVE
