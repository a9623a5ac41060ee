"""What is typed survives a closed window, and no window goes over what another one wrote."""

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from app import clock
from app.auth.models import User
from app.extensions import db
from app.messages import drafts
from app.messages.models import Message, MessageDraft
from tests import make

TYPED = {
    "subject": "Half a",
    "preheader": "Soon",
    "html": "<p>Half a letter</p>",
    "text": "",
    "version": "",
    "draft": "",
}


@pytest.fixture
def message(app: Flask, owner: User) -> int:
    with app.app_context():
        made = make.message(owner, subject="Whole", html="<p>Whole letter</p>")
        db.session.commit()
        return int(made.id)


def autosave(client: FlaskClient, where: str = "", **fields: str) -> Any:
    answer = client.post(f"/messages/{where}autosave", data=TYPED | fields)
    assert answer.status_code == 200, answer.text
    return answer.json


def all_drafts(app: Flask) -> list[MessageDraft]:
    with app.app_context():
        found = db.session.scalars(select(MessageDraft).order_by(MessageDraft.id)).all()
        db.session.expunge_all()
        return list(found)


def version_in(page: str) -> str:
    return page.partition('name="version"')[2].partition('value="')[2].partition('"')[0]


def test_a_new_message_is_kept_and_offered_and_gone_on_with(app: Flask, owner_client: FlaskClient) -> None:
    said = autosave(owner_client)
    assert said["message"].startswith("Draft kept at ")
    page = owner_client.get("/messages/new").text
    assert "There is a draft that was never saved:" in page
    assert "Half a letter" not in page
    page = owner_client.get(said["action"]).text
    assert "&lt;p&gt;Half a letter&lt;/p&gt;" in page
    assert "never saved:" not in page
    # The next keeping goes into the same one, and saving ends it.
    again = autosave(owner_client, html="<p>More</p>", **said["fields"])
    assert [draft.fields["html"] for draft in all_drafts(app)] == ["<p>More</p>"]
    assert owner_client.post("/messages/new", data=TYPED | again["fields"]).status_code == 303
    assert all_drafts(app) == []


def test_the_message_itself_stays_as_it_is_until_it_is_saved(
    app: Flask, owner_client: FlaskClient, message: int
) -> None:
    said = autosave(owner_client, f"{message}/")
    assert said["action"].startswith(f"/messages/{message}/edit?draft=")
    with app.app_context():
        assert db.session.get_one(Message, message).html == "<p>Whole letter</p>"
    assert "never saved:" in owner_client.get(f"/messages/{message}/edit").text
    assert "never saved:" not in owner_client.get("/messages/new").text


def test_two_windows_keep_both_of_their_texts(app: Flask, owner_client: FlaskClient) -> None:
    first = autosave(owner_client, html="<p>One</p>")
    second = autosave(owner_client, html="<p>Two</p>", **first["fields"])
    # A duplicate of the first window comes with the older mark.
    third = autosave(owner_client, html="<p>Three</p>", **first["fields"])
    assert "both are kept" in third["message"]
    assert [draft.fields["html"] for draft in all_drafts(app)] == ["<p>Two</p>", "<p>Three</p>"]
    # Saving in one window leaves the other's.
    owner_client.post("/messages/new", data=TYPED | third["fields"])
    assert [draft.fields["html"] for draft in all_drafts(app)] == ["<p>Two</p>"]
    owner_client.post("/messages/new", data=TYPED | first["fields"])
    assert len(all_drafts(app)) == 1, "it has been changed since"
    assert "both are kept" not in autosave(owner_client, **second["fields"])["message"]


def test_a_message_that_was_saved_meanwhile_is_not_gone_over_unasked(
    app: Flask, owner_client: FlaskClient, message: int
) -> None:
    version = version_in(owner_client.get(f"/messages/{message}/edit").text)
    assert version
    saved = TYPED | {"subject": "Saved in another window", "version": version}
    assert owner_client.post(f"/messages/{message}/edit", data=saved).status_code == 303
    said = autosave(owner_client, f"{message}/", version=version)
    assert "saved in another window meanwhile" in said["message"]
    mine = TYPED | {"version": version} | said["fields"]
    answer = owner_client.post(f"/messages/{message}/edit", data=mine)
    assert answer.status_code == 422
    assert "saved in another window meanwhile" in answer.text
    assert "Half a letter" in answer.text
    with app.app_context():
        assert db.session.get_one(Message, message).subject == "Saved in another window"
    assert len(all_drafts(app)) == 1
    mine |= {"version": version_in(answer.text)}
    assert owner_client.post(f"/messages/{message}/edit", data=mine).status_code == 303
    versions = owner_client.get(f"/messages/{message}/versions").text
    assert "Saved in another window" in versions
    # A draft says by itself that it is the older one.
    autosave(owner_client, f"{message}/", version=version)
    assert "The message was saved after it was begun." in owner_client.get(f"/messages/{message}/edit").text


def test_a_draft_is_nobody_elses(
    app: Flask, owner_client: FlaskClient, stranger_client: FlaskClient, admin_client: FlaskClient, message: int
) -> None:
    said = autosave(owner_client, f"{message}/")
    new = autosave(owner_client)
    for client in (stranger_client, admin_client):
        assert "Half a letter" not in client.get(new["action"]).text
        assert "never saved:" not in client.get("/messages/new").text
    assert "Half a letter" not in admin_client.get(said["action"]).text
    assert stranger_client.post(f"/messages/{message}/autosave", data=TYPED).status_code == 404
    before = [draft.fields for draft in all_drafts(app)]
    autosave(stranger_client, html="<p>Mine now</p>", **new["fields"])
    assert [draft.fields for draft in all_drafts(app)][:2] == before


def test_it_is_thrown_away_by_a_button(app: Flask, owner_client: FlaskClient, message: int) -> None:
    autosave(owner_client, f"{message}/")
    [draft] = all_drafts(app)
    answer = owner_client.post(f"/messages/drafts/{draft.id}/discard")
    assert answer.location == f"/messages/{message}/edit"
    assert all_drafts(app) == []
    assert owner_client.post(f"/messages/drafts/{draft.id}/discard").status_code == 404


def test_what_could_not_be_saved_is_kept_all_the_same(app: Flask, owner_client: FlaskClient) -> None:
    autosave(owner_client, subject="", html="<script>x</script>\0{{ nobody }}" + "x" * 600_000)
    assert owner_client.get("/messages/new").status_code == 200
    [draft] = all_drafts(app)
    assert owner_client.get(f"/messages/new?draft={draft.id}").status_code == 200
    answer = owner_client.post("/messages/autosave", data=TYPED | {"html": "x" * 2_000_001})
    assert answer.status_code == 422
    assert "larger" in answer.json["error"]


@pytest.mark.parametrize("mark", ["x", "1", "1 x", "99999999999 x", "-1 x", "²  x", " "])
def test_a_mark_that_nobody_gave_begins_a_new_one(app: Flask, owner_client: FlaskClient, mark: str) -> None:
    autosave(owner_client)
    autosave(owner_client, draft=mark)
    assert len(all_drafts(app)) == 2


@pytest.mark.usefixtures("context")
def test_the_newest_are_kept_and_none_for_ever() -> None:
    user, other = make.user("owner@golub.test"), make.user("other@golub.test")
    old = drafts.keep(other, None, {"subject": "Old"}, "", "")
    old.saved_at = clock.now() - timedelta(days=31)
    for number in range(drafts.KEPT + 5):
        drafts.keep(user, None, {"subject": f"No. {number}"}, "", "")
    left = [draft.fields["subject"] for draft in db.session.scalars(drafts.of_user(user))]
    assert sorted(left) == sorted(f"No. {number}" for number in range(5, drafts.KEPT + 5))
    drafts.keep(other, None, {"subject": "New"}, "", "")
    assert [draft.fields["subject"] for draft in db.session.scalars(drafts.of_user(other))] == ["New"]


def test_in_the_dark_the_page_is_dark_and_the_letters_own_colours_stay(owner_client: FlaskClient) -> None:
    data = {"subject": "x", "html": '<p style="color:#111111">x</p>'}
    light = owner_client.post("/messages/preview", data=data).text
    dark = owner_client.post("/messages/preview", data=data | {"dark": "1"}).text
    assert 'content="light"' in light
    assert 'content="dark"' in dark
    assert "#17191c" in dark
    assert "#17191c" not in light
    assert 'style="color:#111111"' in dark
