"""A run's page: what went wrong is sent again by one button, and each state it can be in is readable."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import create_engine, update

from app.config import Settings
from app.delivery.models import DeliveryStatus, Run, RunStatus
from tests import make
from tests.browser.looking import look
from tests.browser.pages import Mailings, log_in
from tests.browser.things import things_in
from tests.browser.words import Words, in_both_languages
from tests.mailings import ledger
from tests.smtp import RecordingSmtp

pytestmark = in_both_languages


@pytest.fixture(scope="module")
def full_box(service: str, database_url: str, settings: Settings, language: str) -> str:
    """One of the two clients of resender.<language>@golub.test, who has a message to send to them."""
    full_box = f"full.box.{language}@example.test".lower()
    with things_in(database_url, settings):
        user = make.user(f"resender.{language}@golub.test")
        for address in (full_box, "other@example.test"):
            make.client(user, address)
        make.message(user, subject="Twice")
    return full_box


@pytest.fixture
def refusing(mail_server: RecordingSmtp) -> Iterator[RecordingSmtp]:
    """A mail server that refuses whoever has a full box until it is told otherwise."""
    mail_server.answer_rcpt = lambda address: "552 5.2.2 mailbox full" if address.startswith("full.box") else None
    yield mail_server
    mail_server.answer_rcpt = lambda _address: None


def now_it_is(database_url: str, run_id: int, **values: Any) -> None:
    """Set the run's figures: its deliveries, which stay as they are, no worker finds anything to do with."""
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(update(Run).where(Run.id == run_id).values(**values))
    engine.dispose()


def test_what_failed_is_sent_again_by_one_button(page: Page, refusing: RecordingSmtp, full_box: str) -> None:
    say = Words.of(page)
    log_in(page, f"resender.{say.language}@golub.test")
    Mailings(page).plan("Resent", "Twice", datetime.now(UTC).replace(tzinfo=None))
    expect(page.locator("main")).to_contain_text(say("Completed", "mailing"))
    page.locator("a[href*='/runs/']").first.click()

    refusing.answer_rcpt = lambda _address: None
    again = say.count("Send the %(number)s failed again", "Send the %(number)s failed again", 1)
    page.get_by_role("button", name=again).click()
    dialog = page.get_by_role("dialog")
    question = "Send the %(number)s failed message again?", "Send the %(number)s failed messages again?"
    expect(dialog).to_contain_text(say.count(*question, 1))
    doubt = "The mail server refused them, and may do so again. Clients who bounced or unsubscribed are left out."
    expect(dialog).to_contain_text(say(doubt))
    dialog.get_by_role("button", name=again).click()
    # The page is left alone: it has to move by itself.
    row = page.get_by_role("row", name=f"{say('Sent', 'delivery')} 2 100%", exact=True)
    expect(row).to_be_visible()
    expect(page.get_by_role("button", name=again)).to_have_count(0)
    assert len(refusing.to(full_box)) == 1


@pytest.fixture(scope="module")
def address(service: str, database_url: str, settings: Settings, language: str) -> str:
    """The page of a run that waiter.<language>@golub.test can look at."""
    with things_in(database_url, settings):
        mailing = make.mailing(make.user(f"waiter.{language}@golub.test"))
        run = ledger.run(mailing, DeliveryStatus.SENT, DeliveryStatus.SENT)
        return f"/mailings/{mailing.id}/runs/{run.id}"


def test_each_state_of_a_run_is_readable(page: Page, database_url: str, address: str) -> None:
    say = Words.of(page)
    log_in(page, f"waiter.{say.language}@golub.test")
    soon = datetime.now(UTC) + timedelta(minutes=10)
    sending = {"status": RunStatus.SENDING, "finished_at": None, "planned": 20, "sent": 10, "failed": 2, "unknown": 3}
    fault = "454 4.7.0 TLS not available"
    later = (
        "%(number)s message waits: the mail server said to try it later.",
        "%(number)s messages wait: the mail server said to try them later.",
    )
    states: dict[str, dict[str, Any]] = {
        say("The letter may have arrived: the mail server took it and its answer never came."): sending
        | {"status": RunStatus.DONE, "sent": 15},
        say("Waiting for the mail server: %(fault)s", fault=fault): sending
        | {"pending": 5, "fault": fault, "resume_at": soon},
        say.count(*later, 5): sending | {"pending": 5, "fault": "", "resume_at": soon},
        say("On hold", "run"): sending | {"pending": 5, "held_at": datetime.now(UTC)},
    }
    mailing, _runs, run_id = address.rpartition("/runs/")
    for words, values in states.items():
        now_it_is(database_url, int(run_id), **values)
        for path in (mailing, address):
            page.goto(path)
            page.wait_for_load_state("networkidle")
            look(page)
        expect(page.locator("#live")).to_contain_text(words)
