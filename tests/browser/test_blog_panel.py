"""Writing an article in a real browser: from the first word to the reader, and what may go wrong on the way."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Page, expect
from sqlalchemy import delete

from app import clock, create_app
from app.auth.roles import Role
from app.blog.models import Post
from app.config import Settings
from app.extensions import db
from tests import make
from tests.browser.looking import look
from tests.browser.pages import log_in

EDITOR = "the-editor@golub.test"
PASTED = (
    '<h1 style="color:red">Pasted</h1><p style="margin:3px"><span style="font-weight:700">thick</span></p>'
    '<p><img src="https://elsewhere.test/x.png"></p><script>alert(1)</script>'
)
PASTE = """html => {
  const data = new DataTransfer();
  data.setData("text/html", html);
  document.querySelector(".ql-editor").dispatchEvent(
    new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
}"""
DROP = """async (kind) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 700, height: 400 });
  canvas.getContext("2d").fillRect(0, 0, 700, 400);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  const data = new DataTransfer();
  data.items.add(new File([blob], "drawn.png", { type: "image/png" }));
  const page = document.querySelector(".ql-editor");
  const { x, y } = page.getBoundingClientRect();
  const usual = { bubbles: true, cancelable: true };
  page.dispatchEvent(kind === "drop"
    ? new DragEvent("drop", { ...usual, dataTransfer: data, clientX: x + 40, clientY: y + 30 })
    : new ClipboardEvent("paste", { ...usual, clipboardData: data }));
}"""


@pytest.fixture(scope="module")
def articles(settings: Settings, database_url: str, service: str) -> Iterator[dict[str, int]]:
    """A content manager with some articles, by title. In the end there is none: others count those that there are."""
    app: Flask = create_app(settings.model_copy(update={"database_url": database_url}))
    with app.app_context():
        editor = make.user(EDITOR, Role.EDITOR, name="Nina")
        posts = {
            title: make.post(editor, title=title, published_at=clock.now(), html="<p>Some <b>bold</b> words</p>")
            for title in ("Two windows", "A crash", "Delete me", "Look at me")
        }
        db.session.commit()
        ids = {title: post.id for title, post in posts.items()}
        db.session.remove()
    yield ids
    with app.app_context():
        db.session.execute(delete(Post))
        db.session.commit()
        db.engine.dispose()


@pytest.fixture
def panel(page: Page, articles: dict[str, int]) -> Page:
    """A window of the content manager."""
    log_in(page, EDITOR)
    return page


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(make.picture_file(1200, 800).getvalue())
    return path


class Form:
    """The form of an article."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.title = page.get_by_label("Title")
        self.paper = page.get_by_role("textbox", name=re.compile("^Text"))
        self.autosaved = page.locator("[data-autosave-status]")
        self.status = page.locator("[data-editor-status]")

    def wait_until_autosaved(self) -> None:
        expect(self.autosaved).to_have_text(re.compile(r"^Saved at \d\d:\d\d$"))

    def tool(self, name: str) -> None:
        self.page.get_by_role("toolbar").get_by_role("button", name=name, exact=True).click()

    def answer_alt(self, text: str) -> None:
        dialog = self.page.get_by_role("dialog", name="What does the picture show?")
        dialog.get_by_label("In a few words").fill(text)
        self.page.keyboard.press("Enter")
        expect(dialog).to_be_hidden()

    def press(self, name: str) -> None:
        self.page.locator("#post-form").get_by_role("button", name=name, exact=True).click()


def test_from_the_first_word_to_the_reader(panel: Page, photo: Path) -> None:
    panel.goto("/blog/manage/")
    panel.get_by_role("link", name="New article").click()
    form = Form(panel)
    form.title.fill("Голуби летят домой")
    form.paper.click()
    panel.keyboard.type("The first line\nA heading")
    form.tool("Heading")
    panel.keyboard.press("Enter")
    panel.keyboard.type("our blog")
    for _letter in "our blog":
        panel.keyboard.press("Shift+ArrowLeft")
    form.tool("Link")
    look(panel)
    panel.get_by_label("Where it leads").fill("example.org/x")
    panel.keyboard.press("Enter")
    panel.keyboard.press("ArrowRight")
    panel.keyboard.press("Enter")
    with panel.expect_file_chooser() as chooser:
        form.tool("Picture")
    chooser.value.set_files(photo)
    form.answer_alt("A flat colour")
    form.wait_until_autosaved()
    assert re.search(r"/blog/manage/\d+/edit$", panel.url)

    panel.locator("input[name=cover]").set_input_files(photo)
    expect(panel.locator("[data-cover-picture]")).to_have_attribute("src", re.compile(r"\d+\.webp$"))
    panel.get_by_label("Tags", exact=True).fill("birds, почта")
    form.press("Preview")
    expect(panel.get_by_text("This is a preview.")).to_be_visible()
    expect(panel.get_by_role("heading", name="A heading")).to_be_visible()
    panel.get_by_role("link", name="Go on writing").click()
    form.press("Publish")
    panel.locator("#toasts").get_by_role("link", name="Open").click()
    panel.wait_for_url("**/blog/golubi-letyat-domoy")
    expect(panel.get_by_role("link", name="our blog")).to_have_attribute("href", "https://example.org/x")
    expect(panel.get_by_role("img", name="A flat colour")).to_be_visible()
    assert panel.get_by_role("img", name="A flat colour").evaluate("image => image.naturalWidth") > 0


def test_what_is_pasted_keeps_its_meaning_and_loses_its_looks(panel: Page) -> None:
    panel.goto("/blog/manage/new")
    form = Form(panel)
    form.paper.click()
    panel.evaluate(PASTE, PASTED)
    expect(form.paper.locator("h2")).to_have_text("Pasted")
    expect(form.paper.locator("strong")).to_have_text("thick")
    expect(form.paper.locator("img")).to_have_count(0)
    expect(form.status).to_contain_text("Pictures of other sites were left out")
    form.tool("HTML")
    expect(panel.locator("textarea[name=html]")).to_have_value("<h2>Pasted</h2><p><strong>thick</strong></p><p></p>")
    panel.locator("textarea[name=html]").fill("<p>By <em>hand</em></p>")
    form.tool("HTML")
    expect(form.paper.locator("em")).to_have_text("hand")
    form.wait_until_autosaved()


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_pictures_are_dropped_and_pasted(panel: Page, kind: str) -> None:
    panel.goto("/blog/manage/new")
    form = Form(panel)
    form.paper.click()
    panel.evaluate(DROP, kind)
    form.answer_alt("Something drawn")
    picture = form.paper.get_by_role("img", name="Something drawn")
    expect(picture).to_have_attribute("src", re.compile(r"^/blog/pictures/[0-9a-f]{32}/700.webp$"))
    picture.click()
    panel.get_by_role("button", name="Take it out").click()
    expect(picture).to_have_count(0)
    form.wait_until_autosaved()


def test_a_file_that_is_no_picture_is_said(panel: Page, tmp_path: Path) -> None:
    panel.goto("/blog/manage/new")
    form = Form(panel)
    wrong = tmp_path / "wrong.png"
    wrong.write_text("no picture")
    with panel.expect_file_chooser() as chooser:
        form.tool("Picture")
    chooser.value.set_files(wrong)
    expect(form.status).to_contain_text("This is no picture that we can read")


def test_after_a_crash_the_text_is_offered(panel: Page, articles: dict[str, int]) -> None:
    address = f"/blog/manage/{articles['A crash']}/edit"
    panel.goto(address)
    form = Form(panel)
    form.paper.click()
    panel.keyboard.type("Typed before the crash. ")
    form.wait_until_autosaved()

    panel.goto(address)
    expect(form.paper).not_to_contain_text("Typed before the crash")
    expect(panel.get_by_text("that was never saved")).to_be_visible()
    look(panel)
    panel.get_by_role("link", name="Restore it").click()
    expect(form.paper).to_contain_text("Typed before the crash")
    form.press("Save")
    expect(panel.locator("#toasts")).to_contain_text("Readers see it already")
    panel.goto(address)
    expect(form.paper).to_contain_text("Typed before the crash")
    expect(panel.get_by_text("that was never saved")).to_be_hidden()


def test_of_two_windows_the_later_loses_nothing(panel: Page, articles: dict[str, int]) -> None:
    address = f"/blog/manage/{articles['Two windows']}/edit"
    panel.goto(address)
    other = panel.context.new_page()
    other.goto(address)
    Form(other).title.fill("Two windows, the other")
    Form(other).press("Save")
    expect(other.locator("#toasts")).to_contain_text("Readers see it already")
    other.close()

    form = Form(panel)
    form.title.fill("Two windows, mine")
    form.press("Save")
    expect(panel.get_by_role("alert")).to_contain_text("saved in another window meanwhile")
    expect(form.title).to_have_value("Two windows, mine")
    expect(form.paper).to_contain_text("bold")
    look(panel)
    form.press("Save")
    expect(panel.locator("#toasts")).to_contain_text("Readers see it already")


def test_what_is_deleted_comes_back_by_undo(panel: Page) -> None:
    panel.goto("/blog/manage/")
    panel.get_by_role("button", name="Delete “Delete me”").click()
    expect(panel.get_by_role("link", name="Delete me")).to_be_hidden()
    look(panel)
    panel.locator("#toasts").get_by_role("button", name="Undo").click()
    expect(panel.get_by_role("link", name="Delete me", exact=True)).to_be_visible()


def test_the_tab_key_leads_out_of_the_text(panel: Page) -> None:
    panel.goto("/blog/manage/new")
    form = Form(panel)
    form.paper.click()
    panel.keyboard.press("Tab")
    expect(form.paper).not_to_be_focused()
