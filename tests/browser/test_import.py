"""A file of clients dropped onto the page, followed until it is in the address book, and out again."""

from playwright.sync_api import Page, expect

from tests.browser.looking import look_at
from tests.browser.pages import Import, Register
from tests.smtp import RecordingSmtp

EMAIL = "importer@golub.test"
FILE = "Фамилия;Имя;E-mail;Город\nПетрова;Анна;anna@example.test;Тверь\nИванов;Пётр;petr@example.test;\n;;nobody;\n"


def test_a_dropped_file_becomes_clients(page: Page, mail_server: RecordingSmtp) -> None:
    Register(page).confirmed(EMAIL, mail_server)
    look_at(page, "/clients/import")

    imports = Import(page)
    imports.drop("клиенты.csv", FILE.encode("cp1251"))
    expect(page.get_by_role("heading", name="клиенты.csv")).to_be_visible()
    expect(page.get_by_label("Encoding")).to_have_value("cp1251")
    expect(page.locator(".file-columns")).to_contain_text("Тверь")
    look_at(page, page.url)

    # Another separator: the columns come anew, without a new page.
    page.get_by_label("Separator").select_option(",")
    expect(page.locator(".file-columns > li")).to_have_count(1)
    page.get_by_label("Separator").select_option(";")
    expect(page.locator(".file-columns > li")).to_have_count(4)

    page.get_by_label("E-mail", exact=True).select_option("")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_role("alert").first).to_contain_text("Say which column")
    page.get_by_label("E-mail", exact=True).select_option("email")
    page.get_by_label("Город", exact=True).select_option("attribute:")
    expect(page.get_by_label("Name of the attribute for “Город”")).to_have_value("gorod")
    page.get_by_label("Tags for all of them").fill("autumn")
    page.get_by_role("button", name="Import", exact=True).click()

    # The page is left alone: it has to move by itself.
    expect(page.locator("#live")).to_contain_text("completed", timeout=20_000)
    expect(page.locator("#counts")).to_contain_text("2 added")
    expect(page.get_by_role("row", name="nobody")).to_be_visible()
    look_at(page, page.url)
    with page.expect_download() as report:
        page.get_by_role("link", name="All as CSV").click()
    assert "nobody" in report.value.path().read_text("utf-8-sig")

    page.goto("/clients/")
    page.get_by_role("searchbox").press_sequentially("петр@", delay=20)
    page.get_by_role("searchbox").fill("petr@")
    expect(page.get_by_role("row", name="anna@example.test")).to_be_hidden()
    page.get_by_text("Export", exact=True).click()
    with page.expect_download() as export:
        page.get_by_role("link", name="These clients as CSV").click()
    lines = export.value.path().read_text("utf-8-sig").splitlines()
    assert len(lines) == 2
    assert "petr@example.test" in lines[1]
    look_at(page, "/clients/")
