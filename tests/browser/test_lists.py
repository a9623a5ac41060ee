"""The lists: sorted, searched and scrolled, rows changed on the spot, many at once, and taken back."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.looking import look
from tests.browser.pages import List, Register
from tests.browser.words import Words, in_both_languages
from tests.smtp import RecordingSmtp

pytestmark = in_both_languages

LINES = "".join(f"\nc{n:03}@example.test;Client {n:03}" for n in range(120))


@pytest.fixture(scope="module")
def cookies(browser: Browser, service: str, mail_server: RecordingSmtp, language: str) -> list[dict[str, str]]:
    """The log-in of somebody with 120 clients."""
    context = browser.new_context(base_url=service, locale=language)
    page = context.new_page()
    say = Words(language)
    Register(page).confirmed(f"lister.{language}@golub.test", mail_server)
    page.goto("/clients/import")
    page.get_by_label(say("File of clients")).set_input_files(
        {"name": "c.csv", "mimeType": "text/csv", "buffer": f"E-mail;Last name{LINES}".encode()}
    )
    page.get_by_role("button", name=say("Import"), exact=True).click()
    expect(page.locator("#counts")).to_contain_text(f"120 {say('added', 'rows')}")
    kept = context.cookies()
    context.close()
    return kept  # type: ignore[return-value]


@pytest.fixture
def clients(page: Page, cookies: list[dict[str, str]]) -> Iterator[List]:
    page.context.add_cookies(cookies)  # type: ignore[arg-type]
    page.goto("/clients/")
    return List(page)


def test_rows_are_ticked_deleted_and_brought_back(page: Page, clients: List) -> None:
    say = clients.say
    actions = ("Add", "Remove", "Set active", "Set unsubscribed", "Delete")
    expect(clients.bar).to_be_hidden()
    clients.tick("Client 003", "Client 004")
    expect(clients.bar.get_by_role("status")).to_have_text(say("Selected: %(number)s", number=2))
    expect(clients.bar.locator("[name=action]")).to_have_text([say(action) for action in actions])
    look(page)
    clients.press("Delete")
    question = say.count("Delete %(number)s client?", "Delete %(number)s clients?", 2)
    expect(clients.dialog.get_by_role("heading")).to_have_text(question)
    expect(clients.dialog).to_contain_text(say("You can undo it right afterwards."))
    look(page)
    clients.agree()
    expect(clients.toast).to_contain_text(
        say.count("%(number)s client is deleted.", "%(number)s clients are deleted.", 2)
    )
    expect(clients.row("Client 003")).to_have_count(0)
    expect(clients.row("Client 002")).to_have_count(1)
    expect(clients.row("Client 005").locator("[data-row-link]")).to_be_focused()
    expect(clients.bar).to_be_hidden()
    clients.undo()
    expect(clients.toast).to_contain_text(say.count("%(number)s client is back.", "%(number)s clients are back.", 2))
    expect(clients.row("Client 003")).to_have_count(1)


def test_all_that_match_get_a_tag(page: Page, clients: List) -> None:
    say = clients.say
    page.get_by_role("searchbox", name=say("Search by name or e-mail")).fill("client 11")
    expect(clients.rows).to_have_count(11)
    expect(page).to_have_url(re.compile(r"/clients/\?q=client\+?(%20)?11$"))
    clients.search.fill("client")
    expect(clients.rows).to_have_count(50)
    page.get_by_label(say("Select all rows that are shown")).check()
    clients.bar.get_by_label(say("All %(number)s that match", number=120)).check()
    clients.bar.get_by_label(say("Tag to add or to remove")).fill("autumn")
    clients.press("Add")
    expect(clients.toast).to_contain_text(
        say.count(
            "%(number)s client has got the tag “%(tag)s”.",
            "%(number)s clients have got the tag “%(tag)s”.",
            120,
            tag="autumn",
        )
    )
    expect(clients.rows.first).to_contain_text("autumn")
    page.goto("/clients/?tag=autumn")
    expect(page.get_by_label(say("Tag"), exact=True)).to_have_value("autumn")


def test_headings_sort_and_the_next_rows_come_by_themselves(page: Page, clients: List) -> None:
    say = clients.say
    columns = ("Client", "E-mail", "Tags", "Status", "Last sent", "Added", "Actions")
    expect(page.get_by_role("columnheader")).to_have_text(["", *map(say, columns)])
    heading = page.get_by_role("columnheader", name=say("E-mail"))
    heading.get_by_role("link").click()
    expect(heading).to_have_attribute("aria-sort", "ascending")
    heading.get_by_role("link").click()
    expect(heading).to_have_attribute("aria-sort", "descending")
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
    say = clients.say
    page.keyboard.press("/")
    expect(clients.search).to_be_focused()
    clients.search.blur()
    for _ in range(3):
        page.keyboard.press("j")
    page.keyboard.press("k")
    expect(clients.row("Client 001").locator("[data-row-link]")).to_be_focused()
    page.keyboard.press("e")
    row = page.locator("[data-edited]")
    expect(row.get_by_label(say("Last name"))).to_be_focused()
    labels = ("Last name", "First name", "Patronymic", "E-mail", "Tags", "Status")
    expect(row.locator("label")).to_have_text(list(map(say, labels)))
    look(page)
    row.get_by_label(say("E-mail")).fill("nobody")
    page.keyboard.press("Enter")
    expect(row).to_contain_text(say("This is not a usable e-mail address: %(why)s", why=say("it needs an @.")))
    expect(row.get_by_label(say("E-mail"))).to_be_focused()
    row.get_by_label(say("E-mail")).fill("renamed@example.test")
    page.keyboard.press("Enter")
    expect(clients.row("Client 001")).to_contain_text("renamed@example.test")
    expect(clients.row("Client 001").locator("[data-edit-row]")).to_be_focused()
    clients.row("Client 001").locator("td").nth(4).dblclick()
    expect(row.get_by_label(say("Last name"))).to_be_focused()
    expect(row.get_by_role("link", name=say("Cancel"), exact=True)).to_be_visible()
    expect(row.get_by_role("button", name=say("Save"), exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(row).to_have_count(0)


def test_what_can_not_be_loaded_can_be_tried_again(
    browser: Browser, service: str, cookies: list[dict[str, str]], language: str
) -> None:
    context = browser.new_context(base_url=service, locale=language)  # its console may complain
    context.add_cookies(cookies)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto("/clients/")
    clients = List(page)

    def lose(route: Route) -> None:
        route.abort()

    page.route("**/clients/?*after=*", lose)
    page.mouse.wheel(0, 20_000)
    expect(page.get_by_role("alert")).to_contain_text(clients.say("This could not be loaded."))
    page.unroute("**/clients/?*after=*", lose)
    page.get_by_role("button", name=clients.say("Try again")).click()
    expect(clients.rows).to_have_count(100)
    expect(page.locator(".list-fault")).to_have_count(0)
    context.close()


def test_without_scripts_it_is_plain_pages(
    browser: Browser, service: str, cookies: list[dict[str, str]], language: str
) -> None:
    context = browser.new_context(base_url=service, locale=language, java_script_enabled=False)
    context.add_cookies(cookies)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto("/clients/?sort=-name")
    clients = List(page)
    say = clients.say
    clients.tick("Client 119")
    clients.press("Delete")
    question = say.count("Delete %(number)s client?", "Delete %(number)s clients?", 1)
    expect(page.get_by_role("heading", name=question).first).to_be_visible()
    page.locator("#content form").get_by_role("button", name=say("Delete"), exact=True).click()
    expect(page).to_have_url(re.compile(r"/clients/\?sort=-name$"))
    expect(clients.row("Client 119")).to_have_count(0)
    clients.undo()
    expect(clients.row("Client 119")).to_have_count(1)
    page.get_by_role("link", name=say("Show more")).click()
    expect(clients.row("Client 069")).to_have_count(1)
    context.close()
