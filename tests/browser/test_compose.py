"""Composing a mailing in a browser: with a script, with the keyboard, on a phone, and without any script."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import insert

from app.clients.models import Segment
from app.config import Settings
from app.extensions import db
from tests import make
from tests.browser.looking import PHONE_WIDTH, look
from tests.browser.pages import MailingForm, log_in
from tests.browser.things import things_in
from tests.browser.words import Words, in_both_languages

pytestmark = in_both_languages

EMAIL = "composer@golub.test"

# As they stand on the page: pieces that fit each other in English alone would go unnoticed.
IN_ENGLISH = """
On Monday, 31 January 2050 at 09:00 (Moscow), “Autumn news” goes to about 3 clients of “VIP”, without those of
“Complained”, nobody now, from “Anna of Golub”. Then every week on Monday, without an end.
"""
IN_RUSSIAN = """
В понедельник, 31 января 2050 в 09:00 (Москва) письмо «Autumn news» уйдёт примерно 3 клиентам сегмента «VIP», кроме
входящих в «Complained» (сейчас таких нет), от имени «Anna of Golub». Затем — каждую неделю: понедельник, без срока
окончания.
"""


@pytest.fixture(scope="module")
def somebody(service: str, database_url: str, settings: Settings) -> str:
    """A person with three clients, two segments and two messages; the address to log in with."""
    with things_in(database_url, settings):
        user = make.user(EMAIL)
        for name in ("Anna", "Boris", "Vera"):
            make.client(user, f"{name.lower()}@example.test", first_name=name)
        make.message(user, subject="Autumn news", html="<p>The leaves are falling</p>")
        make.message(user, subject="Winter news", html="<p>It is snowing</p>")
        for name, conditions in (("VIP", {}), ("Complained", {"domain": "nowhere.test"})):
            db.session.execute(insert(Segment).values(owner_id=user.id, name=name, conditions=conditions))
    return EMAIL


@pytest.fixture
def form(page: Page, somebody: str) -> MailingForm:
    return composing(page, somebody)


def composing(page: Page, email: str) -> MailingForm:
    log_in(page, email)
    page.goto("/mailings/new")
    return MailingForm(page)


def to_chosen(say: Words, subject: str, number: int) -> str:
    clients = say.count("%(number)s chosen client", "%(number)s chosen clients", number)
    return say("“%(subject)s” goes to %(clients)s", subject=subject, clients=clients)


def test_the_form_says_what_will_happen_while_it_is_filled_in(form: MailingForm, page: Page) -> None:
    say = form.say
    form.name.fill("To some")
    form.choose_message("autumn", "Autumn news")
    page.get_by_role("radio", name=say("A segment")).check()
    page.locator("select[name=segment_id]").select_option("VIP")
    page.get_by_label(say("Except")).select_option("Complained")
    page.get_by_label(say("Sender's name")).fill("Anna of Golub")
    page.get_by_label(say("Start")).fill("2050-01-31T09:00")
    page.locator("select[name=timezone]").select_option("Europe/Moscow")
    page.locator("select[name=period]").select_option("weekly")
    expect(form.summary).to_contain_text(" ".join((IN_ENGLISH if say.is_english else IN_RUSSIAN).split()))
    page.locator("#preview iframe").scroll_into_view_if_needed()
    expect(page.frame_locator("#preview iframe").get_by_text("The leaves are falling")).to_be_visible()
    form.save()
    expect(page.get_by_role("heading", name="To some")).to_be_visible()


def test_chosen_clients_are_chips(form: MailingForm, page: Page) -> None:
    say = form.say
    form.name.fill("To few")
    form.choose_message("winter", "Winter news")
    page.get_by_role("radio", name=say("Chosen clients")).check()
    form.add_client("ann", "Anna")
    form.add_client("ver", "Vera")
    form.add_client("bor", "Boris")
    expect(page.get_by_label(say("Find clients to add"))).to_be_focused()
    expect(form.summary).to_contain_text(say("At once, %(sentence)s.", sentence=to_chosen(say, "Winter news", 3)))
    # What is chosen is not offered once more.
    page.get_by_label(say("Find clients to add")).fill("")
    expect(form.offered).to_have_text(say("There is nobody else in your address book."))
    # By keyboard a chip goes, and the focus moves to the next one.
    form.chosen.get_by_role("checkbox", name="Vera").focus()
    page.keyboard.press("Space")
    expect(form.chosen.get_by_role("checkbox")).to_have_count(2)
    expect(form.chosen.get_by_role("checkbox", name="Boris")).to_be_focused()
    expect(form.summary).to_contain_text(say("At once, %(sentence)s.", sentence=to_chosen(say, "Winter news", 2)))
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
    search = page.get_by_label(form.say("Search your messages and the library"))
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
        page.get_by_role("link", name=form.say("Cancel")).click()
    assert asked.value.type == "beforeunload"
    expect(form.name).to_have_value("Half")


def test_it_has_no_violations_and_fits_a_phone(form: MailingForm, page: Page) -> None:
    page.set_viewport_size({"width": PHONE_WIDTH, "height": 740})
    page.locator("input[name=message_id]").first.check()
    page.locator("input[name=audience][value=chosen]").check()
    form.offered.get_by_role("checkbox").first.check()
    expect(page.locator("#preview iframe")).to_be_visible()
    look(page)


@pytest.fixture
def plain(browser: Browser, service: str, language: str) -> Iterator[Page]:
    """A window without scripts."""
    context = browser.new_context(base_url=service, locale=language, java_script_enabled=False)
    yield context.new_page()
    context.close()


def test_without_scripts_it_works_as_a_plain_form(plain: Page, somebody: str) -> None:
    form = composing(plain, somebody)
    say = form.say
    form.name.fill("Plain")
    plain.get_by_role("radio", name=say("Chosen clients")).check()
    plain.get_by_label(say("Find clients to add")).fill("ver")
    plain.get_by_label(say("Find clients to add")).press("Enter")  # looks, and plans nothing
    plain.get_by_role("checkbox", name="Vera").check()
    plain.get_by_label(say("Search your messages and the library")).fill("autumn")
    plain.get_by_role("button", name=say("Search")).first.click()
    plain.get_by_role("radio", name="Autumn news").check()
    expect(form.chosen.get_by_role("checkbox", name="Vera")).to_be_checked()
    plain.get_by_label(say("Start")).fill("2050-01-31T09:00")
    plain.get_by_role("button", name=say("Show what will happen")).click()
    expect(form.summary).to_contain_text(to_chosen(say, "Autumn news", 1))
    form.save()
    expect(plain.get_by_role("heading", name="Plain")).to_be_visible()
