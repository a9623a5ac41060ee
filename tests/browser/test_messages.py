"""Writing a message in a real browser: from a layout to the test in one's own inbox."""

import re
from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from app import create_app
from app.config import Settings
from app.extensions import db
from tests import make
from tests.browser.looking import look
from tests.browser.pages import MessageForm, at_some_time, log_in
from tests.browser.words import in_both_languages
from tests.smtp import RecordingSmtp
from tests.waiting import wait_until

pytestmark = in_both_languages

KEPT = "This letter has tables or styles of its own, so you see its HTML. The preview shows how it looks."
TABLE = '<table width="100%"><tr><td style="color:#0c6570">A whole letter</td></tr></table>'
PASTE = """html => {
  const data = new DataTransfer();
  data.setData("text/html", html);
  document.querySelector(".ql-editor").dispatchEvent(
    new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def author(language: str) -> str:
    return f"author.{language}@golub.test"


@pytest.fixture(scope="module")
def messages(settings: Settings, database_url: str, service: str, author: str) -> Iterator[dict[str, int]]:
    """An author with two clients and some messages, by subject."""
    app: Flask = create_app(settings.model_copy(update={"database_url": database_url}))
    with app.app_context():
        vera = make.user(author, name="Vera")
        make.client(vera, "boris@example.test", first_name="Boris", last_name="Sidorov")
        make.client(vera, "clara@example.test", first_name="Clara")
        made = {
            "Simple": make.message(vera, subject="Simple", html="<p>Dear {{ first_name }}, hello</p>"),
            "Of tables": make.message(vera, subject="Of tables", html=TABLE),
        }
        db.session.commit()
        ids = {subject: message.id for subject, message in made.items()}
        db.session.remove()
    yield ids
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def desk(page: Page, author: str, messages: dict[str, int]) -> Page:
    """A window of the author."""
    log_in(page, author)
    return page


def test_from_the_first_word_to_a_test_in_ones_own_inbox(desk: Page, author: str, mail_server: RecordingSmtp) -> None:
    desk.goto("/messages/new")
    form = MessageForm(desk)
    say = form.say
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
    desk.get_by_label(say("Where it leads"), exact=True).fill("example.org/x")
    look(desk)
    desk.keyboard.press("Enter")
    expect(form.letter.get_by_text(f"Dear {say('Anna')}, read our blog")).to_be_visible()
    checks = desk.locator("#checks").get_by_role("listitem")
    expect(checks).to_have_text(
        [say("Nothing to complain about."), say("A link to unsubscribe is added at the end by itself.")]
    )
    desk.get_by_role("searchbox", name=say("Find a client")).fill("boris")
    whom = desk.get_by_role("combobox", name=say("As whom the letter is shown"))
    expect(whom.locator("option")).to_have_text([say("A sample client"), "Sidorov Boris · boris@example.test"])
    whom.select_option(index=1)
    expect(form.letter.get_by_text("Dear Boris, read our blog")).to_be_visible()
    expect(form.letter.get_by_role("link", name=say("Unsubscribe"), exact=True)).to_be_visible()

    form.press("Send a test to myself")
    expect(desk.locator("#test-sent")).to_have_text(at_some_time(say("Sent to you at %(time)s", time="TIME")))
    wait_until(lambda: mail_server.to(author))
    [sent] = mail_server.to(author)
    assert sent.message["Subject"] == say("[Test] %(subject)s", subject="News for Boris")
    body = sent.message.get_body(("html",))
    assert body is not None
    assert "Dear Boris" in body.get_content()

    form.press("Save")
    desk.wait_for_url(re.compile(r"/messages/\d+$"))
    desk.go_back()
    # The preview leaves no marks in the history.
    expect(desk).to_have_url(re.compile(r"/messages/new(\?draft=\d+)?$"))


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
    desk.get_by_role("link", name=form.say("Edit"), exact=True).click()
    expect(form.html).to_have_value(expected)
    expect(form.paper.locator("p.ql-align-center")).to_contain_text("hello!")


def test_a_letter_of_tables_is_never_simplified_without_asking(desk: Page, messages: dict[str, int]) -> None:
    desk.goto(f"/messages/{messages['Of tables']}/edit")
    form = MessageForm(desk)
    say = form.say
    expect(form.html).to_be_visible()
    expect(form.paper).to_be_hidden()
    expect(form.status).to_have_text(say(KEPT))
    expect(form.html).to_have_value(re.compile("<table"))
    form.tool("HTML")
    dialog = desk.get_by_role("dialog", name=say("Make this letter a simple one?"))
    look(desk)
    dialog.get_by_role("button", name=say("Keep the HTML")).click()
    expect(form.html).to_have_value(re.compile("<table"))
    form.tool("HTML")
    dialog.get_by_role("button", name=say("Make it simple")).click()
    expect(form.paper).to_contain_text("A whole letter")
    expect(form.html).to_have_value("<p>A whole letter</p>")


def test_a_whole_letter_that_is_pasted_stays_as_it_is(desk: Page) -> None:
    desk.goto("/messages/new")
    form = MessageForm(desk)
    form.paper.click()
    desk.evaluate(PASTE, TABLE)
    expect(form.html).to_be_visible()
    expect(form.html).to_have_value(TABLE)
    expect(form.status).to_have_text(form.say(KEPT))
    expect(form.letter.get_by_text("A whole letter")).to_be_visible()


def test_checks_say_what_is_wrong_while_it_is_typed(desk: Page) -> None:
    desk.goto("/messages/new")
    form = MessageForm(desk)
    say = form.say
    form.tool("HTML")
    form.html.fill('<p>Hi {{ first_nme }}</p><img src="https://x.example/big.png"><a href="x">y</a>')
    why = say("there is no field “%(name)s”. Did you mean “%(near)s”?", name="first_nme", near="first_name")
    field = say("Line %(line)s, column %(column)s: %(why)s", line=1, column=7, why=why)
    expect(desk.locator("#checks .finding-what")).to_have_text(
        [
            f"{say('Letter')}: {field}",
            say("Links that lead nowhere: %(links)s", links="x"),
            say("The letter is almost nothing but one picture."),
            say("Pictures without words: %(names)s", names="big.png"),
        ]
    )
    look(desk)
    form.press("Save")
    expect(desk.get_by_role("alert")).to_have_text(say("Not saved yet: please look at the marked fields."))
    expect(form.paper).to_contain_text("Hi first_nme")


def test_a_layout_begins_a_letter_and_an_older_version_comes_back(desk: Page) -> None:
    desk.goto("/messages/new")
    form = MessageForm(desk)
    say = form.say
    desk.get_by_role("link", name=say("Announcement"), exact=True).click()
    have_a_look = "Have a look" if say.is_english else "Посмотреть"
    expect(form.letter.get_by_role("link", name=have_a_look)).to_be_visible()
    form.subject.fill("Laid out")
    form.press("Save")
    desk.get_by_role("link", name=say("Edit"), exact=True).click()
    form.subject.fill("Changed")
    form.text_button.click()
    expect(form.text).to_have_value(re.compile(have_a_look))
    form.press("Save")
    expect(desk.get_by_role("heading", name="Changed")).to_be_visible()
    desk.get_by_role("link", name=say("Versions"), exact=True).click()
    expect(desk.locator(".version")).to_have_count(2)
    newest, oldest = desk.locator(".version").all()
    changed = say("Changed: %(what)s", what=f"{say('subject')}, {say('text part')}")
    expect(newest).to_contain_text(changed)
    expect(newest).to_contain_text(say("As it is now"))
    expect(oldest).to_contain_text(say("The oldest that is kept"))
    look(desk)
    desk.get_by_role("button", name=say("Restore"), exact=True).click()
    expect(desk.get_by_role("heading", name="Laid out")).to_be_visible()
    expect(desk.get_by_text(say("The message is as it was then. The other versions are kept."))).to_be_visible()
    desk.get_by_role("link", name=say("Versions"), exact=True).click()
    expect(desk.locator(".version")).to_have_count(3)


def test_pictures_are_put_in_by_their_addresses(desk: Page) -> None:
    desk.goto("/messages/new")
    form = MessageForm(desk)
    form.paper.click()
    form.tool("Picture")
    form.picture.get_by_label(form.say("Its address"), exact=True).fill("pictures.example/pigeon.png")
    form.picture_words.fill("A pigeon")
    look(desk)
    desk.keyboard.press("Enter")
    expect(form.paper.locator(".ql-picture")).to_have_text("A pigeon")
    expect(form.html).to_have_value(
        re.compile(r'<img style="[^"]+" src="https://pictures.example/pigeon.png" alt="A pigeon">')
    )
