from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inbox.parsing import parse, subject_of

# What real letters get wrong, and what makes the standard library raise.
BROKEN = {
    "nothing at all": b"",
    "no headers": b"just text\r\n",
    "no such charset": b"Content-Type: text/plain; charset=nonsense\r\n\r\nJust text",
    "a charset that is no text": b"Content-Type: text/plain; charset=hex\r\n\r\nJust text",
    "a charset with a null": b'Content-Type: text/plain; charset="a\x00b"\r\n\r\nJust text',
    "a charset that makes surrogates": (b"Content-Type: text/html; charset=raw_unicode_escape\r\n\r\n\\ud800 text"),
    "bytes of another charset": b"Subject: \xcf\xf0\xe8\r\nContent-Type: text/plain\r\n\r\n\xcf\xf0\xe8 text",
    "a broken encoded word": b"Subject: =?utf-8?b?0J/?= =?x?q?=ff?= =?utf-8?z?a?=\r\n\r\ntext",
    "broken base64": b"Content-Transfer-Encoding: base64\r\n\r\n!!!not base64",
    "broken uuencode": b"Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin 666 f\r\n#!!\r\nend",
    "no such encoding": b"Content-Transfer-Encoding: \xff\xfe\r\n\r\ntext",
    "a multipart without boundary": b"Content-Type: multipart/mixed\r\n\r\ntext",
    "a multipart without end": b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext",
    "a boundary that never comes": b"Content-Type: multipart/mixed; boundary=x\r\n\r\ntext",
    "a content type of nothing": b"Content-Type:\r\n\r\ntext",
    "a content type of slashes": b"Content-Type: ///;;;=\r\n\r\ntext",
    "an address of brackets": b'From: <<<>>>(((\r\nTo: ,;:@\r\nCc: "\r\n\r\ntext',
    "a date of nonsense": b"Date: yesterday\r\nMessage-ID: <[\r\n\r\ntext",
    "a name in a broken RFC 2231": (
        b"Content-Type: text/plain\r\nContent-Disposition: attachment; filename*=x''%ff\r\n\r\ntext"
    ),
    "a thousand parts in each other": b"".join(
        b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(1000)
    ),
    "a header of a megabyte": b"Subject: " + b"=?utf-8?q?a?= " * 70_000 + b"\r\n\r\ntext",
    "headers without end": b"X: y\r\n" * 100_000,
    "only line ends": b"\r\n" * 1000,
    "only nulls": b"\x00" * 1000,
}


@pytest.mark.parametrize("source", BROKEN.values(), ids=BROKEN)
def test_a_broken_letter_shows_something(source: bytes) -> None:
    contents = parse(source)
    shown = [contents.html or "", contents.text or "", subject_of(source)]
    shown += [part for header in contents.headers for part in header]
    shown += [part for attachment in contents.attachments for part in (attachment.name, attachment.type)]
    "".join(shown).encode()
    if b"text" in source and not contents.attachments:
        assert "text" in (contents.text or "") + (contents.html or "")


@given(st.binary(max_size=2000))
def test_any_bytes_can_be_parsed(source: bytes) -> None:
    parse(source)
    subject_of(source).encode()


PIECES = st.sampled_from(
    [
        *BROKEN.values(),
        b"Content-Type: multipart/mixed; boundary=x\r\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Type: text/html; charset=",
        b"Content-Transfer-Encoding: base64\r\n",
        b"\r\n--x\r\n",
        b"\r\n--x--\r\n",
        b"\r\n\r\n",
        b"=?utf-8?b?",
        b";",
        b"\xff",
    ]
)


@given(st.lists(PIECES.filter(lambda piece: len(piece) < 500), max_size=12).map(b"".join))
def test_any_mixture_of_broken_pieces_can_be_parsed(source: bytes) -> None:
    contents = parse(source)
    (contents.text or "").encode()
    (contents.html or "").encode()


def test_a_good_letter_is_taken_apart() -> None:
    message = EmailMessage()
    message["Subject"] = "Привет"
    message["To"] = "Анна <anna@example.test>"
    message.set_content("Текст")
    message.add_alternative("<p>Разметка</p>", subtype="html")
    message.add_attachment(b"12345", maintype="application", subtype="pdf", filename="счёт.pdf")
    contents = parse(message.as_bytes())
    assert contents.text == "Текст\n"
    assert contents.html == "<p>Разметка</p>\n"
    assert ("To", "Анна <anna@example.test>") in contents.headers
    assert [(part.name, part.type, part.size) for part in contents.attachments] == [("счёт.pdf", "application/pdf", 5)]


def test_raw_utf8_headers_are_read() -> None:
    source = "Subject: Привет\r\nTo: анна@почта.test\r\n\r\n".encode()
    assert subject_of(source) == "Привет"
    assert ("To", "анна@почта.test") in parse(source).headers


def test_a_windows_charset_is_read() -> None:
    source = b"Content-Type: text/plain; charset=windows-1251\r\n\r\n" + "Привет".encode("cp1251")
    assert parse(source).text == "Привет"


def test_a_subject_is_one_line() -> None:
    assert subject_of(b"Subject: one\r\n two\r\n =?utf-8?q?a=0Ab?=\r\n\r\n").split() == [
        "one",
        "two",
        "a",
        "b",
    ]
    assert "\n" not in subject_of(b"Subject: =?utf-8?q?a=0Ab?=\r\n\r\n")
