from email import message_from_bytes
from email.policy import default

import pytest

from app.delivery import render


def rendered(recipient: str = "anna@example.test", subject: str = "News", text: str = "Hello!\n") -> bytes:
    make = render.compile_message(7, "Golub <golub@golub.test>", subject, "<p>Привет</p>", text)
    return make(42, recipient).content


def test_the_standard_library_reads_back_what_was_meant() -> None:
    message = message_from_bytes(rendered(subject="Новости голубиной почты 🕊"), policy=default)
    assert message["Subject"] == "Новости голубиной почты 🕊"
    assert message["From"] == "Golub <golub@golub.test>"
    assert message["To"] == "anna@example.test"
    assert message["Message-ID"] == "<delivery-42.run-7@golub.test>"
    assert message["Date"].datetime is not None
    assert message.get_content_type() == "multipart/alternative"
    text, html = message.iter_parts()
    assert (text.get_content().strip(), html.get_content().strip()) == ("Hello!", "<p>Привет</p>")


def test_lines_end_as_smtp_wants_and_none_is_too_long() -> None:
    content = rendered(text="x" * 5000 + "\n.\n")
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert max(len(line) for line in content.split(b"\r\n")) <= 998  # RFC 5322, 2.1.1


def test_each_try_has_the_same_message_id() -> None:
    first, second = (message_from_bytes(rendered(), policy=default)["Message-ID"] for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("email", "sent_to"),
    [
        ("anna@example.test", "anna@example.test"),
        ("anna@bücher.example", "anna@xn--bcher-kva.example"),
        ("анна@пример.example", "анна@xn--e1afmkfd.example"),
    ],
)
def test_an_international_domain_is_written_in_ascii_where_that_is_enough(email: str, sent_to: str) -> None:
    make = render.compile_message(7, "golub@golub.test", "News", "<p>x</p>", "x")
    assert make(1, email).recipient == sent_to


def test_css_moves_into_the_elements_and_nothing_is_fetched() -> None:
    html = '<html><head><style>p { color: red }</style><link rel="stylesheet" href="http://127.0.0.1:9/x.css"></head><body><p>x</p></body></html>'
    page = render.inline_css(html)
    assert '<p style="color: red;">x</p>' in page
    assert page.startswith("<!doctype html>")
    assert render.inline_css(page).lower().count("<!doctype") == 1
