"""A run's report in a real browser: charts under the strict policy, answers that filter, the drawer by keyboard."""

from datetime import timedelta

import pytest
from babel.numbers import format_percent
from playwright.sync_api import Browser, Page, Route, expect
from sqlalchemy import select

from app import clock
from app.config import Settings
from app.delivery.models import Delivery, DeliveryStatus
from app.extensions import db
from app.mailings.models import MailingStatus
from app.mailings.schedule import Period
from tests import make
from tests.browser.looking import look
from tests.browser.pages import RunReport, log_in
from tests.browser.things import things_in
from tests.browser.words import Words, in_both_languages
from tests.mailings import ledger

READER = "reader@golub.test"
SENT, FAILED, UNKNOWN, SKIPPED = (
    DeliveryStatus.SENT,
    DeliveryStatus.FAILED,
    DeliveryStatus.UNKNOWN,
    DeliveryStatus.SKIPPED,
)

# Resolves when the page has what it fetched; the pages' own listeners were there before this one.
LOOKED_AGAIN = """() => new Promise((looked) => {
  document.addEventListener("htmx:after:swap", () => requestAnimationFrame(() => looked()), { once: true });
  document.body.dispatchEvent(new Event("run-changed"));
})"""


@pytest.fixture(scope="module")
def address(settings: Settings, database_url: str, service: str) -> str:
    """The page of the newest of three runs."""
    with things_in(database_url, settings):
        reader = make.user(READER, name="Vera")
        mailing = make.mailing(reader, period=Period.DAILY, status=MailingStatus.SENT)
        now = clock.now()
        for days in (2, 1, 0):
            begun = now - timedelta(days=days, hours=1)
            statuses = [SENT] * (10 + days) + [FAILED] * 3 + [UNKNOWN, SKIPPED]
            times = {"scheduled_for": begun, "started_at": begun, "finished_at": begun + timedelta(minutes=20)}
            run = ledger.run(mailing, *statuses, created_at=begun, **times)
            of_run = select(Delivery).where(Delivery.run_id == run.id).order_by(Delivery.id)
            for number, delivery in enumerate(db.session.scalars(of_run).all()):
                delivery.finished_at = begun + timedelta(minutes=number)
                if delivery.status is SENT:
                    told = {"code": 250, "enhanced_code": "2.0.0", "reply": f"2.0.0 Ok: queued as {number}A"}
                    ledger.attempt(delivery, SENT, **told)
                elif delivery.status is FAILED:
                    ledger.attempt(delivery, FAILED, reply=f"5.1.1 <{delivery.email}>: User unknown")
        return f"/mailings/{mailing.id}/runs/{run.id}"


@in_both_languages
def test_a_report_is_read_by_keyboard(page: Page, address: str) -> None:
    log_in(page, READER)
    page.goto(address)
    report, say = RunReport(page), Words.of(page)
    expect(report.chart).to_be_visible()
    share = format_percent(10 / 15, "#,##0.#%", locale=say.language[:2])
    expect(page.locator(".donut-figure")).to_have_text(share)

    report.choose_answer("User unknown")
    expect(report.messages).to_have_count(3)
    page.wait_for_url("**answer=**")
    report.open("client10@example.test")
    expect(report.drawer).to_contain_text("<client10@example.test>: User unknown")
    look(page)
    report.drawer.get_by_role("button", name=say("The next message")).press("Enter")
    expect(report.drawer).to_contain_text("<client11@example.test>: User unknown")
    page.keyboard.press("Escape")
    expect(report.drawer).to_be_hidden()
    expect(page.get_by_role("link", name="client11@example.test")).to_be_focused()

    page.get_by_role("link", name=say("Show all messages")).click()
    expect(report.messages).to_have_count(15)
    page.get_by_label(say("Code")).select_option("550")
    expect(report.messages).to_have_count(3)


def test_an_answer_that_comes_after_the_drawer_was_closed_does_not_open_it(page: Page, address: str) -> None:
    log_in(page, READER)
    page.goto(address)
    report = RunReport(page)
    report.open("client10@example.test")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/runs/*/**", hold)
    with page.expect_request("**/runs/*/**"):
        report.drawer.get_by_role("button", name="The next message").press("Enter")
    page.keyboard.press("Escape")
    expect(report.drawer).to_be_hidden()
    over = "new Promise(resolve => document.addEventListener('htmx:finally:request', resolve, { once: true }))"
    page.evaluate(f"() => {{ window.isOver = {over}.then(() => true); }}")
    held[0].continue_()
    assert page.evaluate("() => window.isOver")
    expect(report.drawer).to_be_hidden()
    expect(page.locator("#drawer-body")).to_be_empty()


def test_charts_follow_the_theme_and_the_window(page: Page, address: str) -> None:
    log_in(page, READER)
    page.goto(address)
    chart = RunReport(page).chart
    expect(chart).to_be_visible()
    seen = chart.evaluate("canvas => canvas.toDataURL()")
    page.evaluate("document.documentElement.setAttribute('data-bs-theme', 'dark')")
    drawn_anew = "seen => (document.querySelector('#sends-chart canvas')?.toDataURL() ?? seen) !== seen"
    page.wait_for_function(drawn_anew, arg=seen)
    page.set_viewport_size({"width": 700, "height": 700})
    page.wait_for_function("document.querySelector('#sends-chart canvas').clientWidth < 700")


def test_a_chart_lives_through_a_look_that_changes_nothing(page: Page, address: str) -> None:
    """Polling must not make it flicker."""
    log_in(page, READER)
    page.goto(address)
    chart = RunReport(page).chart
    expect(chart).to_be_visible()
    chart.evaluate("canvas => { canvas.id = 'the-same' }")
    page.evaluate(LOOKED_AGAIN)
    expect(page.locator("#the-same")).to_be_visible()


@in_both_languages
def test_reports_have_no_violations(page: Page, address: str) -> None:
    log_in(page, READER)
    mailing = address.partition("/runs/")[0]
    for path in (address, f"{address}/report", f"{mailing}/runs", mailing):
        page.goto(path)
        page.wait_for_load_state("networkidle")
        look(page)


@in_both_languages
def test_without_javascript_a_message_is_a_page(browser: Browser, service: str, address: str, language: str) -> None:
    context = browser.new_context(base_url=service, locale=language, java_script_enabled=False)
    page = context.new_page()
    log_in(page, READER)
    page.goto(address)
    page.get_by_role("link", name="User unknown").click()
    page.get_by_role("link", name="client10@example.test").click()
    expect(page.get_by_role("heading", name="client10@example.test")).to_be_visible()
    page.get_by_role("link", name=Words(language)("The next message")).click()
    expect(page.get_by_role("heading", name="client11@example.test")).to_be_visible()
    context.close()
