"""The calendar in a real browser: turning its pages, planning from a day, the address of the feed."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
import requests
from flask import Flask
from playwright.sync_api import Page, expect

from app import clock, create_app
from app.auth.models import User
from app.config import Settings
from app.extensions import db
from app.mailings.schedule import Period
from tests import make
from tests.browser.looking import look
from tests.browser.pages import log_in

EMAIL = "calendar@golub.test"
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 800}


@pytest.fixture(scope="module")
def noon(settings: Settings, database_url: str, service: str) -> datetime:
    """Of tomorrow: then begins what somebody plans in the service's own database, for Moscow."""
    noon = clock.now().replace(hour=9, minute=0, second=0, microsecond=0) + timedelta(days=1)
    app: Flask = create_app(settings.model_copy(update={"database_url": database_url}))
    with app.app_context():
        user: User = make.user(EMAIL, timezone="Europe/Moscow")
        message = make.message(user)
        daily = make.mailing(user, name="Every day", message=message, start_at=noon, period=Period.DAILY)
        make.run(daily, scheduled_for=noon - timedelta(days=2), planned=12, sent=10, failed=2)
        for number in range(4):
            make.mailing(user, name=f"Single {number}", message=message, start_at=noon, paused_at=clock.now())
        db.session.commit()
        db.session.remove()
        db.engine.dispose()
    return noon


@pytest.fixture
def calendar(page: Page, noon: datetime) -> Callable[..., Page]:
    def open_calendar(query: str = "") -> Page:
        log_in(page, EMAIL)
        page.goto(f"/mailings/calendar{query}")
        return page

    return open_calendar


def test_it_turns_by_keyboard_and_back_by_the_browsers_button(calendar: Callable[..., Page]) -> None:
    page = calendar("?month=2027-11")
    heading = page.locator("#calendar h2")
    page.get_by_role("link", name="Next month").focus()
    page.keyboard.press("Enter")
    expect(heading).to_have_text("December 2027")
    assert page.url.endswith("/mailings/calendar?month=2027-12")
    expect(page.get_by_role("link", name="Next month")).to_be_focused()
    page.keyboard.press("Enter")
    expect(heading).to_have_text("January 2028")
    page.go_back()
    expect(heading).to_have_text("December 2027")
    page.get_by_role("link", name="Agenda").click()
    expect(heading).to_have_text("From 1 December 2027")
    page.get_by_role("link", name="Today").click()
    expect(page.locator("#calendar-agenda")).to_have_attribute("aria-current", "page")


def test_a_full_day_leads_to_its_agenda_which_goes_on(calendar: Callable[..., Page], noon: datetime) -> None:
    page = calendar(f"?month={noon:%Y-%m}")
    page.get_by_role("link", name="3 more on").click()
    rows = page.locator(".agenda-day").first.locator("li")
    expect(rows).to_have_count(5)
    expect(rows.filter(has_text="Single 3")).to_contain_text("Stands still")
    expect(rows.first).to_contain_text("12:00")
    expect(rows.first).to_contain_text("09:00 UTC")
    url = page.url
    days = page.locator(".agenda-day").count()
    page.get_by_role("link", name="Show more").click()
    expect(page.locator(".agenda-day")).to_have_count(2 * days)
    assert page.url == url


def test_on_a_telephone_a_days_dots_lead_to_its_agenda(calendar: Callable[..., Page], noon: datetime) -> None:
    page = calendar(f"?month={noon:%Y-%m}")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    expect(page.locator(".month-entry").first).to_be_hidden()
    page.get_by_role("link", name="5 entries").click()
    expect(page.get_by_role("link", name="Single 2")).to_be_visible()


def test_a_day_ahead_begins_a_mailing(calendar: Callable[..., Page]) -> None:
    page = calendar("?month=2090-05")
    page.get_by_role("link", name="Plan a mailing for Thursday, 4 May 2090").click()
    expect(page.get_by_label("Start")).to_have_value("2090-05-04T09:00")
    expect(page.get_by_label("Time zone")).to_have_value("Europe/Moscow")


def test_the_feed_is_switched_on_and_off(calendar: Callable[..., Page]) -> None:
    page = calendar()
    page.get_by_role("button", name="Switch on").click()
    field = page.get_by_label("Address of your calendar")
    expect(field).to_be_visible()
    first = field.input_value()
    look(page, "light", "dark")
    assert "SUMMARY:Every day" in requests.get(first, timeout=10).text

    page.get_by_role("button", name="Make a new address").click()
    page.locator("#confirm-yes").click()
    expect(field).not_to_have_value(first)
    second = field.input_value()
    assert requests.get(first, timeout=10).status_code == 404
    assert requests.get(second, timeout=10).status_code == 200

    page.get_by_role("button", name="Switch off").click()
    page.locator("#confirm-yes").click()
    expect(page.get_by_role("button", name="Switch on")).to_be_visible()
    assert requests.get(second, timeout=10).status_code == 404
