"""The calendar in a real browser: turning its pages, planning from a day, the address of the feed."""

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta

import pytest
import requests
from babel.dates import format_date
from playwright.sync_api import Page, expect

from app import clock
from app.auth.models import User
from app.config import Settings
from app.mailings.schedule import Period
from tests import make
from tests.browser.looking import look
from tests.browser.pages import log_in
from tests.browser.things import things_in
from tests.browser.words import Words, in_both_languages
from tests.waiting import PATIENCE_SECONDS

pytestmark = in_both_languages

EMAIL = "calendar@golub.test"
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def noon(settings: Settings, database_url: str, service: str) -> datetime:
    """Of tomorrow: then begins what somebody plans in the service's own database, for Moscow."""
    noon = clock.now().replace(hour=9, minute=0, second=0, microsecond=0) + timedelta(days=1)
    with things_in(database_url, settings):
        user: User = make.user(EMAIL, timezone="Europe/Moscow")
        message = make.message(user)
        daily = make.mailing(user, name="Every day", message=message, start_at=noon, period=Period.DAILY)
        make.run(daily, scheduled_for=noon - timedelta(days=2), planned=12, sent=10, failed=2)
        for number in range(4):
            make.mailing(user, name=f"Single {number}", message=message, start_at=noon, paused_at=clock.now())
    return noon


@pytest.fixture
def calendar(page: Page, noon: datetime) -> Callable[..., Page]:
    def open_calendar(query: str = "") -> Page:
        log_in(page, EMAIL)
        page.goto(f"/mailings/calendar{query}")
        return page

    return open_calendar


@pytest.fixture
def say(page: Page) -> Words:
    return Words.of(page)


def written(say: Words, day: date, pattern: str) -> str:
    text = format_date(day, pattern, locale=say.language[:2])
    return text[:1].upper() + text[1:]


def name_of_day(say: Words, day: date) -> str:
    return written(say, day, "EEEE, d MMMM" if day.year == clock.now().year else "EEEE, d MMMM y")


def test_it_turns_by_keyboard_and_back_by_the_browsers_button(calendar: Callable[..., Page], say: Words) -> None:
    page = calendar("?month=2027-11")
    heading = page.locator("#calendar h2")
    page.get_by_role("link", name=say("Next month")).focus()
    page.keyboard.press("Enter")
    expect(heading).to_have_text(written(say, date(2027, 12, 1), "LLLL y"))
    expect(page).to_have_url(re.compile("/mailings/calendar\\?month=2027-12$"))
    expect(page.get_by_role("link", name=say("Next month"))).to_be_focused()
    page.keyboard.press("Enter")
    expect(heading).to_have_text(written(say, date(2028, 1, 1), "LLLL y"))
    page.go_back()
    expect(heading).to_have_text(written(say, date(2027, 12, 1), "LLLL y"))
    page.get_by_role("link", name=say("Agenda")).click()
    expect(heading).to_have_text(say("From %(day)s", day=written(say, date(2027, 12, 1), "d MMMM y")))
    page.get_by_role("link", name=say("Today")).click()
    expect(page.locator("#calendar-agenda")).to_have_attribute("aria-current", "page")


def test_a_full_day_leads_to_its_agenda_which_goes_on(
    calendar: Callable[..., Page], noon: datetime, say: Words
) -> None:
    page = calendar(f"?month={noon:%Y-%m}")
    more = "%(num)s more on %(day)s"
    page.get_by_role("link", name=say.count(more, more, 3, num=3, day=name_of_day(say, noon))).click()
    rows = page.locator(".agenda-day").first.locator("li")
    expect(rows).to_have_count(5)
    expect(rows.filter(has_text="Single 3")).to_contain_text(say("Stands still", "calendar"))
    expect(rows.first).to_contain_text("12:00")
    expect(rows.first).to_contain_text("09:00 UTC")
    expect(page).to_have_url(re.compile("view=agenda"))
    url = page.url
    days = page.locator(".agenda-day").count()
    page.get_by_role("link", name=say("Show more")).click()
    expect(page.locator(".agenda-day")).to_have_count(2 * days)
    assert page.url == url


def test_on_a_telephone_a_days_dots_lead_to_its_agenda(
    calendar: Callable[..., Page], noon: datetime, say: Words
) -> None:
    page = calendar(f"?month={noon:%Y-%m}")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    expect(page.locator(".month-entry").first).to_be_hidden()
    entries = say.count("%(day)s: %(num)s entry", "%(day)s: %(num)s entries", 5, num=5, day=name_of_day(say, noon))
    page.get_by_role("link", name=entries).click()
    expect(page.get_by_role("link", name="Single 2")).to_be_visible()


def test_a_day_ahead_begins_a_mailing(calendar: Callable[..., Page], say: Words) -> None:
    page = calendar("?month=2090-05")
    day = name_of_day(say, date(2090, 5, 4))
    page.get_by_role("link", name=say("Plan a mailing for %(day)s", day=day)).click()
    expect(page.get_by_label(say("Start"))).to_have_value("2090-05-04T09:00")
    expect(page.get_by_label(say("Time zone"))).to_have_value("Europe/Moscow")


def test_the_feed_is_switched_on_and_off(calendar: Callable[..., Page], say: Words) -> None:
    page = calendar()
    page.get_by_role("button", name=say("Switch on")).click()
    field = page.get_by_label(say("Address of your calendar"))
    expect(field).to_be_visible()
    first = field.input_value()
    look(page)
    assert "SUMMARY:Every day" in requests.get(first, timeout=PATIENCE_SECONDS).text

    page.get_by_role("button", name=say("Make a new address")).click()
    page.locator("#confirm-yes").click()
    expect(field).not_to_have_value(first)
    second = field.input_value()
    assert requests.get(first, timeout=PATIENCE_SECONDS).status_code == 404
    assert requests.get(second, timeout=PATIENCE_SECONDS).status_code == 200

    page.get_by_role("button", name=say("Switch off")).click()
    page.locator("#confirm-yes").click()
    expect(page.get_by_role("button", name=say("Switch on"))).to_be_visible()
    assert requests.get(second, timeout=PATIENCE_SECONDS).status_code == 404
