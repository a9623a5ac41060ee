"""Every kind of condition with every operator, and segments of any shape, against plain Python."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import clock
from app.auth.models import User
from app.clients import queries, segments, service
from app.clients.conditions import Book, kinds
from app.clients.models import Client, ClientStatus
from app.delivery.models import Delivery, DeliveryStatus
from app.extensions import db
from app.mailings.models import Mailing
from tests import make

TAGS = ("VIP", "vip", "new")
DOMAINS = ("example.test", "sub.example.test", "почта.рф", "examplextest.test")
CITIES = ("Тверь", "тверь", "Тверская", "50% off_", "", None)
DAYS = (1, 7, 30, 400)
YEARS = (None, 1900, 1980, 1981, 2000)
PEOPLE = 60
HALF_A_DAY = timedelta(hours=12)  # nobody stands so near an edge that the time which a test takes matters

Stored = dict[str, Any]


@dataclass
class Person:
    """What plain Python knows about a client."""

    id: int
    email: str
    birth_year: int | None
    status: ClientStatus
    added_at: datetime
    tags: set[str]
    attributes: dict[str, str]
    letters: list[tuple[int, DeliveryStatus, datetime]] = field(default_factory=list)  # mailing, outcome, when

    def was_sent(self) -> list[datetime]:
        return [at for _mailing, status, at in self.letters if status is DeliveryStatus.SENT]

    def outcomes(self, mailing: int) -> set[DeliveryStatus]:
        return {status for of, status, _at in self.letters if of == mailing}


@dataclass
class World:
    owner: User
    people: list[Person]
    mailings: list[int]
    now: datetime


@pytest.fixture
def world(owner: User, stranger: User, context: None) -> World:
    """The same people at every time, with letters of three mailings, one of them in two runs."""
    dice, now = random.Random(7), clock.now()  # noqa: S311  people, not secrets
    mailings = [make.mailing(owner, name=f"Mailing {number}") for number in range(3)]
    runs = [(mailing, make.run(mailing)) for mailing in mailings]
    again = make.run(mailings[0], scheduled_for=now - timedelta(days=9))
    runs.append((mailings[0], again))
    world = World(owner, [], [mailing.id for mailing in mailings], now)
    tags = {tag.name: tag for tag in (service.tags_named(owner.id, [name])[0] for name in ("VIP", "new"))}
    for number in range(PEOPLE):
        client = make.client(
            owner,
            f"client{number}@{dice.choice(DOMAINS)}",
            birth_year=dice.choice((None, 1900, 1979, 1980, 1981, 2000, 2001)),
            status=dice.choice(list(ClientStatus)),
            added_at=now - timedelta(days=dice.randint(0, 500)) - HALF_A_DAY,
            attributes={"city": city} if (city := dice.choice(CITIES)) is not None else {"size": "7"},
            tags=[tag for tag in tags.values() if dice.random() < 0.4],
        )
        person = Person(
            client.id,
            client.email,
            client.birth_year,
            client.status,
            client.added_at,
            {tag.name for tag in client.tags},
            client.attributes,
        )
        for mailing, run in runs:
            if dice.random() < 0.4:
                status = dice.choice(list(DeliveryStatus))
                at = now - timedelta(days=dice.randint(0, 500)) - HALF_A_DAY
                row = Delivery(run_id=run.id, client_id=client.id, email=client.email, status=status, finished_at=at)
                db.session.add(row)
                person.letters.append((mailing.id, status, at))
        world.people.append(person)
    db.session.flush()
    db.session.expire_all()
    return world


def pool(world: World) -> list[Stored]:
    """Conditions of every kind with every operator."""
    day = [(world.now - timedelta(days=days)).date().isoformat() for days in DAYS]
    found: list[Stored] = []
    found += [{"kind": "tag", "op": op, "tag": tag} for op in ("is", "is_not") for tag in TAGS]
    found += [
        {"kind": "born", "op": "between", "from": first, "to": last}
        for first in YEARS
        for last in YEARS
        if first or last
    ]
    found += [{"kind": "domain", "op": op, "domain": domain} for op in ("is", "is_not") for domain in DOMAINS]
    found += [
        {"kind": "attribute", "op": op, "name": name, "value": value}
        for op in ("is", "is_not", "contains")
        for name in ("city", "size", "unknown")
        for value in ("Тверь", "тВЕР", "50% off_", "%", "7")
    ]
    found += [{"kind": "attribute", "op": op, "name": name} for op in ("set", "not_set") for name in ("city", "size")]
    found += [{"kind": "status", "op": op, "status": status} for op in ("is", "is_not") for status in ClientStatus]
    for kind in ("added", "mailed"):
        found += [{"kind": kind, "op": op, "day": each} for op in ("before", "after") for each in day]
        found += [{"kind": kind, "op": op, "days": days} for op in ("within", "not_within") for days in DAYS]
    found.append({"kind": "mailed", "op": "never"})
    found += [
        {"kind": "mailing", "op": op, "mailing": mailing}
        for op in ("any", "sent", "failed", "unknown", "skipped", "not_in")
        for mailing in (*world.mailings, 999_999)
    ]
    return found


def holds(person: Person, rule: Stored, now: datetime) -> bool:
    """Whether the condition holds, told once more."""
    return ORACLE[rule["kind"]](person, rule, now)


def _tag(person: Person, rule: Stored, now: datetime) -> bool:
    return (rule["tag"] in person.tags) is (rule["op"] == "is")


def _born(person: Person, rule: Stored, now: datetime) -> bool:
    year = person.birth_year
    return year is not None and (rule["from"] or 0) <= year <= (rule["to"] or 9999)


def _domain(person: Person, rule: Stored, now: datetime) -> bool:
    return (person.email.split("@")[1] == rule["domain"]) is (rule["op"] == "is")


def _attribute(person: Person, rule: Stored, now: datetime) -> bool:
    value = person.attributes.get(rule["name"], "")
    return {
        "is": lambda: value == rule["value"],
        "is_not": lambda: value != rule["value"],
        "contains": lambda: rule["value"].lower() in value.lower(),
        "set": lambda: value != "",
        "not_set": lambda: value == "",
    }[rule["op"]]()


def _status(person: Person, rule: Stored, now: datetime) -> bool:
    return (person.status == rule["status"]) is (rule["op"] == "is")


def _added(person: Person, rule: Stored, now: datetime) -> bool:
    is_since = person.added_at >= _edge(rule, now)
    return is_since is (rule["op"] in ("after", "within"))


def _mailed(person: Person, rule: Stored, now: datetime) -> bool:
    last = max(person.was_sent(), default=None)
    if rule["op"] == "never":
        return last is None
    is_since = last is not None and last >= _edge(rule, now)
    return {"after": is_since, "within": is_since, "not_within": not is_since}.get(
        rule["op"], last is not None and not is_since
    )


def _mailing(person: Person, rule: Stored, now: datetime) -> bool:
    outcomes = person.outcomes(rule["mailing"])
    if rule["op"] in ("any", "not_in"):
        return bool(outcomes) is (rule["op"] == "any")
    return rule["op"] in outcomes


def _edge(rule: Stored, now: datetime) -> datetime:
    if "day" in rule:
        return datetime.combine(date.fromisoformat(rule["day"]), time(), UTC)
    return now - timedelta(days=rule["days"])


ORACLE: dict[str, Callable[[Person, Stored, datetime], bool]] = {
    "tag": _tag,
    "born": _born,
    "domain": _domain,
    "attribute": _attribute,
    "status": _status,
    "added": _added,
    "mailed": _mailed,
    "mailing": _mailing,
}


def belongs(person: Person, rules: Stored, now: datetime) -> bool:
    groups = [
        (all if group["match"] == "all" else any)(holds(person, rule, now) for rule in group["conditions"])
        for group in rules["groups"]
        if group["conditions"]
    ]
    return (all if rules["match"] == "all" else any)(groups) if groups else True


def found(world: World, rules: Stored) -> set[int]:
    query = segments.filter_clients(queries.owned_by(world.owner), rules)
    return set(db.session.scalars(query.with_only_columns(Client.id)))


def expected(world: World, rules: Stored) -> set[int]:
    return {person.id for person in world.people if belongs(person, rules, world.now)}


def test_each_condition_finds_whom_it_says(world: World) -> None:
    conditions = pool(world)
    known = {(kind.key, op) for kind in kinds() for op in kind.operators}
    assert {(one["kind"], one["op"]) for one in conditions} == known
    for condition in conditions:
        rules = {"match": "all", "groups": [{"match": "all", "conditions": [condition]}]}
        assert found(world, rules) == expected(world, rules), condition


def test_is_not_is_the_exact_opposite_of_is(world: World) -> None:
    everybody = {person.id for person in world.people}
    opposite = {"is": "is_not", "set": "not_set", "any": "not_in", "within": "not_within"}
    for condition in pool(world):
        if other := opposite.get(condition["op"]):
            one, both = (
                {"match": "all", "groups": [{"match": "all", "conditions": [{**condition, "op": op}]}]}
                for op in (condition["op"], other)
            )
            assert found(world, one) ^ found(world, both) == everybody, condition


def test_segments_of_any_shape_find_whom_they_say(world: World) -> None:
    matches = st.sampled_from(["all", "any"])
    conditions = st.sampled_from(pool(world))
    groups = st.fixed_dictionaries({"match": matches, "conditions": st.lists(conditions, max_size=4)})
    shapes = st.fixed_dictionaries({"match": matches, "groups": st.lists(groups, max_size=4)})
    book = Book(world.owner.id)

    @given(shapes)
    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    def agree(rules: Stored) -> None:
        assert found(world, rules) == expected(world, rules)
        words = segments.in_words(rules, book)
        assert words.count("(") == words.count(")")
        assert bool(words) is any(group["conditions"] for group in rules["groups"])

    agree()


def test_a_mailing_that_is_gone_is_told_and_a_foreign_one_has_no_name(world: World, stranger: User) -> None:
    foreign = make.mailing(stranger, name="Their secret")
    book = Book(world.owner.id)

    def words(mailing_id: int) -> str:
        rule = {"kind": "mailing", "op": "sent", "mailing": mailing_id}
        return segments.in_words({"match": "all", "groups": [{"match": "all", "conditions": [rule]}]}, book)

    assert words(world.mailings[0]) == "was sent the mailing “Mailing 0”"
    db.session.get_one(Mailing, world.mailings[1]).deleted_at = world.now
    db.session.flush()
    assert words(world.mailings[1]) == "was sent the mailing “Mailing 1” (deleted)"
    assert words(foreign.id) == words(999_999) == "was sent the mailing “…” (deleted)"
