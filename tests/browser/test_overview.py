"""The overview: what a newcomer does first; later, figures, what is planned, and what needs attention."""

from datetime import timedelta

import pytest
from babel.dates import format_datetime
from playwright.sync_api import Locator, Page, expect

from app import clock
from app.config import Settings
from app.mailings.schedule import Period
from tests import make
from tests.browser.looking import look
from tests.browser.pages import log_in
from tests.browser.things import things_in
from tests.browser.words import Words, in_both_languages

pytestmark = in_both_languages

NEWCOMER, OLD_HAND = "newcomer@golub.test", "old.hand@golub.test"
START = clock.now().replace(hour=9, minute=0, second=0, microsecond=0) + timedelta(days=1)


@pytest.fixture(scope="module")
def people(service: str, database_url: str, settings: Settings) -> None:
    """One with nothing yet, and one with a daily mailing of which a run went half wrong."""
    with things_in(database_url, settings):
        make.user(NEWCOMER)
        user = make.user(OLD_HAND, timezone="UTC")
        make.clients(user, 2)
        mailing = make.mailing(user, name="Every day", start_at=START, period=Period.DAILY)
        make.run(mailing, planned=8, sent=5, failed=3)


def test_a_newcomer_is_told_what_to_do(page: Page, people: None) -> None:
    log_in(page, NEWCOMER)
    page.goto("/overview")
    say = Words.of(page)
    expect(page.get_by_role("heading", name=say("Three steps to your first mailing"))).to_be_visible()
    steps = page.locator("main ol > li")
    for step, titles in enumerate((("Add your clients", "Add a client"), ("Write a message",), ("Plan a mailing",))):
        for title in titles:
            expect(steps.nth(step)).to_contain_text(say(title))
    expect(page.locator("#live")).to_contain_text(say("Nothing is planned."))
    expect(page.locator("#live")).to_contain_text(say("All well: nothing failed in the last seven days."))
    look(page)
    page.get_by_role("link", name=say("Add a client")).click()
    expect(page.get_by_label(say("First name"))).to_be_visible()


def test_it_shows_figures_what_is_planned_and_what_went_wrong(page: Page, people: None) -> None:
    log_in(page, OLD_HAND)
    page.goto("/overview")
    say = Words.of(page)
    none_before = say("none in the 30 days before")
    figures = {
        "Clients": ("2", say.count("%(number)s new in 30 days", "%(number)s new in 30 days", 2)),
        "Sent in 30 days": ("5", none_before),
        "Runs in 30 days": ("1", none_before),
        "Delivered in 30 days": ("62.5%" if say.is_english else "62,5%", none_before),
    }
    cards = page.locator("#figures .figure")
    for card, (label, (value, change)) in enumerate(figures.items()):
        expect(cards.nth(card)).to_contain_text(say(label))
        expect(cards.nth(card).locator(".stat-value")).to_have_text(value)
        expect(cards.nth(card).locator(".figure-change")).to_have_text(change)

    def card_of(title: str) -> Locator:
        return page.locator("#live .card", has=page.get_by_role("heading", name=say(title)))

    at = format_datetime(START, "EEE d MMM y, HH:mm", locale=say.language[:2])
    every_day = say("every day")
    expect(card_of("Planned next")).to_contain_text(f"{at} · {every_day[:1].upper()}{every_day[1:]}")
    trouble = card_of("Needs attention")
    expect(trouble).to_contain_text(say.count("%(num)s failed", "%(num)s failed", 3, num=3))
    trouble.get_by_role("link", name="Every day").click()
    expect(page.get_by_role("row", name=f"{say('Failed', 'delivery')} 3")).to_be_visible()
