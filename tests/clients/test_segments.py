"""Who belongs to a segment."""

from datetime import UTC, datetime

import pytest

from app.addresses import parse_address
from app.auth.models import User
from app.clients import queries, segments, service
from app.clients.models import ClientStatus
from app.clients.service import ClientData
from app.extensions import db

pytestmark = pytest.mark.usefixtures("context")


@pytest.fixture
def people(context, owner, stranger):
    def add(email, added_at=datetime(2026, 1, 1, tzinfo=UTC), **fields):
        client = service.create_client(owner, ClientData(address=parse_address(email), **fields))
        client.added_at = added_at

    add("old@example.test", birth_year=1950, tags=("VIP",))
    add("middle@Почта.рф", birth_year=1980, tags=("VIP", "new"))
    add("young@sub.example.test", birth_year=2000)
    add("nobody@example.test", datetime(2026, 3, 31, 21, 30, tzinfo=UTC))
    add("gone@example.test", birth_year=1980, tags=("VIP",), status=ClientStatus.UNSUBSCRIBED)
    db.session.flush()
    return owner


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        ({}, {"old", "middle", "young", "nobody"}),
        (
            {"tag": None, "domain": None, "born_from": None, "born_to": None, "added_after": None},
            {"old", "middle", "young", "nobody"},
        ),
        ({"tag": "VIP"}, {"old", "middle"}),
        ({"tag": "gone"}, set()),
        ({"born_from": 1980}, {"middle", "young"}),
        ({"born_to": 1980}, {"old", "middle"}),
        ({"born_from": 1951, "born_to": 1999}, {"middle"}),
        ({"domain": "example.test"}, {"old", "nobody"}),
        ({"domain": "почта.рф"}, {"middle"}),
        ({"domain": "example_test"}, set()),
        ({"added_after": "2026-03-31"}, {"nobody"}),
        ({"added_after": "2026-04-01"}, set()),
        ({"tag": "VIP", "born_from": 1960}, {"middle"}),
    ],
)
def test_all_conditions_that_are_set_must_hold(people, conditions, names):
    segment = service.create_segment(people, "Some", conditions)
    assert {client.email.partition("@")[0] for client in db.session.scalars(segments.audience(segment))} == names


def test_a_day_begins_at_the_owners_midnight(people):
    db.session.get(User, people.id).timezone = "Europe/Moscow"
    segment = service.create_segment(people, "April", {"added_after": "2026-04-01"})
    assert [client.email for client in db.session.scalars(segments.audience(segment))] == ["nobody@example.test"]


def test_the_count_tells_who_gets_no_letter(people):
    assert segments.count(people, {"tag": "VIP"}) == segments.Counts(active=2, others=1)
    assert segments.count(people, {"domain": "example.test"}) == segments.Counts(active=2, others=1)


def test_an_audience_is_scoped_to_the_segments_owner(people, stranger):
    segment = service.create_segment(stranger, "All", {"domain": "example.test"})
    assert not db.session.scalars(segments.audience(segment)).all()
    assert segments.count(stranger, {"tag": "VIP"}) == segments.Counts(0, 0)


def test_conditions_can_be_laid_over_any_choice_of_clients(people):
    query = segments.filter_clients(queries.visible_to(people), {"tag": "VIP"})
    assert len(db.session.scalars(query).all()) == 3


def test_conditions_are_told_in_words():
    words = segments.describe(
        {"tag": "VIP", "born_from": 1980, "born_to": 1990, "domain": "example.test", "added_after": "2026-04-01"}
    )
    assert words == ["tag “VIP”", "born 1980–1990", "e-mail at example.test", "added since Apr 1, 2026"]
    assert segments.describe({"born_from": 1980}) == ["born in 1980 or later"]
    assert segments.describe({"born_to": 1980}) == ["born in 1980 or earlier"]
