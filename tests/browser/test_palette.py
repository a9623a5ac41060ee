"""The command palette in a real browser: by keyboard, by mouse, on a telephone, and without JavaScript."""

from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect

from app import create_app
from app.config import Settings
from app.extensions import db
from tests import make
from tests.browser.looking import look
from tests.browser.pages import Palette, log_in

HURRIED = "hurried@golub.test"


@pytest.fixture(scope="module")
def ids(settings: Settings, database_url: str, service: str) -> Iterator[dict[str, int]]:
    """Somebody with two clients, a message and a mailing."""
    app: Flask = create_app(settings.model_copy(update={"database_url": database_url}))
    with app.app_context():
        user = make.user(HURRIED)
        made = {
            "anna": make.client(user, "anna@example.test", first_name="Anna", last_name="Petrova"),
            "boris": make.client(user, "boris@example.test", first_name="Boris"),
            "mailing": make.mailing(user, name="Autumn"),
        }
        db.session.commit()
        found = {name: thing.id for name, thing in made.items()}
        db.session.remove()
    yield found
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def desk(page: Page, ids: dict[str, int]) -> Page:
    log_in(page, HURRIED)
    return page


def test_from_anywhere_to_a_client_by_keyboard_alone(desk: Page, ids: dict[str, int]) -> None:
    palette = Palette(desk)
    palette.open()
    expect(palette.field).to_be_focused()
    expect(palette.chosen).to_have_text("New mailing")
    desk.keyboard.press("ArrowDown")
    expect(palette.chosen).to_have_text("New message")
    desk.keyboard.press("ArrowUp")
    desk.keyboard.press("ArrowUp")  # from the first to the last
    expect(palette.chosen).to_have_text("My data")
    desk.keyboard.type("petr")
    expect(palette.chosen).to_have_text("Petrova Anna anna@example.test")
    expect(palette.chosen.locator("mark")).to_have_text("Petr")
    expect(palette.field).to_have_attribute("aria-activedescendant", palette.chosen.get_attribute("id") or "none")
    expect(desk.locator("#palette-status")).to_have_text("1 result")
    desk.keyboard.press("Enter")
    desk.wait_for_url(f"**/clients/{ids['anna']}")
    palette.open()
    expect(palette.chosen).to_contain_text("Petrova Anna")  # opened last
    desk.keyboard.press("Escape")
    expect(palette.dialog).to_be_hidden()


def test_who_types_and_presses_enter_at_once_gets_what_they_typed(desk: Page, ids: dict[str, int]) -> None:
    Palette(desk).open()
    desk.keyboard.type("autumn")
    desk.keyboard.press("Enter")
    desk.wait_for_url(f"**/mailings/{ids['mailing']}")


def test_nothing_found_is_said(desk: Page) -> None:
    palette = Palette(desk)
    palette.open()
    desk.keyboard.type("nothing of that kind")
    expect(desk.locator("#palette-results")).to_contain_text("Nothing found")
    expect(palette.field).to_have_attribute("aria-expanded", "false")
    look(desk)
    desk.keyboard.press("Enter")
    expect(palette.dialog).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_dialogs_have_no_violations(desk: Page, scheme: str) -> None:
    desk.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    desk.goto("/clients/")
    palette = Palette(desk)
    palette.open()
    look(desk)
    desk.keyboard.type("an")
    expect(desk.locator("#palette mark").first).to_be_visible()
    look(desk)
    desk.keyboard.press("Escape")
    desk.keyboard.press("?")
    expect(desk.get_by_role("heading", name="Keyboard shortcuts")).to_be_visible()
    look(desk)
    desk.keyboard.press("Escape")
    desk.keyboard.press("/")
    expect(desk.get_by_role("searchbox").first).to_be_focused()
    desk.keyboard.type("?/")  # where people type, keys are letters
    expect(desk.locator("#shortcuts")).to_be_hidden()
    desk.goto("/search?q=an")
    look(desk)


def test_on_a_telephone_the_button_opens_it_over_the_whole_screen(desk: Page) -> None:
    desk.set_viewport_size({"width": 360, "height": 740})
    desk.locator("[data-palette-open]").click()
    palette = Palette(desk)
    expect(palette.chosen).to_be_visible()
    box = palette.dialog.bounding_box()
    assert box is not None
    assert (box["width"], box["height"]) == (360, 740)
    palette.field.fill("boris")
    desk.get_by_role("option", name="Boris").click()
    expect(desk.get_by_role("heading", name="Boris")).to_be_visible()


def test_without_javascript_it_is_a_page(browser: Browser, service: str, ids: dict[str, int]) -> None:
    context = browser.new_context(base_url=service, locale="ru-RU", java_script_enabled=False)
    page = context.new_page()
    log_in(page, HURRIED)
    page.locator("[data-palette-open]").click()
    page.wait_for_url("**/search")
    page.locator("main [name=q]").fill("petr")
    page.keyboard.press("Enter")
    page.locator("main .hit").click()
    page.wait_for_url(f"**/clients/{ids['anna']}")
    context.close()
