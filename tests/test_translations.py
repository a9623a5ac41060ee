"""Every string that a person reads stands in the Russian catalogue, with the same places to fill in."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po
from flask.testing import FlaskClient

from app.config import ROOT

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
}
PLACES = re.compile(r"%\(\w+\)[sd]")
ENGLISH = re.compile(r"[A-Za-z]{3,}(?: [A-Za-z]{2,})+")
TAGS = re.compile(r"<(script|style|svg|select)\b.*?</\1>|<[^>]+>", re.DOTALL)


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


@pytest.mark.parametrize("path", ["/", "/blog/", "/auth/login", "/auth/register"])
def test_a_russian_guest_reads_no_english(client: FlaskClient, path: str) -> None:
    assert_is_russian(client, path)


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
    assert_is_russian(owner_client, path)


@pytest.mark.parametrize("path", ["/manager/", "/manager/mailings", "/manager/users"])
def test_a_russian_manager_reads_no_english(manager_client: FlaskClient, path: str) -> None:
    assert_is_russian(manager_client, path)


def assert_is_russian(client: FlaskClient, path: str) -> None:
    page = client.get(path, headers={"Accept-Language": "ru"}).text
    assert '<html lang="ru"' in page
    body = page.partition("</head>")[2]
    assert ENGLISH.findall(TAGS.sub(" | ", body.replace("python worker.py", ""))) == []


def test_a_forms_refusals_are_russian(client: FlaskClient) -> None:
    answer = client.post("/auth/register", data={"email": "нет", "password": "1"}, headers={"Accept-Language": "ru"})
    assert answer.status_code == 422
    assert "Такой адрес почты не подходит" in answer.text
    assert ENGLISH.findall(TAGS.sub(" | ", answer.text.partition("</head>")[2])) == []


def test_nothing_but_catalogues_lies_there() -> None:
    names = {path.relative_to(FOLDER) for path in FOLDER.rglob("*") if path.is_file()}
    assert names == {Path("babel.cfg"), Path("ru/LC_MESSAGES/messages.po"), Path("ru/LC_MESSAGES/messages.mo")}
