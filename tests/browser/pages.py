"""One object per page: how a person uses it, so that tests read as what people do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from html import unescape

from playwright.sync_api import Locator, Page, Response, expect

from tests.browser.words import Words
from tests.browsing import HIDDEN_TOKEN, VERIFICATION_LINK
from tests.make import PASSWORD
from tests.smtp import RecordingSmtp
from tests.waiting import wait_until


def log_in(page: Page, email: str, password: str = PASSWORD) -> None:
    """Without looking at the form, and go where that leads."""
    token = HIDDEN_TOKEN.search(page.context.request.get("/auth/login").text())
    assert token is not None
    fields = {"email": email, "password": password, "csrf_token": unescape(token[1])}
    answer = page.context.request.post("/auth/login", form=fields, max_redirects=0)
    assert answer.status == 303, answer.text()
    page.goto(answer.headers["location"])


def log_in_by_form(page: Page, email: str, password: str = PASSWORD) -> None:
    """In whatever language it is."""
    page.goto("/auth/login")
    page.locator("#login [name=email]").fill(email)
    page.locator("#login [name=password]").fill(password)
    page.locator("#login form button[type=submit]").last.click()
    page.wait_for_url(lambda url: "/auth/login" not in url)


def at_some_time(said: str) -> re.Pattern[str]:
    """All that is said, with hours and minutes where TIME stands in it."""
    return re.compile(rf"^\s*{re.escape(said)}\s*$".replace("TIME", r"\d\d:\d\d"))


class Register:
    def __init__(self, page: Page) -> None:
        self.page = page

    def sign_up(self, email: str, password: str) -> None:
        self.page.goto("/")
        say = Words.of(self.page)
        self.page.get_by_role("link", name=say("Sign up")).first.click()
        self.page.get_by_label(say("E-mail")).fill(email)
        self.page.get_by_label(say("Password")).first.fill(password)
        self.page.locator("form[action*=register], main form").get_by_role("button").last.click()
        expect(self.page.get_by_text(email)).to_be_visible()

    def confirmed(self, email: str, mail_server: RecordingSmtp) -> None:
        """Sign up, and follow the link in the letter."""
        self.sign_up(email, PASSWORD)
        wait_until(lambda: mail_server.to(email))
        text = mail_server.to(email)[0].message.get_body(("plain",))
        assert text is not None
        link = VERIFICATION_LINK.search(text.get_content())
        assert link is not None
        self.page.goto(link[0])
        self.page.locator("main form button[type=submit]").click()
        self.page.wait_for_url("**/overview")


class Clients:
    def __init__(self, page: Page) -> None:
        self.page = page

    def add(self, email: str, first_name: str = "", tags: str = "", birth_year: str = "") -> None:
        self.page.goto("/clients/new")
        say = Words.of(self.page)
        self.page.get_by_label(say("E-mail")).fill(email)
        self.page.get_by_label(say("First name")).fill(first_name)
        self.page.get_by_label(say("Tags")).fill(tags)
        self.page.get_by_label(say("Birth year")).fill(birth_year)
        self.page.locator("main form button[type=submit]").click()
        expect(self.page.get_by_text(email).first).to_be_visible()

    def search(self, text: str) -> None:
        """Type into the search field and leave it at that."""
        self.page.goto("/clients/")
        self.page.get_by_role("searchbox").press_sequentially(text, delay=20)


class MessageForm:
    """The form of a message."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.say = Words.of(page)
        self.subject = page.locator("#message-form").get_by_label(self.say("Subject"))
        self.paper = page.locator(".ql-editor")
        self.html = page.locator("textarea[name=html]")
        self.text = page.locator("textarea[name=text]")
        self.text_button = page.get_by_role("button", name=self.say("Fill it from the letter, to edit it"))
        self.letter = page.frame_locator(".letter-stage iframe:not(.is-coming)")
        self.status = page.locator("[data-editor-status]")
        self.picture = page.get_by_role("dialog", name=self.say("Picture"), exact=True)
        self.picture_words = self.picture.get_by_label(self.say("What it shows, in a few words"), exact=True)

    def tool(self, name: str) -> None:
        self.page.get_by_role("toolbar").get_by_role("button", name=self.say(name), exact=True).click()

    def put_in(self, field: str) -> None:
        """A merge field, where the caret is."""
        chips = self.page.get_by_role("group", name=self.say("Fields that are filled in for each client"))
        chips.get_by_role("button", name=self.say(field), exact=True).click()

    def press(self, name: str) -> None:
        self.page.locator("#message-form").get_by_role("button", name=self.say(name), exact=True).click()

    @contextmanager
    def keeping(self, words: str, then: str = "") -> Iterator[None]:
        """Type these words inside: the draft is kept with them, and the page says so, and `then` what else it says."""

        def has_them(answer: Response) -> bool:  # what is half typed may be kept before
            return "/autosave" in answer.url and words in (answer.request.post_data or "")

        with self.page.expect_response(has_them):
            yield
        said = at_some_time(self.say("Draft kept at %(time)s", time="TIME") + then)
        expect(self.page.locator("[data-autosave-status]")).to_have_text(said)


class Messages:
    def __init__(self, page: Page) -> None:
        self.page = page

    def write(self, subject: str, html: str) -> None:
        self.page.goto("/messages/new")
        form = MessageForm(self.page)
        form.subject.fill(subject)
        form.tool("HTML")
        form.html.fill(html)
        form.press("Save")
        expect(self.page.get_by_role("heading", name=subject)).to_be_visible()


class Mailings:
    def __init__(self, page: Page) -> None:
        self.page = page

    def plan(self, name: str, message: str, start: datetime | None = None, period: str = "once") -> None:
        """Plan a mailing to all clients; `start` is naive, in UTC."""
        self.page.goto("/mailings/new")
        say = Words.of(self.page)
        self.page.get_by_label(say("Name"), exact=True).fill(name)
        self.page.get_by_role("radio", name=message).check()
        if start:
            self.page.get_by_label(say("Start")).fill(start.isoformat(timespec="seconds"))
        self.page.locator("select[name=period]").select_option(period)
        self.page.locator("select[name=timezone]").select_option("UTC")
        expect(self.page.locator("#preview time, #preview li").first).to_be_visible()
        self.page.locator("#mailing-form button[type=submit]").click()
        expect(self.page.get_by_role("heading", name=name)).to_be_visible()


class Import:
    def __init__(self, page: Page) -> None:
        self.page = page

    def drop(self, name: str, content: bytes) -> None:
        """Drag a file from the desktop, and let it go over the page's field."""
        self.page.goto("/clients/import")
        transfer = self.page.evaluate_handle(
            """([name, bytes]) => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "text/csv" }));
                return transfer;
            }""",
            [name, list(content)],
        )
        for event in ("dragover", "drop"):
            self.page.dispatch_event("[data-drop]", event, {"dataTransfer": transfer})

    def start(self) -> None:
        self.page.get_by_role("button", name=Words.of(self.page)("Import"), exact=True).click()


class RunReport:
    """A run's page: ring, charts, answers, and its messages with their drawer."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.chart = page.locator("#sends-chart canvas")
        self.drawer = page.get_by_role("dialog")
        self.messages = page.locator("#deliveries .list-group-item")

    def choose_answer(self, words: str) -> None:
        self.page.locator("#report").get_by_role("link", name=words).click()

    def open(self, address: str) -> None:
        """By keyboard."""
        self.page.get_by_role("link", name=address).press("Enter")
        expect(self.drawer).to_be_visible()


class MailingForm:
    """The form of a mailing."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.say = Words.of(page)
        self.name = page.get_by_label(self.say("Name"), exact=True)
        self.messages = page.locator("#messages-offered")
        self.offered = page.locator("#clients-offered")
        self.chosen = page.get_by_role("group", name=self.say("Chosen clients"))
        self.summary = page.locator("#preview")

    def choose_message(self, search: str, subject: str) -> None:
        self.page.get_by_label(self.say("Search your messages and the library")).fill(search)
        expect(self.messages.get_by_role("radio")).to_have_count(1)
        self.messages.get_by_role("radio", name=subject).check()

    def add_client(self, search: str, name: str) -> None:
        self.page.get_by_label(self.say("Find clients to add")).fill(search)
        self.offered.get_by_role("checkbox", name=name).check()
        expect(self.chosen.get_by_role("checkbox", name=name)).to_be_checked()

    def save(self) -> None:
        self.page.locator("#mailing-form button[type=submit]").last.click()


class SegmentEditor:
    """The form of a segment. A row is named by its group and its number in it, such as "0-1"."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.say = Words.of(page)
        self.preview = page.locator("#preview")

    def counts(self, number: int) -> None:
        """Wait until it says that so many fit."""
        words = self.say.count("client would get a letter now.", "clients would get a letter now.", number)
        expect(self.page.locator(".segment-count")).to_have_text(f"{number} {words}")

    def ask(self, row: str, kind: str, op: str | None = None, **values: str) -> None:
        """Set a row's kind, operator and values, by what is stored of them."""
        self.page.locator(f"#kind-{row}").select_option(kind)
        if op is not None:
            self.page.locator(f"#op-{row}-{kind}").select_option(op)
        for name, value in values.items():
            control = self.page.locator(f"[id={name}-{row}]")
            expect(control).to_be_visible()
            is_choice = control.evaluate("control => control.tagName") == "SELECT"
            (control.select_option if is_choice else control.fill)(value)

    def press(self, name: str) -> None:
        button = self.page.locator("#segment-form").get_by_role("button", name=self.say(name), exact=True)
        button.last.click()


class List:
    """Any list: rows that can be ticked, and what is done to those."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.say = Words.of(page)
        self.search = page.get_by_role("searchbox")
        self.rows = page.locator("[data-list] [data-row]")
        self.bar = page.locator("#bulk")
        self.dialog = page.locator("#dialog")
        self.toast = page.locator("#toasts .note").last

    def row(self, name: str) -> Locator:
        return self.rows.filter(has_text=name)

    def tick(self, *names: str) -> None:
        for name in names:
            self.row(name).get_by_label(self.say("Select %(name)s", name=name)).check()

    def press(self, name: str) -> None:
        self.bar.get_by_role("button", name=self.say(name), exact=True).click()

    def agree(self) -> None:
        self.dialog.get_by_role("button", name=self.say("Delete"), exact=True).click()
        expect(self.dialog).to_be_hidden()

    def undo(self) -> None:
        self.toast.get_by_role("button", name=self.say("Undo"), exact=True).click()


class Palette:
    """The command palette, from any page of whoever is logged in."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.dialog = page.locator("#palette")
        self.field = page.get_by_role("combobox", name=Words.of(page)("Jump to a client, mailing, message or page"))
        self.chosen = page.locator("#palette [role=option][aria-selected=true]")
        self.status = page.locator("#palette-status")
        self.titles = page.locator("#palette .palette-title")

    def open(self) -> None:
        self.page.keyboard.press("Control+k")
        expect(self.chosen).to_be_visible()


class MailingPage:
    """A mailing's page: what it says of the mailing and its newest run, and what can be done about those."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.say = Words.of(page)
        self.live = page.locator("#live")
        self.state = self.live.locator(".state").first
        self.question = page.locator("#confirm")
        self.toast = page.locator("#toasts .note").last

    def button(self, name: str) -> Locator:
        return self.live.get_by_role("button", name=self.say(name), exact=True)

    def press(self, name: str) -> None:
        self.button(name).click()

    def agree(self) -> None:
        self.question.locator("#confirm-yes").click()


class Log:
    """The log of the service."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.say = Words.of(page)
        self.rows = page.locator("#rows tr[id]")
        self.search = page.get_by_role("searchbox", name=self.say("Search by the beginning of an address"))
        self.code = page.get_by_label(self.say("Code"), exact=True)

    def filter(self, name: str) -> Locator:
        return self.page.get_by_role("combobox", name=self.say(name), exact=True)
