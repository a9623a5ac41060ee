"""A segment put together while the count follows, and a client's page with what was sent."""

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.looking import look_at
from tests.browser.pages import Clients, Mailings, Messages, Register, SegmentEditor
from tests.smtp import RecordingSmtp

EMAIL = "segmenter@golub.test"
PLAIN = {"locale": "ru-RU", "java_script_enabled": False}
PEOPLE = [("anna", "VIP", "1990"), ("boris", "VIP, tea", "1950"), ("vera", "", "1990"), ("gleb", "tea", "")]


def test_a_segment_is_put_together_while_the_count_follows(
    page: Page, browser: Browser, service: str, mail_server: RecordingSmtp
) -> None:
    Register(page).confirmed(EMAIL, mail_server)
    for name, tags, year in PEOPLE:
        page.goto("/clients/new")
        page.get_by_label("E-mail").fill(f"{name}@example.test")
        page.get_by_label("Tags").fill(tags)
        page.get_by_label("Birth year").fill(year)
        page.locator("main form button[type=submit]").click()
        expect(page.get_by_role("heading", name=f"{name}@example.test")).to_be_visible()

    page.goto("/clients/segments/new")
    editor = SegmentEditor(page)
    expect(editor.count).to_have_text("4")
    page.get_by_label("Name").fill("Some of them")
    editor.ask("0-0", "tag", "is", tag="VIP")
    expect(editor.count).to_have_text("2")
    expect(editor.preview).to_contain_text("anna@example.test")
    expect(editor.preview).not_to_contain_text("vera@example.test")

    # By keyboard: the button, then the new row has the focus, and typing does not lose it.
    page.locator("#add-0").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#kind-0-1")).to_be_focused()
    editor.ask("0-1", "born")
    expect(page.locator("#from-0-1")).to_be_visible()
    expect(page.locator("#kind-0-1")).to_be_focused()
    expect(editor.preview).to_contain_text("1 condition is not complete yet")
    page.locator("#from-0-1").press_sequentially("1980", delay=60)
    expect(editor.count).to_have_text("1")
    expect(page.locator("#from-0-1")).to_be_focused()
    page.locator("#match-0").select_option("any")
    expect(editor.count).to_have_text("3")

    editor.press("Add a group")
    expect(page.locator("#kind-1-0")).to_be_focused()
    editor.ask("1-0", "tag", "is_not", tag="tea")
    expect(editor.count).to_have_text("2")
    expect(editor.preview).to_contain_text("(tag “VIP” or born in 1980 or later) and no tag “tea”")
    expect(page.get_by_label("Name")).to_have_value("Some of them")

    # Enter in a field saves, and a row that is wrong says so without losing the rest.
    page.locator("#from-0-1").fill("198")
    page.locator("#from-0-1").press("Enter")
    expect(page.locator("#error-0-1")).to_contain_text("Write a year")
    expect(page.locator("#from-0-1")).to_be_focused()
    page.get_by_role("button", name="Remove condition 2").click()
    expect(page.locator("#row-0-1")).to_have_count(0)
    expect(editor.count).to_have_text("1")
    editor.press("Save")
    expect(page.get_by_role("row", name="Some of them")).to_contain_text("tag “VIP” and no tag “tea”")

    look_at(page, "/clients/segments/")
    page.get_by_role("link", name="Some of them").click()
    expect(editor.count).to_have_text("1")
    look_at(page, page.url)

    without_scripts(browser.new_context(base_url=service, storage_state=page.context.storage_state(), **PLAIN))


def without_scripts(context: BrowserContext) -> None:
    """The same form, in Russian, by its buttons alone."""
    page = context.new_page()
    page.goto("/clients/segments/new")
    page.locator("[name=name]").fill("Без скриптов")
    page.locator("#kind-0-0").select_option("status")
    page.locator("button[value=look]").click()
    page.locator("#status-0-0").select_option("active")
    page.locator("#add-0").click()
    page.locator("#tag-0-1").select_option("tea")
    page.locator("button[value=look]").click()
    expect(page.locator(".segment-count strong")).to_have_text("2")
    page.locator(".segment-save").click()
    expect(page.get_by_role("row", name="Без скриптов")).to_be_visible()
    context.close()


def test_what_was_sent_to_a_client_stands_on_their_page(page: Page, mail_server: RecordingSmtp) -> None:
    Register(page).confirmed("historian@golub.test", mail_server)
    Clients(page).add("anna@example.test", "Anna")
    Messages(page).write("Segment news", "<p>Hello</p>")
    Mailings(page).plan("At once", "Segment news")
    expect(page.locator("main")).to_contain_text("Completed", timeout=20_000)
    page.goto("/clients/")
    page.get_by_role("link", name="Anna", exact=True).click()
    entry = page.locator("#history details").filter(has_text="At once")
    entry.locator("summary").press("Enter")
    expect(entry).to_contain_text("2.0.0 accepted")
    look_at(page, page.url)
