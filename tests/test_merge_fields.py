"""The closed list of fields, and what is none of them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import merge_fields
from app.merge_fields import BadField, Field, fill, parse, parse_leniently

pytestmark = pytest.mark.one_database


@pytest.mark.parametrize("name", [*merge_fields.NAMES, "attributes.city", "attributes.город", "attributes.a-b_1"])
def test_these_are_fields(name: str) -> None:
    assert parse(f"a {{{{ {name} }}}} b") == ["a ", Field(name, "", 2), " b"]


@pytest.mark.parametrize(
    "text",
    [
        '{{ first_name | default: "friend" }}',
        '{{first_name|default:"friend"}}',
        "{{ first_name | default: “friend” }}",
        "{{ first_name | default: «friend» }}",
        "{{ first_name | default: „friend“ }}",
        "{{ first_name | default: 'friend' }}",
        '{{\u00a0first_name\u00a0|\u00a0default:\u00a0"friend"\u200b}}',
        '{{\nfirst_name\n| default : "friend"\n}}',
    ],
)
def test_a_field_may_have_a_default_in_any_quotes(text: str) -> None:
    assert parse(text) == [Field("first_name", "friend", 0)]


@pytest.mark.parametrize(
    ("html", "default"),
    [
        ("{{&nbsp;first_name | default: &quot;friend&quot;&nbsp;}}", "friend"),
        ('{{ first_name | default: "Tom &amp; Ann" }}', "Tom & Ann"),
        ("{{ first_name | default: &laquo;друг&raquo; }}", "друг"),
        ('{{ first_name | default: "3 &lt; 4" }}', "3 < 4"),
    ],
)
def test_in_html_quotes_and_blanks_may_be_entities(html: str, default: str) -> None:
    assert parse(html, html=True) == [Field("first_name", default, 0)]


def test_in_plain_text_entities_are_what_they_look_like() -> None:
    assert parse('{{ first_name | default: "a &amp; b" }}') == [Field("first_name", "a &amp; b", 0)]


def test_an_address_in_html_is_known_as_one() -> None:
    html = '<a title="{{ email }}" href="https://x.test/{{ email }}">{{ email }}</a><img src=\'http://x/{{email}}\'>'
    fields = [piece for piece in parse(html, html=True) if isinstance(piece, Field)]
    assert [field.in_address for field in fields] == [False, True, False, True]


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("{{ first_nme }}", 1, 1, "Did you mean “first_name”?"),
        ("Hi\n\n  {{ First_Name }}", 3, 3, "Did you mean “first_name”?"),
        ("{{ unsubscribe }}", 1, 1, "Did you mean “unsubscribe_url”?"),
        ("{{ zzz }}", 1, 1, "There are first_name, last_name"),
        ("{{ attributes. }}", 1, 1, "is no attribute"),
        ("{{ attributes.a.b }}", 1, 1, "is no attribute"),
        ("{{ attributes.__class__.x }}", 1, 1, "is no attribute"),
        ("{{}}", 1, 1, "a field looks like"),
        ("{{ first name }}", 1, 1, "a field looks like"),
        ("{{ first_name | upper }}", 1, 1, "a field looks like"),
        ("{{ first_name | default: friend }}", 1, 1, "a field looks like"),
        ('{{ first_name | default: "a" | default: "b" }}', 1, 1, "a field looks like"),
        ("{{ 7*7 }}", 1, 1, "there is no field"),
        ("x {{ first_name", 1, 3, "has to end it"),
        ("x {{ first_name } {{ email }}", 1, 3, "has to end it"),
        ("x {{", 1, 3, "has to end it"),
        ("{{{ email }}}", 1, 1, "a field looks like"),
    ],
)
def test_anything_else_is_refused_with_its_place(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(BadField) as caught:
        parse(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"Line {line}, column {column}: ")


@pytest.mark.parametrize(
    "html", ["{{ <b>first_name</b> }}", "{{ first_name<br>}}", "{<b>{ first_name }}</b>", "{<i><b>{ x }}"]
)
def test_formatting_inside_a_field_is_named(html: str) -> None:
    with pytest.raises(BadField, match="there is formatting inside a field"):
        parse(html, html=True)


def test_single_braces_and_ends_alone_are_text() -> None:
    text = "a { b } c }} d {x}"
    assert parse(text) == [text]


def test_what_is_older_than_the_rules_stays_as_it_is() -> None:
    assert parse_leniently("{{ {{ x }} {{ email }} {{ y") == ["{{ {{ x }} ", Field("email", "", 11), " {{ y"]


def test_values_are_escaped_in_html_and_percent_encoded_in_addresses() -> None:
    html = '<a href="https://x/?q={{ first_name }}">{{ first_name }}</a>'
    filled = fill(html, lambda _field: '"<b>&\n', html=True)
    assert filled == '<a href="https://x/?q=%22%3Cb%3E%26%20">&quot;&lt;b&gt;&amp; </a>'


def test_an_empty_value_becomes_the_default_and_it_is_escaped_too() -> None:
    assert fill('{{ first_name | default: "a &amp; b" }}', lambda _field: "", html=True) == "a &amp; b"
    assert fill("{{ first_name }}!", lambda _field: "") == "!"


@pytest.mark.parametrize(
    "text",
    [
        "{{" * 250_000,
        "{{ email }}" * 45_000,
        "{{ a " * 100_000,
        "{" * 500_000,
        "{{ " + "a" * 499_000 + " }}",
        "{{ attributes." + "a" * 499_000 + " }}",
        "{{" + " " * 499_000 + "}}",
        "{{" + " " * 499_000 + "|}}",
        "{{ x | default: " + " " * 499_000 + "}}",
        "{{first_nam}}" * 38_000,
        "{{ first_name | default: '" + "\"'" * 200_000 + "}}",
        "{{ x" + " | default: 'a'" * 30_000 + " }}",
        "{<" * 250_000,
        "{<>" * 150_000,
        'href="' * 80_000 + "{{ email }}",
        "href=" * 100_000 + "{{ email }}",
        "src = " + " " * 400_000 + "{{ email }}",
        "{{ " + "&" * 400_000 + " }}",
    ],
    ids=lambda text: text[:12],
)
def test_half_a_megabyte_of_anything_takes_no_time(text: str) -> None:
    began = time.process_time()
    for html in (False, True):
        parse_leniently(text, html=html)
        try:
            parse(text, html=html)
        except BadField as error:
            assert len(str(error)) < 300  # noqa: PT017  most of these are refused, not all
    assert time.process_time() - began < 5


@given(st.text(st.sampled_from("{} |:\"'<>&;/=abdefhilmnrstu_."), max_size=60), st.booleans())
def test_nothing_is_lost_between_the_pieces(text: str, html: bool) -> None:
    pieces = parse_leniently(text, html=html)
    rest = text
    for piece in pieces:
        if isinstance(piece, str):
            assert rest.startswith(piece)
            rest = rest[len(piece) :]
        else:
            rest = rest[rest.index("}}") + 2 :]
    assert rest == ""
