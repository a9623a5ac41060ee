"""A real browser at a real service: the system's Chromium, driven by Playwright."""

import shutil
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.browser.words import ENGLISH
from tests.live import running
from tests.smtp import RecordingSmtp
from tests.waiting import PATIENCE_SECONDS

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="package")
def mail_server() -> Iterator[RecordingSmtp]:
    with RecordingSmtp() as server:
        yield server


@pytest.fixture(scope="package")
def database_url(new_database: Callable[[str], str]) -> str:
    return new_database("browser")


@pytest.fixture(scope="package")
def service(database_url: str, mail_server: RecordingSmtp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(database_url, mail_server, tmp_path_factory.mktemp("service")) as base_url:
        yield base_url


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Ended after this folder: Playwright keeps an event loop running, which other tests' own would stumble over."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium on this machine: apt install chromium")
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE_SECONDS * 1000)
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def language(request: pytest.FixtureRequest) -> str:
    """Of the window; see `words.in_both_languages`."""
    return getattr(request, "param", ENGLISH)


@pytest.fixture
def page(browser: Browser, service: str, language: str) -> Iterator[Page]:
    """A fresh window. No page may log an error, break the content policy, or ask another host for anything."""
    context = browser.new_context(base_url=service, locale=language, timezone_id="Europe/Moscow")
    context.set_default_timeout(PATIENCE_SECONDS * 1000)
    page = context.new_page()
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # Chromium itself notes every answer from 400 on; a form's 422 is meant.
        if message.type in ("error", "warning") and "the server responded with a status of 422" not in message.text:
            complaints.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    yield page
    context.close()
    assert complaints == []
    assert hosts <= {urlsplit(service).netloc, ""}
