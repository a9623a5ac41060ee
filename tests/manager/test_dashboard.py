"""The dashboard: what runs, what failed and why, who is active."""

from datetime import timedelta

import pytest

from app import clock
from app.auth.models import User
from app.delivery.models import DeliveryStatus, Run
from app.extensions import db
from app.mailings import jobs, service
from app.manager import queries
from tests import make

HTMX = {"HX-Request": "true"}


def run_of(app, owner, clients=3):
    with app.app_context():
        user = db.session.get(User, owner.id)
        make.clients(user, clients)
        run = service.start_now(make.mailing(user, name=f"News of {user.email}"))
        db.session.commit()
        jobs.prepare_runs()
        return run.id


def test_what_runs_now_is_shown_with_its_owner(app, owner, manager_client):
    run_id = run_of(app, owner)
    for headers in ({}, HTMX):
        page = manager_client.get("/manager/", headers=headers).text
        assert f'id="run-{run_id}"' in page
        assert f"News of {owner.email}" in page


def test_why_messages_failed_is_grouped_by_cause(app, owner, stranger, smtp, run_jobs, *, manager_client):
    smtp.answer_rcpt = lambda address: f"550 5.1.1 <{address}>: no such user (id {hash(address) % 10**8:08}x)"
    for person in (owner, stranger):
        run_of(app, person)
    run_jobs()
    with app.app_context():
        [cause] = queries.causes(clock.now() - timedelta(days=1), 100)
        assert (cause.count, cause.runs, cause.code, cause.enhanced_code) == (6, 2, 550, "5.1.1")
        assert cause.outcome is DeliveryStatus.FAILED
        assert "example.test" not in cause.reply
        assert queries.causes(clock.now() + timedelta(days=1), 100) == []
        assert queries.causes(clock.now() - timedelta(days=1), 4)[0].count == 4, "of the last ones"
    page = manager_client.get("/manager/").text
    assert "no such user" in page
    assert "in 2 runs" in page


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("550 <anna@example.test> unknown", "550 <boris@example.org> unknown"),
        ("421 try later, id 4bX9kQ1z7", "421 try later, id 7cQ0aa1z2"),
        ("452 4.2.2 quota of 104857600 bytes", "452 4.2.2 quota of 209715200 bytes"),
        ("550 to=<anna@example.test>,boris@example.org", "550 to=<a@example.test>,b@example.org"),
        ("550 a@example.test " + "wordy " * 100, "550 a.longer.one@example.test " + "wordy " * 100),
    ],
)
def test_one_cause_is_one_text(first, second):
    assert queries.cause_of(first) == queries.cause_of(second)


def test_different_codes_stay_different():
    assert queries.cause_of("550 5.1.1 no user") != queries.cause_of("554 5.7.1 no user")


@pytest.mark.parametrize("letter", ["a", "1", "<", ">", "@", "a<", "a@<", "1_"])
def test_an_endless_word_from_a_server_takes_no_time(letter):
    assert len(queries.cause_of(letter * 200_000 + "_")) <= queries.LONGEST_CAUSE


def test_the_most_active_come_first(app, owner, stranger, manager_client, smtp, *, run_jobs):
    run_of(app, owner, 1)
    run_of(app, stranger, 3)
    run_jobs()
    with app.app_context():
        rows = db.session.execute(queries.most_active(clock.now() - timedelta(days=1))).all()
        assert [(user.id, sent) for user, sent in rows] == [(stranger.id, 3), (owner.id, 1)]
    assert stranger.email in manager_client.get("/manager/").text


def test_a_run_that_is_done_is_not_running(app, owner, manager_client, smtp, *, run_jobs):
    run_id = run_of(app, owner)
    run_jobs()
    assert f'id="run-{run_id}"' not in manager_client.get("/manager/").text
    with app.app_context():
        assert db.session.get(Run, run_id).sent == 3
