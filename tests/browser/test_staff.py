"""One's own account and the staff's pages, in a real browser."""

import pyotp
import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from app import clock, create_app
from app.auth.roles import Role
from app.config import Settings
from app.extensions import db
from tests import make
from tests.browser.looking import look
from tests.browser.pages import log_in, log_in_by_form
from tests.make import PASSWORD


@pytest.fixture(scope="module")
def people(settings: Settings, database_url: str, service: str) -> dict[str, int]:
    """A manager, and somebody with a mailing, in the service's own database."""
    app: Flask = create_app(settings.model_copy(update={"database_url": database_url}))
    with app.app_context():
        manager = make.user("the-manager@golub.test", Role.MANAGER)
        owner = make.user("the-owner@golub.test", name="Owner")
        make.client(owner, "client-of-owner@example.test", first_name="Klara")
        mailing = make.mailing(owner, name="The owner's news", start_at=clock.now().replace(year=2090))
        db.session.commit()
        ids = {"manager": manager.id, "owner": owner.id, "mailing": mailing.id}
        db.session.remove()
        db.engine.dispose()
    return ids


@pytest.fixture
def window(page: Page, people: dict[str, int]) -> Page:
    """A window in which everybody of `people` can log in."""
    return page


def test_a_guest_finds_the_way_to_a_new_password(page: Page) -> None:
    page.goto("/auth/login")
    page.get_by_role("link", name="Forgot the password?").click()
    look(page)
    page.get_by_label("E-mail").fill("nobody@example.test")
    page.locator("#forgot button").click()
    expect(page.get_by_text("If there is an account with this address")).to_be_visible()
    look(page)


@pytest.mark.parametrize(
    ("path", "row", "stop", "go_on"),
    [("users", "#user-{owner}", "Block", "Unblock"), ("mailings", "#mailing-{mailing}", "Disable", "Enable")],
)
def test_the_staff_stops_somebody_from_the_row_without_leaving_the_page(
    window: Page, people: dict[str, int], path: str, row: str, stop: str, *, go_on: str
) -> None:
    page = window
    log_in(page, "the-manager@golub.test")
    page.goto(f"/manager/{path}")
    line = page.locator(row.format(**people))
    line.get_by_role("link", name=stop).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    look(page)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()

    line.get_by_role("link", name=stop).click()
    dialog.get_by_role("button", name=stop).click()
    expect(dialog.get_by_text("Write why")).to_be_visible()
    dialog.get_by_label("Reason").fill("Complaints of recipients")
    dialog.get_by_role("button", name=stop).click()
    expect(dialog).to_be_hidden()
    expect(line).to_contain_text("Complaints of recipients")
    expect(page.locator("#toasts")).to_be_visible()

    line.get_by_role("button", name=go_on).click()
    page.locator("#confirm-yes").click()
    expect(line.get_by_role("link", name=stop)).to_be_visible()
    assert page.url.endswith(f"/manager/{path}")


def test_the_second_factor_from_the_picture_to_the_log_in(window: Page) -> None:
    page = window
    log_in_by_form(page, "the-owner@golub.test")
    page.goto("/account/second-factor")
    totp = pyotp.TOTP(page.locator("code").inner_text())
    page.get_by_label("Code in the app").fill("000000")
    page.get_by_label("Your password").fill(PASSWORD)
    page.locator("#sure button[type=submit]").click()
    expect(page.get_by_text("This code is wrong")).to_be_visible()
    page.get_by_label("Code in the app").fill(totp.at(clock.now()))
    page.get_by_label("Your password").fill(PASSWORD)
    page.locator("#sure button[type=submit]").click()
    codes = page.locator("#codes").inner_text().split()
    assert len(codes) == 10

    page.context.clear_cookies()
    log_in_by_form(page, "the-owner@golub.test")
    look(page)
    page.get_by_label("Code").fill(codes[0])
    page.locator("#factor button").click()
    page.wait_for_url("**/overview")
    page.goto("/account/second-factor/off")
    page.get_by_label("Your password").fill(PASSWORD)
    page.locator("#sure button[type=submit]").click()
    page.wait_for_url("**/account/security")
