"""Composing a mailing in a browser: with a script, with the keyboard, on a phone, and without any script."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import create_engine, insert, select

from app.auth.models import User
from app.clients.models import Segment
from tests.browser.looking import look, look_at
from tests.browser.pages import Clients, MailingForm, Messages, Register, log_in
from tests.smtp import RecordingSmtp

EMAIL = "composer@golub.test"


@pytest.fixture(scope="module")
def somebody(browser: Browser, service: str, mail_server: RecordingSmtp, database_url: str) -> str:
    """A person with three clients, two segments and two messages; the address to log in with."""
    context = browser.new_context(base_url=service, locale="en-GB", timezone_id="Europe/Moscow")
    page = context.new_page()
    Register(page).confirmed(EMAIL, mail_server)
    clients, messages = Clients(page), Messages(page)
    for name in ("Anna", "Boris", "Vera"):
        clients.add(f"{name.lower()}@example.test", name)
    messages.write("Autumn news", "<p>The leaves are falling</p>")
    messages.write("Winter news", "<p>It is snowing</p>")
    engine = create_engine(database_url)
    with engine.begin() as connection:
        owner_id = connection.execute(select(User.id).where(User.email == EMAIL)).scalar_one()
        for name, conditions in (("VIP", {}), ("Complained", {"domain": "nowhere.test"})):
            connection.execute(insert(Segment).values(owner_id=owner_id, name=name, conditions=conditions))
    engine.dispose()
    context.close()
    return EMAIL


@pytest.fixture
def form(page: Page, somebody: str) -> MailingForm:
    return composing(page, somebody)


def composing(page: Page, email: str) -> MailingForm:
    log_in(page, email)
    page.goto("/mailings/new")
    return MailingForm(page)


def test_the_form_says_what_will_happen_while_it_is_filled_in(form: MailingForm, page: Page) -> None:
    form.name.fill("To some")
    form.choose_message("autumn", "Autumn news")
    page.get_by_role("radio", name="A segment").check()
    page.locator("select[name=segment_id]").select_option("VIP")
    page.get_by_label("Except").select_option("Complained")
    page.get_by_label("Sender's name").fill("Anna of Golub")
    page.get_by_label("Start").fill("2050-01-31T09:00")
    page.locator("select[name=timezone]").select_option("Europe/Moscow")
    page.locator("select[name=period]").select_option("weekly")
    expect(form.summary).to_contain_text(
        "On Monday, 31 January 2050 at 09:00 (Moscow), “Autumn news” goes to about 3 clients of “VIP”, without those "
        "of “Complained”, nobody now, from “Anna of Golub”."
    )
    expect(form.summary).to_contain_text("Then every week on Monday, without an end.")
    page.locator("#preview iframe").scroll_into_view_if_needed()
    expect(page.frame_locator("#preview iframe").get_by_text("The leaves are falling")).to_be_visible()
    form.save()
    expect(page.get_by_role("heading", name="To some")).to_be_visible()


def test_chosen_clients_are_chips(form: MailingForm, page: Page) -> None:
    form.name.fill("To few")
    form.choose_message("winter", "Winter news")
    page.get_by_role("radio", name="Chosen clients").check()
    form.add_client("ann", "Anna")
    form.add_client("ver", "Vera")
    form.add_client("bor", "Boris")
    expect(page.get_by_label("Find clients to add")).to_be_focused()
    expect(form.summary).to_contain_text("goes to 3 chosen clients.")
    # What is chosen is not offered once more.
    page.get_by_label("Find clients to add").fill("")
    expect(form.offered).to_contain_text("nobody else")
    # By keyboard a chip goes, and the focus moves to the next one.
    form.chosen.get_by_role("checkbox", name="Vera").focus()
    page.keyboard.press("Space")
    expect(form.chosen.get_by_role("checkbox")).to_have_count(2)
    expect(form.chosen.get_by_role("checkbox", name="Boris")).to_be_focused()
    expect(form.summary).to_contain_text("goes to 2 chosen clients.")
    # Errors come back with all that was chosen.
    form.name.fill("")
    form.save()
    expect(form.name).to_be_focused()
    expect(form.chosen.get_by_role("checkbox")).to_have_count(2)
    expect(form.messages.get_by_role("radio", name="Winter news")).to_be_checked()
    form.name.fill("To few")
    form.save()
    expect(page.get_by_role("heading", name="To few")).to_be_visible()


def test_the_enter_key_in_a_search_plans_nothing(form: MailingForm, page: Page) -> None:
    search = page.get_by_label("Search your messages and the library")
    search.fill("autumn")
    expect(form.messages.get_by_role("radio")).to_have_count(1)
    search.press("Enter")
    expect(form.messages.get_by_role("radio")).to_be_focused()
    expect(page.locator(".is-invalid")).to_have_count(0)


def test_unsaved_changes_are_not_lost_without_a_question(form: MailingForm, page: Page) -> None:
    page.on("dialog", lambda dialog: dialog.dismiss())
    form.name.click()
    page.keyboard.type("Half")
    with page.expect_event("dialog") as asked:
        page.get_by_role("link", name="Cancel").click()
    assert asked.value.type == "beforeunload"
    expect(form.name).to_have_value("Half")


@pytest.mark.parametrize("language", ["en-GB", "ru-RU"])
def test_it_has_no_violations_and_fits_a_phone(browser: Browser, service: str, somebody: str, language: str) -> None:
    context = browser.new_context(base_url=service, locale=language, viewport={"width": 360, "height": 740})
    page = context.new_page()
    composing(page, somebody)
    page.locator("input[name=message_id]").first.check()
    page.locator("input[name=audience][value=chosen]").check()
    page.locator("#clients-offered input").first.check()
    expect(page.locator("#preview iframe")).to_be_visible()
    look(page, "light", "dark")
    look_at(page, "/overview", "/mailings/new")
    context.close()


@pytest.fixture
def plain(browser: Browser, service: str) -> Iterator[Page]:
    """A window without scripts."""
    context = browser.new_context(base_url=service, locale="en-GB", java_script_enabled=False)
    yield context.new_page()
    context.close()


def test_without_scripts_it_works_as_a_plain_form(plain: Page, somebody: str) -> None:
    form = composing(plain, somebody)
    form.name.fill("Plain")
    plain.get_by_role("radio", name="Chosen clients").check()
    plain.get_by_label("Find clients to add").fill("ver")
    plain.get_by_label("Find clients to add").press("Enter")  # looks, and plans nothing
    plain.get_by_role("checkbox", name="Vera").check()
    plain.get_by_label("Search your messages and the library").fill("autumn")
    plain.get_by_role("button", name="Search").first.click()
    plain.get_by_role("radio", name="Autumn news").check()
    expect(form.chosen.get_by_role("checkbox", name="Vera")).to_be_checked()
    plain.get_by_label("Start").fill("2050-01-31T09:00")
    plain.get_by_role("button", name="Show what will happen").click()
    expect(form.summary).to_contain_text("goes to 1 chosen client.")
    form.save()
    expect(plain.get_by_role("heading", name="Plain")).to_be_visible()
