"""A run's page: what went wrong is sent again by one button, and each state it can be in is readable."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import create_engine, update

from app.delivery.models import Run, RunStatus
from tests.browser.looking import look_at
from tests.browser.pages import Clients, Mailings, Messages, Register
from tests.smtp import RecordingSmtp

EMAIL = "resender@golub.test"


@pytest.fixture
def refusing(mail_server: RecordingSmtp) -> Iterator[RecordingSmtp]:
    """A mail server that refuses full.box@example.test until it is told otherwise."""
    mail_server.answer_rcpt = lambda address: "552 5.2.2 mailbox full" if address.startswith("full.box") else None
    yield mail_server
    mail_server.answer_rcpt = lambda _address: None


def now_it_is(database_url: str, run_id: int, **values: Any) -> None:
    """Set the run's figures: its deliveries, which stay as they are, no worker finds anything to do with."""
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(update(Run).where(Run.id == run_id).values(**values))
    engine.dispose()


def test_what_failed_is_sent_again_by_one_button(page: Page, refusing: RecordingSmtp, database_url: str) -> None:
    Register(page).confirmed(EMAIL, refusing)
    clients = Clients(page)
    clients.add("full.box@example.test", "Full")
    clients.add("other@example.test", "Other")
    Messages(page).write("Twice", "<p>Hello</p>")
    Mailings(page).plan("Resent", "Twice", datetime.now(UTC).replace(tzinfo=None))
    expect(page.locator("main")).to_contain_text("Completed", timeout=20_000)
    page.locator("a[href*='/runs/']").first.click()

    refusing.answer_rcpt = lambda _address: None
    page.get_by_role("button", name="Send the 1 failed again").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("The mail server refused them")
    dialog.get_by_role("button", name="Send the 1 failed again").click()
    # The page is left alone: it has to move by itself.
    expect(page.get_by_role("row", name="Sent 2 100%", exact=True)).to_be_visible(timeout=20_000)
    expect(page.get_by_role("button", name="Send the 1 failed again")).to_have_count(0)
    assert len(refusing.to("full.box@example.test")) == 1
    look_at_each_state(page, database_url)


def look_at_each_state(page: Page, database_url: str) -> None:
    mailing, run = page.url.split("/")[-3], int(page.url.split("/")[-1])
    soon = datetime.now(UTC) + timedelta(minutes=10)
    sending = {"status": RunStatus.SENDING, "finished_at": None, "planned": 20, "sent": 10, "failed": 2, "unknown": 3}
    states: dict[str, dict[str, Any]] = {
        "may have arrived": sending | {"status": RunStatus.DONE, "sent": 15},
        "Waiting for the mail server": sending
        | {"pending": 5, "fault": "454 4.7.0 TLS not available", "resume_at": soon},
        "5 messages wait": sending | {"pending": 5, "fault": "", "resume_at": soon},
        "On hold": sending | {"pending": 5, "held_at": datetime.now(UTC)},
    }
    for words, values in states.items():
        now_it_is(database_url, run, **values)
        for path in (f"/mailings/{mailing}/runs/{run}", f"/mailings/{mailing}"):
            look_at(page, path)
            if "/runs/" in path:
                expect(page.locator("#live")).to_contain_text(words)
