import re
from email.message import EmailMessage

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_babel import force_locale

from app import create_app
from app.config import Settings, SettingsError
from app.inbox.store import Store
from app.inbox.views import file_size, linkified, with_links_in_tabs
from tests.inbox.test_parsing import BROKEN

pytestmark = pytest.mark.one_database

HTMX = {"HX-Request": "true"}
LINK = "http://127.0.0.1:5000/auth/verify/abc.def"


def letter(subject: str = "Welcome") -> bytes:
    message = EmailMessage()
    message["Subject"] = subject
    message.set_content(f"Hello <friend>!\n\nFollow {LINK}.\n")
    message.add_alternative(f'<html><head></head><body><a href="{LINK}">Follow</a></body></html>', subtype="html")
    return message.as_bytes()


def save(store: Store, content: bytes, *recipients: str) -> str:
    return store.save("golub@golub.test", list(recipients) or ["anna@golub.test"], content).id


def test_an_empty_inbox_says_so(browser: FlaskClient) -> None:
    answer = browser.get("/inbox")
    assert answer.status_code == 200
    assert "No letters yet" in answer.text
    assert browser.get("/inbox/").status_code == 200


def test_the_list_shows_the_newest_first_and_asks_for_more_by_itself(browser: FlaskClient, store: Store) -> None:
    save(store, letter("First"))
    save(store, letter("Second"), "one@golub.test", "two@golub.test")
    page = browser.get("/inbox").text
    assert page.index("Second") < page.index("First")
    assert "one@golub.test" in page
    assert "and 1 more" in page
    assert 'hx-trigger="every 3s"' in page


def test_htmx_gets_the_letters_alone(browser: FlaskClient, store: Store) -> None:
    save(store, letter("First"))
    fragment = browser.get("/inbox", headers=HTMX).text
    assert "First" in fragment
    assert "<html" not in fragment
    assert "every 3s" not in fragment


def test_search_finds_by_recipient_or_subject(browser: FlaskClient, store: Store) -> None:
    save(store, letter("First"), "anna@golub.test")
    save(store, letter("Second"), "boris@golub.test")
    for words, found, other in (("BORIS", "Second", "First"), ("first", "First", "Second")):
        fragment = browser.get("/inbox", query_string={"q": words}, headers=HTMX).text
        assert found in fragment
        assert other not in fragment
    assert "No letter matches" in browser.get("/inbox?q=nothing").text


def test_older_letters_are_a_page_further_that_stays_as_it_is(browser: FlaskClient, store: Store) -> None:
    for number in range(51):
        save(store, letter(f"Letter {number:02}"))
    page = browser.get("/inbox?q=letter").text
    assert "Letter 50" in page
    assert "Letter 00" not in page
    older = re.search(r'href="(/inbox\?[^"]*before=[^"]*)"', page)
    assert older
    page = browser.get(older[1].replace("&amp;", "&")).text
    assert "Letter 00" in page
    assert "Letter 50" not in page
    assert "every 3s" not in page
    assert browser.get("/inbox?before=../../etc").status_code == 404


def test_a_letter_shows_its_html_first_and_its_text_with_links(browser: FlaskClient, store: Store) -> None:
    letter_id = save(store, letter())
    page = browser.get(f"/inbox/{letter_id}").text
    assert f'src="/inbox/{letter_id}/html"' in page
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in page
    text = browser.get(f"/inbox/{letter_id}?tab=text").text
    assert f'<a href="{LINK}" target="_blank" rel="noopener noreferrer">{LINK}</a>.' in text
    assert "Hello &lt;friend&gt;!" in text
    assert "Subject" in browser.get(f"/inbox/{letter_id}?tab=headers").text
    assert browser.get(f"/inbox/{letter_id}?tab=nonsense").status_code == 200


def test_a_letter_without_html_shows_its_text(browser: FlaskClient, store: Store) -> None:
    letter_id = save(store, b"Subject: plain\r\n\r\nOnly words")
    assert "Only words" in browser.get(f"/inbox/{letter_id}").text
    assert "no HTML part" in browser.get(f"/inbox/{letter_id}?tab=html").text


def test_a_letter_s_html_can_do_nothing_but_be_looked_at(browser: FlaskClient, store: Store) -> None:
    letter_id = save(store, letter())
    for part in ("html", "source"):
        answer = browser.get(f"/inbox/{letter_id}/{part}")
        policy = answer.headers["Content-Security-Policy"]
        assert "sandbox allow-popups" in policy
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "allow-scripts" not in policy
        assert "allow-same-origin" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_source_is_the_letter_byte_for_byte(browser: FlaskClient, store: Store) -> None:
    content = b"Subject: \xff\r\n\r\n<script>\x00"
    answer = browser.get(f"/inbox/{save(store, content)}/source")
    assert answer.data == content
    assert answer.mimetype == "text/plain"


def test_a_letter_s_own_markup_stays_text_on_our_pages(browser: FlaskClient, store: Store) -> None:
    evil = '"><script>alert(1)</script>'
    letter_id = save(store, f"Subject: {evil}\r\nX-Evil: {evil}\r\n\r\n{evil}".encode(), evil)
    for page in ("", f"/{letter_id}", f"/{letter_id}?tab=headers", f"/{letter_id}?tab=text"):
        assert "<script>alert" not in browser.get(f"/inbox{page}").text


@pytest.mark.parametrize("forged", ["0" * 29, "nonsense", "..%2fsecret", f"{'0' * 20}-00000000"])
def test_an_unknown_letter_is_404(browser: FlaskClient, forged: str) -> None:
    for part in ("", "/html", "/source"):
        assert browser.get(f"/inbox/{forged}{part}").status_code == 404


def test_delete_all(browser: FlaskClient, store: Store) -> None:
    letter_id = save(store, letter())
    answer = browser.post("/inbox/delete")
    assert (answer.status_code, answer.location) == (303, "/inbox")
    assert "1 letter deleted." in browser.get("/inbox").text
    assert browser.get(f"/inbox/{letter_id}").status_code == 404
    assert browser.post("/inbox/delete", headers=HTMX).headers["HX-Redirect"] == "/inbox"


def test_delete_all_needs_the_token(inbox_app: Flask, store: Store) -> None:
    save(store, letter())
    assert inbox_app.test_client().post("/inbox/delete").status_code == 400
    assert store.ids()


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_letter_has_all_its_pages(browser: FlaskClient, store: Store, content: bytes) -> None:
    letter_id = save(store, content)
    for page in ("", "?tab=html", "?tab=text", "?tab=headers", "/html", "/source"):
        assert browser.get(f"/inbox/{letter_id}{page}").status_code == 200, page
    assert letter_id in browser.get("/inbox").text


@pytest.mark.parametrize("line", [b"Some words and " + LINK.encode() + b"/x\r\n", b"http://a", b"&" * 70 + b"\r\n"])
@pytest.mark.parametrize("kind", [b"text/plain", b"text/html"])
def test_a_letter_of_a_megabyte_has_all_its_pages(browser: FlaskClient, store: Store, line: bytes, kind: bytes) -> None:
    content = b"Subject: large\r\nContent-Type: " + kind + b"\r\n\r\n" + line * (1_000_000 // len(line))
    letter_id = save(store, content)
    for page in ("", "?tab=html", "?tab=text", "?tab=headers", "/html", "/source"):
        assert browser.get(f"/inbox/{letter_id}{page}").status_code == 200, page


def test_production_has_no_inbox(client: FlaskClient, settings: Settings, same_logs: None) -> None:
    assert client.get("/inbox").status_code == 404
    production = create_app(settings.model_copy(update={"app_env": "production", "secret_key": "x" * 40}))
    assert not [rule for rule in production.url_map.iter_rules() if rule.rule.startswith("/inbox")]


def test_production_can_t_be_talked_into_an_inbox(settings: Settings) -> None:
    with pytest.raises((SettingsError, ValueError), match="development only"):
        Settings(_env_file=None, **settings.model_dump() | {"app_env": "production", "inbox_enabled": True})


@pytest.mark.parametrize(
    ("text", "html"),
    [
        (
            "see http://a.test.",
            '<a href="http://a.test" target="_blank" rel="noopener noreferrer">http://a.test</a>.',
        ),
        ("<b> & 'quotes'", "&lt;b&gt; &amp; &#39;quotes&#39;"),
        ("javascript:alert(1)", "javascript:alert(1)"),
    ],
)
def test_links_in_texts_can_be_clicked_and_nothing_else(text: str, html: str) -> None:
    assert linkified(text).endswith(html)


def test_links_in_letters_open_outside_of_the_frame() -> None:
    assert with_links_in_tabs("<p>") == '<base target="_blank"><p>'
    assert with_links_in_tabs('<HEAD lang="en"><p>') == '<HEAD lang="en"><base target="_blank"><p>'
    assert with_links_in_tabs("<header>") == '<base target="_blank"><header>'


@pytest.mark.parametrize(
    ("size", "language", "words"),
    [
        (0, "en", "0 byte"),
        (999, "en", "999 byte"),
        (1_940, "en", "1.9 kB"),
        (1_940, "ru", "1,9 кБ"),
        (31_200_000, "en", "31,200 kB"),
    ],
)
def test_sizes_are_written_in_the_readers_language(inbox_app: Flask, size: int, language: str, words: str) -> None:
    with inbox_app.test_request_context(), force_locale(language):
        assert file_size(size) == words
