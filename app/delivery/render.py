"""From a run's frozen message to the bytes of one recipient's letter.

What is the same for all recipients is encoded once. For each of them the fields are encoded by themselves and put
between: in quoted-printable soft line breaks keep them apart, in base64 groups of three bytes do.
"""

import hashlib
import re
import textwrap
from binascii import b2a_base64, b2a_qp
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime, parseaddr
from html import escape
from typing import Any

import css_inline
from flask_babel import force_locale
from flask_babel import gettext as _

from app import clock
from app.auth.models import User
from app.clients import unsubscribe
from app.config import Settings
from app.delivery.models import Run
from app.delivery.transport import Envelope
from app.extensions import db
from app.mail import envelope_address
from app.merge_fields import ATTRIBUTE, UNSUBSCRIBE_URL, Field, Pieces, encoder_of, parse_leniently, tidy

LONGEST_PLAIN_WORD = 900  # bytes; no line may have more than 998 (RFC 5322, 2.1.1)
ROOM_OF_LINE = 66  # characters of a header's text, so that its first line has at most 78
BYTES_OF_ENCODED_WORD = 39  # in base64, with =?utf-8?b?…?= and a header's name, at most 76 characters (RFC 2047, 2)
BYTES_OF_BASE64_LINE = 57  # 76 characters (RFC 2045, 6.8)
NOBODY = -1  # the id of no client
LINK = "{{ " + UNSUBSCRIBE_URL + " }}"

_inliner = css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=True)


@dataclass(frozen=True, slots=True)
class FrozenMessage:
    """All that the letters of a run have in common."""

    run_id: int
    mailing_id: int
    sender: str  # an address, with or without a name
    reply_to: str  # the same, or empty
    subject: str
    html: str  # a page with its CSS inlined
    text: str
    unsubscribe_url: Callable[[int], str]  # from a client's id
    footer: str  # the word of the link to unsubscribe, in the language of the letter's owner


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom one letter goes to."""

    delivery_id: int
    client_id: int | None
    email: str
    first_name: str = ""
    last_name: str = ""
    patronymic: str = ""
    birth_year: int | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        return " ".join(filter(None, (self.last_name, self.first_name, self.patronymic)))


EnvelopeMaker = Callable[[Recipient], Envelope]
# The value of one field for one recipient, who has this link to unsubscribe.
_Reader = Callable[[Recipient, str], str]


def inline_css(html: str) -> str:
    """A whole page with its style rules moved into the elements: many mail programs look nowhere else."""
    page = _inliner.inline(html)
    # Without a doctype browsers and mail programs fall back to the layout rules of the nineties.
    return page if page.lower().startswith("<!doctype") else f"<!doctype html>\n{page}"


def frozen(run: Run, settings: Settings) -> FrozenMessage:
    """What the letters of this run have in common, with the way out in the language of its owner."""
    owner = db.session.get(User, run.owner_id)
    with force_locale((owner and owner.locale) or "en"):
        footer = _("Unsubscribe")
    link = unsubscribe.link_maker(settings)
    return FrozenMessage(
        run.id, run.mailing_id, run.sender, run.reply_to, run.subject, run.html, run.text, link, footer
    )


def compile_message(frozen: FrozenMessage) -> EnvelopeMaker:
    """Do once what is the same for all recipients, and return what makes the envelope of one.

    The Message-ID is the same at each try, so that a recipient's own server can tell a repetition. The content is
    ASCII, unless an address is not (RFC 6532). No line of it begins with a dot.
    """
    sender = envelope_address(parseaddr(frozen.sender)[1])
    domain = sender.rpartition("@")[2]
    body = _Body()
    _write_headers_and_parts(frozen, domain, body)
    subject_of = _subject_maker(parse_leniently(frozen.subject))
    date_of = _DateHeader()
    link_of, run_id = frozen.unsubscribe_url, frozen.run_id

    def envelope(recipient: Recipient) -> Envelope:
        to = envelope_address(recipient.email)
        link = link_of(recipient.client_id or NOBODY)
        headers = (
            f"To: {to}\r\n"
            f"Subject: {subject_of(recipient, link)}\r\n"
            f"Date: {date_of(clock.now())}\r\n"
            f"Message-ID: <delivery-{recipient.delivery_id}.run-{run_id}@{domain}>\r\n"
            f"List-Unsubscribe: <{link}>\r\n"
        )
        return Envelope(recipient.delivery_id, sender, to, headers.encode() + body.filled(recipient, link))

    return envelope


def _write_headers_and_parts(frozen: FrozenMessage, domain: str, body: "_Body") -> None:
    """What comes after the headers that differ: the other headers, and both parts."""
    boundary = _boundary(frozen)
    reply_to = f"Reply-To: {_mailbox(frozen.reply_to)}\r\n" if frozen.reply_to else ""
    body.add(
        f"From: {_mailbox(frozen.sender)}\r\n"
        f"{reply_to}"
        f"List-Id: <mailing-{frozen.mailing_id}.{domain}>\r\n"
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"  # RFC 8058, 3.1
        "Precedence: bulk\r\n"
        "Auto-Submitted: auto-generated\r\n"  # RFC 3834, 5: no out-of-office notice shall answer it
        "MIME-Version: 1.0\r\n"
        f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n'
        "\r\n"
    )
    body.add(f"--{boundary}\r\n")
    _write_part(body, "plain", _pieces_of_text(frozen))
    body.add(f"\r\n--{boundary}\r\n")
    _write_part(body, "html", _pieces_of_html(frozen))
    body.add(f"\r\n--{boundary}--\r\n")


def _boundary(frozen: FrozenMessage) -> str:
    """The same for all letters of a run, and not to be guessed: the link of nobody is signed with our secret.

    It can't be found in a part: neither encoding writes =_ (RFC 2045, 6.7).
    """
    seed = f"{frozen.run_id} {frozen.unsubscribe_url(NOBODY)}"
    return "=_" + hashlib.sha256(seed.encode()).hexdigest()[:32]


# ── The link to unsubscribe ──


def _pieces_of_text(frozen: FrozenMessage) -> Pieces:
    """The text part, which leads its reader out, whatever its author wrote."""
    text = _with_newline(frozen.text)
    pieces = parse_leniently(text)
    if _has_link(pieces):
        return pieces
    before = "" if text == "\n" else f"{text}\n"
    return parse_leniently(f"{before}{frozen.footer}: {LINK}\n")


def _pieces_of_html(frozen: FrozenMessage) -> Pieces:
    """The same of the HTML."""
    html = _with_newline(frozen.html)
    pieces = parse_leniently(html, html=True)
    if _has_link(pieces):
        return pieces
    line = f'<p style="font-size: 13px"><a href="{LINK}">{escape(frozen.footer)}</a></p>\n'
    end = html.rfind("</body>")
    end = len(html) if end < 0 else end
    return parse_leniently(html[:end] + line + html[end:], html=True)


def _with_newline(text: str) -> str:
    """With \\n as its line ends, one of them at its own end."""
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n"


def _has_link(pieces: Pieces) -> bool:
    return any(isinstance(piece, Field) and piece.name == UNSUBSCRIBE_URL for piece in pieces)


# ── Headers ──


class _DateHeader:
    """The Date of a letter (RFC 5322, 3.3), written anew once a second."""

    def __init__(self) -> None:
        self._last: tuple[datetime | None, str] = (None, "")

    def __call__(self, now: datetime) -> str:
        second = now.replace(microsecond=0)
        known, text = self._last  # one look: another thread may write meanwhile
        if known != second:
            text = format_datetime(second)
            self._last = (second, text)
        return text


def _subject_maker(pieces: Pieces) -> _Reader:
    fields = [piece for piece in pieces if isinstance(piece, Field)]
    if not fields:
        fixed = header_text("".join(map(str, pieces)))
        return lambda _recipient, _link: fixed
    values = [_constant(tidy(piece)) if isinstance(piece, str) else _value_of(piece) for piece in pieces]

    def subject(recipient: Recipient, link: str) -> str:
        return _as_header("".join([value(recipient, link) for value in values]))

    return subject


def header_text(text: str) -> str:
    """One line of text as a header has it: as it is where that is possible, else in encoded words (RFC 2047).

    Folded lines continue with a blank. The name of the header before it may have up to 9 characters.
    """
    return _as_header(tidy(text))


def _as_header(text: str) -> str:
    if text.isascii() and "=?" not in text:
        if len(text) <= ROOM_OF_LINE:
            if text == text.strip():
                return text
        else:
            lines = textwrap.wrap(text, ROOM_OF_LINE, break_long_words=False, break_on_hyphens=False)
            if " ".join(lines) == text and max(map(len, lines)) <= LONGEST_PLAIN_WORD:
                return "\r\n ".join(lines)
    return _encoded_words(text)


def _encoded_words(text: str) -> str:
    """In base64, each word with whole characters only (RFC 2047, 5)."""
    data = text.encode()
    words, start = [], 0
    while start < len(data):
        end = start + BYTES_OF_ENCODED_WORD
        while end < len(data) and data[end] & 0xC0 == 0x80:  # the middle of a character in UTF-8
            end -= 1
        words.append(b2a_base64(data[start:end], newline=False))
        start = end
    return "=?utf-8?b?" + b"?=\r\n =?utf-8?b?".join(words).decode() + "?="


def _mailbox(sender: str) -> str:
    """An address with its name, as From has it (RFC 5322, 3.4)."""
    name, address = parseaddr(sender)
    address = envelope_address(address)
    if not name:
        return address
    if re.fullmatch(r"[\w !#$%&'*+/=?^`{|}~-]+", name, re.ASCII) and "=?" not in name:
        return f"{name} <{address}>"
    if name.isascii() and name.isprintable() and "=?" not in name:
        quoted = re.sub(r'(["\\])', r"\\\1", name)
        return f'"{quoted}" <{address}>'
    return f"{_encoded_words(tidy(name))} <{address}>"


# ── Values ──


def _constant(text: str) -> _Reader:
    return lambda _recipient, _link: text


def _value_of(field: Field) -> _Reader:
    """What reads this field's value, tidied; its default where that is empty."""
    read, default = _reader(field.name), field.default
    if field.name == UNSUBSCRIBE_URL:  # ours, and never empty
        return read

    def value(recipient: Recipient, link: str) -> str:
        return tidy(read(recipient, link)) or default

    return value


def _reader(name: str) -> _Reader:
    if name == UNSUBSCRIBE_URL:
        return lambda _recipient, link: link
    if name == "birth_year":
        return lambda recipient, _link: str(recipient.birth_year or "")
    if name.startswith(ATTRIBUTE):
        return _attribute_reader(name.removeprefix(ATTRIBUTE))
    readers: dict[str, _Reader] = {
        "first_name": lambda recipient, _link: recipient.first_name,
        "last_name": lambda recipient, _link: recipient.last_name,
        "patronymic": lambda recipient, _link: recipient.patronymic,
        "full_name": lambda recipient, _link: recipient.full_name,
        "email": lambda recipient, _link: recipient.email,
    }
    return readers[name]


def _attribute_reader(name: str) -> _Reader:
    def attribute(recipient: Recipient, _link: str) -> str:
        value = recipient.attributes.get(name)
        return "" if value is None else str(value)

    return attribute


# ── Parts ──


class _Body:
    """A letter after its first headers: what is fixed, with gaps where it differs."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._readers: list[_Reader] = []
        # Which reader, how its value is encoded, and what follows a value of mere letters, which encode to themselves.
        self._slots: list[tuple[int, Callable[[str], bytes], bytes]] = []
        self._numbers: dict[object, int] = {}
        self._gaps: list[tuple[int, int]] = []  # where in the pieces, and which slot comes there
        self._parts: list[tuple[int, _Base64Part]] = []

    def add(self, text: str) -> None:
        self._pieces.append(text.encode())

    def add_bytes(self, data: bytes) -> None:
        self._pieces.append(data)

    def add_gap(self, slot: int) -> None:
        self._gaps.append((len(self._pieces), slot))
        self._pieces.append(b"")

    def add_part(self, part: "_Base64Part") -> None:
        self._parts.append((len(self._pieces), part))
        self._pieces.append(b"")

    def slot(self, field: Field, kind: str, encode: Callable[[str], bytes]) -> int:
        """The number of the slot for this field; a field that comes again in the same way is filled in once."""
        key = (field.name, field.default, field.in_address, kind)
        if key not in self._numbers:
            self._numbers[key] = len(self._slots)
            self._slots.append((self._reader(field), encode, b"=\r\n" if "quoted" in kind else b""))
        return self._numbers[key]

    def _reader(self, field: Field) -> int:
        key = (field.name, field.default)
        if key not in self._numbers:
            self._numbers[key] = len(self._readers)
            self._readers.append(_value_of(field))
        return self._numbers[key]

    def filled(self, recipient: Recipient, link: str) -> bytes:
        found = [read(recipient, link) for read in self._readers]
        simple = [
            value.encode() if value.isalnum() and value.isascii() and len(value) < 75 else None for value in found
        ]
        values = [
            encode(found[reader]) if (letters := simple[reader]) is None else letters + soft_end
            for reader, encode, soft_end in self._slots
        ]
        pieces = self._pieces.copy()
        for place, slot in self._gaps:
            pieces[place] = values[slot]
        for place, part in self._parts:
            pieces[place] = part.filled(values)
        return b"".join(pieces)


def _write_part(body: _Body, subtype: str, pieces: Pieces) -> None:
    """One part, in whichever encoding is the shorter one for what all letters have in common."""
    literal = "".join(piece for piece in pieces if isinstance(piece, str))
    is_quoted = literal.isascii() or len(quoted_printable(literal)) <= len(_utf8(literal)) * 78 // 57
    encoding = "quoted-printable" if is_quoted else "base64"
    body.add(f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n")
    write = _write_quoted if is_quoted else _write_base64
    write(body, subtype, pieces)


def _write_quoted(body: _Body, subtype: str, pieces: Pieces) -> None:
    for piece in pieces:
        if isinstance(piece, str):
            body.add_bytes(quoted_printable(piece))
        elif subtype == "html":
            body.add_gap(body.slot(piece, "html, quoted", _one_after_the_other(encoder_of(piece), quoted_printable)))
        else:
            body.add_gap(body.slot(piece, "text, quoted", quoted_printable))


def _write_base64(body: _Body, subtype: str, pieces: Pieces) -> None:
    part = _Base64Part()
    for piece in pieces:
        if isinstance(piece, str):
            part.add(_utf8(piece))
        elif subtype == "html":
            part.add_gap(body.slot(piece, "html, plain", _one_after_the_other(encoder_of(piece), str.encode)))
        else:
            part.add_gap(body.slot(piece, "text, plain", str.encode))
    part.encode_literals()
    body.add_part(part)


def _one_after_the_other(fit: Callable[[str], str], encode: Callable[[str], bytes]) -> Callable[[str], bytes]:
    return lambda value: encode(fit(value))


def _utf8(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode(errors="replace")


def quoted_printable(text: str) -> bytes:
    """A piece of text that begins and ends at the beginning of a line (RFC 2045, 6.7).

    Where it has no line end of its own there is a soft one, so that pieces may be joined. A line has at most 76
    bytes, and none begins with a dot.
    """
    if text.isascii() and text.isprintable():
        if not text:
            return b""
        if len(text) <= 75 and "=" not in text and text[0] != ".":
            return text.encode() + b"=\r\n"
    # With a letter behind it, nothing in the text is the last byte, for which b2a_qp has other rules.
    lines = b2a_qp(text.encode(errors="replace") + b"x", istext=True)[:-1]
    if not lines.endswith(b"\n"):
        lines += b"=\n"
    # A blank before a line's end makes b2a_qp forget the line's length.
    lines = re.sub(rb"^(.{74,75})(=20|=09)$", rb"\1=\n\2", lines, flags=re.MULTILINE)
    lines = re.sub(rb"^\.+", lambda dots: b"=2E=\n" * len(dots[0]), lines, flags=re.MULTILINE)
    return lines.replace(b"\n", b"\r\n")


class _Base64Part:
    """A part in base64, whose literal pieces are encoded once although the values before them differ in length.

    Three bytes make a group of four letters. However long a value is, the literal that follows gives it the one or two
    bytes that complete its group, and goes on in groups of its own: so each literal is encoded for three cases.
    """

    def __init__(self) -> None:
        self._start = b""
        self._rest: list[tuple[int, bytes]] = []  # slots, and the literals behind them
        self._cases: list[tuple[int, tuple[_Case | None, ...], bytes]] = []

    def add(self, literal: bytes) -> None:
        if self._rest:
            slot, before = self._rest[-1]
            self._rest[-1] = (slot, before + literal)
        else:
            self._start += literal

    def add_gap(self, slot: int) -> None:
        self._rest.append((slot, b""))

    def encode_literals(self) -> None:
        """Call it once, when all is added."""
        whole = len(self._start) // 3 * 3
        self._first, self._first_tail = base64_lines(self._start[:whole]), self._start[whole:]
        self._cases = [(slot, tuple(_case_of(text, n) for n in range(3)), text) for slot, text in self._rest]

    def filled(self, values: Sequence[bytes]) -> bytes:
        encoded, pending = [self._first], self._first_tail
        for slot, cases, literal in self._cases:
            pending += values[slot]
            case = cases[-len(pending) % 3]
            if case is None:
                pending += literal
            else:
                encoded += (base64_lines(pending + case.head), case.middle)
                pending = case.tail
        encoded.append(base64_lines(pending))
        return b"".join(encoded)


@dataclass(frozen=True, slots=True)
class _Case:
    head: bytes  # completes the group before
    middle: bytes  # whole groups, encoded
    tail: bytes  # what is left for the next group


def _case_of(literal: bytes, missing: int) -> _Case | None:
    """The literal after a group to which so many bytes are missing; None when it has not that many itself."""
    if len(literal) < missing:
        return None
    end = len(literal) - (len(literal) - missing) % 3
    return _Case(literal[:missing], base64_lines(literal[missing:end]), literal[end:])


def base64_lines(data: bytes) -> bytes:
    """Lines of at most 76 letters, each with its CRLF (RFC 2045, 6.8)."""
    if len(data) <= BYTES_OF_BASE64_LINE:
        return b2a_base64(data, newline=False) + b"\r\n" if data else b""
    starts = range(0, len(data), BYTES_OF_BASE64_LINE)
    lines = [b2a_base64(data[start : start + BYTES_OF_BASE64_LINE], newline=False) for start in starts]
    return b"".join([line + b"\r\n" for line in lines])
