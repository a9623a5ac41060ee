"""A segment that a mailing leaves out."""

import json
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import pytest
from sqlalchemy import select

from app import clock
from app.account.export import zip_of
from app.auth.models import User
from app.clients import service as clients
from app.clients.models import ClientStatus, Segment
from app.delivery.models import Delivery
from app.errors import NotFound, RuleBroken
from app.extensions import db
from app.mailings import jobs, service
from app.mailings.models import Audience, Mailing
from app.mailings.schedule import Period, Schedule
from app.mailings.service import Draft
from tests import make


@pytest.fixture
def user(context: None) -> User:
    user = make.user("owner@golub.test")
    make.client(user, "old@example.test", birth_year=1950)
    make.client(user, "young@example.test", birth_year=1995)
    make.client(user, "unknown@example.test")  # no condition on a year holds, and none fails
    make.client(user, "gone@example.test", birth_year=1951, status=ClientStatus.UNSUBSCRIBED)
    return user


@pytest.fixture
def old(user: User) -> Segment:
    return clients.create_segment(user, "Old", {"born_to": 1960})


def draft(user: User, **fields: Any) -> Draft:
    plan = Schedule(clock.now(), None, Period.ONCE, "UTC")
    values = {"name": "News", "audience": Audience.ALL, "segment_id": None, "client_ids": (), "schedule": plan}
    return Draft(message_id=make.message(user).id, **(values | fields))


def emails(mailing: Mailing) -> list[str]:
    return sorted(client.email.partition("@")[0] for client in db.session.scalars(service.audience_of(mailing)))


def test_whoever_is_in_it_gets_nothing_and_whoever_nobody_knows_of_does(user: User, old: Segment) -> None:
    mailing = service.create(user, draft(user, exclude_segment_id=old.id))
    assert emails(mailing) == ["unknown", "young"]
    run = service.start_now(mailing)
    db.session.commit()
    jobs.prepare_runs()
    assert sorted(db.session.scalars(select(Delivery.email).where(Delivery.run_id == run.id))) == [
        "unknown@example.test",
        "young@example.test",
    ]


def test_it_holds_for_every_kind_of_audience(user: User, old: Segment) -> None:
    everybody = clients.create_segment(user, "Everybody", {"domain": "example.test"})
    of_segment = service.create(
        user, draft(user, audience=Audience.SEGMENT, segment_id=everybody.id, exclude_segment_id=old.id)
    )
    ids = tuple(client.id for client in db.session.scalars(service.audience_of(of_segment)))
    chosen = service.create(user, draft(user, audience=Audience.CHOSEN, client_ids=ids, exclude_segment_id=old.id))
    assert emails(of_segment) == emails(chosen) == ["unknown", "young"]
    itself = service.create(user, draft(user, audience=Audience.SEGMENT, segment_id=old.id, exclude_segment_id=old.id))
    assert emails(itself) == []


def test_it_is_looked_up_when_the_run_begins(user: User, old: Segment) -> None:
    mailing = service.create(user, draft(user, exclude_segment_id=old.id))
    make.client(user, "older@example.test", birth_year=1940)
    assert emails(mailing) == ["unknown", "young"]


def test_a_segment_that_is_left_out_cannot_be_deleted_until_its_mailing_is(user: User, old: Segment) -> None:
    mailing = service.create(user, draft(user, exclude_segment_id=old.id))
    db.session.commit()
    with pytest.raises(RuleBroken):
        clients.delete_segment(old)
    service.delete(mailing)
    db.session.flush()
    clients.delete_segment(old)


def test_nobody_leaves_out_somebody_elses_segment(user: User, old: Segment) -> None:
    stranger = make.user("stranger@golub.test")
    with pytest.raises(NotFound):
        service.create(stranger, draft(stranger, exclude_segment_id=old.id))


def test_an_edit_takes_it_back(user: User, old: Segment) -> None:
    mailing = service.create(user, draft(user, exclude_segment_id=old.id, sender_name="Anna", reply_to="a@b.test"))
    service.edit(mailing, draft(user))
    assert (mailing.exclude_segment_id, mailing.sender_name, mailing.reply_to) == (None, "", "")
    assert emails(mailing) == ["old", "unknown", "young"]


def test_the_export_of_an_account_has_it_all(user: User, old: Segment) -> None:
    service.create(user, draft(user, exclude_segment_id=old.id, sender_name="Anna of Golub", reply_to="a@b.test"))
    db.session.commit()
    archive = ZipFile(BytesIO(b"".join(zip_of(user.id))))
    [mailing] = json.loads(archive.read("mailings.json"))
    kept = {"exclude_segment_id": old.id, "sender_name": "Anna of Golub", "reply_to": "a@b.test"}
    assert {name: mailing[name] for name in kept} == kept
