"""Who belongs to a segment, and how that is said."""

from datetime import UTC, datetime

import pytest

from app.addresses import parse_address
from app.auth.models import User
from app.clients import queries, segments, service
from app.clients.conditions import Book
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


def rules(match, *groups):
    """Rules as they are stored; each group is what must match in it, and conditions as (kind, operator, values)."""
    return {
        "match": match,
        "groups": [
            {"match": inner, "conditions": [{"kind": kind, "op": op, **values} for kind, op, values in conditions]}
            for inner, *conditions in groups
        ],
    }


VIP = ("tag", "is", {"tag": "VIP"})
NEW = ("tag", "is", {"tag": "new"})
YOUNG = ("born", "between", {"from": 1990, "to": None})
OLD = ("born", "between", {"from": None, "to": 1960})


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        # As segments were stored once.
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
        # As they are stored now.
        (rules("all"), {"old", "middle", "young", "nobody"}),
        (rules("all", ["all", VIP, OLD]), {"old"}),
        (rules("all", ["any", YOUNG, OLD]), {"old", "young"}),
        (rules("all", ["all", VIP], ["any", NEW, YOUNG]), {"middle"}),
        (rules("any", ["all", VIP, OLD], ["all", YOUNG]), {"old", "young"}),
        (rules("all", ["all", VIP], ["all"]), {"old", "middle"}),
        (rules("all", ["all", ("status", "is", {"status": "unsubscribed"})]), set()),
        (rules("all", ["any", VIP, ("from a later version", "is", {"x": 1})]), {"old", "middle"}),
        (rules("all", ["all", VIP, ("tag", "from a later version", {})]), set()),
    ],
)
def test_those_belong_to_it_who_fulfil_its_conditions(people, conditions, names):
    segment = service.create_segment(people, "Some", conditions)
    assert {client.email.partition("@")[0] for client in db.session.scalars(segments.audience(segment))} == names
    assert segments.count(people, conditions).active == len(names)


def test_a_day_begins_at_the_owners_midnight(people):
    db.session.get(User, people.id).timezone = "Europe/Moscow"
    segment = service.create_segment(people, "April", {"added_after": "2026-04-01"})
    assert [client.email for client in db.session.scalars(segments.audience(segment))] == ["nobody@example.test"]


def test_the_count_tells_who_gets_no_letter_and_the_sample_shows_them(people):
    assert segments.count(people, {"tag": "VIP"}) == segments.Counts(active=2, others=1)
    assert segments.count(people, {"domain": "example.test"}) == segments.Counts(active=2, others=1)
    assert [client.email.partition("@")[0] for client in segments.sample(people, {"tag": "VIP"})] == [
        "gone",
        "middle",
        "old",
    ]


def test_an_audience_is_scoped_to_the_segments_owner(people, stranger):
    segment = service.create_segment(stranger, "All", {"domain": "example.test"})
    assert not db.session.scalars(segments.audience(segment)).all()
    assert segments.count(stranger, {"tag": "VIP"}) == segments.Counts(0, 0)
    assert segments.sample(stranger, {"tag": "VIP"}) == []


def test_conditions_can_be_laid_over_any_choice_of_clients(people):
    query = segments.filter_clients(queries.visible_to(people), {"tag": "VIP"})
    assert len(db.session.scalars(query).all()) == 3
    segment = service.create_segment(people, "Some", {"tag": "VIP"})
    assert len(db.session.scalars(segments.members(segment, queries.owned_by(people))).all()) == 3


def test_a_client_knows_its_segments(people, stranger):
    for name, conditions in {"vips": {"tag": "VIP"}, "Young": {"born_from": 1990}, "All": {}}.items():
        service.create_segment(people, name, conditions)
    service.create_segment(stranger, "Theirs", {})
    for client in db.session.scalars(queries.owned_by(people)):
        names = [segment.name for segment in segments.segments_of_client(client, people)]
        expected = {"old": ["All", "vips"], "young": ["All", "Young"], "nobody": ["All"]}
        assert names == expected.get(client.email.partition("@")[0], ["All", "vips"])


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({}, ""),
        (
            {"tag": "VIP", "born_from": 1980, "born_to": 1990, "domain": "example.test", "added_after": "2026-04-01"},
            "tag “VIP” and born 1980–1990 and e-mail at example.test and added since Apr 1, 2026",
        ),
        (rules("any", ["all", VIP]), "tag “VIP”"),
        (rules("any", ["all", VIP, YOUNG]), "tag “VIP” and born in 1990 or later"),
        (rules("all", ["all", VIP], ["any", OLD, NEW]), "tag “VIP” and (born in 1960 or earlier or tag “new”)"),
        (rules("any", ["all", VIP, YOUNG], ["all", NEW]), "(tag “VIP” and born in 1990 or later) or tag “new”"),
        (rules("any", ["any", VIP, NEW], ["all", OLD]), "tag “VIP” or tag “new” or born in 1960 or earlier"),
        (rules("all", ["all", ("tag", "is_not", {"tag": "Gone"})]), "no tag “Gone” (nobody has it)"),
        (rules("all", ["all", ("later", "is", {})]), "a condition that is not known here"),
        (rules("all", ["all", ("added", "within", {"days": 1})]), "added in the last 1 day"),
        (rules("all", ["all", ("added", "not_within", {"days": 30})]), "added more than 30 days ago"),
        (rules("all", ["all", ("attribute", "contains", {"name": "city", "value": "Tv"})]), "city contains “Tv”"),
        (rules("all", ["all", ("status", "is_not", {"status": "bounced"})]), "status not “bounced”"),
    ],
)  # fmt: skip
def test_conditions_are_told_in_words(people, conditions, words):
    assert segments.in_words(conditions, Book(people.id)) == words


def test_what_is_read_is_stored_as_it_was(people):
    conditions = rules("any", ["all", VIP, YOUNG], ["any", OLD, ("added", "within", {"days": 3})])
    assert segments.stored(segments.read(conditions, Book(people.id))) == conditions
