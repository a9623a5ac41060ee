"""Pictures and drafts of a message in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from app import create_app
from app.config import Settings
from app.extensions import db
from tests import make
from tests.browser.looking import look
from tests.browser.pages import MessageForm, log_in
from tests.browser.words import Words, in_both_languages

pytestmark = in_both_languages

DROP = """([target, kind, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], "dove.jpg", { type: "image/jpeg" }));
  const options = { bubbles: true, cancelable: true };
  const node = document.querySelector(target);
  const box = node.getBoundingClientRect();
  const place = { clientX: box.x + 20, clientY: box.y + 10 };
  node.dispatchEvent(kind === "paste"
    ? new ClipboardEvent("paste", { ...options, clipboardData: data })
    : new DragEvent("drop", { ...options, ...place, dataTransfer: data }));
}"""


@pytest.fixture(scope="module")
def painter(settings: Settings, database_url: str, service: str, language: str) -> Iterator[str]:
    email = f"painter.{language}@golub.test"
    app: Flask = create_app(settings.model_copy(update={"database_url": database_url}))
    with app.app_context():
        make.user(email)
        db.session.commit()
        db.session.remove()
    yield email
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def desk(page: Page, painter: str) -> Page:
    log_in(page, painter)
    return page


@pytest.mark.parametrize("way", ["button", "paste", "drop"])
def test_a_picture_comes_into_the_letter(desk: Page, tmp_path: Path, way: str) -> None:
    desk.goto("/messages/new")
    form = MessageForm(desk)
    form.subject.fill(f"By {way}")
    form.paper.click()
    desk.keyboard.type("Look: ")
    content = make.picture_file(1500, 500).getvalue()
    if way == "button":
        (tmp_path / "dove.jpg").write_bytes(content)
        form.tool("Picture")
        with desk.expect_file_chooser() as chooser:
            form.picture.get_by_role("button", name=form.say("Upload one")).click()
        chooser.value.set_files(tmp_path / "dove.jpg")
    else:
        desk.evaluate(DROP, [".ql-editor", way, list(content)])
    expect(form.picture_words).to_be_focused()
    if way == "button":
        look(desk)
    form.picture_words.fill("A dove")
    desk.keyboard.press("Enter")
    expect(form.paper.get_by_role("img", name="A dove")).to_be_visible()
    expect(form.html).to_have_value(
        re.compile(r'<img style="[^"]+" src="http://127.0.0.1:\d+/pictures/[0-9a-f]{32}.png" width="600" alt="A dove">')
    )
    expect(form.status).to_have_text(form.say("The picture is in its place."))
    expect(form.letter.get_by_role("img", name="A dove")).to_have_js_property("naturalWidth", 1200)
    if way == "button":
        look(desk)
    form.press("Save")
    desk.wait_for_url(re.compile(r"/messages/\d+$"))
    desk.get_by_role("link", name=form.say("Edit"), exact=True).click()
    expect(form.paper.get_by_role("img", name="A dove")).to_be_visible()


def test_into_html_it_comes_as_html(desk: Page) -> None:
    desk.goto("/messages/new")
    form = MessageForm(desk)
    form.tool("HTML")
    form.html.fill("<table><tr><td>x</td></tr></table>")
    form.html.press("Control+End")
    desk.evaluate(DROP, ["textarea[name=html]", "drop", list(make.picture_file().getvalue())])
    form.picture_words.fill('A "dove"')
    desk.keyboard.press("Enter")
    expect(form.html).to_have_value(re.compile(r'/table><img [^>]*width="600" alt="A &quot;dove&quot;">$'))


def test_what_is_no_picture_is_said_and_nothing_is_lost(desk: Page) -> None:
    desk.goto("/messages/new")
    form = MessageForm(desk)
    form.paper.click()
    desk.keyboard.type("Still here")
    desk.evaluate(DROP, [".ql-editor", "drop", [1, 2, 3]])
    expect(form.status).to_have_text(form.say("This is no picture that we can read. Take a JPEG, PNG, WebP or GIF."))
    expect(form.paper).to_have_text("Still here")


def test_what_is_typed_survives_a_closed_window(desk: Page) -> None:
    desk.goto("/messages/new")
    form = MessageForm(desk)
    say = form.say
    form.subject.fill("Half a letter")
    form.paper.click()
    with form.keeping("Never saved"):
        desk.keyboard.type("Never saved")
    expect(desk).to_have_url(re.compile(r"/messages/new\?draft=\d+$"))
    desk.reload()
    expect(form.paper).to_have_text("Never saved")
    other = desk.context.new_page()
    other.goto("/messages/new")
    offer = other.get_by_role("status").filter(
        has_text=f"{say('There is a draft that was never saved:')} Half a letter"
    )
    look(other)
    form_there = MessageForm(other)
    offer.get_by_role("link", name=say("Go on with it")).click()
    expect(form_there.paper).to_have_text("Never saved")
    # Both windows go on with it: neither loses a word.
    other.keyboard.press("Tab")
    with form_there.keeping("Written there"):
        form_there.subject.fill("Written there")
    with form.keeping("Written here", f". {say('Another window has a draft of its own: both are kept.')}"):
        form.subject.fill("Written here")
    other.close()
    form.press("Save")
    expect(desk.get_by_role("heading", name="Written here")).to_be_visible()
    desk.goto("/messages/new")
    expect(desk.get_by_text("Written there")).to_be_visible()
    written_there = desk.get_by_role("status").filter(has_text="Written there")
    written_there.get_by_role("button", name=say("Throw it away")).click()
    expect(desk.get_by_text(say("The draft is thrown away."))).to_be_visible()
    expect(desk.get_by_text("Written there")).to_be_hidden()


def test_ctrl_s_saves(desk: Page) -> None:
    desk.goto("/messages/new")
    form = MessageForm(desk)
    form.subject.fill("By a key")
    form.paper.click()
    desk.keyboard.type("Pressed")
    # Playwright has only keys of an American keyboard.
    key = "s" if form.say.is_english else "ы"
    form.paper.dispatch_event("keydown", {"key": key, "code": "KeyS", "ctrlKey": True})
    expect(desk.get_by_role("heading", name="By a key")).to_be_visible()


def test_the_preview_in_the_dark(desk: Page) -> None:
    desk.goto("/messages/new")
    form = MessageForm(desk)
    form.paper.click()
    with form.keeping("Good night"):
        desk.keyboard.type("Good night")
    expect(form.letter.get_by_text("Good night")).to_be_visible()
    desk.locator(".letter-side").get_by_text(form.say("Dark"), exact=True).click()
    roughly = "Roughly so: each mail program darkens letters in its own way. Some leave your colours alone, as here; "
    expect(desk.get_by_text(form.say(roughly + "others turn them round."))).to_be_visible()
    body = form.letter.locator("body")
    expect(body).to_have_css("background-color", "rgb(23, 25, 28)")
    look(desk)


def test_pictures_of_letters_without_a_script_and_their_page(desk: Page, tmp_path: Path) -> None:
    (tmp_path / "dove.jpg").write_bytes(make.picture_file().getvalue())
    desk.goto("/messages/pictures")
    say = Words.of(desk)
    desk.get_by_label(say("Picture"), exact=True).set_input_files(tmp_path / "dove.jpg")
    desk.get_by_role("button", name=say("Upload"), exact=True).click()
    expect(desk.get_by_label(say("To copy into a letter")).first).to_have_value(re.compile("^<img src="))
    look(desk)
