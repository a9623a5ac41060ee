"""What a search finds, and who is an audience."""

import pytest

from app.clients import queries
from app.clients.models import ClientStatus
from app.extensions import db
from tests import make

pytestmark = pytest.mark.usefixtures("context")


def found(user, words):
    return {client.email for client in db.session.scalars(queries.matching(queries.visible_to(user), words))}


@pytest.fixture
def people(context, owner, stranger):
    make.client(owner, "semyon@example.test", last_name="Семёнов-Тян", first_name="ПЁТР", patronymic="ильич")
    make.client(owner, "Anna.Petrova@Почта.рф", last_name="Petrova", first_name="Anna")
    make.client(owner, "hundred_percent@example.test", first_name="100% [a-z]\\d+")
    make.client(stranger, "other@example.test", last_name="Семёнов")
    return owner


@pytest.mark.parametrize(
    "words",
    [
        "Семёнов",
        "семёнов",
        "СЕМЁНОВ",
        "сЕмЁнОв",
        "семенов",
        "нов-тян",
        "пётр",
        "Ильич",
        "Пётр Семёнов",
        "ильич тян пет",
        "SEMYON@",
    ],
)
def test_cyrillic_is_found_in_any_case_any_order_and_with_or_without_its_dots(people, words):
    assert found(people, words) == {"semyon@example.test"}


@pytest.mark.parametrize("words", ["anna", "PETROVA", "anna.petrova@", "почта.РФ", "xn--80a1acny", "petrova ann"])
def test_an_address_is_found_in_any_case_and_either_way_to_write_its_domain(people, words):
    assert found(people, words) == {"Anna.Petrova@почта.рф"}


@pytest.mark.parametrize("words", ["100%", "_percent", "[a-z]", "\\d+", "[A-Z]\\D+"])
def test_wildcards_are_looked_for_as_they_are(people, words):
    assert found(people, words) == {"hundred_percent@example.test"}


@pytest.mark.parametrize("words", ["%", "_", "[", "(", "*", "\\", "^", "$", "?", "a|b", "'", "\0[", "anna семёнов"])
def test_a_pattern_never_finds_everybody(people, words):
    assert len(found(people, words)) < 2


@pytest.mark.parametrize("words", ["ann.", ".*", "[[:alpha:]]", "(?i)x", "***=a", "petrovaanna", "semyon%test"])
def test_a_pattern_means_itself(people, words):
    assert found(people, words) == set()


def test_no_words_find_everybody_of_ones_own(people):
    assert len(found(people, "  ")) == 3


def test_only_active_clients_are_an_audience(owner, stranger):
    for status in ClientStatus:
        make.client(owner, f"{status}@example.test", status=status)
    make.client(stranger)
    assert [client.email for client in db.session.scalars(queries.active_clients(owner.id))] == ["active@example.test"]
