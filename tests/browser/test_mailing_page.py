"""A mailing's page: it is paused, resumed, copied, begun at once, and what is being sent of it is ended."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from babel.dates import format_datetime
from playwright.sync_api import Page, expect

from app import clock
from app.config import Settings
from app.mailings.schedule import Period
from tests import make
from tests.browser.pages import MailingForm, MailingPage, log_in
from tests.browser.things import things_in
from tests.browser.words import in_both_languages
from tests.smtp import RecordingSmtp

NAME = "Every day"
START = clock.now().replace(hour=9, minute=0, second=0, microsecond=0) + timedelta(days=1)


@pytest.fixture(scope="module")
def owner(service: str, database_url: str, settings: Settings, language: str) -> str:
    """The address of a person who has two clients and a daily mailing to them."""
    address = f"pauser.{language}@golub.test"
    with things_in(database_url, settings):
        user = make.user(address, timezone="UTC")
        for number in range(2):
            make.client(user, f"later{number}@example.test")
        make.mailing(user, name=NAME, start_at=START, period=Period.DAILY)
    return address


@pytest.fixture
def busy(mail_server: RecordingSmtp) -> Iterator[None]:
    """A mail server that takes nothing for now, so that a run waits."""
    mail_server.answer_rcpt = lambda address: "451 4.3.0 try later" if address.startswith("later") else None
    yield
    mail_server.answer_rcpt = lambda _address: None


@in_both_languages
def test_it_is_paused_resumed_copied_and_ended(page: Page, owner: str, busy: None) -> None:
    log_in(page, owner)
    page.goto("/mailings/")
    page.get_by_role("link", name=NAME).first.click()
    mailing = MailingPage(page)
    say = mailing.say
    at = format_datetime(START, "EEE d MMM y, HH:mm", locale=say.language[:2])
    begins = say("Starts on %(at)s, then %(rhythm)s.", at=at, rhythm=say("every day"))
    expect(mailing.live).to_contain_text(begins)

    mailing.press("Pause")
    expect(mailing.toast).to_have_text(say("The mailing is paused."))
    expect(mailing.state).to_have_text(say("Paused", "mailing"))
    expect(mailing.live).to_contain_text(say("Nothing is sent until you resume it."))
    expect(mailing.button("Start now")).to_have_count(0)
    mailing.press("Resume")
    expect(mailing.toast).to_have_text(say("The mailing goes on."))
    expect(mailing.state).to_have_text(say("Created", "mailing"))
    expect(mailing.live).to_contain_text(begins)

    mailing.live.get_by_role("link", name=say("Duplicate")).click()
    copy = MailingForm(page)
    name = say("%(name)s (copy)", name=NAME)
    expect(copy.name).to_have_value(name)
    copy.save()
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    expect(mailing.toast).to_have_text(say("The mailing is planned."))

    mailing.press("Start now")
    expect(mailing.question).to_contain_text(say("Send this mailing now?"))
    text = "It goes to %(num)s client at once, beside its schedule."
    texts = "It goes to %(num)s clients at once, beside its schedule."
    expect(mailing.question).to_contain_text(say.count(text, texts, 2, num=2))
    mailing.agree()
    expect(mailing.toast).to_have_text(say("The mailing has begun."))
    text = "%(number)s message waits: the mail server said to try it later."
    texts = "%(number)s messages wait: the mail server said to try them later."
    expect(mailing.live).to_contain_text(say.count(text, texts, 2))

    mailing.press("End this run")
    expect(mailing.question).to_contain_text(say("End this run?"))
    text = "%(number)s message that waits is skipped. What is being sent at this moment finishes."
    texts = "%(number)s messages that wait are skipped. What is being sent at this moment finishes."
    expect(mailing.question).to_contain_text(say.count(text, texts, 2))
    mailing.agree()
    expect(mailing.toast).to_have_text(say("The run is cancelled."))
    run = mailing.live.locator("[id^=run-]")
    expect(run.locator(".state")).to_have_text(say("Cancelled", "run"))
    expect(run.locator(".run-legend")).to_have_text(f"2 {say('skipped')}")
    expect(mailing.button("End this run")).to_have_count(0)
