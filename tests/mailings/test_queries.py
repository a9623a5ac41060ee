from datetime import timedelta

import pytest

from app import clock
from app.auth.models import User
from app.clients.models import ClientStatus, Segment
from app.delivery.models import DeliveryStatus, RunStatus
from app.extensions import db
from app.mailings import addressed, queries
from app.mailings.models import Audience, Mailing, MailingStatus
from app.paging import paginate
from tests import make
from tests.mailings import ledger

SENT, FAILED, UNKNOWN, PENDING = (
    DeliveryStatus.SENT,
    DeliveryStatus.FAILED,
    DeliveryStatus.UNKNOWN,
    DeliveryStatus.PENDING,
)
pytestmark = pytest.mark.usefixtures("context")


@pytest.fixture
def person() -> User:
    return make.user("somebody@golub.test")


@pytest.fixture
def other() -> User:
    return make.user("other@golub.test")


@pytest.fixture
def mailing(person: User) -> Mailing:
    return make.mailing(person)


def all_of(query):
    return db.session.scalars(query).all()


def test_mailings_are_visible_to_their_owner_alone(mailing, person, other):
    assert all_of(queries.visible_to(person)) == [mailing]
    assert all_of(queries.visible_to(other)) == []


def test_a_deleted_mailing_is_visible_to_nobody(person):
    make.mailing(person, deleted_at=clock.now())
    assert all_of(queries.visible_to(person)) == []


def test_mailings_are_found_by_status_and_by_the_managers_overlay(person):
    paused = make.mailing(person, status=MailingStatus.PAUSED)
    disabled = make.mailing(person, disabled_at=clock.now())
    own = queries.visible_to(person)
    assert all_of(queries.in_state(own, "paused")) == [paused]
    assert all_of(queries.in_state(own, "disabled")) == [disabled]
    assert len(all_of(queries.in_state(own, "no such word"))) == 2


@pytest.mark.parametrize("words", ["осенние", "ОСЕННИЕ", "Осенние", "новости 100%"])
def test_a_name_is_found_in_any_case(person, words):
    found = make.mailing(person, name="Осенние новости 100%")
    make.mailing(person, name="осень 1000")
    assert all_of(queries.named(queries.visible_to(person), words)) == [found]


def test_wildcards_in_a_search_are_ordinary_characters(person):
    make.mailing(person, name="News")
    assert all_of(queries.named(queries.visible_to(person), "N_w%")) == []


def test_the_newest_run_of_each_mailing_comes_by_one_statement(mailing, person):
    never_run = make.mailing(person)
    ledger.run(mailing, SENT, scheduled_for=clock.now() - timedelta(days=1))
    newest = ledger.run(mailing, SENT, scheduled_for=clock.now())
    assert all_of(queries.latest_runs([mailing.id, never_run.id])) == [newest]
    assert all_of(queries.latest_runs([])) == []


def test_the_oldest_unfinished_run_is_the_first_that_is_live(mailing):
    assert db.session.scalar(queries.first_live_run(mailing)) is None
    past = ledger.run(mailing, SENT, scheduled_for=clock.now() - timedelta(days=3))
    assert db.session.scalar(queries.first_live_run(mailing)) == past.id
    unfinished = ledger.run(mailing, PENDING, status=RunStatus.SENDING, scheduled_for=clock.now() - timedelta(days=2))
    newest = ledger.run(mailing, SENT, scheduled_for=clock.now())
    assert db.session.scalar(queries.first_live_run(mailing)) == unfinished.id
    assert all_of(queries.runs_of(mailing, since=unfinished.id)) == [newest, unfinished]
    assert all_of(queries.runs_of(mailing, before=unfinished.id)) == [past]


def test_runs_and_deliveries_are_those_of_their_parents_alone(mailing, person):
    run = ledger.run(mailing, SENT, FAILED)
    elsewhere = ledger.run(make.mailing(person), SENT)
    assert all_of(queries.runs_of(mailing)) == [run]
    assert {delivery.run_id for delivery in all_of(queries.deliveries_of(run))} == {run.id}
    assert len(all_of(queries.deliveries_of(elsewhere))) == 1


def test_deliveries_are_found_by_status_and_by_the_beginning_of_their_address(mailing):
    run = ledger.run(mailing, SENT, FAILED, FAILED)
    assert [row.email for row in all_of(queries.deliveries_like(run, "failed", "CLIENT2"))] == ["client2@example.test"]
    assert all_of(queries.deliveries_like(run, address="example")) == []
    assert len(all_of(queries.deliveries_like(run, "no such word"))) == 3


def test_a_beginning_that_many_share_finds_them_all_the_same(mailing, monkeypatch):
    monkeypatch.setattr(addressed, "MOST_FOUND", 1)
    run = ledger.run(mailing, SENT, FAILED, FAILED)
    assert len(all_of(queries.deliveries_like(run, address="Client"))) == 3
    assert len(all_of(queries.deliveries_like(run, "failed", "client"))) == 2


def test_attempts_come_in_their_order(mailing):
    run = ledger.run(mailing, FAILED)
    delivery = db.session.scalars(queries.deliveries_of(run)).one()
    first = ledger.attempt(delivery, PENDING, code=451)
    second = ledger.attempt(delivery, FAILED)
    assert all_of(queries.attempts_of(delivery)) == [first, second]


def test_only_active_clients_of_the_owner_are_recipients(person, other):
    anna = make.client(person, "anna@example.test")
    boris = make.client(person, "boris@example.test")
    gone = make.client(person, "gone@example.test", status=ClientStatus.UNSUBSCRIBED)
    foreign = make.client(other, "foreign@example.test")
    segment = Segment(owner_id=person.id, name="Nobody", conditions={"domain": "nowhere.test"})
    db.session.add(segment)
    db.session.flush()

    def count(*audience):
        return db.session.scalar(queries.how_many(queries.recipients(person.id, *audience)))

    assert count(Audience.ALL) == 2
    assert count(Audience.CHOSEN, None, [anna.id, gone.id, foreign.id]) == 1
    assert count(Audience.CHOSEN) == 0
    assert count(Audience.SEGMENT, segment) == 0
    assert boris.status is ClientStatus.ACTIVE


def test_planned_next_are_those_that_will_run_the_nearest_first(person):
    later = make.mailing(person, start_at=clock.now() + timedelta(days=2))
    sooner = make.mailing(person, start_at=clock.now() + timedelta(days=1))
    make.mailing(person, next_run_at=None)
    make.mailing(person, paused_at=clock.now())
    make.mailing(person, disabled_at=clock.now())
    assert all_of(queries.planned_next(person)) == [sooner, later]


def test_unfinished_runs_come_with_their_mailing(mailing, person, other):
    run = ledger.run(mailing, PENDING, status=RunStatus.SENDING)
    ledger.run(mailing, SENT, scheduled_for=clock.now() - timedelta(days=1))
    assert [tuple(row) for row in db.session.execute(queries.unfinished(person))] == [(run, mailing)]
    assert db.session.execute(queries.unfinished(other)).all() == []


def test_figures_count_what_is_the_users(mailing, person, other):
    make.client(person)
    figures = (queries.number_of_clients, queries.number_of_messages, queries.number_of_mailings)
    assert [db.session.scalar(figure(person)) for figure in figures] == [1, 1, 1]
    assert [db.session.scalar(figure(other)) for figure in figures] == [0, 0, 0]


def test_runs_page_by_keyset_the_newest_first(mailing):
    runs = [ledger.run(mailing, scheduled_for=clock.now() + timedelta(hours=n)) for n in range(3)]
    by_id = type(runs[0]).id
    first = paginate(queries.runs_of(mailing), by_id, descending=True, size=2)
    second = paginate(queries.runs_of(mailing), by_id, descending=True, size=2, cursor=first.next_cursor)
    assert [*first, *second] == runs[::-1]
