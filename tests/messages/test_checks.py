"""What is said of a letter while it is written."""

import pytest

from app.messages import checks, content, layouts
from app.messages.checks import Weight

GOOD = (
    "<p>Hello, read <a href='https://example.org/news'>our news</a>, there is a lot of it this time.</p>"
    + "<p>More</p>" * 20
)


def said(html: str, **fields: str) -> str:
    written = {"subject": "News", "preheader": "", "text": ""} | fields
    return " | ".join(f"{finding.weight}: {finding.what}" for finding in checks.findings(html=html, **written))


@pytest.fixture(autouse=True)
def _in_english(context):
    """Sentences need an application."""


def test_it_has_nothing_against_a_good_letter():
    assert said(GOOD) == ""
    assert said("<p>{{ first_name }}, <a href='{{ unsubscribe_url }}'>leave</a></p>") == ""
    assert said('<p>Write <a href="mailto:{{ email }}">us</a> or <a href="tel:+123">call</a></p>') == ""
    assert said("<p>See <a href='https://example.org/?who={{ email }}'>yours</a></p>") == ""


@pytest.mark.parametrize("name", layouts.NAMES)
@pytest.mark.parametrize("locale", ["en", "ru"])
def test_layouts_are_letters_that_nothing_is_said_against(name, locale):
    html = layouts.read(name, locale)
    assert said(html) == ""
    stored = content.parse_html(html)
    assert content.parse_html(stored) == stored
    assert content.removed_from(html) == []
    assert "bgcolor" in stored
    assert "max-width:600px" in stored
    assert "{{ unsubscribe_url }}" in stored
    assert stored.count("<table") == html.count("<table")
    assert (locale == "ru") == any("а" <= letter <= "я" for letter in html)


def test_another_layout_is_none():
    assert layouts.read("../layouts", "en") == ""
    assert layouts.read("news", "fr") == layouts.read("news", "en")
    assert set(layouts.titles()) == set(layouts.NAMES)


@pytest.mark.parametrize("field", ["subject", "preheader", "html", "text"])
def test_an_unknown_field_is_named_with_its_place(field):
    places = {"subject": "Subject", "preheader": "Preview text", "html": "Letter", "text": "Text part"}
    found = said(**({"html": GOOD} | {field: "Dear {{ first_nme }}, hello"}))
    assert f"bad: {places[field]}: Line 1, column 6: " in found
    assert "Did you mean “first_name”?" in found


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("example.org", "example.org"),
        ("https://", "https://"),
        ("https://exa mple.org", "https://exa mple.org"),
        ("http://nowhere", "http://nowhere"),
        ("mailto:nobody", "mailto:nobody"),
        ("/news", "/news"),
        ("javascript:alert(1)", "javascript:alert(1)"),
        ("https://[", "https://["),
        ("", "words"),
    ],
)
def test_a_link_that_is_none_is_named(address, named):
    assert f"bad: Links that lead nowhere: {named}" in said(f"{GOOD}<a href='{address}'>words</a>")


def test_a_link_without_words_is_told_of():
    assert said(f"{GOOD}<a href='https://example.org'> </a>") == "warn: There is a link without words."


def test_a_picture_without_words_is_named_and_a_decoration_is_not():
    assert said(f"{GOOD}<img src='https://example.org/a/pigeon.png'>") == "warn: Pictures without words: pigeon.png"
    assert said(f"{GOOD}<img alt='' src='https://example.org/line.png'>") == ""


def test_no_text_and_a_picture_alone_are_told_of():
    picture = "<img alt='Sale' src='https://example.org/sale.png'>"
    assert said(picture) == "bad: There is no text in the letter."
    assert said(f"{picture}<p>Come!</p>") == "warn: The letter is almost nothing but one picture."
    assert said("<img width='80' alt='Logo' src='https://example.org/logo.png'><p>Come!</p>") == ""
    assert said("") == "bad: The letter is empty."


@pytest.mark.parametrize(("letters", "word"), [(80_000, ""), (95_000, "warn"), (103_000, "bad")])
def test_a_heavy_letter_is_told_of_before_gmail_cuts_it_off(letters, word):
    found = said(f"<p>{'x' * letters}</p>")
    assert found.startswith(word)
    assert ("kB" in found) == bool(word)


def test_what_a_letter_cannot_hold_is_named():
    assert said(f"<style>p {{}}</style>{GOOD}<form></form>") == "warn: This will be left out: <form>, <style>"
    assert said("<div>" * 10_000).startswith("bad: This HTML is too tangled")


def test_the_worst_comes_first():
    found = checks.findings("", "", f"<img src='https://example.org/a.png'>{GOOD}<a href='x'>y</a>", "")
    assert [finding.weight for finding in found] == [Weight.BAD, Weight.WARN]
    assert all(finding.advice for finding in found)
