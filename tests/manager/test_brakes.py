"""Blocking, disabling, roles: what the staff may do to others, from the row and from a page."""

import pytest
from sqlalchemy import select, update

from app import clock
from app.auth.models import Action, AuditEntry, User
from app.auth.roles import Role
from app.delivery.models import Run
from app.extensions import db
from app.mailings import dispatch, jobs
from app.mailings import service as mailings
from app.mailings.models import Mailing
from app.manager import queries
from tests import make
from tests.auth.links import text_of
from tests.auth.test_login import is_let_in, log_in

HTMX = {"HX-Request": "true"}
WHY = {"reason": "Complaints of 12 recipients"}


def user(app, person):
    with app.app_context():
        return db.session.get(User, person.id)


def entries(app, action):
    with app.app_context():
        return db.session.scalars(select(AuditEntry).where(AuditEntry.action == action)).all()


@pytest.fixture
def mailing_id(app, owner):
    """A mailing of the owner's to three clients, due in an hour."""
    with app.app_context():
        make.clients(owner, 3)
        made = make.mailing(owner, name="Spring news")
        db.session.commit()
        return made.id


@pytest.fixture
def run_id(app, mailing_id):
    """A run of it that nobody has sent anything of yet."""
    with app.app_context():
        run = mailings.start_now(db.session.get(Mailing, mailing_id))
        db.session.commit()
        jobs.prepare_runs()
        return run.id


def run(app, run_id):
    with app.app_context():
        return db.session.get(Run, run_id)


# ── Blocking ──


@pytest.mark.parametrize("who", ["manager", "admin"])
def test_a_block_holds_at_once_and_its_owner_reads_why(app, request, who, owner, owner_client, *, smtp, run_jobs):
    staff = request.getfixturevalue(f"{who}_client")
    assert staff.post(f"/manager/users/{owner.id}/block", data=WHY).location == f"/manager/users/{owner.id}"
    assert not is_let_in(owner_client)
    assert log_in(owner_client, owner.email).status_code == 422
    run_jobs()
    [letter] = smtp.to(owner.email)
    assert letter.message["Subject"] == "Your account is blocked"
    assert "Complaints of 12 recipients" in text_of(letter)
    [entry] = entries(app, Action.BLOCKED)
    by = request.getfixturevalue(who).id
    assert (entry.actor_id, entry.owner_id, entry.why) == (by, owner.id, WHY["reason"])
    assert user(app, owner).blocked_by_id == by


def test_the_letter_is_in_the_language_of_its_reader(app, owner, manager_client, smtp, run_jobs):
    with app.app_context():
        db.session.execute(update(User).where(User.id == owner.id).values(locale="ru"))
        db.session.commit()
    manager_client.post(f"/manager/users/{owner.id}/block", data=WHY)
    run_jobs()
    assert "заблокирован" in text_of(smtp.letters[0])


def test_what_runs_stops_and_goes_on_after_the_unblocking(app, owner, manager_client, run_id, smtp, *, run_jobs):
    manager_client.post(f"/manager/users/{owner.id}/block", data=WHY)
    assert run(app, run_id).held_at
    run_jobs()
    assert [letter.recipients for letter in smtp.letters] == [[owner.email]], "none to a client"
    manager_client.post(f"/manager/users/{owner.id}/unblock")
    run_jobs()
    assert run(app, run_id).sent == 3
    assert smtp.to(owner.email)[-1].message["Subject"] == "Your account is open again"
    assert entries(app, Action.UNBLOCKED)


def test_what_falls_due_meanwhile_waits_and_runs_once_after_it(
    app, owner, manager_client, mailing_id, smtp, *, run_jobs
):
    manager_client.post(f"/manager/users/{owner.id}/block", data=WHY)
    with app.app_context():
        db.session.execute(update(Mailing).values(start_at=clock.now(), next_run_at=clock.now()))
        db.session.commit()
        jobs.dispatch_due()
        assert db.session.scalars(select(Run)).all() == []
    manager_client.post(f"/manager/users/{owner.id}/unblock")
    run_jobs()
    assert len(smtp.letters) == 3 + 2


def test_a_run_that_begins_in_the_very_moment_of_the_block_is_held(app, owner, mailing_id):
    """The dispatcher has found and locked the mailing while its owner was not blocked yet."""
    with app.app_context():
        db.session.execute(update(User).where(User.id == owner.id).values(blocked_at=clock.now()))
        begun = dispatch.begin_by_hand(db.session.get(Mailing, mailing_id), "golub@golub.test")
        db.session.commit()
        assert begun.held_at


def test_a_pause_of_the_owners_outlives_an_unblocking(app, owner, owner_client, manager_client, mailing_id, *, run_id):
    owner_client.post(f"/mailings/{mailing_id}/pause")
    manager_client.post(f"/manager/users/{owner.id}/block", data=WHY)
    manager_client.post(f"/manager/users/{owner.id}/unblock")
    assert run(app, run_id).held_at
    log_in(owner_client, owner.email)
    owner_client.post(f"/mailings/{mailing_id}/resume")
    assert run(app, run_id).held_at is None


def test_a_resume_that_began_before_the_block_frees_nothing(app, owner, manager, mailing_id, run_id):
    """The owner's request has loaded its user; the block comes in between."""
    with app.app_context():
        mailing = db.session.get(Mailing, mailing_id)
        mailings.pause(mailing)
        db.session.commit()
        assert mailing.owner.blocked_at is None
        db.session.commit()
        with db.engine.begin() as elsewhere:
            elsewhere.execute(update(User).where(User.id == owner.id).values(blocked_at=clock.now()))
        mailings.resume(mailing)
        db.session.commit()
        assert db.session.get(Run, run_id).held_at


def test_nobody_blocks_themself(app, admin, admin_client):
    with app.app_context():
        make.user("second@golub.test", Role.ADMIN)
        db.session.commit()
    assert admin_client.post(f"/manager/users/{admin.id}/block", data=WHY).status_code == 409
    assert is_let_in(admin_client)
    assert f"/manager/users/{admin.id}/block" not in admin_client.get("/manager/users").text
    assert f"/manager/users/{admin.id}/block" not in admin_client.get(f"/manager/users/{admin.id}").text


def test_a_manager_blocks_no_administrator(app, admin, manager_client):
    assert manager_client.post(f"/manager/users/{admin.id}/block", data=WHY).status_code == 403
    assert user(app, admin).blocked_at is None


def test_an_administrator_blocks_another_but_never_the_last(app, admin, admin_client):
    with app.app_context():
        second = make.user("second@golub.test", Role.ADMIN).id
        db.session.commit()
    assert admin_client.post(f"/manager/users/{second}/block", data=WHY).status_code == 303
    assert admin_client.post(f"/manager/users/{admin.id}/role", data={"role": "user"}).status_code == 409
    assert user(app, admin).role is Role.ADMIN


def test_twice_is_refused(owner, manager_client):
    path = f"/manager/users/{owner.id}"
    assert manager_client.post(f"{path}/unblock").status_code == 409
    assert manager_client.post(f"{path}/block", data=WHY).status_code == 303
    assert manager_client.post(f"{path}/block", data=WHY).status_code == 409


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
@pytest.mark.parametrize("path", ["/manager/users/{owner}/block", "/manager/mailings/{mailing}/disable"])
def test_without_a_reason_nothing_happens(app, owner, manager_client, mailing_id, reason, *, path):
    path = path.format(owner=owner.id, mailing=mailing_id)
    assert 'name="reason"' in manager_client.get(path).text
    page = manager_client.post(path, data={"reason": reason})
    assert page.status_code == 422
    assert "<html" in page.text
    fragment = manager_client.post(path, data={"reason": reason}, headers=HTMX)
    assert fragment.status_code == 422
    assert "<html" not in fragment.text
    assert fragment.headers["HX-Retarget"] == "#dialog"
    assert user(app, owner).blocked_at is None


def test_from_the_row_the_row_comes_back(owner, manager_client, mailing_id):
    """Without leaving the page: the dialog's form, then the changed row."""
    for path, undo in (
        (f"/manager/users/{owner.id}/block", f"/manager/users/{owner.id}/unblock"),
        (f"/manager/mailings/{mailing_id}/disable", f"/manager/mailings/{mailing_id}/enable"),
    ):
        form = manager_client.get(path, headers=HTMX).text
        assert "<html" not in form
        assert f'hx-post="{path}"' in form
        row = manager_client.post(path, data=WHY, headers=HTMX)
        assert row.status_code == 200
        assert row.text.count("<tr") == 1
        assert undo in row.text
        assert WHY["reason"] in row.text
        again = manager_client.post(undo, headers=HTMX).text
        assert again.count("<tr") == 1
        assert path in again


def test_a_reason_is_text(owner, manager_client, smtp, run_jobs):
    manager_client.post(
        f"/manager/users/{owner.id}/block", data={"reason": "<script>alert(1)</script>\r\nBcc: x@y.test"}
    )
    assert "<script>alert" not in manager_client.get("/manager/users").text
    run_jobs()
    assert "<script>alert" not in text_of(smtp.letters[0], "html")
    assert smtp.letters[0].message["Bcc"] is None


# ── Disabling ──


@pytest.mark.parametrize("who", ["manager", "admin"])
def test_a_disabled_mailing_stops_and_only_the_staff_lifts_it(
    app, request, who, owner, owner_client, *, mailing_id, run_id, smtp, run_jobs
):
    staff = request.getfixturevalue(f"{who}_client")
    assert staff.post(f"/manager/mailings/{mailing_id}/disable", data=WHY).location == f"/mailings/{mailing_id}"
    assert run(app, run_id).held_at
    run_jobs()
    [letter] = smtp.letters
    assert letter.recipients == [owner.email]
    for words in ("Spring news", WHY["reason"]):
        assert words in text_of(letter)
    assert WHY["reason"] in owner_client.get(f"/mailings/{mailing_id}").text
    for path in ("enable", "disable"):
        assert owner_client.post(f"/manager/mailings/{mailing_id}/{path}", data=WHY).status_code == 403
    owner_client.post(f"/mailings/{mailing_id}/pause")
    owner_client.post(f"/mailings/{mailing_id}/resume")
    assert run(app, run_id).held_at, "a pause and its end lift no disabling"
    assert owner_client.post(f"/mailings/{mailing_id}/start").status_code == 409
    assert staff.post(f"/manager/mailings/{mailing_id}/enable").status_code == 303
    run_jobs()
    assert run(app, run_id).sent == 3
    assert smtp.to(owner.email)[-1].message["Subject"] == "Your mailing may be sent again"
    assert [entry.subject for entry in entries(app, Action.MAILING_DISABLED)] == [f"mailing {mailing_id}"]
    assert entries(app, Action.MAILING_ENABLED)


def test_disabling_twice_is_refused(manager_client, mailing_id):
    path = f"/manager/mailings/{mailing_id}"
    assert manager_client.post(f"{path}/enable").status_code == 409
    assert manager_client.post(f"{path}/disable", data=WHY).status_code == 303
    assert manager_client.post(f"{path}/disable", data=WHY).status_code == 409


# ── Roles ──


def test_an_administrator_assigns_roles_and_they_hold_at_once(app, owner, owner_client, admin, admin_client):
    assert 'name="role"' in admin_client.get(f"/manager/users/{owner.id}").text
    assert admin_client.post(f"/manager/users/{owner.id}/role", data={"role": "manager"}).status_code == 303
    assert owner_client.get("/manager/").status_code == 200
    assert owner_client.get("/clients/").status_code == 403
    [entry] = entries(app, Action.ROLE_CHANGED)
    assert (entry.actor_id, entry.owner_id, entry.why) == (admin.id, owner.id, "user → manager")


def test_a_manager_assigns_none(app, owner, manager, manager_client):
    assert 'name="role"' not in manager_client.get(f"/manager/users/{owner.id}").text
    for person in (owner, manager):
        assert manager_client.post(f"/manager/users/{person.id}/role", data={"role": "admin"}).status_code == 403
        assert user(app, person).role is person.role


def test_an_unknown_role_is_none(app, owner, admin_client):
    assert admin_client.post(f"/manager/users/{owner.id}/role", data={"role": "emperor"}).status_code == 303
    assert "There is no such role." in admin_client.get(f"/manager/users/{owner.id}").text
    assert user(app, owner).role is Role.USER


# ── Looking ──


def test_lists_are_searched_and_filtered(app, owner, stranger, manager_client, mailing_id):
    with app.app_context():
        make.client(stranger, "zoe@example.org", last_name="Зуева")
        make.mailing(stranger, name="Autumn news")
        make.user("blocked@golub.test", blocked_at=clock.now())
        db.session.commit()
    for path, there, absent in (
        ("/manager/mailings?q=AUTUMN", "Autumn news", "Spring news"),
        ("/manager/mailings?q=owner@", "Spring news", "Autumn news"),
        ("/manager/clients?q=зуева", "zoe@example.org", "client1@example.test"),
        (f"/manager/clients?owner={owner.id}", "client1@example.test", "zoe@example.org"),
        ("/manager/clients?q=stranger", "zoe@example.org", "client1@example.test"),
        ("/manager/users?state=blocked", "blocked@golub.test", owner.email),
        ("/manager/users?role=manager", "manager@golub.test", owner.email),
        (f"/manager/users?q={owner.email}", owner.email, stranger.email),
    ):
        for headers in ({}, HTMX):
            text = manager_client.get(path, headers=headers).text
            rows = text.partition('id="rows"')[2] or text
            assert there in rows, path
            assert absent not in rows, path


def test_every_account_is_in_one_state(app, owner):
    now = clock.now()
    with app.app_context():
        for number, verified in enumerate((now, None)):
            make.user(f"blocked{number}@golub.test", verified_at=verified, blocked_at=now)
            make.user(f"closed{number}@golub.test", verified_at=verified, closed_at=now)
            make.user(f"both{number}@golub.test", verified_at=verified, blocked_at=now, closed_at=now)
        make.user("new@golub.test", verified_at=None)
        db.session.commit()
        found = {
            state: db.session.scalars(queries.users_like(queries.all_users(), state=state)).all()
            for state in queries.AccountState
        }
        for state, people in found.items():
            assert people
            assert {queries.state_of(person) for person in people} == {state}
        everybody = db.session.scalars(queries.all_users()).all()
        assert sum(map(len, found.values())) == len(everybody)


@pytest.mark.parametrize(
    "path", ["mailings?q=x%00y", "clients?owner=99999999999", "users?role=x&state=y", "audit?user=²"]
)
def test_odd_filters_are_no_fault(manager_client, path):
    assert manager_client.get(f"/manager/{path}").status_code == 200


def test_a_users_page_tells_what_they_have_and_did(
    app, owner, owner_client, manager_client, mailing_id, *, smtp, run_id
):
    page = manager_client.get(f"/manager/users/{owner.id}").text
    for words in (owner.email, "Spring news", "Logged in", f'href="/mailings/{mailing_id}"'):
        assert words in page
    assert manager_client.get("/manager/users/999999").status_code == 404
    assert manager_client.get("/manager/mailings/999999/disable").status_code == 404


def test_the_audit_log_shows_who_did_what_to_whom(app, owner, manager, manager_client):
    manager_client.post(f"/manager/users/{owner.id}/block", data=WHY)
    rows = manager_client.get(f"/manager/audit?action=blocked&user={owner.id}").text.partition('id="rows"')[2]
    for words in ("Blocked the account", manager.email, owner.email, WHY["reason"], "127.0.0.1"):
        assert words in rows
    assert "Logged in" not in rows.partition("</tbody>")[0]
