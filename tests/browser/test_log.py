"""The log: what it is filtered by stands in the address, and a line of it leads to the message."""

import re

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from app.config import Settings
from app.delivery.models import Delivery, DeliveryStatus, Stage
from app.extensions import db
from tests import make
from tests.browser.pages import Log, log_in
from tests.browser.things import things_in
from tests.browser.words import in_both_languages
from tests.mailings import ledger

EMAIL = "logged@golub.test"
TRIES = (
    (DeliveryStatus.SENT, Stage.BODY, 250, "2.0.0", "Ok"),
    (DeliveryStatus.FAILED, Stage.RCPT, 550, "5.1.1", "No such user"),
    (DeliveryStatus.FAILED, Stage.RCPT, 552, "5.2.2", "Mailbox full"),
)


@pytest.fixture(scope="module")
def somebody(service: str, database_url: str, settings: Settings) -> str:
    """The address of a person to three of whose clients a letter was sent."""
    with things_in(database_url, settings):
        run = ledger.run(make.mailing(make.user(EMAIL), name="To three"), *(outcome for outcome, *_said in TRIES))
        deliveries = db.session.scalars(select(Delivery).where(Delivery.run_id == run.id).order_by(Delivery.id)).all()
        for delivery, (outcome, stage, code, enhanced_code, reply) in zip(deliveries, TRIES, strict=True):
            ledger.attempt(delivery, outcome, stage=stage, code=code, enhanced_code=enhanced_code, reply=reply)
    return EMAIL


@in_both_languages
def test_it_is_filtered_by_its_address_and_leads_to_a_message(page: Page, somebody: str) -> None:
    log_in(page, somebody)
    page.goto("/log")
    log = Log(page)
    say = log.say
    expect(page.get_by_role("heading", name=say("Log"), exact=True)).to_be_visible()
    expect(log.rows).to_have_count(3)
    sent = log.rows.filter(has_text="client0@example.test")
    expect(sent).to_contain_text(say("Sent", "delivery"))
    expect(sent).to_contain_text(say("Handing over the letter"))

    log.filter("Outcome").select_option(label=say("Failed", "delivery"))
    expect(log.rows).to_have_count(2)
    log.filter("When").select_option(label=say("The last 24 hours"))
    page.get_by_text(say("More filters")).click()
    log.filter("Mailing").select_option(label="To three")
    log.code.fill("550")
    expect(log.rows).to_have_count(1)
    expect(page).to_have_url(re.compile(r"(?=.*[?&]outcome=failed)(?=.*[?&]within=day)(?=.*[?&]code=550)"))
    page.reload()
    expect(log.rows).to_have_count(1)
    expect(log.filter("Outcome")).to_have_value("failed")
    expect(log.filter("Whose")).to_have_value("mine")
    expect(log.code).to_have_value("550")

    log.search.fill("nobody")
    expect(page.locator("#rows")).to_contain_text(say("No attempt matches"))
    expect(page.locator("#rows")).to_contain_text(say("Ask for less: another time, any outcome, a shorter beginning."))
    log.search.fill("client1")
    log.rows.get_by_role("link", name="client1@example.test").click()
    expect(page.get_by_role("heading", name="client1@example.test")).to_be_visible()
    heads = ("When", "How far it came", "Code", "The server's answer", "Outcome")
    expect(page.locator("main thead th")).to_have_text([say(head) for head in heads])
    told = [say("Naming the recipient"), "550 5.1.1", "No such user", say("Failed", "delivery")]
    expect(page.locator("main tbody td:not(:first-child)")).to_have_text(told)
    page.get_by_role("link", name=say("The next message")).click()
    expect(page.get_by_role("heading", name="client2@example.test")).to_be_visible()
