"""The home page and the blog in a real browser: both themes, a phone, search, and a page that was kept."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect

from app import caching, clock, create_app
from app.auth.roles import Role
from app.blog.models import Post
from app.config import Settings
from app.extensions import db
from tests import make

BODY = "<h2>A heading</h2><p>Words with <a href='/blog/'>a link</a> and <code>code</code>.</p><ul><li>one</li></ul>" * 3
PATHS = ["/", "/blog/", "/blog/?tag=birds", "/blog/?q=nothing-like-it", "/blog/first-bird"]


@pytest.fixture(scope="module")
def posts(settings: Settings, database_url: str, service: str) -> Iterator[None]:
    """Thirteen articles in the service's own database."""
    app: Flask = create_app(settings.model_copy(update={"database_url": database_url}))
    with app.app_context():
        author = make.user("the-author@golub.test", Role.EDITOR, name="Nina")
        hour_ago = clock.now() - timedelta(hours=1)
        words = {"html": BODY, "words": 420, "author_id": author.id, "updated_at": hour_ago}
        for number in range(11):
            at = hour_ago - timedelta(days=number + 1)
            db.session.add(Post(slug=f"post-{number}", title=f"Article {number}", published_at=at, **words))
        words |= {"tags": ["birds", "news"], "summary": "What pigeons know", "published_at": hour_ago}
        db.session.add(Post(slug="first-bird", title="The first bird of the morning", **words))
        db.session.add(Post(slug="ptica", title="Первая птица этого утра", locale="ru", **words))
        db.session.commit()
        caching.forget_blog()
    yield
    with app.app_context():
        db.session.execute(db.delete(Post))
        db.session.commit()
        db.engine.dispose()


@pytest.mark.usefixtures("posts")
@pytest.mark.parametrize("language", ["en-GB", "ru-RU"])
def test_public_pages_are_no_wider_than_a_phone(browser: Browser, service: str, language: str) -> None:
    context = browser.new_context(base_url=service, locale=language, viewport={"width": 360, "height": 740})
    page = context.new_page()
    for path in (*PATHS, "/blog/ptica"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
    context.close()


@pytest.mark.usefixtures("posts")
def test_a_reader_finds_an_article_and_goes_on_from_it(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="Know what happened to every single message")).to_be_visible()
    expect(page.locator(".post-card")).to_have_count(3)
    page.get_by_role("link", name="All articles").click()
    expect(page.locator(".post-card")).to_have_count(10)
    page.get_by_role("link", name="Show more").click()
    expect(page.locator(".post-card")).to_have_count(12)
    page.get_by_role("searchbox").press_sequentially("bird", delay=20)
    expect(page.locator(".post-card")).to_have_count(1)
    assert "q=bird" in page.url
    page.get_by_role("link", name="The first bird of the morning").click()
    expect(page.get_by_role("heading", name="The first bird of the morning")).to_be_visible()
    expect(page.locator("main")).to_contain_text("3 minutes to read")
    page.get_by_role("link", name="birds").click()
    page.wait_for_url("**/blog/?lang=en&tag=birds")
    page.get_by_role("link", name="Русский").click()
    expect(page.get_by_role("link", name="Первая птица этого утра")).to_be_visible()


@pytest.mark.usefixtures("posts")
def test_structured_data_are_no_script_to_the_content_policy(page: Page) -> None:
    """The fixture looks for complaints of the policy."""
    page.goto("/blog/first-bird")
    data = page.locator('script[type="application/ld+json"]')
    assert '"BlogPosting"' in (data.text_content() or "")


@pytest.mark.usefixtures("posts")
def test_a_page_that_the_browser_kept_works(page: Page) -> None:
    """It comes back as 304, and its forms are still good."""
    statuses: list[int] = []
    page.on("response", lambda answer: statuses.append(answer.status) if answer.url.endswith("/blog/") else None)
    page.goto("/blog/")
    page.goto("/")
    page.goto("/blog/")
    # Chromium tells 200 for what it had kept; the server's own answer is in the test of the views.
    assert statuses
    assert set(statuses) <= {200, 304}
    page.get_by_role("button", name="Русский").click()
    expect(page.locator("html")).to_have_attribute("lang", "ru")


@pytest.mark.usefixtures("posts")
def test_static_files_are_asked_for_once(page: Page, browser: Browser) -> None:
    page.goto("/")
    with page.expect_response("**/css/golub.css") as answer:
        page.goto("/", wait_until="load")
        page.evaluate("fetch(document.querySelector('link[href*=\"golub.css\"]').href)")
    assert "immutable" in (answer.value.header_value("cache-control") or "")
    assert answer.value.header_value("content-encoding") == "gzip"
