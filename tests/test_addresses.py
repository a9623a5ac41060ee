"""Addresses: which are taken, which are refused, and which are the same to us."""

import unicodedata

import pytest
from flask import Flask
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.addresses import LONGEST_ADDRESS, Address, BadAddress, parse_address, plain_address
from app.extensions import db

pytestmark = [pytest.mark.usefixtures("context"), pytest.mark.one_database]

COMPOSED = unicodedata.normalize("NFC", "josé@golub.test")
DECOMPOSED = unicodedata.normalize("NFD", "josé@golub.test")


@pytest.mark.parametrize(
    ("text", "email", "key"),
    [
        ("anna@golub.test", "anna@golub.test", "anna@golub.test"),
        ("  anna@golub.test\t\n", "anna@golub.test", "anna@golub.test"),
        ("Anna.Karenina@Golub.TEST", "Anna.Karenina@golub.test", "anna.karenina@golub.test"),
        ("anna+news@golub.test", "anna+news@golub.test", "anna+news@golub.test"),
        ("o'brien!#$%&*/=?^_`{|}~-@golub.test",) * 3,
        ("a@b.golub.test", "a@b.golub.test", "a@b.golub.test"),
        # International domains, in either spelling
        ("anna@пример.рф", "anna@пример.рф", "anna@xn--e1afmkfd.xn--p1ai"),
        ("anna@XN--E1AFMKFD.xn--p1ai", "anna@пример.рф", "anna@xn--e1afmkfd.xn--p1ai"),
        ("anna@ПРИМЕР.РФ", "anna@пример.рф", "anna@xn--e1afmkfd.xn--p1ai"),
        ("anna@faß.de", "anna@faß.de", "anna@xn--fa-hia.de"),
        ("anna@golub。test", "anna@golub.test", "anna@golub.test"),  # the ideographic full stop
        ("anna@ｇｏｌｕｂ.test", "anna@golub.test", "anna@golub.test"),  # full width letters
        # Local parts outside ASCII
        ("Жук@пример.рф", "Жук@пример.рф", "жук@xn--e1afmkfd.xn--p1ai"),
        ("用户@例子.广告", "用户@例子.广告", "用户@xn--fsqu00a.xn--4rr70v"),
        (COMPOSED, COMPOSED, COMPOSED),
        (DECOMPOSED, COMPOSED, COMPOSED),
    ],
)
def test_it_is_taken(text: str, email: str, key: str) -> None:
    assert parse_address(text) == Address(email, key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "anna",
        "anna@",
        "@golub.test",
        "anna@golub",
        "anna@localhost",
        "anna@@golub.test",
        "anna@golub.test@golub.test",
        "anna@golub.test, boris@golub.test",
        "anna@golub.test boris@golub.test",
        "Anna <anna@golub.test>",
        "<anna@golub.test>",
        "mailto:anna@golub.test?bcc=all@golub.test,",
        "anna karenina@golub.test",
        # Dots
        ".anna@golub.test",
        "anna.@golub.test",
        "anna..karenina@golub.test",
        "anna@golub..test",
        "anna@.golub.test",
        "anna@golub.test.",
        # Forms that few servers know, and that nobody writes by intent
        '"anna"@golub.test',
        '"anna karenina"@golub.test',
        "anna@[127.0.0.1]",
        "anna@[IPv6:::1]",
        "anna@127.0.0.1",
        "anna(comment)@golub.test",
        # What would end the line, or the string
        "anna@golub.test\r\nRCPT TO:<all@golub.test>",
        "anna\n@golub.test",
        "anna\r@golub.test",
        "an\x00na@golub.test",
        "anna@golub\x00.test",
        "anna@golub.test\x00",
        "anna\x7f@golub.test",
        "anna\u2028@golub.test",
        "anna\u0085@golub.test",
        # What looks like something else, or like nothing
        "an\u200bna@golub.test",  # zero width space
        "an\u200dna@golub.test",  # zero width joiner
        "an\u2060na@golub.test",  # word joiner
        "an\ufeffna@golub.test",  # byte order mark
        "an\u00adna@golub.test",  # soft hyphen
        "an\u202ena@golub.test",  # right-to-left override
        "an\u2066na@golub.test",  # left-to-right isolate
        "anna@gol\u202eub.test",
        "anna@gol\u2066ub.test",
        "an\ud800na@golub.test",  # half a character
        "anna@golub\ud800.test",
        "\u0301anna@golub.test",  # an accent on nothing
        "anna\ue000@golub.test",  # private use
        # Domains that can't be
        "anna@-golub.test",
        "anna@golub-.test",
        "anna@go_lub.test",
        "anna@gol!ub.test",
        f"anna@{'a' * 64}.test",
        "anna@xn--a.test",
        "anna@golub.123",
        # Too long
        f"{'a' * 65}@golub.test",
        f"{'ж' * 65}@golub.test",
        f"anna@{'.'.join(['a' * 60] * 5)}.test",
        "a" * 300,
        f"{'a' * 300}@golub.test",
        "a@" * 50_000,
    ],
)
def test_it_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(BadAddress) as caught:
        parse_address(text)
    sentence = str(caught.value)
    assert sentence
    assert len(sentence) < 500
    assert sentence.isprintable()
    sentence.encode()  # half characters could not be shown


def test_zero_width_characters_in_a_domain_make_no_second_address() -> None:
    """UTS 46 drops some of them, as browsers do: what is left has to be the plain address."""
    for invisible in "\u200b\u2060\ufeff\u00ad":
        try:
            address = parse_address(f"anna@go{invisible}lub.test")
        except BadAddress:
            continue
        assert address == Address("anna@golub.test", "anna@golub.test")


def test_a_homograph_is_another_address() -> None:
    """Cyrillic а is no Latin a: letters go to different people, so they are never taken for one."""
    latin, cyrillic = parse_address("anna@golub.test"), parse_address("аnna@golub.test")
    assert latin.key != cyrillic.key
    assert parse_address("a@аpple.test").key == "a@xn--pple-43d.test"


def test_the_sharp_s_is_no_other_domain() -> None:
    assert parse_address("a@faß.de").key != parse_address("a@fass.de").key


def test_a_local_part_is_the_same_in_all_its_cases() -> None:
    keys = {parse_address(f"{local}@golub.test").key for local in ("straße", "STRASSE", "Strasse", "STRAẞE")}
    assert len(keys) == 1
    assert parse_address("ΣΊΣΥΦΟΣ@golub.test").key == parse_address("σίσυφος@golub.test").key


def test_the_longest_address_is_taken() -> None:
    domain = ".".join(["d" * 61, "e" * 61, "f" * 60, "test"])
    text = f"{'a' * (LONGEST_ADDRESS - len(domain) - 1)}@{domain}"
    assert len(text) == LONGEST_ADDRESS
    assert parse_address(text).email == text
    with pytest.raises(BadAddress):
        parse_address(f"a{text}")


def test_it_fits_into_the_columns(app: Flask) -> None:
    """PostgreSQL refuses what is longer, SQLite takes it: so look before."""
    client = db.metadata.tables["client"].c
    domain = ".".join(["пример" * 2] * 6) + ".рф"
    taken = 0
    for letter in ("a", "ж", "ß", "ΐ", "ﬃ", "İ"):  # casefold() makes three letters of some
        for length in range(1, 260):
            for host in ("golub.test", domain, "é." * 41 + "рф"):
                try:
                    address = parse_address(f"{letter * length}@{host}")
                except BadAddress:
                    continue
                taken += 1
                assert len(address.email) <= client.email.type.length
                assert len(address.key) <= client.email_key.type.length
    assert taken > 500


LOCAL = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
DOMAIN = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), min_size=1, max_size=3)
PLAUSIBLE = st.builds(lambda local, labels: f"{local}@{'.'.join(labels)}.test", LOCAL, DOMAIN)
WRITTEN = st.builds(
    lambda local, domain: f"{local}@{domain}",
    st.text(st.sampled_from("aAzZ0.+-_éÉжЖßẞİıſΣςﬁǅ\u0301\u0130\u0345"), min_size=1, max_size=12),
    st.sampled_from(["golub.test", "пример.рф", "xn--e1afmkfd.xn--p1ai", "faß.de", "GOLUB.Test", "bücher.example"]),
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=500)
@given(PLAUSIBLE | WRITTEN | st.text(max_size=30))
@example("ͅa@golub.test")
@example("aͅ\u0301@golub.test")
@example("İ@golub.test")
@example("ǰ@golub.test")
def test_what_was_parsed_once_parses_to_the_same(text: str) -> None:
    try:
        once = parse_address(text)
    except BadAddress:
        return
    again = parse_address(once.email)
    assert again == once
    assert once.key == once.key.casefold()
    assert once.email == unicodedata.normalize("NFC", once.email)
    assert once.email.isprintable()
    local, _at, domain = once.email.rpartition("@")
    for variant in (local.upper(), local.lower(), local.casefold(), unicodedata.normalize("NFD", local)):
        if unicodedata.normalize("NFC", variant).casefold() != local.casefold():
            continue  # the capital of a dotless i is a plain I, and other such tricks of Unicode
        try:
            other = parse_address(f"{variant}@{domain}")
        except BadAddress:
            continue
        assert other.key == once.key, variant


def test_a_novel_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """To read it takes seconds, and anybody can send it."""
    monkeypatch.setattr("app.addresses.validate_email", lambda *_given, **_options: pytest.fail("was read"))
    with pytest.raises(BadAddress, match="longer than 254"):
        parse_address("é" * 1_000_000 + "@example.test")


# ── The quick way for what is plain ──

ALPHABET = st.sampled_from("aB1._+-@'!xn é")
LABEL = st.text("aZ0-_", min_size=1, max_size=8) | st.sampled_from(
    ["xn--e1afmkfd", "ab--c", "a" * 63, "a" * 64, "localhost", "local", "arpa", "invalid", "onion", "test", "com", "1"]
)
LIKELY = st.builds(
    lambda local, labels: f"{local}@{'.'.join(labels)}",
    st.text("aB1._+-'", min_size=1, max_size=10) | st.sampled_from(["a" * 64, "a" * 65, ".a", "a.", "a..b"]),
    st.lists(LABEL, min_size=1, max_size=5),
)


@given(LIKELY | st.text(ALPHABET, max_size=30))
@example(f"a@{'b' * 63}.{'c' * 63}.{'d' * 63}.{'e' * 56}.test")
@example(f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 56}.test")
@example("a@example.test\n")
@example("a@home.arpa")
@example("a@xn--80ak6aa92e.com")
@hypothesis_settings(max_examples=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_plain_is_read_as_in_the_long_way(text: str) -> None:
    plain = plain_address(text)
    if plain is not None:
        assert Address(*plain) == parse_address(text)


@pytest.mark.parametrize("text", ["anna@golub.test", "Anna.K+news_1@Mail-2.Example.COM", "1@b.c.golub.test"])
def test_what_nearly_all_addresses_look_like_is_plain(text: str) -> None:
    assert plain_address(text) is not None
