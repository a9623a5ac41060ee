"""Every route × every role × own and others' things × GET and POST × page and fragment, against one table.

The table is written here once more, by hand, and not read from the code: what the code says is what is tested.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import inspect, select
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from app import clock
from app.auth import logins
from app.auth.models import Avatar, Login, User
from app.auth.roles import Role
from app.blog.models import Post
from app.clients.models import Client, Import, ImportStatus, Segment
from app.delivery.models import Delivery, Run
from app.extensions import db
from app.mailings import jobs, service
from app.mailings.models import Mailing
from app.messages.models import Message, MessageDraft, MessageVersion
from tests import make

GUEST, USER, MANAGER, EDITOR, ADMIN = "guest", "user", "manager", "editor", "admin"
ROLES = (GUEST, USER, MANAGER, EDITOR, ADMIN)
SECRET = "nobody else's business"

IN, OUT, FORBIDDEN, ABSENT = "in", "sent to the log-in", "forbidden", "not there"
Row = tuple[str, str, str, str, str]  # what becomes of a guest, a user, a manager, an editor, an administrator

EVERYBODY: Row = (IN, IN, IN, IN, IN)
WHOEVER_IS_IN: Row = (OUT, IN, IN, IN, IN)
OWNERS: Row = (OUT, IN, FORBIDDEN, FORBIDDEN, IN)
LIBRARY: Row = (OUT, IN, IN, FORBIDDEN, IN)
STAFF: Row = (OUT, FORBIDDEN, IN, FORBIDDEN, IN)
EDITORS: Row = (OUT, FORBIDDEN, FORBIDDEN, IN, IN)
ADMINS: Row = (OUT, FORBIDDEN, FORBIDDEN, FORBIDDEN, IN)
NOBODY: Row = (OUT, ABSENT, ABSENT, ABSENT, ABSENT)


@dataclass(frozen=True)
class Wall:
    """What becomes of whoever asks for their own, for somebody else's, and for what somebody else shares."""

    own: Row
    others: Row | None = None
    shared: Row | None = None


# Own things of a manager or an editor are those of a user who became one.
SEEN = Wall(own=LIBRARY, others=(OUT, ABSENT, IN, FORBIDDEN, IN))
EDITED = Wall(own=OWNERS, others=(OUT, ABSENT, FORBIDDEN, FORBIDDEN, IN))
MESSAGE_READ = Wall(own=LIBRARY, others=(OUT, ABSENT, ABSENT, FORBIDDEN, IN), shared=LIBRARY)
MESSAGE_EDITED = Wall(own=OWNERS, others=EDITED.others, shared=EDITED.others)
MESSAGE_COPIED = Wall(own=OWNERS, others=EDITED.others, shared=OWNERS)

TABLE: dict[str, Wall] = {
    **dict.fromkeys(("health.healthz", "health.readyz"), Wall(EVERYBODY)),
    **dict.fromkeys(("blog.home", "blog.list_posts", "blog.set_language"), Wall(EVERYBODY)),
    **dict.fromkeys(("blog.atom_feed", "blog.rss_feed", "blog.sitemap", "blog.robots"), Wall(EVERYBODY)),
    "blog.show_post": Wall((ABSENT,) * 5),  # of a slug that there is none of
    # A recipient's link: whoever holds it is who they are; "forged" is nobody.
    **dict.fromkeys(("clients.leave", "clients.come_back"), Wall((ABSENT,) * 5)),
    "mailings.calendar_feed": Wall((ABSENT,) * 5),  # its address is a secret, too
    # The way in. The links of letters carry a token: whoever holds it is who they are.
    **dict.fromkeys(
        (
            "auth.register",
            "auth.resend",
            "auth.look_into_inbox",
            "auth.verify",
            "auth.forgot_password",
            "auth.reset_sent",
            "auth.reset_password",
            "auth.confirm_email",
            "auth.login",
            "auth.second_factor",
            "auth.logout",
            "account.restore",
        ),
        Wall(EVERYBODY),
    ),
    "palette.search": Wall(WHOEVER_IS_IN),
    # One's own account.
    **dict.fromkeys(
        (
            "account.edit_profile",
            "account.set_avatar",
            "account.remove_avatar",
            "account.security",
            "account.change_password",
            "account.change_email",
            "account.end_other_logins",
            "account.end_all_logins",
            "account.switch_factor_on",
            "account.switch_factor_off",
            "account.new_recovery_codes",
            "account.list_activity",
            "account.data",
            "account.export_data",
            "account.close",
        ),
        Wall(WHOEVER_IS_IN),
    ),
    "account.end_login": Wall(own=WHOEVER_IS_IN, others=NOBODY),
    "account.show_avatar": Wall(own=WHOEVER_IS_IN, others=(OUT, ABSENT, IN, ABSENT, IN)),
    # Clients, messages, mailings.
    **dict.fromkeys(
        (
            "clients.list_clients",
            "clients.create_client",
            "clients.list_segments",
            "clients.create_segment",
            "clients.preview_new_segment",
            "clients.upload_clients",
            "clients.export_csv",
            "clients.change_clients",
            "clients.undo_clients",
            "clients.change_segments",
            "clients.undo_segments",
            "messages.change_messages",
            "messages.undo_messages",
            "mailings.change_mailings",
            "mailings.undo_mailings",
            "clients.export_xlsx",
            "messages.create_message",
            "messages.preview_typed",
            "messages.autosave_new",
            "messages.list_pictures",
            "messages.check_typed",
            "messages.make_text",
            "messages.choose_client",
            "messages.test_new_message",
            "mailings.overview",
            "mailings.list_mailings",
            "mailings.create_mailing",
            "mailings.preview_new_mailing",
            "mailings.choose_message",
            "mailings.choose_clients",
            "mailings.show_calendar",
            "mailings.renew_feed",
            "mailings.switch_feed_off",
        ),
        Wall(OWNERS),
    ),
    "messages.list_messages": Wall(LIBRARY),
    "mailings.show_log": Wall(LIBRARY),
    **dict.fromkeys(
        (
            "clients.show_client",
            "mailings.show_client_history",
            "mailings.show_mailing",
            "mailings.preview_letter",
            "mailings.show_run",
            "mailings.preview_sent_letter",
            "mailings.show_delivery",
            "mailings.print_run",
            "mailings.compare_runs",
        ),
        SEEN,
    ),
    **dict.fromkeys(
        (
            "clients.edit_client",
            "clients.client_row",
            "clients.delete_client",
            "clients.edit_segment",
            "clients.preview_segment",
            "clients.delete_segment",
            "mailings.edit_mailing",
            "mailings.preview_mailing",
            "mailings.start_mailing",
            "mailings.pause_mailing",
            "mailings.resume_mailing",
            "mailings.delete_mailing",
            "mailings.resend",
            "mailings.cancel_run",
            "mailings.export_run_csv",
            "mailings.export_run_xlsx",
            "mailings.send_missed",
            "mailings.decline_missed",
        ),
        EDITED,
    ),
    # What is in an uploaded file is nobody else's, the administrators' neither.
    **dict.fromkeys(
        (
            "clients.show_import",
            "clients.start_import",
            "clients.cancel_import",
            "clients.delete_import",
            "clients.download_bad_rows",
            "messages.discard_draft",
        ),
        Wall(own=OWNERS, others=(OUT, ABSENT, FORBIDDEN, FORBIDDEN, ABSENT)),
    ),
    **dict.fromkeys(("messages.show_message", "messages.preview_message"), MESSAGE_READ),
    **dict.fromkeys(
        (
            "messages.edit_message",
            "messages.delete_message",
            "messages.share_message",
            "messages.unshare_message",
            "messages.test_message",
            "messages.autosave_message",
            "messages.list_versions",
            "messages.preview_version",
            "messages.restore_version",
        ),
        MESSAGE_EDITED,
    ),
    "messages.copy_message": MESSAGE_COPIED,
    # The staff.
    **dict.fromkeys(
        (
            "manager.dashboard",
            "manager.list_mailings",
            "manager.disable_mailing",
            "manager.enable_mailing",
            "manager.list_clients",
            "manager.list_users",
            "manager.show_user",
            "manager.block_user",
            "manager.unblock_user",
            "manager.list_audit",
        ),
        Wall(own=STAFF, others=STAFF),
    ),
    "manager.set_role": Wall(own=ADMINS, others=ADMINS),
    # The content manager's panel: articles belong to the blog, whoever wrote them.
    **dict.fromkeys(
        ("blog.list_managed", "blog.new_post", "blog.autosave_new", "blog.manage_pictures"),
        Wall(EDITORS),
    ),
    **dict.fromkeys(
        (
            "blog.edit_post",
            "blog.preview_post",
            "blog.autosave_post",
            "blog.discard_draft",
            "blog.publish_post",
            "blog.unpublish_post",
            "blog.delete_post",
            "blog.restore_post",
        ),
        Wall(own=EDITORS, others=EDITORS),
    ),
    # Of keys that there are none of.
    **dict.fromkeys(("blog.show_picture", "pictures.show_picture"), Wall((ABSENT,) * 5)),
}


# Their addresses are secrets by themselves, and mail programs know no token of ours (RFC 8058).
WITHOUT_TOKEN = ("clients.leave", "clients.come_back")


def rules_of(app: Flask) -> Iterator[Rule]:
    return (rule for rule in app.url_map.iter_rules() if rule.endpoint != "static")


def test_every_route_stands_in_the_table(app: Flask) -> None:
    assert {rule.endpoint for rule in rules_of(app)} == set(TABLE)


@pytest.fixture
def cast(app: Flask) -> dict[str, int]:
    """One person of each role, and `other`, whose things are others'; by name, their ids."""
    with app.app_context():
        people = {role: make.user(f"{role}@golub.test", Role(role)) for role in ROLES[1:]}
        people["other"] = make.user("other@golub.test")
        make.user("second-admin@golub.test", Role.ADMIN)
        db.session.commit()
        return {name: person.id for name, person in people.items()}


def things_of(app: Flask, owner_id: int, *, shared: bool) -> dict[str, Any]:
    """Fresh things of this person, for the places in addresses."""
    with app.app_context():
        owner = db.session.get_one(User, owner_id)
        logins.begin(owner, is_remembered=False)
        db.session.merge(Avatar(user_id=owner_id, image=b"x"))
        client = make.client(owner, f"{clock.now().timestamp()}@example.test", comment=SECRET)
        segment = Segment(owner_id=owner_id, name=SECRET, conditions={"domain": "example.test"})
        db.session.add(segment)
        message = make.message(owner, subject="Shared" if shared else SECRET, is_shared=shared)
        version = MessageVersion(message_id=message.id, subject=SECRET, preheader="", html=f"<p>{SECRET}</p>", text="")
        db.session.add(version)
        mailing = make.mailing(owner, name=SECRET, message=make.message(owner, subject=SECRET))
        post = make.post(owner, title=SECRET, html=f"<p>{SECRET}</p>")
        run = service.start_now(mailing)
        draft = MessageDraft(owner_id=owner_id, fields={"subject": SECRET})
        db.session.add(draft)
        file = Import(owner_id=owner_id, status=ImportStatus.READY, file_name=SECRET, size=0)
        db.session.add(file)
        db.session.commit()
        jobs.prepare_runs()
        delivery_id = db.session.scalar(select(Delivery.id).where(Delivery.run_id == run.id))
        login_id = db.session.scalar(select(Login.id).where(Login.user_id == owner_id).order_by(Login.id.desc()))
        return {
            "client_id": client.id,
            "segment_id": segment.id,
            "import_id": file.id,
            "message_id": message.id,
            "version_id": version.id,
            "mailing_id": mailing.id,
            "run_id": run.id,
            "delivery_id": delivery_id,
            "user_id": owner_id,
            "login_id": login_id,
            "token": "forged",
            "slug": "no-such-post",
            "post_id": post.id,
            "key": "0" * 32,
            "width": 480,
            "ending": "jpg",
            "draft_id": draft.id,
        }


def state_of(app: Flask, things: dict[str, Any]) -> list[dict[str, Any]]:
    """All that stands in the database of these things."""
    kinds = {
        "client_id": Client,
        "segment_id": Segment,
        "import_id": Import,
        "message_id": Message,
        "mailing_id": Mailing,
        "run_id": Run,
        "draft_id": MessageDraft,
    }
    kinds |= {"user_id": User, "login_id": Login, "post_id": Post}
    with app.app_context():
        found = [db.session.get(kind, things[key]) for key, kind in kinds.items()]
        return [
            {column.key: getattr(thing, column.key) for column in inspect(type(thing)).column_attrs} if thing else {}
            for thing in found
        ]


def outcome_of(answer: TestResponse, *, fragment: bool) -> str:
    if answer.status_code == 403:
        return FORBIDDEN
    if answer.status_code == 404:
        return ABSENT
    if fragment and answer.status_code == 401:
        assert answer.headers["HX-Redirect"].startswith("/auth/login")
        return OUT
    if answer.status_code == 302 and answer.location.startswith("/auth/login"):
        assert not fragment
        return OUT
    assert answer.status_code in (200, 204, 303, 409, 410, 422, 400), answer.status
    return IN


def whose(wall: Wall) -> Iterator[tuple[str, Row]]:
    yield "own", wall.own
    if wall.others:
        yield "others", wall.others
    if wall.shared:
        yield "shared", wall.shared


# How a page or a fragment is answered has nothing to do with the database.
@pytest.mark.parametrize(
    "fragment", [pytest.param(False, id="page"), pytest.param(True, id="fragment", marks=pytest.mark.one_database)]
)
@pytest.mark.parametrize("role", ROLES)
def test_the_walls_stand(app: Flask, cast: dict[str, int], role: str, fragment: bool) -> None:
    headers = {"HX-Request": "true"} if fragment else {}
    seen = 0
    anybodys = things_of(app, cast["other"], shared=False)
    fresh: dict[tuple[int, bool], dict[str, Any]] = {}  # nobody has changed these yet
    for rule in rules_of(app):
        for kind, row in whose(TABLE[rule.endpoint]):
            expected = row[ROLES.index(role)]
            owner = cast["other"] if kind != "own" or role == GUEST else cast[role]
            for method in ("GET", "POST"):
                is_taken = method in (rule.methods or ()) and rule.arguments
                whom = (owner, kind == "shared")
                if is_taken and whom not in fresh:
                    fresh[whom] = things_of(app, owner, shared=kind == "shared")
                things = fresh[whom] if is_taken else anybodys
                browser = browser_of(app, cast.get(role))
                before = None if expected == IN else state_of(app, things)
                address = path_of(app, rule, things)
                answer = browser.open(address, method=method, headers=headers)
                case = (rule.endpoint, kind, method, answer.status)
                seen += 1
                if expected == IN and method == "POST":
                    fresh.clear()
                if method not in (rule.methods or ()):
                    assert answer.status_code == 405, case
                    continue
                assert outcome_of(answer, fragment=fragment) == expected, case
                if expected != IN:
                    assert SECRET not in answer.text, case
                    assert state_of(app, things) == before, case
    assert seen > 2 * len(TABLE)


def browser_of(app: Flask, user_id: int | None) -> FlaskClient:
    browser = app.test_client()
    if user_id is not None:
        with app.app_context():
            user = db.session.get_one(User, user_id)
        make.session_of(app, browser, user)
    return browser


def path_of(app: Flask, rule: Rule, things: dict[str, Any]) -> str:
    with app.test_request_context():
        return str(app.url_map.bind("localhost").build(rule.endpoint, {name: things[name] for name in rule.arguments}))


# CSRF


def test_no_change_goes_through_without_a_token(app: Flask, cast: dict[str, int], monkeypatch: Any) -> None:
    monkeypatch.setitem(app.config, "WTF_CSRF_ENABLED", True)
    things = things_of(app, cast[ADMIN], shared=False)
    before = state_of(app, things)
    asked = 0
    for rule in rules_of(app):
        if "POST" in (rule.methods or ()) and rule.endpoint not in WITHOUT_TOKEN:
            for headers in ({}, {"HX-Request": "true"}, {"X-CSRFToken": "forged"}):
                answer = browser_of(app, cast[ADMIN]).post(path_of(app, rule, things), headers=headers)
                assert answer.status_code == 400, (rule.endpoint, answer.status)
                asked += 1
    assert asked > 60
    assert state_of(app, things) == before


def test_nothing_but_get_and_post_is_taken(app: Flask) -> None:
    for rule in rules_of(app):
        assert (rule.methods or set()) <= {"GET", "HEAD", "OPTIONS", "POST"}, rule.endpoint
