"""Clients, tags and segments change by the rules."""

from threading import Thread

import pytest
from sqlalchemy import func, select

from app import clock
from app.addresses import parse_address
from app.clients import queries, service
from app.clients.models import Client, Segment, Tag
from app.clients.service import AlreadyThere, ClientData
from app.delivery.models import Delivery, Run
from app.errors import NotFound, RuleBroken
from app.extensions import db
from app.mailings.models import Audience
from tests import make


def data(email="anna@example.test", **fields):
    return ClientData(address=parse_address(email), **fields)


@pytest.mark.usefixtures("context")
class TestClients:
    def test_an_address_is_taken_once_whatever_its_case(self, owner):
        service.create_client(owner, data())
        with pytest.raises(AlreadyThere):
            service.create_client(owner, data("ANNA@Example.test"))
        assert db.session.scalar(select(func.count(Client.id))) == 1

    def test_two_owners_may_have_the_same_client(self, owner, stranger):
        service.create_client(owner, data())
        service.create_client(stranger, data())
        assert db.session.scalar(select(func.count(Client.id))) == 2

    def test_a_client_that_can_not_be_saved_is_as_it_was(self, owner):
        service.create_client(owner, data())
        other = service.create_client(owner, data("other@example.test", last_name="Other", tags=("a",)))
        with pytest.raises(AlreadyThere):
            service.edit_client(other, data(last_name="New", tags=("b",)))
        assert (other.email, other.last_name, [tag.name for tag in other.tags]) == (
            "other@example.test",
            "Other",
            ["a"],
        )

    def test_a_client_may_keep_its_address(self, owner):
        client = service.create_client(owner, data())
        service.edit_client(client, data("ANNA@example.test", first_name="Anna"))
        assert (client.email, client.first_name) == ("ANNA@example.test", "Anna")

    def test_the_ledger_outlives_a_client(self, owner):
        client = service.create_client(owner, data(tags=("vip",)))
        mailing = make.mailing(owner)
        run = Run(
            mailing_id=mailing.id,
            owner_id=owner.id,
            scheduled_for=mailing.start_at,
            subject="",
            html="",
            text="",
            sender="",
        )
        db.session.add(run)
        db.session.flush()
        delivery = Delivery(run_id=run.id, client_id=client.id, email=client.email)
        db.session.add(delivery)
        db.session.flush()

        service.delete_client(client)
        assert service.bury_clients(clock.now(), 10) == 1

        db.session.refresh(delivery)
        assert (delivery.client_id, delivery.email) == (None, "anna@example.test")

    def test_deleting_twice_is_no_fault(self, owner):
        client = service.create_client(owner, data())
        service.delete_client(client)
        service.delete_client(client)

    def test_somebody_elses_and_impossible_ids_are_not_found(self, owner, stranger):
        client = service.create_client(owner, data())
        assert service.get_client(owner, client.id) is client
        for user, client_id in ((stranger, client.id), (owner, 0), (owner, 10**30)):
            with pytest.raises(NotFound):
                service.get_client(user, client_id)


@pytest.mark.usefixtures("context")
class TestTags:
    def test_the_same_word_in_another_case_is_the_same_tag(self, owner, stranger):
        first = service.create_client(owner, data(tags=("VIP", "Опт")))
        second = service.create_client(owner, data("b@example.test", tags=("опт", "vip")))
        service.create_client(stranger, data(tags=("vip",)))
        assert [tag.name for tag in first.tags] == [tag.name for tag in second.tags] == ["VIP", "Опт"]
        assert sorted(db.session.scalars(select(Tag.name))) == ["VIP", "vip", "Опт"]

    def test_setting_tags_takes_the_others_away(self, owner):
        client = service.create_client(owner, data(tags=("a", "b")))
        service.set_tags(owner.id, client, ["B", "c", "C", ""])
        db.session.flush()
        db.session.refresh(client)
        assert [tag.name for tag in client.tags] == ["b", "c"]


def test_an_address_added_twice_at_once_is_taken_once_and_refused_once(app, owner):
    outcomes = at_once(app, lambda number: service.create_client(owner, data(first_name=str(number))))
    assert sorted(outcomes) == ["AlreadyThere", "done"]


def test_a_tag_made_twice_at_once_is_one_tag(app, owner):
    names = ["VIP", "vip"]
    outcomes = at_once(
        app, lambda number: service.create_client(owner, data(f"{number}@example.test", tags=(names[number],)))
    )
    assert outcomes == ["done", "done"]
    with app.app_context():
        assert db.session.scalar(select(func.count(Tag.id))) == 1


def at_once(app, act):
    """Run `act(0)` and `act(1)` in two transactions of two threads, and give what came of them."""
    outcomes = []

    def one(number):
        with app.app_context():
            try:
                act(number)
                db.session.commit()
            except RuleBroken as error:
                outcomes.append(type(error).__name__)
            else:
                outcomes.append("done")

    threads = [Thread(target=one, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


@pytest.mark.usefixtures("context")
class TestSegments:
    def test_a_segment_that_a_mailing_uses_can_not_be_deleted(self, owner):
        segment = service.create_segment(owner, "VIP", {"tag": "VIP"})
        mailing = make.mailing(owner, audience=Audience.SEGMENT, segment_id=segment.id)
        with pytest.raises(RuleBroken, match="VIP"):
            service.delete_segment(segment)
        assert db.session.get(Segment, segment.id)

        mailing.deleted_at = clock.now()
        db.session.flush()
        service.delete_segment(segment)
        assert db.session.scalar(queries.segments_of(owner)) is None
        service.bury_segments(clock.now())
        assert db.session.get(Segment, segment.id), "the mailing may come back"

        db.session.delete(mailing)
        db.session.flush()
        service.bury_segments(clock.now())
        assert not db.session.scalars(select(Segment)).all()

    def test_somebody_elses_segment_is_not_found(self, owner, stranger):
        segment = service.create_segment(owner, "VIP", {"tag": "VIP"})
        assert service.get_segment(owner, segment.id) is segment
        with pytest.raises(NotFound):
            service.get_segment(stranger, segment.id)
