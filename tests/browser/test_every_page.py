"""Every page that links lead to, as each role sees it: nothing hinders a person, nothing is too heavy, all works."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page
from sqlalchemy import select

from app import create_app, demo
from app.config import Settings
from app.delivery.models import Delivery, DeliveryStatus
from app.extensions import db
from app.mailings.models import Mailing
from tests.browser.looking import faults as faults_of
from tests.browser.pages import log_in_by_form
from tests.live import running
from tests.mailings import ledger
from tests.smtp import RecordingSmtp

pytestmark = pytest.mark.crawl

START = {
    "guest": ["/", "/auth/login", "/auth/forgot"],
    "user": ["/overview"],
    "manager": ["/manager/"],
    "editor": ["/blog/manage/"],
}
NO_PAGE = re.compile(r"/static/|/logout|export|\.(csv|xlsx|ics|zip|atom|rss|xml|txt|webp|png)\b|/letter$|/calendar/")
FIRST_VISIT_KB, LATER_VISIT_KB = 250, 30


@dataclass(frozen=True)
class Look:
    scheme: str
    locale: str

    @property
    def rules(self) -> dict[str, list[str]]:
        """All of axe's; in the dark, those about colours and words: the rest is the same in any."""
        return {} if self.scheme == "light" else {"runOnly": ["color-contrast", "html-has-lang", "html-lang-valid"]}


@pytest.fixture(scope="module")
def demonstration(
    settings: Settings,
    new_database: Callable[[str], str],
    mail_server: RecordingSmtp,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """A service with the demo's people and things, and a run in which all went wrong that can."""
    url = new_database("every_page")
    with running(url, mail_server, tmp_path_factory.mktemp("demonstration")) as base_url:
        app: Flask = create_app(settings.model_copy(update={"database_url": url}))
        with app.app_context():
            demo.load()
            mailing = db.session.scalars(select(Mailing).order_by(Mailing.id)).first()
            assert mailing
            run = ledger.run(mailing, *DeliveryStatus, status="done")
            for delivery in db.session.scalars(select(Delivery).where(Delivery.run_id == run.id)):
                ledger.attempt(delivery, DeliveryStatus.FAILED)
            db.session.commit()
            db.engine.dispose()
        yield base_url


@pytest.mark.parametrize(
    "look", [Look("light", "en-GB"), Look("dark", "ru-RU")], ids=["light, English", "dark, Russian"]
)
@pytest.mark.parametrize("who", list(START))
def test_no_page_hinders_anybody(browser: Browser, demonstration: str, who: str, look: Look) -> None:
    """By axe; and none is wider than a telephone, logs an error, or asks another host."""
    context = browser.new_context(base_url=demonstration, locale=look.locale, color_scheme=look.scheme)  # type: ignore[arg-type]
    page = context.new_page()
    faults: list[str] = []
    page.on(
        "console",
        lambda message: message.type in ("error", "warning") and faults.append(f"{page.url} logs {message.text}"),
    )
    page.on("pageerror", lambda error: faults.append(f"{page.url} fails: {error}"))
    page.on(
        "request",
        lambda request: _is_foreign(request.url, demonstration) and faults.append(f"{page.url} asks {request.url}"),
    )
    if who != "guest":
        log_in_by_form(page, f"{who}@golub.example", demo.DEMO_PASSWORD)
    waiting, seen = list(START[who]), set()
    while waiting:
        path = waiting.pop(0)
        if (kind := _kind(path)) in seen:
            continue
        seen.add(kind)
        faults += _look_at(page, path, look)
        links = page.eval_on_selector_all("a[href]", "links => links.map(link => link.href)")
        waiting += [_path(link) for link in links if link.startswith(f"{demonstration}/") and not NO_PAGE.search(link)]
    context.close()
    assert faults == []
    assert len(seen) >= 3


def _look_at(page: Page, path: str, look: Look) -> list[str]:
    answer = page.goto(path)
    if answer is None or not answer.ok:
        return [f"{path}: {answer and answer.status}"]
    page.wait_for_timeout(100)  # for what a page fetches when it is there
    return faults_of(page, look.rules)


def _is_foreign(url: str, base_url: str) -> bool:
    return urlsplit(url).scheme in ("http", "https") and not url.startswith(base_url + "/")


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _kind(path: str) -> str:
    """What pages have in common that differ by a number or a word only."""
    parts = urlsplit(path)
    names = sorted({name for name, _value in parse_qsl(parts.query)})
    return re.sub(r"\d+|(?<=/blog/)(?!manage)[\w-]+", "*", parts.path) + "?" + "&".join(names)


@pytest.mark.parametrize("path", ["/", "/auth/login", "/blog/"])
def test_a_first_visit_is_light(browser: Browser, demonstration: str, path: str) -> None:
    context = browser.new_context(base_url=demonstration)
    kilobytes = _weight(context.new_page(), path)
    context.close()
    assert 0 < kilobytes <= FIRST_VISIT_KB


def test_later_pages_are_lighter(browser: Browser, demonstration: str) -> None:
    """Once a browser has been here, on the pages of its own things."""
    context = browser.new_context(base_url=demonstration)
    page = context.new_page()
    log_in_by_form(page, "user@golub.example", demo.DEMO_PASSWORD)
    paths = [
        "/overview",
        "/clients/",
        "/messages/",
        "/messages/new",
        "/mailings/",
        "/mailings/new",
        "/mailings/calendar",
    ]
    paths += ["/log", "/clients/segments/", "/account/"]
    for link in ("/mailings/1", "/messages/1", "/clients/1"):
        paths.append(link)
    first = {path: _weight(page, path) for path in paths}
    later = {path: _weight(page, path) for path in paths}
    context.close()
    assert {path: weight for path, weight in first.items() if weight > FIRST_VISIT_KB} == {}
    assert {path: weight for path, weight in later.items() if not 0 < weight <= LATER_VISIT_KB} == {}


def _weight(page: Page, path: str) -> float:
    """Kilobytes over the wire, compressed, headers and all that the page fetches included."""
    page.goto(path)
    page.wait_for_load_state("networkidle")
    kinds = "['navigation', 'resource'].flatMap(kind => performance.getEntriesByType(kind))"
    return float(page.evaluate(f"{kinds}.reduce((sum, entry) => sum + entry.transferSize, 0)")) / 1000
