"""From the home page to the letter, as a person goes."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.pages import Clients, Mailings, Messages, Register
from tests.browser.words import Words, in_both_languages
from tests.make import PASSWORD
from tests.smtp import RecordingSmtp


@pytest.fixture(scope="module")
def email(language: str) -> str:
    return f"browser.{language}@golub.test"


@in_both_languages
def test_the_whole_way(page: Page, mail_server: RecordingSmtp, email: str) -> None:
    say = Words.of(page)
    Register(page).confirmed(email, mail_server)

    clients = Clients(page)
    for address, name in (
        ("anna@example.test", "Анна"),
        ("boris@example.test", "Boris"),
        ("vera@example.test", "Vera"),
    ):
        clients.add(address, name)
    clients.search("анн")
    expect(page.get_by_role("row", name="Анна")).to_be_visible()
    expect(page.get_by_role("row", name="Boris")).to_be_hidden()

    subject = f"News in {say.language}"
    Messages(page).write(subject, "<h1>Hello</h1><p>from the pigeon</p>")
    start = datetime.now(UTC).replace(microsecond=0, tzinfo=None) + timedelta(seconds=8)
    Mailings(page).plan("Once", subject, start)

    # The page is left alone: it has to move by itself.
    expect(page.locator("main")).to_contain_text(say("Completed", "mailing"))
    letters = [letter for letter in mail_server.letters if letter.message["Subject"] == subject]
    assert sorted(letter.recipients[0] for letter in letters) == [
        "anna@example.test",
        "boris@example.test",
        "vera@example.test",
    ]
    page.locator("a[href*='/runs/']").first.click()
    page.get_by_text("vera@example.test").click()
    expect(page.locator("main")).to_contain_text("2.0.0 accepted")


@in_both_languages
@pytest.mark.parametrize("path", ["/", "/blog/", "/auth/login", "/auth/register"])
def test_no_page_is_wider_than_a_phone(browser: Browser, service: str, path: str, language: str) -> None:
    context = browser.new_context(base_url=service, locale=language, viewport={"width": 360, "height": 740})
    page = context.new_page()
    page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    last_button = page.locator(".topbar-nav a").last.bounding_box()
    brand, first_link = page.locator(".brand").bounding_box(), page.locator(".topbar-nav a").first.bounding_box()
    assert last_button is not None
    assert brand is not None
    assert first_link is not None
    assert last_button["x"] + last_button["width"] <= 360
    assert brand["x"] + brand["width"] <= first_link["x"]
    context.close()


@in_both_languages
def test_a_forms_errors_come_without_leaving_the_page_and_keep_what_was_typed(page: Page) -> None:
    say = Words.of(page)
    page.goto("/auth/register")
    page.get_by_label(say("E-mail")).fill("no address")
    page.get_by_label(say("Password")).first.fill(PASSWORD)
    page.locator("main form button[type=submit]").click()
    expect(page.locator(".is-invalid").first).to_be_visible()
    expect(page.get_by_label(say("E-mail"))).to_have_value("no address")


def test_without_a_session_an_action_leads_to_the_log_in(page: Page) -> None:
    page.goto("/mailings/")
    page.wait_for_url("**/auth/login**")
