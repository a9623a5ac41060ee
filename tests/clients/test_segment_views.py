"""The editor of segments, over HTTP: as a plain form, and as HTMX asks for its parts."""

import re
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from app import clock
from app.auth.models import User
from app.clients import segment_views, segments, service
from app.clients.models import Client, ClientStatus, Segment
from app.database import only_reads
from app.extensions import db
from app.mailings.models import Audience, Mailing
from tests import make

HTMX = {"HX-Request": "true"}
NEW = "/clients/segments/new"


@pytest.fixture
def add(app: Flask, owner: User) -> Any:
    def add(email: str = "anna@example.test", tags: tuple[str, ...] = (), **fields: Any) -> int:
        with app.app_context():
            client = make.client(owner, email, **fields)
            service.set_tags(owner.id, client, tags)
            db.session.commit()
            return client.id

    return add


@pytest.fixture
def add_segment(app: Flask, owner: User) -> Any:
    def add(name: str = "VIPs", conditions: dict[str, Any] | None = None) -> int:
        with app.app_context():
            segment = service.create_segment(owner, name, conditions or {"tag": "VIP"})
            db.session.commit()
            return segment.id

    return add


def the_only(app: Flask) -> Segment:
    with app.app_context():
        segment = db.session.scalars(select(Segment)).one()
        db.session.expunge(segment)
        return segment


def row(key: str, kind: str, op: str, **values: str) -> dict[str, str]:
    """The fields of one condition as a browser sends them."""
    return {f"kind-{key}": kind, f"op-{key}": op} | {f"{name}-{key}": value for name, value in values.items()}


def fields_of(html: str) -> dict[str, str]:
    """What a browser would send of the form on this page."""
    html = html[html.index('id="segment-form"') :]
    sent = {}
    for tag in re.findall(r"<input\b[^>]*>", html):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        sent[attributes["name"]] = unescape(attributes.get("value", ""))
    for name, options in re.findall(r'<select\b[^>]*\bname="([^"]+)"[^>]*>(.*?)</select>', html, re.DOTALL):
        values = re.findall(r'<option value="([^"]*)"( selected)?', options)
        sent[name] = unescape(next((value for value, selected in values if selected), values[0][0]))
    return sent


class TestList:
    def test_without_segments_the_page_says_what_they_are(self, owner_client: FlaskClient) -> None:
        assert "No segments yet" in owner_client.get("/clients/segments/").text

    def test_it_tells_all_conditions_in_words(self, owner_client: FlaskClient, add: Any, add_segment: Any) -> None:
        add(tags=("VIP",))
        add_segment("Old one", {"tag": "VIP", "born_from": 1980})
        add_segment("Gone", {"tag": "nobody’s"})
        text = owner_client.get("/clients/segments/").text
        assert "tag “VIP” and born in 1980 or later" in text
        assert "tag “nobody’s” (nobody has it)" in text

    def test_a_segment_that_a_mailing_uses_stays_and_the_reason_is_told(
        self, app: Flask, owner: User, owner_client: FlaskClient, add_segment: Any
    ) -> None:
        segment_id = add_segment()
        with app.app_context():
            make.mailing(owner, audience=Audience.SEGMENT, segment_id=segment_id)
            db.session.commit()
        page = owner_client.post(f"/clients/segments/{segment_id}/delete")
        assert page.status_code == 409
        assert "A mailing uses the segment" in page.text
        fragment = owner_client.post(f"/clients/segments/{segment_id}/delete", headers=HTMX)
        assert (fragment.status_code, fragment.headers["HX-Reswap"]) == (409, "none")
        assert the_only(app).id == segment_id


class TestPlainForm:
    """Without JavaScript: every button sends the whole form."""

    def test_a_segment_is_put_together_button_by_button(self, app: Flask, owner_client: FlaskClient, add: Any) -> None:
        add("a@example.test", ("VIP",), birth_year=1990)
        add("b@example.org", birth_year=1950)
        sent = fields_of(owner_client.get(NEW).text) | {"name": "Both", "tag-0-0": "VIP", "do": "add-group"}
        page = owner_client.post(NEW, data=sent)
        assert page.status_code == 200
        sent = fields_of(page.text)
        assert (sent["name"], sent["tag-0-0"], sent["kind-1-0"]) == ("Both", "VIP", "tag")
        sent |= {"match": "any", "kind-1-0": "domain", "do": "look"}
        sent = fields_of(owner_client.post(NEW, data=sent).text)
        assert sent["domain-1-0"] == ""
        sent |= {"op-1-0": "is", "domain-1-0": "Example.ORG", "do": "add-1"}
        sent = fields_of(owner_client.post(NEW, data=sent).text)
        sent |= {"kind-1-1": "born", "do": "look"}
        sent = fields_of(owner_client.post(NEW, data=sent).text)
        sent |= {"to-1-1": "1960", "do": "look"}
        page = owner_client.post(NEW, data=sent)
        assert "<strong>2</strong>" in page.text
        assert "tag “VIP” or (e-mail at example.org and born in 1960 or earlier)" in page.text
        with app.app_context():
            assert db.session.scalar(select(Segment)) is None

        answer = owner_client.post(NEW, data=fields_of(page.text))
        assert (answer.status_code, answer.location) == (303, "/clients/segments/")
        assert the_only(app).conditions == {
            "match": "any",
            "groups": [
                {"match": "all", "conditions": [{"kind": "tag", "op": "is", "tag": "VIP"}]},
                {
                    "match": "all",
                    "conditions": [
                        {"kind": "domain", "op": "is", "domain": "example.org"},
                        {"kind": "born", "op": "between", "from": None, "to": 1960},
                    ],
                },
            ],
        }

    def test_saving_what_was_opened_changes_nothing(self, app: Flask, owner_client: FlaskClient, add: Any) -> None:
        add(tags=("VIP",), attributes={"city": "Tver"})
        with app.app_context():
            owner = db.session.scalars(select(User).where(User.email == "owner@golub.test")).one()
            mailing = make.mailing(owner)
            conditions = [
                {"kind": "tag", "op": "is_not", "tag": "Gone"},
                {"kind": "born", "op": "between", "from": 1980, "to": None},
                {"kind": "domain", "op": "is_not", "domain": "почта.рф"},
                {"kind": "attribute", "op": "contains", "name": "city", "value": 'T"v<er'},
                {"kind": "attribute", "op": "set", "name": "city"},
                {"kind": "status", "op": "is", "status": "bounced"},
                {"kind": "added", "op": "after", "day": "2026-01-31"},
                {"kind": "mailed", "op": "never"},
                {"kind": "mailed", "op": "within", "days": 30},
                {"kind": "mailing", "op": "not_in", "mailing": mailing.id},
            ]
            groups = [{"match": "any", "conditions": conditions[:7]}, {"match": "all", "conditions": conditions[7:]}]
            segment = service.create_segment(owner, "All kinds", {"match": "all", "groups": groups})
            db.session.commit()
            url, before = f"/clients/segments/{segment.id}/edit", segment.conditions
        assert owner_client.post(url, data=fields_of(owner_client.get(url).text)).status_code == 303
        assert the_only(app).conditions == before

    def test_an_old_segment_is_opened_and_saved_in_the_new_form(
        self, app: Flask, owner_client: FlaskClient, add_segment: Any
    ) -> None:
        url = f"/clients/segments/{add_segment(conditions={'tag': 'Gone', 'added_after': '2026-01-31'})}/edit"
        page = owner_client.get(url).text
        assert "tag “Gone” (nobody has it)" in page
        assert owner_client.post(url, data=fields_of(page)).status_code == 303
        assert [one["kind"] for one in the_only(app).conditions["groups"][0]["conditions"]] == ["tag", "added"]

    def test_rows_and_groups_are_removed_and_one_always_stays(self, owner_client: FlaskClient) -> None:
        sent = row("0-0", "tag", "is", tag="A") | row("0-1", "tag", "is", tag="B") | row("3-7", "tag", "is", tag="C")
        left = fields_of(owner_client.post(NEW, data=sent | {"do": "remove-0-0"}).text)
        assert {name for name in left if name.startswith("kind-")} == {"kind-0-1", "kind-3-7"}
        left = fields_of(owner_client.post(NEW, data=left | {"do": "remove-0"}).text)
        assert {name for name in left if name.startswith("kind-")} == {"kind-3-7"}
        left = fields_of(owner_client.post(NEW, data=left | {"do": "remove-3-7"}).text)
        assert {name for name in left if name.startswith("kind-")} == {"kind-0-0"}
        for nonsense in ("remove-", "add-", "add-99", "remove-99-1", "x", "add-\0", "-"):
            assert owner_client.post(NEW, data=left | {"do": nonsense}).status_code == 200

    def test_a_link_may_propose_a_tag(self, owner_client: FlaskClient, add: Any) -> None:
        add(tags=("VIP",))
        assert fields_of(owner_client.get(NEW + "?tag=VIP").text)["tag-0-0"] == "VIP"

    @pytest.mark.parametrize(
        ("typed", "reason"),
        [
            ({"name": ""}, "Give the segment a name."),
            ({"name": "x" * 101}, "at most 100"),
            (row("0-0", "tag", "is", tag=""), "Choose a tag."),
            (row("0-0", "nothing", "is"), "Choose what to look at."),
            (row("0-0", "", ""), "Choose what to look at."),
            (row("0-0", "born", "between", **{"from": "1990", "to": "1980"}), "before the first one"),
            (row("0-0", "born", "between", **{"from": "9" * 500}), "Write a year"),
            (row("0-0", "born", "between"), "Write the first year"),
            (row("0-0", "domain", "is", domain="nothing"), "not a usable"),
            (row("0-0", "domain", "is", domain=""), "Write a domain"),
            (row("0-0", "added", "after", day="2026-02-30"), "Write a day"),
            (row("0-0", "added", "after", day=""), "Choose a day."),
            (row("0-0", "added", "within", days="0"), "Write a number of days"),
            (row("0-0", "added", "within", days="9" * 5), "Write a number of days"),
            (row("0-0", "added", "within", days="-1"), "Write a number of days"),
            (row("0-0", "added", "within", days="١"), "Write a number of days"),
            (row("0-0", "attribute", "is", name="city", value=""), "Write a value."),
            (row("0-0", "attribute", "is", name='a"]b', value="x"), "Write the name of an attribute"),
            (row("0-0", "attribute", "set", name="город"), "Write the name of an attribute"),
            (row("0-0", "status", "is", status="happy"), "Choose a status."),
            (row("0-0", "mailing", "sent", mailing=""), "Choose a mailing."),
            (row("0-0", "mailing", "sent", mailing="9" * 30), "Choose a mailing."),
            (row("0-0", "mailing", "sent", mailing="77"), "There is no such mailing."),
        ],
    )
    @pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "fragment"])
    def test_what_is_invalid_is_422_and_keeps_what_was_typed(
        self, request: pytest.FixtureRequest, typed: dict[str, str], reason: str, headers: dict[str, str]
    ) -> None:
        app, owner_client = request.getfixturevalue("app"), request.getfixturevalue("owner_client")
        request.getfixturevalue("add")(tags=("VIP",))
        sent = {"name": "Kept"} | row("0-0", "tag", "is", tag="VIP") | row("1-0", "tag", "is", tag="VIP") | typed
        answer = owner_client.post(NEW, data=sent, headers=headers)
        assert answer.status_code == 422
        assert reason in unescape(answer.text)
        assert ("<html" in answer.text) is not bool(headers)
        assert sent["name"] in answer.text
        with app.app_context():
            assert db.session.scalar(select(Segment)) is None
        preview = owner_client.post(NEW + "/preview", data=sent, headers=headers)
        assert preview.status_code == 200

    def test_too_many_conditions_are_refused_with_their_limit(self, owner_client: FlaskClient) -> None:
        sent = {"name": "Many"}
        for number in range(1000):
            sent |= row(f"{number % 7}-{number}", "status", "is", status="active")
        answer = owner_client.post(NEW, data=sent)
        assert answer.status_code == 422
        assert f"at most {segments.MOST_CONDITIONS} conditions" in answer.text
        assert answer.text.count('class="condition"') == segments.MOST_CONDITIONS
        assert owner_client.post(NEW + "/preview", data=sent).status_code == 200
        full = fields_of(answer.text)
        more = owner_client.post(NEW, data=full | {"do": "add-group"})
        assert more.text.count('class="condition"') == segments.MOST_CONDITIONS
        assert owner_client.post(NEW, data=full | {"name": "Full"}).status_code == 303

    @pytest.mark.parametrize("name", ["kind-0-0-0", "kind-0", "kind-99999-0", "kind--1-0", "kind-0-x", "kind-٠-0"])
    def test_names_that_no_form_has_are_not_looked_at(self, owner_client: FlaskClient, name: str) -> None:
        page = owner_client.post(NEW, data={name: "status", "do": "look"})
        assert fields_of(page.text).get("kind-0-0") == "tag"

    def test_hostile_texts_harm_nothing(self, owner_client: FlaskClient) -> None:
        texts = ["%", "_", "'; DROP TABLE client; --", "[", "(?:", "\\", "\0", "\u202e", "<b>&", "x" * 20_000, "\ufffd"]
        for text in texts:
            for made in (
                row("0-0", "tag", "is", tag=text),
                row("0-0", "attribute", "contains", name="city", value=text),
                row("0-0", "attribute", "is", name=text, value=text),
                row("0-0", text, text),
                row("0-0", "tag", text, tag="x") | {"match": text, "match-0": text},
            ):
                answer = owner_client.post(NEW, data={"name": "Odd"} | made)
                assert answer.status_code in (303, 422), made
                assert "<b>&" not in answer.text
                assert owner_client.post(NEW + "/preview", data=made).status_code == 200
        assert owner_client.get("/clients/segments/").status_code == 200


class TestFragments:
    def test_a_button_changes_the_conditions_alone_and_has_them_counted_anew(self, owner_client: FlaskClient) -> None:
        sent = {"name": "x", "do": "add-0"} | row("0-0", "status", "is", status="active")
        answer = owner_client.post(NEW, data=sent, headers=HTMX)
        assert answer.text.lstrip().startswith('<div id="conditions">')
        assert 'id="row-0-1"' in answer.text
        assert re.search(r'id="kind-0-1"[^>]* autofocus', answer.text)
        assert "#preview" in answer.headers["HX-Trigger"]

    def test_the_count_and_a_sample_live_with_the_form(self, owner_client: FlaskClient, add: Any) -> None:
        add("a@example.test", ("VIP",), last_name="Petrova")
        add("b@example.test", ("VIP",), status=ClientStatus.BOUNCED)
        add("c@example.test", last_name="Zhuk")
        sent = row("0-0", "tag", "is", tag="VIP")
        text = owner_client.post(NEW + "/preview", data=sent, headers=HTMX).text
        assert "<form" not in text
        assert "<strong>1</strong>" in text
        assert "1 more fits, but is not active." in text
        assert "Petrova" in text
        assert "Zhuk" not in text
        text = owner_client.post(NEW + "/preview", data=sent | row("0-1", "born", "between"), headers=HTMX).text
        assert "1 condition is not complete yet" in text
        assert "<strong>1</strong>" in text
        text = owner_client.post(NEW + "/preview", data=row("0-0", "born", "between"), headers=HTMX).text
        assert "this is everybody" in text
        assert "<strong>2</strong>" in text

    def test_the_sample_is_the_newest_ten(self, owner_client: FlaskClient, add: Any) -> None:
        for number in range(12):
            add(f"client{number:02}@example.test")
        text = owner_client.post(NEW + "/preview", data={}, headers=HTMX).text
        assert re.findall(r"client\d\d@", text) == [f"client{number:02}@" for number in range(11, 1, -1)]

    def test_what_takes_too_long_to_count_does_not_hold_the_page_up(
        self, owner_client: FlaskClient, monkeypatch: pytest.MonkeyPatch, add: Any
    ) -> None:
        for number in range(300):
            add(f"client{number}@example.test", attributes={"city": "a" * 400})
        monkeypatch.setattr(segment_views, "PATIENCE_SECONDS", 0.001)
        monkeypatch.setattr("app.database.STEPS_BETWEEN_LOOKS", 1)
        sent: dict[str, str] = {}
        for number in range(40):
            sent |= row(f"0-{number}", "attribute", "contains", name="city", value="b" * 50)
        answer = owner_client.post(NEW + "/preview", data=sent, headers=HTMX)
        assert answer.status_code == 200
        assert "Counting takes longer" in answer.text
        monkeypatch.undo()
        assert "<strong>0</strong>" in owner_client.post(NEW + "/preview", data=sent, headers=HTMX).text


class TestWalls:
    def test_nobody_names_a_foreign_mailing(self, app: Flask, stranger: User, owner_client: FlaskClient) -> None:
        with app.app_context():
            foreign = make.mailing(stranger, name="Their secret").id
            db.session.commit()
        sent = {"name": "Spy"} | row("0-0", "mailing", "any", mailing=str(foreign))
        for answer in (
            owner_client.post(NEW, data=sent),
            owner_client.post(NEW, data=sent | {"do": "look"}),
            owner_client.post(NEW + "/preview", data=sent),
        ):
            assert "Their secret" not in answer.text
        assert owner_client.post(NEW, data=sent).status_code == 422
        with app.app_context():
            assert db.session.scalar(select(Segment)) is None

    def test_a_deleted_mailing_is_told_and_may_stay(
        self, app: Flask, owner: User, owner_client: FlaskClient, add_segment: Any
    ) -> None:
        with app.app_context():
            mailing = make.mailing(owner, name="Spring")
            db.session.commit()
            rule = {"kind": "mailing", "op": "any", "mailing": mailing.id}
        conditions = {"match": "all", "groups": [{"match": "all", "conditions": [rule]}]}
        url = f"/clients/segments/{add_segment('Some', conditions)}/edit"
        with app.app_context():
            db.session.get_one(Mailing, rule["mailing"]).deleted_at = clock.now()
            db.session.commit()
        page = owner_client.get(url).text
        assert "took part in the mailing “Spring” (deleted)" in page
        assert owner_client.post(url, data=fields_of(page)).status_code == 303

    def test_an_administrator_edits_with_the_owners_words_and_counts_the_owners_clients(
        self, app: Flask, admin: User, admin_client: FlaskClient, add: Any, add_segment: Any
    ) -> None:
        add("theirs@example.test", ("VIP",))
        with app.app_context():
            make.client(admin, "mine@example.test")
            db.session.commit()
        segment_id = add_segment()
        page = admin_client.get(f"/clients/segments/{segment_id}/edit").text
        assert '<option value="VIP" selected>' in page
        assert "theirs@example.test" in page
        text = admin_client.post(f"/clients/segments/{segment_id}/preview", data={}).text
        assert "theirs@example.test" in text
        assert "mine@example.test" not in text

    def test_a_preview_reads_only(self, app: Flask, owner_client: FlaskClient, add: Any) -> None:
        add()
        assert owner_client.post(NEW + "/preview", data={"name": "x"}).status_code == 200
        with app.app_context():
            assert db.session.scalar(select(Segment)) is None
            assert db.session.scalars(select(Client)).one().email == "anna@example.test"

    @pytest.mark.parametrize("sent", [{"do": "look"}, {"name": ""}], ids=["a button", "a mistake"])
    def test_nobody_who_writes_waits_for_a_count(
        self, owner_client: FlaskClient, monkeypatch: pytest.MonkeyPatch, sent: dict[str, str]
    ) -> None:
        is_reading = []
        count = segments.count
        monkeypatch.setattr(segments, "count", lambda *args: is_reading.append(only_reads.get()) or count(*args))
        for url in (NEW, NEW + "/preview"):
            assert owner_client.post(url, data=sent).status_code in (200, 422)
        assert is_reading == [True, True]
        assert not only_reads.get()
