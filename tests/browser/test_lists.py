"""The lists: sorted, searched and scrolled, rows changed on the spot, many at once, and taken back."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.looking import look
from tests.browser.pages import List, Register
from tests.smtp import RecordingSmtp

EMAIL = "lister@golub.test"
LINES = "".join(f"\nc{n:03}@example.test;Client {n:03}" for n in range(120))


@pytest.fixture(scope="module")
def cookies(browser: Browser, service: str, mail_server: RecordingSmtp) -> list[dict[str, str]]:
    """The log-in of somebody with 120 clients."""
    context = browser.new_context(base_url=service)
    page = context.new_page()
    Register(page).confirmed(EMAIL, mail_server)
    page.goto("/clients/import")
    page.locator("input[type=file]").set_input_files(
        {"name": "c.csv", "mimeType": "text/csv", "buffer": f"E-mail;Last name{LINES}".encode()}
    )
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator("#counts")).to_contain_text("120 added", timeout=20_000)
    kept = context.cookies()
    context.close()
    return kept  # type: ignore[return-value]


@pytest.fixture
def clients(page: Page, cookies: list[dict[str, str]]) -> Iterator[List]:
    page.context.add_cookies(cookies)  # type: ignore[arg-type]
    page.goto("/clients/")
    return List(page)


def test_rows_are_ticked_deleted_and_brought_back(page: Page, clients: List) -> None:
    expect(clients.bar).to_be_hidden()
    clients.tick("Client 003", "Client 004")
    expect(clients.bar).to_contain_text("Selected: 2")
    look(page, "light", "dark")
    clients.press("delete")
    expect(clients.dialog).to_contain_text("Delete 2 clients?")
    look(page, "light", "dark")
    clients.agree()
    expect(clients.row("Client 003")).to_have_count(0)
    expect(clients.row("Client 002")).to_have_count(1)
    expect(clients.row("Client 005").locator("[data-row-link]")).to_be_focused()
    expect(clients.bar).to_be_hidden()
    clients.undo()
    expect(clients.toast).to_contain_text("2 clients are back.")
    expect(clients.row("Client 003")).to_have_count(1)


def test_all_that_match_get_a_tag(page: Page, clients: List) -> None:
    page.get_by_role("searchbox").fill("client 11")
    expect(clients.rows).to_have_count(11)
    expect(page).to_have_url(re.compile(r"/clients/\?q=client\+?(%20)?11$"))
    page.get_by_role("searchbox").fill("client")
    expect(clients.rows).to_have_count(50)
    page.get_by_label("Select all rows that are shown").check()
    expect(clients.bar).to_contain_text("All 120 that match")
    clients.bar.get_by_label("All 120 that match").check()
    clients.bar.get_by_label("Tag to add or to remove").fill("autumn")
    clients.press("add_tag")
    expect(clients.toast).to_contain_text("120 clients have got the tag “autumn”.")
    expect(clients.rows.first).to_contain_text("autumn")
    page.goto("/clients/?tag=autumn")
    expect(page.locator("select[name=tag]")).to_have_value("autumn")


def test_headings_sort_and_the_next_rows_come_by_themselves(page: Page, clients: List) -> None:
    page.get_by_role("link", name="E-mail").click()
    expect(page.get_by_role("columnheader", name="E-mail")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("link", name="E-mail").click()
    expect(page.get_by_role("columnheader", name="E-mail")).to_have_attribute("aria-sort", "descending")
    expect(clients.rows.first).to_contain_text("Client 119")
    expect(page.locator("#sort-email")).to_be_focused()
    expect(page).to_have_url(re.compile(r"sort=-email"))
    page.mouse.wheel(0, 20_000)
    expect(clients.rows).to_have_count(100)
    expect(page.locator("#sort-email")).to_be_focused()
    page.mouse.wheel(0, 20_000)
    expect(clients.rows).to_have_count(120)
    expect(clients.rows.last).to_contain_text("Client 000")


def test_a_row_is_changed_on_the_spot_by_keys_alone(page: Page, clients: List) -> None:
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.get_by_role("searchbox").blur()
    for _ in range(3):
        page.keyboard.press("j")
    page.keyboard.press("k")
    expect(clients.row("Client 001").locator("[data-row-link]")).to_be_focused()
    page.keyboard.press("e")
    row = page.locator("[data-edited]")
    expect(row.get_by_label("Last name")).to_be_focused()
    look(page, "light", "dark")
    row.get_by_label("E-mail").fill("nobody")
    page.keyboard.press("Enter")
    expect(row).to_contain_text("This is not a usable e-mail address")
    expect(row.get_by_label("E-mail")).to_be_focused()
    row.get_by_label("E-mail").fill("renamed@example.test")
    page.keyboard.press("Enter")
    expect(clients.row("Client 001")).to_contain_text("renamed@example.test")
    expect(clients.row("Client 001").locator("[data-edit-row]")).to_be_focused()
    clients.row("Client 001").locator("td").nth(4).dblclick()
    expect(row).to_be_visible()
    page.keyboard.press("Escape")
    expect(row).to_have_count(0)


def test_what_can_not_be_loaded_can_be_tried_again(
    browser: Browser, service: str, cookies: list[dict[str, str]]
) -> None:
    context = browser.new_context(base_url=service)  # its console may complain
    context.add_cookies(cookies)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto("/clients/")
    clients = List(page)

    def lose(route: Route) -> None:
        route.abort()

    page.route("**/clients/?*after=*", lose)
    page.mouse.wheel(0, 20_000)
    expect(page.locator(".list-fault")).to_contain_text("This could not be loaded.")
    page.unroute("**/clients/?*after=*", lose)
    page.get_by_role("button", name="Try again").click()
    expect(clients.rows).to_have_count(100)
    expect(page.locator(".list-fault")).to_have_count(0)
    context.close()


def test_without_scripts_it_is_plain_pages(browser: Browser, service: str, cookies: list[dict[str, str]]) -> None:
    context = browser.new_context(base_url=service, java_script_enabled=False)
    context.add_cookies(cookies)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto("/clients/?sort=-name")
    clients = List(page)
    clients.tick("Client 119")
    clients.press("delete")
    expect(page.get_by_role("heading", name="Delete 1 client?").first).to_be_visible()
    page.locator("#content form button[type=submit]").click()
    expect(page).to_have_url(re.compile(r"/clients/\?sort=-name$"))
    expect(clients.row("Client 119")).to_have_count(0)
    clients.undo()
    expect(clients.row("Client 119")).to_have_count(1)
    page.get_by_role("link", name="Show more").click()
    expect(clients.row("Client 069")).to_have_count(1)
    context.close()
