"""How what people write is tidied and refused."""

import pytest

from app import clock
from app.addresses import BadAddress
from app.clients import fields
from app.clients.fields import BadField

pytestmark = pytest.mark.usefixtures("context")


def test_a_line_is_stripped_composed_and_loses_what_nobody_sees():
    assert fields.one_line("  Анна\t\n Мария\u200b ") == "Анна Мария"
    assert fields.one_line("Андреи\u0306") == "Андрей"
    assert fields.one_line("نامه\u200cای") == "نامه\u200cای"


@pytest.mark.parametrize("text", ["Anna\0", "An\x1bna", "An\ufffdna", "x" * 101])
def test_a_line_with_control_characters_or_too_long_is_refused(text):
    with pytest.raises(BadField):
        fields.one_line(text)


def test_a_text_keeps_its_line_breaks():
    assert fields.many_lines(" One\r\n\r\n\tTwo  \n") == "One\n\n\tTwo"
    with pytest.raises(BadField):
        fields.many_lines("a\n" * 5000 + "b")


def test_a_birth_year_lies_between_1900_and_now():
    this_year = clock.now().year
    assert fields.parse_birth_year(" 1900 ") == 1900
    assert fields.parse_birth_year(str(this_year)) == this_year
    assert fields.parse_birth_year("") is None


@pytest.mark.parametrize("text", ["1899", str(clock.now().year + 1), "85", "19a5", "-1985", "1985.0", "१९८५"])
def test_any_other_birth_year_is_refused(text):
    with pytest.raises(BadField):
        fields.parse_birth_year(text)


def test_tags_are_trimmed_and_each_comes_once_whatever_its_case():
    assert fields.parse_tags(" VIP, vip; Опт ,,опт\nnew ") == ("VIP", "Опт", "new")
    assert fields.parse_tags("") == ()


def test_tags_are_limited_in_number_and_length():
    assert len(fields.parse_tags(",".join(map(str, range(20))))) == 20
    with pytest.raises(BadField, match="20"):
        fields.parse_tags(",".join(map(str, range(21))))
    with pytest.raises(BadField, match="50"):
        fields.parse_tags("x" * 51)


def test_attributes_are_read_and_written_the_same_way():
    attributes = {"city": "Тверь", "url": "https://example.test/a:b", "empty": ""}
    assert fields.parse_attributes(fields.attributes_as_text(attributes)) == attributes
    assert fields.parse_attributes("\n  city :  Тверь \n\n") == {"city": "Тверь"}


@pytest.mark.parametrize(
    "line",
    ["city", "1st: x", "имя: x", "_x: y", ": x", "a b: c", "x" * 41 + ": y", "city: again", "a: \0", "a: " + "x" * 501],
)
def test_a_bad_attribute_is_named_by_its_line(line):
    with pytest.raises(BadField, match="Line 3:"):
        fields.parse_attributes(f"city: Tver\n\n{line}")


def test_attributes_are_limited_in_number():
    assert len(fields.parse_attributes("\n".join(f"a{n}: 1" for n in range(30)))) == 30
    with pytest.raises(BadField, match="30"):
        fields.parse_attributes("\n".join(f"a{n}: 1" for n in range(31)))


def test_a_domain_is_written_as_addresses_are():
    assert fields.parse_domain(" @Example.TEST ") == "example.test"
    assert fields.parse_domain("ПОЧТА.рф") == "почта.рф"
    assert fields.parse_domain("xn--80a1acny.xn--p1ai") == "почта.рф"
    assert fields.parse_domain("") is None
    for bad in ("nothing", "a@b.test", "a b.test", "%.test"):
        with pytest.raises(BadAddress):
            fields.parse_domain(bad)


@pytest.mark.parametrize("text", ["yesterday", "2026-02-30", "0001-01-01", "9999-12-31"])
def test_a_day_that_is_none_is_refused(text):
    with pytest.raises(BadField):
        fields.parse_day(text)
