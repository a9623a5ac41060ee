"""Every string that a person reads stands in the Russian catalogue, with the same places to fill in."""

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po
from flask import Flask
from flask.testing import FlaskClient
from flask_babel import force_locale

from app.addresses import BadAddress, parse_address
from app.auth import letters
from app.auth.models import Letter, LetterKind, User
from app.clients.models import Segment
from app.config import ROOT
from app.extensions import db
from app.mailings.schedule import Period
from tests import make

FOLDER = ROOT / "app" / "translations"
RUSSIAN = FOLDER / "ru" / "LC_MESSAGES"
KEYWORDS = {
    "_": None,
    "_l": None,
    "gettext": None,
    "lazy_gettext": None,
    "ngettext": (1, 2),
    "lazy_ngettext": (1, 2),
    "pgettext": ((1, "c"), 2),
    "lazy_pgettext": ((1, "c"), 2),
}
PLACES = re.compile(r"%\(\w+\)[sd]")
ENGLISH = re.compile(r"[A-Za-z]{3,}")
NO_WORDS = re.compile(r"\S+@\S*|https?://\S*|python worker\.py|\b[a-z]+\.[a-z]+\b|<[^>]*>|\{\{ \w+ \}\}")
# Names, and what is the same in both languages: in examples, of what HTML is made.
KEPT = {"Golub", "UTC", "HTML", "Atom", "RSS", "CSV", "XLSX", "JSON", "ZIP", "English", "city", "style"}
SAID = {"alt", "aria-label", "data-label", "placeholder", "title"} | {
    "hx-confirm",
    "data-confirm",
    "data-confirm-text",
    "data-confirm-yes",
}


@pytest.fixture(scope="module")
def catalogue() -> Catalog:
    with (RUSSIAN / "messages.po").open("rb") as file:
        return read_po(file, locale="ru")


def extracted() -> Iterator[tuple[str | tuple[str, ...], str | None]]:
    with (FOLDER / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    found = extract_from_dir(str(ROOT / "app"), methods, options, keywords=KEYWORDS)
    for _file, _line, text, _comments, context in found:
        yield text, context


def wanted(message: Message) -> list[str]:
    return list(message.id) if isinstance(message.id, (tuple, list)) else [str(message.id)]


def given(message: Message) -> list[str]:
    return list(message.string) if isinstance(message.string, (tuple, list)) else [str(message.string)]


def test_each_string_of_the_sources_is_translated(catalogue: Catalog) -> None:
    missing = []
    for text, context in extracted():
        key = text if isinstance(text, str) else text[0]
        message = catalogue.get(key, context)
        if message is None or not all(given(message)):
            missing.append(text)
    assert missing == []


def test_each_translation_is_whole(catalogue: Catalog) -> None:
    for message in catalogue:
        if not message.id:
            continue
        assert not message.fuzzy, message.id
        assert len(given(message)) == (3 if message.pluralizable else 1), message.id
        for text in given(message):
            assert sorted(PLACES.findall(text)) == sorted(PLACES.findall(wanted(message)[0])), message.id


def test_the_compiled_catalogue_is_in_step(catalogue: Catalog) -> None:
    fresh = io.BytesIO()
    write_mo(fresh, catalogue)
    fresh.seek(0)
    with (RUSSIAN / "messages.mo").open("rb") as file:
        shipped = read_mo(file)
    assert [(m.id, m.context, m.string) for m in shipped] == [(m.id, m.context, m.string) for m in read_mo(fresh)]


class Reader(HTMLParser):
    """Collects what a page says, to eyes and to screen readers, without what is no sentence of ours."""

    SILENT = ("script", "style", "svg")

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.silent: str | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.heard += [value or "" for name, value in attributes if name in SAID]
        # IANA's names of time zones, and the examples of what to write, are code; keys bear what stands on them.
        if tag in (*self.SILENT, "code", "kbd") or (tag == "select" and ("name", "timezone") in attributes):
            self.silent = self.silent or tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self.silent:
            self.silent = None

    def handle_data(self, text: str) -> None:
        if not self.silent:
            self.heard.append(text)


def english_of(page: str) -> set[str]:
    reader = Reader()
    reader.feed(page)
    return {word for text in reader.heard for word in ENGLISH.findall(NO_WORDS.sub(" ", text))} - KEPT


def read_in_russian(client: FlaskClient, path: str) -> str:
    answer = client.get(path, headers={"Accept-Language": "ru"})
    assert answer.status_code == 200
    assert '<html lang="ru"' in answer.text
    return answer.text


@pytest.fixture
def belongings(app: Flask, owner: User) -> dict[str, int]:
    """One of each, with Russian words; gives their ids."""
    with app.app_context():
        client = make.client(
            owner, first_name="Анна", last_name="Жук", birth_year=1985, added_at=datetime(2026, 3, 5, 12, tzinfo=UTC)
        )
        message = make.message(
            owner, subject="Новости", html="<p>Добрый день!</p>", text="Добрый день!", is_shared=True
        )
        mailing = make.mailing(owner, name="Новости недели", message=message, period=Period.DAILY)
        segment = Segment(owner_id=owner.id, name="Девяностые", conditions={"born_from": 1990})
        db.session.add(segment)
        db.session.commit()
        return {"client": client.id, "message": message.id, "mailing": mailing.id, "segment": segment.id}


@pytest.mark.parametrize("path", ["/", "/blog/", "/auth/login", "/auth/register", "/auth/verify/nonsense"])
def test_a_russian_guest_reads_no_english(client: FlaskClient, path: str) -> None:
    answer = client.get(path, headers={"Accept-Language": "ru"})
    assert '<html lang="ru"' in answer.text
    assert english_of(answer.text) == set()


@pytest.mark.parametrize(
    "path",
    [
        "/overview",
        "/clients/",
        "/clients/new",
        "/clients/segments/",
        "/clients/segments/new",
        "/messages/",
        "/messages/?shared=1",
        "/messages/new",
        "/mailings/",
        "/mailings/new",
    ],
)
def test_a_russian_owner_reads_no_english(owner_client: FlaskClient, path: str) -> None:
    assert english_of(read_in_russian(owner_client, path)) == set()


@pytest.mark.parametrize(
    "path",
    [
        "/overview",
        "/clients/",
        "/clients/{client}",
        "/clients/{client}/edit",
        "/clients/segments/",
        "/clients/segments/{segment}/edit",
        "/messages/",
        "/messages/{message}",
        "/messages/{message}/edit",
        "/mailings/",
        "/mailings/{mailing}",
        "/mailings/{mailing}/edit",
        "/mailings/new",
        "/log",
        "/account/security",
        "/account/password",
        "/account/email",
        "/account/activity",
        "/account/data",
        "/account/close",
    ],
)
def test_a_russian_owner_of_things_reads_no_english(
    owner_client: FlaskClient, belongings: dict[str, int], path: str
) -> None:
    assert english_of(read_in_russian(owner_client, path.format(**belongings))) == set()


@pytest.mark.parametrize(
    "path", ["/manager/", "/manager/mailings", "/manager/clients", "/manager/users", "/manager/audit", "/log"]
)
def test_a_russian_manager_reads_no_english(manager_client: FlaskClient, path: str) -> None:
    assert english_of(read_in_russian(manager_client, path)) == set()


def test_a_russian_reads_no_english_where_nothing_is(client: FlaskClient) -> None:
    answer = client.get("/nothing/here", headers={"Accept-Language": "ru"})
    assert answer.status_code == 404
    assert "Здесь ничего нет" in answer.text
    assert english_of(answer.text) == set()


def test_a_forms_refusals_are_russian(client: FlaskClient) -> None:
    answer = client.post("/auth/register", data={"email": "нет", "password": "1"}, headers={"Accept-Language": "ru"})
    assert answer.status_code == 422
    assert "Такой адрес почты не подходит" in answer.text
    assert english_of(answer.text) == set()


def test_what_wtforms_says_by_itself_is_russian(owner_client: FlaskClient) -> None:
    """A choice that the form did not offer is refused in the words of WTForms, which has a catalogue of its own."""
    data = {"name": "Новости", "period": "hourly", "audience": "nobody", "message_id": "x", "timezone": "Nowhere"}
    answer = owner_client.post("/mailings/new", data=data, headers={"Accept-Language": "ru"})
    assert answer.status_code == 422
    assert english_of(answer.text) == set()


@pytest.mark.parametrize(
    "written", ["a", "@b.ru", "a@", "a@b", "a@b..ru", "a" * 300 + "@b.ru", "a b@c.ru", "a@b_c.ru", "a@b.local"]
)
def test_why_an_address_is_refused_is_said_in_russian(app: Flask, written: str) -> None:
    with app.app_context(), force_locale("ru"), pytest.raises(BadAddress) as caught:
        parse_address(written)
    assert ENGLISH.findall(str(caught.value)) == []


def test_dates_and_numbers_are_written_as_russians_do(owner_client: FlaskClient, belongings: dict[str, int]) -> None:
    page = read_in_russian(owner_client, "/clients/")
    assert re.search(r"5\s+мар\S*\s+2026", page)


@pytest.mark.parametrize("kind", [kind for kind in LetterKind if kind is not LetterKind.TEST_MESSAGE])
def test_letters_are_in_the_language_of_who_gets_them(app: Flask, kind: LetterKind) -> None:
    with app.app_context():
        user = make.user("anna@example.test", locale="ru")
        composed = letters.compose(Letter(kind=kind, user=user), user)
    assert re.search("[а-я]", composed.subject)
    assert ENGLISH.findall(composed.subject) == []
    assert english_of(composed.text.replace("\n", " ")) == set()
    assert english_of(composed.html) == set()


def test_nothing_but_catalogues_lies_there() -> None:
    names = {path.relative_to(FOLDER) for path in FOLDER.rglob("*") if path.is_file()}
    assert names == {Path("babel.cfg"), Path("ru/LC_MESSAGES/messages.po"), Path("ru/LC_MESSAGES/messages.mo")}
