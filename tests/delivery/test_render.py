"""The bytes of a letter, read back by the standard library."""

import re
import timeit
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default
from email.utils import parseaddr
from html.parser import HTMLParser
from time import process_time
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app import clock
from app.delivery import render
from app.delivery.render import EnvelopeMaker, FrozenMessage, Recipient, compile_message
from app.merge_fields import tidy

pytestmark = pytest.mark.one_database

LINK = "https://golub.example/unsubscribe/{}-Zm9yZ2VkLWxpbmsh"
ANNA = Recipient(42, 5, "anna@example.test", "Анна", "Петрова", "Сергеевна", 1990, {"city": "Тверь"})
NOBODY = Recipient(43, 6, "somebody@example.test")
PAGE = "<!doctype html>\n<html><head></head><body>{}</body></html>"

# Right to left, combining, ideographs, emoji with joiners, and what encodings stumble over.
LONG_NAME = "Голубиная почта и очень длинное название рассылки на двух строках"
SCRIPTS = [
    "Привет, мир",
    "שלום עולם",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "你好,世界",
    "สวัสดี",
    "👩‍👩‍👧‍👦🕊🇷🇺",
    "Zoë Müller-Łukasiewicz",
    "é" * 300,
    "=?utf-8?q?no?=",
    "=3D =20=",
    ".",
    "....",
    "From me",
    " x ",
    "x" * 1200,
]
anything = st.one_of(
    st.sampled_from(SCRIPTS), st.text(st.characters(exclude_categories=["Cs"])), st.text(".=\n x", max_size=200)
)


def compiled(
    *,
    sender: str = "Golub <golub@golub.test>",
    reply_to: str = "",
    subject: str = "News",
    html: str = "<p>Привет</p>",
    text: str = "Hello!\n",
) -> EnvelopeMaker:
    frozen = FrozenMessage(7, 3, sender, reply_to, subject, PAGE.format(html), text, LINK.format, "Unsubscribe")
    return compile_message(frozen)


def parsed(make: EnvelopeMaker, recipient: Recipient = ANNA) -> EmailMessage:
    content = make(recipient).content
    assert_well_formed(content)
    message = message_from_bytes(content, policy=default)
    assert [part.defects for part in message.walk()] == [[]] * 3
    assert all(not message[name].defects for name in ("Subject", "From", "To", "Date", "Message-ID"))
    return message


def assert_well_formed(content: bytes) -> None:
    assert content.endswith(b"\r\n")
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\0", content)
    assert content.isascii()
    head, _blank, body = content.partition(b"\r\n\r\n")
    assert max(map(len, head.split(b"\r\n"))) <= 998
    assert max(map(len, body.split(b"\r\n"))) <= 76
    assert not any(line.startswith(b".") for line in content.split(b"\r\n"))


def parts_of(message: EmailMessage) -> tuple[str, str]:
    text, html = (cast("EmailMessage", part).get_content().replace("\r\n", "\n") for part in message.iter_parts())
    return text, html


# ── Headers ──


def test_the_headers_of_a_mailing() -> None:
    message = parsed(compiled(reply_to="Вера <vera@golub.test>"))
    link = LINK.format(5)
    assert {name: str(value) for name, value in message.items() if name not in ("Date", "Content-Type")} == {
        "To": "anna@example.test",
        "Subject": "News",
        "Message-ID": "<delivery-42.run-7@golub.test>",
        "List-Unsubscribe": f"<{link}>",
        "From": "Golub <golub@golub.test>",
        "Reply-To": "Вера <vera@golub.test>",
        "List-Id": "<mailing-3.golub.test>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "Precedence": "bulk",
        "Auto-Submitted": "auto-generated",
        "MIME-Version": "1.0",
    }
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


def test_the_link_to_unsubscribe_stays_in_one_piece() -> None:
    long = "https://golub.example/" + "x" * 300 + "/"
    frozen = FrozenMessage(7, 3, "golub@golub.test", "", "News", "<p>x", "x", lambda n: f"{long}{n}", "Unsubscribe")
    assert f"\r\nList-Unsubscribe: <{long}5>\r\n".encode() in compile_message(frozen)(ANNA).content


def test_each_try_has_the_same_message_id() -> None:
    first, second = (parsed(compiled())["Message-ID"] for _ in range(2))
    assert first == second


def test_the_date_is_that_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    make = compiled()
    for second in (1, 1, 2, 59):
        now = datetime(2026, 11, 21, 9, 0, second, 999_999, UTC)
        monkeypatch.setattr(clock, "now", lambda now=now: now)
        assert parsed(make)["Date"].datetime == now.replace(microsecond=0)
        assert parsed(make)["Date"].datetime.utcoffset() == timedelta(0)


def test_the_boundary_is_the_same_for_a_run_and_another_for_the_next() -> None:
    def boundary(run_id: int) -> str | None:
        frozen = FrozenMessage(run_id, 3, "golub@golub.test", "", "x", "x", "x", LINK.format, "Unsubscribe")
        return message_from_bytes(compile_message(frozen)(ANNA).content).get_boundary()

    assert boundary(7) == boundary(7) != boundary(8)


def test_what_looks_like_a_boundary_is_none() -> None:
    boundary = message_from_bytes(compiled()(ANNA).content).get_boundary()
    recipient = Recipient(1, 5, "anna@example.test", f"--{boundary}--")
    message = parsed(compiled(text="{{ first_name }}\n", html="<p>{{ first_name }}</p>"), recipient)
    assert message.get_boundary() == boundary
    assert parts_of(message)[0].startswith(f"--{boundary}--\n")


@pytest.mark.parametrize(
    ("sender", "read"),
    [
        ("golub@golub.test", "golub@golub.test"),
        ("Golub News <golub@golub.test>", "Golub News <golub@golub.test>"),
        ('"Golub, \\"the\\" pigeon; <1>" <golub@golub.test>', '"Golub, \\"the\\" pigeon; <1>" <golub@golub.test>'),
        ("Golub <golub@bücher.example>", "Golub <golub@xn--bcher-kva.example>"),
        (LONG_NAME + " <golub@golub.test>", LONG_NAME + " <golub@golub.test>"),
    ],
)
def test_a_sender_may_have_a_name(sender: str, read: str) -> None:
    envelope = compiled(sender=sender)(ANNA)
    assert_well_formed(envelope.content)
    # Not email.policy.default: in names it sets blanks between encoded words, against RFC 2047, 6.2.
    written = message_from_bytes(envelope.content)["From"]
    assert str(make_header(decode_header(written))) == read
    assert envelope.sender == parseaddr(read)[1]


@pytest.mark.parametrize(
    ("email", "sent_to"),
    [
        ("anna@example.test", "anna@example.test"),
        ("anna@bücher.example", "anna@xn--bcher-kva.example"),
        ("анна@пример.example", "анна@xn--e1afmkfd.example"),
    ],
)
def test_an_international_domain_is_written_in_ascii_where_that_is_enough(email: str, sent_to: str) -> None:
    envelope = compiled()(Recipient(1, 5, email))
    assert envelope.recipient == sent_to
    assert f"To: {sent_to}\r\n".encode() in envelope.content
    assert envelope.content.isascii() == sent_to.isascii(), "UTF-8 headers (RFC 6532) only where an address needs them"


@given(anything, anything)
@example("Новости для {{ first_name }}: свежая обжарка", "Анна")
@example("a " * 100, "x")
def test_any_subject_is_read_back(written: str, name: str) -> None:
    subject = tidy(written).strip() or "x"
    message = parsed(compiled(subject=subject + " {{ first_name }}"), Recipient(1, 5, "a@example.test", name))
    if "{{" not in subject:
        assert message["Subject"] == tidy(f"{subject} {name}")


def test_a_value_adds_no_header() -> None:
    evil = Recipient(1, 5, "anna@example.test", "Anna\r\nBcc: all@evil.test\r\n\r\nBody")
    message = parsed(compiled(subject="For {{ first_name }}", text="{{ first_name }}"), evil)
    assert message["Subject"] == "For Anna Bcc: all@evil.test  Body"
    assert "Bcc" not in message


def test_a_long_subject_in_ascii_is_folded_at_blanks() -> None:
    subject = "The quick brown fox jumps over the lazy dog. " * 4 + "End"
    make = compiled(subject=subject)
    assert b"=?" not in make(ANNA).content.partition(b"\r\n\r\n")[0]
    assert max(map(len, make(ANNA).content.partition(b"\r\nDate")[0].split(b"\r\n"))) <= 78
    assert parsed(make)["Subject"] == subject


# ── Bodies ──


@settings(max_examples=300)
@given(
    st.lists(st.one_of(anything, st.sampled_from(["{{ first_name }}", "{{ attributes.city }}"])), max_size=8),
    anything,
    anything,
)
@example(["{{ first_name }}{{ first_name }}", "я", "{{ first_name }}", "яя{{ first_name }}", "ж" * 100], "a", "")
@example(["\n.\n..{{ first_name }}", "{{ first_name }}\n.{{ first_name }}"], ".", "")
def test_any_text_is_read_back(pieces: list[str], name: str, city: str) -> None:
    recipient = Recipient(1, 5, "a@example.test", name, attributes={"city": city})
    literals = [re.sub(r"[{}]", "", piece) if "{{" not in piece else piece for piece in pieces]
    template = "".join(re.sub(r"\r\n?", "\n", literal) for literal in literals)
    text, _html = parts_of(parsed(compiled(text=template), recipient))
    meant = template.rstrip("\n").replace("{{ first_name }}", tidy(name)).replace("{{ attributes.city }}", tidy(city))
    footer = f"\nUnsubscribe: {LINK.format(5)}\n"
    assert text == (f"{meant}\n{footer}" if template.strip("\n") else footer.lstrip("\n"))


class _Shown(HTMLParser):
    """What a mail program would show of HTML, and where its links lead."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.titles: list[str | None] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]
        self.titles += [value for name, value in attrs if name == "title"]

    def handle_data(self, data: str) -> None:
        self.text += data


@settings(max_examples=200)
@given(anything, st.sampled_from(["plain", "кириллица " * 30]))
@example("<script>alert(1)</script>", "x")
@example("\"'><img src=x onerror=alert(1)>&amp;&lt;", "x")
def test_any_value_is_text_in_html(name: str, around: str) -> None:
    html = f'<p title="{{{{ first_name }}}}">{around}|{{{{ first_name }}}}|</p>'
    recipient = Recipient(1, 5, "a@example.test", name)
    shown = _Shown(parts_of(parsed(compiled(html=html), recipient))[1])
    assert shown.titles == [tidy(name)]
    assert shown.text.split("|", 1)[1].rpartition("|")[0] == tidy(name)
    assert shown.tags == ["html", "head", "body", "p", "p", "a"], "the last two are the footer's"


def test_a_value_within_an_address_is_percent_encoded() -> None:
    html = (
        '<a href="https://x.test/?e={{ email }}&amp;n={{ first_name }}'
        '&amp;c={{ attributes.city | default: &quot;a b&quot; }}">x</a>'
        '<a href="mailto:{{ email }}">x</a><a href="{{ unsubscribe_url }}">x</a>'
    )
    recipient = Recipient(1, 5, "anna+b@example.test", 'A"&<>/ ?#Я')
    assert _Shown(parts_of(parsed(compiled(html=html), recipient))[1]).links == [
        "https://x.test/?e=anna%2Bb@example.test&n=A%22%26%3C%3E%2F%20%3F%23%D0%AF&c=a%20b",
        "mailto:anna%2Bb@example.test",
        LINK.format(5),
    ]


def test_all_fields_are_filled_in() -> None:
    fields = ["first_name", "last_name", "patronymic", "full_name", "email", "birth_year", "attributes.city"]
    fields.append("unsubscribe_url")
    template = "\n".join(f'{{{{ {name} | default: "none of {name}" }}}}' for name in fields) + "\n"
    text, _html = parts_of(parsed(compiled(text=template)))
    assert text.splitlines() == [
        "Анна",
        "Петрова",
        "Сергеевна",
        "Петрова Анна Сергеевна",
        "anna@example.test",
        "1990",
        "Тверь",
        LINK.format(5),
    ]
    text, _html = parts_of(parsed(compiled(text=template), NOBODY))
    empty = [name for name in fields if name not in ("email", "unsubscribe_url")]
    assert text.splitlines() == [
        f"none of {name}" if name in empty else text.splitlines()[n] for n, name in enumerate(fields)
    ]


@pytest.mark.parametrize(("value", "shown"), [(5, "5"), (None, "nothing"), ("", "nothing"), (0, "0"), (True, "True")])
def test_an_attribute_of_any_kind_is_written_as_text(value: object, shown: str) -> None:
    recipient = Recipient(1, 5, "a@example.test", attributes={"n": value})
    make = compiled(text='{{ attributes.n | default: "nothing" }}')
    assert parts_of(parsed(make, recipient))[0].splitlines()[0] == shown


def test_what_is_no_field_stays_as_it_is() -> None:
    """Runs may be older than the rules of today."""
    text, html = parts_of(parsed(compiled(text="{{ x }} {{ {{ email }}", html="<p>{{ y }}</p>")))
    assert text.startswith("{{ x }} {{ anna@example.test\n")
    assert "<p>{{ y }}</p>" in html


def test_a_letter_without_the_link_gets_one_at_its_end() -> None:
    text, html = parts_of(parsed(compiled(text="Hello!", html="<p>Hello!</p>")))
    assert text == f"Hello!\n\nUnsubscribe: {LINK.format(5)}\n"
    assert f'<p>Hello!</p><p style="font-size: 13px"><a href="{LINK.format(5)}">Unsubscribe</a></p>\n</body>' in html


def test_a_letter_with_the_link_gets_no_other() -> None:
    make = compiled(text="Bye: {{ unsubscribe_url }}", html='<a href="{{unsubscribe_url}}">Bye</a>')
    text, html = parts_of(parsed(make))
    assert text == f"Bye: {LINK.format(5)}\n"
    assert html.count(LINK.format(5)) == 1
    assert "Unsubscribe" not in text + html


def test_each_part_has_the_shorter_encoding() -> None:
    make = compiled(text="Съешь ещё этих мягких французских булок", html="<p>Plain</p>" * 50)
    encodings = [part["Content-Transfer-Encoding"] for part in parsed(make).iter_parts()]
    assert encodings == ["base64", "quoted-printable"]


def test_lines_end_as_smtp_wants_and_none_is_too_long() -> None:
    assert_well_formed(compiled(text="x" * 5000 + "\n.\n", html="<p>" + "y" * 5000)(ANNA).content)


def test_one_recipients_values_are_not_the_nexts() -> None:
    make = compiled(subject="{{ first_name }}", text="{{ first_name }}", html="Привет {{ first_name }}")
    for name in ("Анна", "Bo", "", "Анна"):
        message = parsed(make, Recipient(1, 5, "a@example.test", name))
        assert message["Subject"] == name
        assert parts_of(message)[0].splitlines()[0] == name
        assert f"Привет {name}<" in parts_of(message)[1]


@pytest.mark.parametrize("words", ["The quick brown fox jumps over the lazy dog. ", "Съешь ещё этих мягких булок. "])
def test_a_personal_letter_of_8_kb_costs_microseconds(words: str) -> None:
    paragraph = f'<p style="color: red">{words * 3}</p>\n'
    html = "<p>{{ first_name }}</p>" + paragraph * (6000 // len(paragraph.encode()))
    make = compiled(subject="For {{ first_name }}", html=html, text="{{ first_name }}\n" + words * 30)
    assert len(make(ANNA).content) > 7000
    seconds = min(timeit.repeat(lambda: make(ANNA), number=2000, repeat=3, timer=process_time)) / 2000
    assert seconds < 60e-6, "an order of magnitude below what the standard library takes; the bench has the figure"


def test_css_moves_into_the_elements_and_nothing_is_fetched() -> None:
    html = '<html><head><style>p { color: red }</style><link rel="stylesheet" href="http://127.0.0.1:9/x.css"></head><body><p>x</p></body></html>'
    page = render.inline_css(html)
    assert '<p style="color: red;">x</p>' in page
    assert page.startswith("<!doctype html>")
    assert render.inline_css(page).lower().count("<!doctype") == 1


def test_inlining_css_leaves_fields_as_they_are() -> None:
    html = '<a href="{{ unsubscribe_url }}" title="{{ email | default: &quot;x&quot; }}">{{ email | default: "x" }}</a>'
    assert html in render.inline_css(html)


def test_a_blank_before_a_line_end_makes_no_line_too_long() -> None:
    for length in range(60, 240):
        for tail in (" \n", "\t\n", " "):
            lines = render.quoted_printable("x" * length + tail).split(b"\r\n")
            assert max(map(len, lines)) <= 76
