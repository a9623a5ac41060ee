"""A segment put together while the count follows, and a client's page with what was sent."""

from datetime import UTC, datetime

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.pages import Clients, Mailings, Messages, Register, SegmentEditor
from tests.browser.words import Words, in_both_languages
from tests.smtp import RecordingSmtp

pytestmark = in_both_languages

PEOPLE = [("anna", "VIP", "1990"), ("boris", "VIP, tea", "1950"), ("vera", "", "1990"), ("gleb", "tea", "")]


def test_a_segment_is_put_together_while_the_count_follows(
    page: Page, browser: Browser, service: str, mail_server: RecordingSmtp
) -> None:
    say = Words.of(page)
    vip, no_tea = say("tag “%(tag)s”", tag="VIP"), say("no tag “%(tag)s”", tag="tea")
    born = say("born in %(year)s or later", year="1980")
    both, either = say("and", "conditions"), say("or", "conditions")
    Register(page).confirmed(f"segmenter.{say.language}@golub.test", mail_server)
    for name, tags, year in PEOPLE:
        Clients(page).add(f"{name}@example.test", tags=tags, birth_year=year)

    page.goto("/clients/segments/new")
    editor = SegmentEditor(page)
    editor.counts(4)
    expect(editor.preview).to_contain_text(say("No condition is complete yet: this is everybody."))
    page.get_by_label(say("Name"), exact=True).fill("Tea or not")
    kinds = ("Tag", "Birth year", "E-mail domain", "Attribute", "Status", "Added", "Last mailed", "Mailing")
    expect(page.locator("#kind-0-0 option")).to_have_text(list(map(say, kinds)))
    editor.ask("0-0", "tag", "is", tag="VIP")
    editor.counts(2)
    expect(editor.preview).to_contain_text("anna@example.test")
    expect(editor.preview).not_to_contain_text("vera@example.test")

    # By keyboard: the button, then the new row has the focus, and typing does not lose it.
    page.locator("#add-0").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#kind-0-1")).to_be_focused()
    editor.ask("0-1", "born")
    expect(page.locator("#from-0-1")).to_be_visible()
    expect(page.locator("#kind-0-1")).to_be_focused()
    expect(editor.preview).to_contain_text(
        say.count(
            "%(num)s condition is not complete yet, and is left out here.",
            "%(num)s conditions are not complete yet, and are left out here.",
            1,
            num=1,
        )
    )
    page.locator("#from-0-1").press_sequentially("1980", delay=60)
    editor.counts(1)
    expect(page.get_by_label(say("First year"))).to_be_focused()
    match = page.get_by_label(say("How many of the conditions must hold"))
    match.select_option(label=say("Any of these is enough"))
    editor.counts(3)

    editor.press("Add a group")
    expect(page.locator("#kind-1-0")).to_be_focused()
    editor.ask("1-0", "tag", "is_not", tag="tea")
    editor.counts(2)
    conditions = f"({vip} {either} {born}) {both} {no_tea}"
    expect(editor.preview).to_contain_text(say("Clients with: %(conditions)s.", conditions=conditions))
    expect(page.get_by_label(say("Name"), exact=True)).to_have_value("Tea or not")

    # Enter in a field saves, and a row that is wrong says so without losing the rest.
    page.locator("#from-0-1").fill("198")
    page.locator("#from-0-1").press("Enter")
    expect(page.locator("#error-0-1")).to_have_text(
        say("Write a year from %(first)s to %(last)s, such as 1985.", first=1900, last=datetime.now(UTC).year)
    )
    expect(page.get_by_role("alert")).to_have_text(say("Not saved yet: please look at the marked fields."))
    expect(page.locator("#from-0-1")).to_be_focused()
    page.get_by_role("button", name=say("Remove condition %(number)s", number=2)).click()
    expect(page.locator("#row-0-1")).to_have_count(0)
    editor.counts(1)
    editor.press("Save")
    expect(page.get_by_role("row", name="Tea or not")).to_contain_text(f"{vip} {both} {no_tea}")
    page.get_by_role("link", name="Tea or not", exact=True).click()
    editor.counts(1)
    page.once("dialog", lambda dialog: dialog.dismiss())  # "leave the page, and lose the new row?"
    page.locator("#add-0").click()
    with page.expect_event("dialog"):
        page.get_by_role("link", name=say("Cancel")).click()
    expect(page.get_by_label(say("Name"), exact=True)).to_have_value("Tea or not")

    kept = page.context.storage_state()
    without_scripts(
        browser.new_context(base_url=service, storage_state=kept, locale=say.language, java_script_enabled=False)
    )


def without_scripts(context: BrowserContext) -> None:
    """The same form, by its buttons alone."""
    page = context.new_page()
    page.goto("/clients/segments/new")
    editor = SegmentEditor(page)
    page.get_by_label(editor.say("Name"), exact=True).fill("Без скриптов")
    page.locator("#kind-0-0").select_option("status")
    editor.press("Show fields and count")
    page.locator("#status-0-0").select_option("active")
    editor.press("Add a condition")
    page.locator("#tag-0-1").select_option("tea")
    editor.press("Show fields and count")
    editor.counts(2)
    editor.press("Save")
    expect(page.get_by_role("row", name="Без скриптов")).to_be_visible()
    context.close()


def test_what_was_sent_to_a_client_stands_on_their_page(page: Page, mail_server: RecordingSmtp) -> None:
    say = Words.of(page)
    Register(page).confirmed(f"historian.{say.language}@golub.test", mail_server)
    Clients(page).add("anna@example.test", "Anna")
    Messages(page).write("Segment news", "<p>Hello</p>")
    Mailings(page).plan("At once", "Segment news")
    expect(page.locator("main")).to_contain_text(say("Completed", "mailing"))
    page.goto("/clients/")
    page.get_by_role("link", name="Anna", exact=True).click()
    history = page.locator("#history")
    expect(history.get_by_role("heading")).to_have_text(say("Letters"))
    expect(history.locator("dt")).to_have_text([say("Sent", "delivery"), say("First mailed"), say("Last mailed")])
    entry = history.locator("details").filter(has_text="At once")
    expect(entry.locator("summary .state")).to_have_text(say("Sent", "delivery"))
    entry.locator("summary").press("Enter")
    expect(entry).to_contain_text(say("Handing over the letter"))
    expect(entry).to_contain_text("2.0.0 accepted")
    expect(entry).to_contain_text(say("To %(email)s", email="anna@example.test"))
    expect(entry.get_by_role("link")).to_have_text([say("The mailing"), say("This run")])
