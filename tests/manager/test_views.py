import re
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue, SimpleWorker

from app import clock, queue
from app.auth.models import User
from app.delivery.models import Run, RunStatus
from app.extensions import db
from tests import make

HTMX = {"HX-Request": "true"}
PAGES = ("/manager/", "/manager/mailings", "/manager/clients", "/manager/users", "/manager/audit")


@pytest.fixture
def things(app: Flask, owner: User, stranger: User) -> None:
    """Mailings of two people, one of them disabled, and one deleted."""
    with app.app_context():
        make.mailing(owner, name="Spring news")
        make.mailing(stranger, name="Autumn news", disabled_at=clock.now())
        make.mailing(stranger, name="Nobody's news", deleted_at=clock.now())
        make.clients(owner, 3)
        db.session.commit()


def figure(page: str, label: str) -> int:
    found = re.search(rf'stat-value">(\d+)</div>\s*<div[^>]*>(?:<a[^>]*>)?{label}', page)
    assert found, label
    return int(found[1])


@pytest.mark.parametrize("page", PAGES)
def test_guests_are_sent_to_the_log_in(client: FlaskClient, page: str) -> None:
    answer = client.get(page)
    assert answer.status_code in (302, 303)
    assert answer.location.startswith("/auth/login")


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("who", ["owner_client", "editor_client"])
def test_others_may_not_look(request: pytest.FixtureRequest, who: str, page: str) -> None:
    assert request.getfixturevalue(who).get(page).status_code == 403


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("who", ["manager_client", "admin_client"])
def test_the_staff_may_look_when_there_is_nothing_yet(request: pytest.FixtureRequest, who: str, page: str) -> None:
    assert request.getfixturevalue(who).get(page).status_code == 200


@pytest.mark.usefixtures("things")
def test_figures_count_what_everybody_has(manager_client: FlaskClient) -> None:
    page = manager_client.get("/manager/").text
    assert figure(page, "Users") == 3
    assert figure(page, "Clients") == 3
    assert figure(page, "Mailings") == 2
    assert figure(page, "Unfinished runs") == 0


def test_unfinished_runs_are_counted(app: Flask, manager_client: FlaskClient, owner: User) -> None:
    with app.app_context():
        mailing = make.mailing(owner)
        for days, status in enumerate(RunStatus):
            moment = clock.now() - timedelta(days=days)
            texts = {"subject": "s", "html": "h", "text": "t", "sender": "golub@golub.test"}
            db.session.add(Run(mailing_id=mailing.id, owner_id=owner.id, scheduled_for=moment, status=status, **texts))
        db.session.commit()
    assert figure(manager_client.get("/manager/").text, "Unfinished runs") == 2


def test_htmx_gets_the_figures_alone(manager_client: FlaskClient) -> None:
    fragment = manager_client.get("/manager/", headers=HTMX).text
    assert "<html" not in fragment
    assert "every 5s" not in fragment
    assert figure(fragment, "Users") == 1


def test_the_queue_and_the_workers_are_counted(app: Flask, manager_client: FlaskClient) -> None:
    page = manager_client.get("/manager/").text
    assert figure(page, "Jobs in the queue") == 0
    assert figure(page, "Workers alive") == 0
    assert "No worker is alive" in page
    with app.app_context():
        redis = queue.connection()
        SimpleWorker([queue.QUEUE_NAME], connection=redis).register_birth()
        Queue(queue.QUEUE_NAME, connection=redis).enqueue(print)
    page = manager_client.get("/manager/").text
    assert figure(page, "Jobs in the queue") == 1
    assert figure(page, "Workers alive") == 1
    assert "No worker is alive" not in page


def test_redis_away_is_said_and_no_fault(
    app: Flask, manager_client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(queue, "connection", lambda: nowhere)
    answer = manager_client.get("/manager/")
    monkeypatch.undo()
    assert answer.status_code == 200
    assert "Redis does not answer" in answer.text


@pytest.mark.usefixtures("things")
def test_mailings_of_everyone_are_listed_with_owner_and_state(manager_client: FlaskClient) -> None:
    text = manager_client.get("/manager/mailings").text
    assert text.index("Autumn news") < text.index("Spring news")
    for words in ("owner@golub.test", "stranger@golub.test", "Disabled", "Created"):
        assert words in text
    assert "Nobody&#39;s news" not in text


def test_mailings_page_by_keyset(app: Flask, manager_client: FlaskClient, owner: User) -> None:
    with app.app_context():
        message = make.message(owner)
        for number in range(51):
            make.mailing(owner, name=f"Mailing {number:02}", message_id=message.id)
        db.session.commit()
    page = manager_client.get("/manager/mailings").text
    further = re.search(r'data-pager.*?hx-get="([^"]+)"', page, re.DOTALL)
    assert further
    fragment = manager_client.get(further[1].replace("&amp;", "&"), headers=HTMX).text
    assert "<html" not in fragment
    names = re.findall(r"Mailing \d\d", page + fragment)
    assert names == [f"Mailing {number:02}" for number in reversed(range(51))]
    assert manager_client.get("/manager/mailings?cursor=nonsense").status_code == 404


def test_users_are_listed_with_role_and_state(app: Flask, manager_client: FlaskClient) -> None:
    with app.app_context():
        make.user("blocked@golub.test", blocked_at=clock.now())
        make.user("new@golub.test", verified_at=None, name="<b>Bold</b>")
        db.session.commit()
    page = manager_client.get("/manager/users").text
    for words in ("blocked@golub.test", "Blocked", "new@golub.test", "Not verified", "manager@golub.test"):
        assert words in page
    assert "<b>Bold" not in page
    assert manager_client.get("/manager/users?cursor=nonsense").status_code == 404


def test_users_page_by_keyset(app: Flask, manager_client: FlaskClient) -> None:
    with app.app_context():
        password_hash = make.user("user0@golub.test").password_hash
        db.session.add_all(
            User(email=f"user{n}@golub.test", email_key=f"user{n}@golub.test", password_hash=password_hash)
            for n in range(1, 55)
        )
        db.session.commit()
    page = manager_client.get("/manager/users").text
    further = re.search(r'data-pager.*?hx-get="([^"]+)"', page, re.DOTALL)
    assert further
    fragment = manager_client.get(further[1].replace("&amp;", "&"), headers=HTMX).text
    found = set(re.findall(r"user\d+@golub\.test", page + fragment))
    assert len(found) == 55


def test_nothing_can_be_posted(manager_client: FlaskClient) -> None:
    for page in PAGES:
        assert manager_client.post(page).status_code == 405
