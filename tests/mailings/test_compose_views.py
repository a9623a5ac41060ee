"""Composing a mailing over HTTP: what there is to choose from, what is refused, and what is saved."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, select

from app.auth.models import User
from app.clients import service as clients
from app.extensions import db
from app.mailings import choosing
from app.mailings.models import Audience, Mailing
from app.messages.models import Message
from tests import make

HTMX = {"HX-Request": "true"}
Made = Callable[..., int]


@pytest.fixture
def made(app: Flask, owner: User) -> Made:
    """Make something of the owner's, and give its id."""

    def add(maker: Callable[..., Any], *arguments: Any, of: User = owner, **fields: Any) -> int:
        with app.app_context():
            thing = maker(of, *arguments, **fields)
            db.session.commit()
            return int(thing.id)

    return add


@pytest.fixture
def values(made: Made) -> dict[str, Any]:
    return {
        "name": "News",
        "message_id": made(make.message),
        "audience": "all",
        "period": "once",
        "timezone": "UTC",
        "start_at": "2050-01-31T09:00",
    }


def the_mailing(app: Flask, read: Callable[[Mailing], Any]) -> Any:
    with app.app_context():
        return read(db.session.scalars(select(Mailing)).one())


def checked(html: str, name: str) -> list[str]:
    boxes = re.findall(r"<input[^>]*>", html)
    return [
        found[1]
        for box in boxes
        if f'name="{name}"' in box and "checked" in box and (found := re.search(r'value="([^"]*)"', box))
    ]


class TestSaving:
    def test_sender_answers_and_exclusion_are_kept_and_shown_again(
        self, owner_client: FlaskClient, app: Flask, made: Made, values: dict[str, Any]
    ) -> None:
        segment = made(clients.create_segment, "Complained", {"tag": "angry"})
        more = {"exclude_segment_id": segment, "sender_name": "Anna <of> Golub", "reply_to": " Anna@Example.test "}
        assert owner_client.post("/mailings/new", data=values | more).status_code == 303
        kept = the_mailing(app, lambda it: (it.id, it.exclude_segment_id, it.sender_name, it.reply_to))
        assert kept[1:] == (segment, "Anna <of> Golub", "Anna@example.test")
        for address in (f"/mailings/{kept[0]}/edit", f"/mailings/new?like={kept[0]}"):
            page = owner_client.get(address).text
            assert f'<option selected value="{segment}">Complained</option>' in page
            assert 'value="Anna &lt;of&gt; Golub"' in page
            assert 'value="Anna@example.test"' in page
            assert checked(page, "message_id") == [str(values["message_id"])]

    @pytest.mark.parametrize(
        ("field", "text"),
        [
            ("sender_name", "Anna\r\nBcc: everybody@example.test"),
            ("sender_name", "anna@bank.example"),
            ("sender_name", "x" * 61),
            ("reply_to", "nobody"),
            ("reply_to", "a@b.test, c@d.test"),
            ("reply_to", "a@b.test\r\nBcc: c@d.test"),
            ("reply_to", "Anna <a@b.test>"),
            ("reply_to", "имя@example.test"),
            ("exclude_segment_id", "12345"),
            ("exclude_segment_id", "x"),
        ],
    )
    def test_what_is_wrong_is_422_and_said_at_its_field(
        self, owner_client: FlaskClient, app: Flask, made: Made, values: dict[str, Any], *, field: str, text: str
    ) -> None:
        made(clients.create_segment, "Some", {})
        answer = owner_client.post("/mailings/new", data=values | {field: text}, headers=HTMX)
        assert answer.status_code == 422
        assert f'id="{field}-error"' in answer.text
        with app.app_context():
            assert db.session.scalar(select(Mailing.id)) is None

    def test_somebody_elses_segment_cannot_be_left_out(
        self, owner_client: FlaskClient, made: Made, values: dict[str, Any], stranger: User
    ) -> None:
        theirs = made(clients.create_segment, "Theirs", {}, of=stranger)
        made(clients.create_segment, "Mine", {})
        answer = owner_client.post("/mailings/new", data=values | {"exclude_segment_id": theirs})
        assert answer.status_code == 422
        assert "Theirs" not in answer.text


class TestChoosing:
    def test_a_few_of_many_messages_are_offered_and_the_chosen_one_comes_first(
        self, owner_client: FlaskClient, made: Made, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(choosing, "MESSAGES_OFFERED", 2)
        autumn = made(make.message, subject="Осень")
        for number in range(3):
            made(make.message, subject=f"Winter {number}")
        page = owner_client.get("/mailings/new").text
        assert re.findall(r"Winter \d", page) == ["Winter 2", "Winter 1"]
        assert "These are the newest" in page
        found = owner_client.post("/mailings/new/messages", data={"message_search": "осень"}, headers=HTMX).text
        assert f'value="{autumn}"' in found
        assert "Winter" not in found
        kept = owner_client.post(
            "/mailings/new/messages", data={"message_search": "winter", "message_id": autumn}, headers=HTMX
        ).text
        assert checked(kept, "message_id") == [str(autumn)]
        assert kept.index("Осень") < kept.index("Winter 2")

    def test_nobody_elses_messages_are_offered_but_those_of_the_library(
        self, owner_client: FlaskClient, made: Made, stranger: User
    ) -> None:
        secret = made(make.message, of=stranger, subject="Secret")
        made(make.message, of=stranger, subject="Shared", is_shared=True)
        found = owner_client.post("/mailings/new/messages", data={"message_id": secret}, headers=HTMX).text
        assert "Secret" not in found
        assert "Shared" in found
        assert "from the library" in found

    @pytest.mark.usefixtures("values")
    def test_no_body_of_a_message_is_read_to_offer_them(self, owner_client: FlaskClient, app: Flask) -> None:
        statements: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            statements.append(statement)

        with app.app_context():
            engine = db.engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            owner_client.get("/mailings/new")
        finally:
            event.remove(engine, "before_cursor_execute", note)
        assert not [text for text in statements if str(Message.html) in text]

    def test_clients_are_found_by_name_and_address(self, owner_client: FlaskClient, made: Made, stranger: User) -> None:
        anna = made(make.client, "a@example.test", first_name="Анна")
        boris = made(make.client, "boris@example.test")
        made(make.client, "x@example.test", of=stranger, first_name="Анна")

        def found(search: str, *chosen: int) -> list[str]:
            data = {"client_search": search, "client_ids": list(chosen)}
            answer = owner_client.post("/mailings/new/clients?mailing=x", data=data, headers=HTMX)
            assert answer.status_code == 200
            return re.findall(r'name="client_ids" value="(\d+)"', answer.text)

        assert found("анна") == [str(anna)]
        assert found("BORIS") == [str(boris)]
        assert found("example", boris) == [str(anna)], "who is chosen already is not offered"
        assert found("\0") == [str(boris), str(anna)]

    def test_an_administrator_chooses_among_the_things_of_the_mailings_owner(
        self, admin_client: FlaskClient, stranger_client: FlaskClient, made: Made
    ) -> None:
        made(make.client, "anna@example.test")
        mailing = made(make.mailing, name="Mine")
        for what, words in (("clients", "anna@example.test"), ("messages", "News")):
            address = f"/mailings/new/{what}?mailing={mailing}"
            assert words in admin_client.post(address, headers=HTMX).text
            assert stranger_client.post(address, headers=HTMX).status_code == 404
            assert words not in admin_client.post(f"/mailings/new/{what}", headers=HTMX).text

    def test_chosen_clients_are_chips_and_stay_when_the_form_comes_back(
        self, owner_client: FlaskClient, made: Made, values: dict[str, Any]
    ) -> None:
        ids = [made(make.client, f"client{number}@example.test") for number in range(3)]
        data = values | {"audience": "chosen", "client_ids": [f"{ids[0]},{ids[2]}"], "name": ""}
        answer = owner_client.post("/mailings/new", data=data)
        assert answer.status_code == 422
        assert checked(answer.text, "client_ids") == [str(ids[0]), str(ids[2])]

    def test_without_scripts_a_button_looks_and_saves_nothing(
        self, owner_client: FlaskClient, app: Flask, made: Made, values: dict[str, Any]
    ) -> None:
        anna = made(make.client, "anna@example.test")
        made(make.client, "boris@example.test")
        looks = {"look": "1", "audience": "chosen", "client_ids": anna, "client_search": "boris", "name": ""}
        answer = owner_client.post("/mailings/new", data=values | looks)
        assert answer.status_code == 200
        assert "is-invalid" not in answer.text
        assert checked(answer.text, "client_ids") == [str(anna)]
        assert "boris@example.test" in answer.text
        assert "goes to 1 chosen client." in answer.text
        with app.app_context():
            assert db.session.scalar(select(Mailing.id)) is None

    def test_a_client_who_was_deleted_is_no_reason_to_refuse_the_form(
        self, owner_client: FlaskClient, app: Flask, made: Made, values: dict[str, Any]
    ) -> None:
        anna, boris = made(make.client, "anna@example.test"), made(make.client, "boris@example.test")
        data = values | {"audience": "chosen", "client_ids": [anna, boris]}
        address = owner_client.post("/mailings/new", data=data).location
        owner_client.post(f"/clients/{boris}/delete")
        page = owner_client.get(f"{address}/edit").text
        assert checked(page, "client_ids") == [str(anna)]
        again = owner_client.post(f"{address}/edit", data=data | {"client_ids": checked(page, "client_ids")})
        assert again.status_code == 303
        assert the_mailing(app, lambda it: it.audience) is Audience.CHOSEN

    def test_more_than_may_be_chosen_is_refused_and_not_looked_up(
        self, owner_client: FlaskClient, made: Made, values: dict[str, Any]
    ) -> None:
        anna = made(make.client, "anna@example.test")
        many = ",".join(map(str, range(anna, anna + 300_000)))
        answer = owner_client.post("/mailings/new", data=values | {"audience": "chosen", "client_ids": many})
        assert answer.status_code == 422
        assert "Choose at most" in answer.text
        data = {"client_ids": many, "client_search": "anna"}
        assert owner_client.post("/mailings/new/clients", data=data, headers=HTMX).status_code == 200
