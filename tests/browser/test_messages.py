"""Writing a message in a real browser: from a layout to the test in one's own inbox."""

import re
from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import FrameLocator, Page, expect

from app import create_app
from app.config import Settings
from app.extensions import db
from tests import make
from tests.browser.looking import look
from tests.browser.pages import MessageForm, log_in
from tests.live import wait_for
from tests.smtp import RecordingSmtp

AUTHOR = "author@golub.test"
TABLE = '<table width="100%"><tr><td style="color:#0c6570">A whole letter</td></tr></table>'
PASTE = """html => {
  const data = new DataTransfer();
  data.setData("text/html", html);
  document.querySelector(".ql-editor").dispatchEvent(
    new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def messages(settings: Settings, database_url: str, service: str) -> Iterator[dict[str, int]]:
    """An author with two clients and some messages, by subject."""
    app: Flask = create_app(settings.model_copy(update={"database_url": database_url}))
    with app.app_context():
        author = make.user(AUTHOR, name="Vera")
        make.client(author, "boris@example.test", first_name="Boris", last_name="Sidorov")
        make.client(author, "clara@example.test", first_name="Clara")
        made = {
            "Simple": make.message(author, subject="Simple", html="<p>Dear {{ first_name }}, hello</p>"),
            "Of tables": make.message(author, subject="Of tables", html=TABLE),
        }
        db.session.commit()
        ids = {subject: message.id for subject, message in made.items()}
        db.session.remove()
    yield ids
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def desk(page: Page, messages: dict[str, int]) -> Page:
    """A window of the author."""
    log_in(page, AUTHOR)
    return page


def letter(page: Page) -> FrameLocator:
    return page.frame_locator(".letter-stage iframe:not(.is-coming)")


def test_from_the_first_word_to_a_test_in_ones_own_inbox(desk: Page, mail_server: RecordingSmtp) -> None:
    desk.goto("/messages/new")
    form = MessageForm(desk)
    form.subject.fill("News for ")
    form.put_in("First name")
    expect(form.subject).to_have_value("News for {{ first_name }}")
    form.paper.click()
    desk.keyboard.type("Dear ")
    form.put_in("First name")
    expect(form.paper.locator(".ql-field")).to_have_text("first_name")
    desk.keyboard.type(", read our blog")
    for _letter in "our blog":
        desk.keyboard.press("Shift+ArrowLeft")
    form.tool("Link")
    desk.get_by_label("Where it leads").fill("example.org/x")
    look(desk)
    desk.keyboard.press("Enter")
    expect(letter(desk).get_by_text("Dear Anna, read our blog")).to_be_visible()
    expect(desk.locator("#checks")).to_contain_text("Nothing to complain about.")
    desk.get_by_role("searchbox", name="Find a client").fill("boris")
    expect(desk.locator("#preview-client option")).to_have_count(2)
    desk.locator("#preview-client").select_option(index=1)
    expect(letter(desk).get_by_text("Dear Boris, read our blog")).to_be_visible()
    expect(letter(desk).get_by_role("link", name="Unsubscribe")).to_be_visible()

    form.press("Send a test to myself")
    expect(desk.locator("#test-sent")).to_contain_text("Sent to you at")
    wait_for(lambda: mail_server.to(AUTHOR), 20)
    [sent] = mail_server.to(AUTHOR)
    assert sent.message["Subject"] == "[Test] News for Boris"
    body = sent.message.get_body(("html",))
    assert body is not None
    assert "Dear Boris" in body.get_content()

    form.press("Save")
    desk.wait_for_url(re.compile(r"/messages/\d+$"))
    desk.go_back()
    assert re.search(r"/messages/new(\?draft=\d+)?$", desk.url), "the preview leaves no marks in the history"


def test_what_is_saved_comes_back_as_it_was(desk: Page, messages: dict[str, int]) -> None:
    desk.goto(f"/messages/{messages['Simple']}/edit")
    form = MessageForm(desk)
    expect(form.paper.locator(".ql-field")).to_have_text("first_name")
    form.paper.press("End")
    desk.keyboard.type("!")
    form.tool("Centred")
    expected = '<p style="text-align:center">Dear {{ first_name }}, hello!</p>'
    expect(form.html).to_have_value(expected)
    form.press("Save")
    desk.wait_for_url(re.compile(r"/messages/\d+$"))
    desk.get_by_role("link", name="Edit").click()
    expect(form.html).to_have_value(expected)
    expect(form.paper.locator("p.ql-align-center")).to_contain_text("hello!")


def test_a_letter_of_tables_is_never_simplified_without_asking(desk: Page, messages: dict[str, int]) -> None:
    desk.goto(f"/messages/{messages['Of tables']}/edit")
    form = MessageForm(desk)
    expect(form.html).to_be_visible()
    expect(form.paper).to_be_hidden()
    expect(form.html).to_have_value(re.compile("<table"))
    form.tool("HTML")
    dialog = desk.get_by_role("dialog", name="Make this letter a simple one?")
    look(desk)
    dialog.get_by_role("button", name="Keep the HTML").click()
    expect(form.html).to_have_value(re.compile("<table"))
    form.tool("HTML")
    dialog.get_by_role("button", name="Make it simple").click()
    expect(form.paper).to_contain_text("A whole letter")
    expect(form.html).to_have_value("<p>A whole letter</p>")


def test_a_whole_letter_that_is_pasted_stays_as_it_is(desk: Page) -> None:
    desk.goto("/messages/new")
    form = MessageForm(desk)
    form.paper.click()
    desk.evaluate(PASTE, TABLE)
    expect(form.html).to_be_visible()
    expect(form.html).to_have_value(TABLE)
    expect(letter(desk).get_by_text("A whole letter")).to_be_visible()


def test_checks_say_what_is_wrong_while_it_is_typed(desk: Page) -> None:
    desk.goto("/messages/new")
    form = MessageForm(desk)
    form.tool("HTML")
    form.html.fill('<p>Hi {{ first_nme }}</p><img src="https://x.example/big.png"><a href="x">y</a>')
    checks = desk.locator("#checks")
    expect(checks).to_contain_text("Did you mean “first_name”?")
    expect(checks).to_contain_text("Pictures without words: big.png")
    expect(checks).to_contain_text("Links that lead nowhere: x")
    look(desk)
    form.press("Save")
    expect(desk.get_by_role("alert")).to_contain_text("please look at the marked fields")
    expect(form.paper).to_contain_text("Hi first_nme")


def test_a_layout_begins_a_letter_and_an_older_version_comes_back(desk: Page) -> None:
    desk.goto("/messages/new")
    desk.get_by_role("link", name="Announcement").click()
    form = MessageForm(desk)
    expect(letter(desk).get_by_role("link", name="Have a look")).to_be_visible()
    form.subject.fill("Laid out")
    form.press("Save")
    desk.get_by_role("link", name="Edit").click()
    form.subject.fill("Changed")
    form.text_button.click()
    expect(form.text).to_have_value(re.compile("Have a look"))
    form.press("Save")
    desk.get_by_role("link", name="Versions").click()
    expect(desk.locator(".version")).to_have_count(2)
    look(desk)
    desk.get_by_role("button", name="Restore").click()
    expect(desk.get_by_role("heading", name="Laid out")).to_be_visible()
    desk.get_by_role("link", name="Versions").click()
    expect(desk.locator(".version")).to_have_count(3)


def test_pictures_are_put_in_by_their_addresses(desk: Page) -> None:
    desk.goto("/messages/new")
    form = MessageForm(desk)
    form.paper.click()
    form.tool("Picture")
    dialog = desk.get_by_role("dialog", name="Picture")
    dialog.get_by_label("Its address").fill("pictures.example/pigeon.png")
    dialog.get_by_label("What it shows").fill("A pigeon")
    look(desk)
    desk.keyboard.press("Enter")
    expect(form.paper.locator(".ql-picture")).to_have_text("A pigeon")
    expect(form.html).to_have_value(
        re.compile(r'<img style="[^"]+" src="https://pictures.example/pigeon.png" alt="A pigeon">')
    )
