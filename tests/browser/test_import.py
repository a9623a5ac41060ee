"""A file of clients dropped onto the page, followed until it is in the address book, and out again."""

import csv

from playwright.sync_api import Download, Page, expect

from tests.browser.looking import look
from tests.browser.pages import Import, Register
from tests.browser.words import Words, in_both_languages
from tests.smtp import RecordingSmtp

FILE = "Фамилия;Имя;E-mail;Город\nПетрова;Анна;anna@example.test;Тверь\nИванов;Пётр;petr@example.test;\n;;nobody;\n"


@in_both_languages
def test_a_dropped_file_becomes_clients(page: Page, mail_server: RecordingSmtp) -> None:
    say = Words.of(page)
    Register(page).confirmed(f"importer.{say.language}@golub.test", mail_server)
    imports = Import(page)
    imports.drop("клиенты.csv", FILE.encode("cp1251"))
    expect(page.get_by_role("heading", name="клиенты.csv")).to_be_visible()
    expect(page.get_by_label(say("Encoding"))).to_have_value("cp1251")
    expect(page.locator(".file-columns")).to_contain_text("Тверь")
    page.reload()
    look(page)

    # Another separator: the columns come anew, without a new page.
    separator = page.get_by_label(say("Separator"))
    separator.select_option(label=say("comma"))
    expect(page.locator(".file-columns > li")).to_have_count(1)
    separator.select_option(label=say("semicolon"))
    expect(page.locator(".file-columns > li")).to_have_count(4)

    addresses = page.get_by_label("E-mail", exact=True)  # a column's name: data, as the other one's is
    addresses.select_option(label=say("Leave out"))
    imports.start()
    expect(page.get_by_role("alert").first).to_have_text(say("Say which column has the e-mail addresses."))
    addresses.select_option(label=say("E-mail"))
    page.get_by_label("Город", exact=True).select_option(label=say("Attribute"))
    name = page.get_by_label(say("Name of the attribute for “%(heading)s”", heading="Город"))
    expect(name).to_have_value("gorod")
    expect(page.get_by_role("radio", name=say("Skip them"))).to_be_checked()
    page.get_by_label(say("Tags for all of them")).fill("autumn")
    imports.start()

    # The page is left alone: it has to move by itself.
    expect(page.locator("#live .state")).to_have_text(say("completed", "import"))
    numbers = {"added": 2, "updated": 0, "skipped": 0, "bad": 1}
    expect(page.locator("#counts li")).to_have_text(
        [f"{number} {say(word, 'rows')}" for word, number in numbers.items()]
    )
    reason = say("This is not a usable e-mail address: %(why)s", why=say("it needs an @."))
    expect(page.get_by_role("row", name="nobody")).to_contain_text(reason)
    page.reload()
    look(page)
    with page.expect_download() as report:
        page.get_by_role("link", name=say("All as CSV")).click()
    assert _rows(report.value) == [[say("Row"), say("E-mail"), say("Reason")], ["4", "nobody", reason]]

    page.goto("/clients/")
    search = page.get_by_role("searchbox", name=say("Search by name or e-mail"))
    search.press_sequentially("петр@", delay=20)
    search.fill("petr@")
    expect(page.get_by_role("row", name="anna@example.test")).to_be_hidden()
    page.get_by_text(say("Export"), exact=True).click()
    with page.expect_download() as export:
        page.get_by_role("link", name=say("These clients as CSV")).click()
    headings, *clients = _rows(export.value)
    columns = ("E-mail", "Last name", "First name", "Patronymic", "Birth year", "Tags", "Comment", "Status", "Added")
    assert headings[: len(columns)] == list(map(say, columns))
    assert [client[:8] for client in clients] == [
        ["petr@example.test", "Иванов", "Пётр", "", "", "autumn", "", say("active")]
    ]


def _rows(file: Download) -> list[list[str]]:
    return list(csv.reader(file.path().read_text("utf-8-sig").splitlines()))
