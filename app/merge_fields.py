"""Merge fields: the closed list of words, such as {{ first_name }}, that a letter fills in for each recipient.

There is no template language behind them. A text is cut into literal pieces and fields once, and nothing that people
wrote is ever run.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from html import escape, unescape
from urllib.parse import quote

from flask_babel import gettext as _

from app.errors import RuleBroken

UNSUBSCRIBE_URL = "unsubscribe_url"
NAMES = ("first_name", "last_name", "patronymic", "full_name", "email", "birth_year", UNSUBSCRIBE_URL)
ATTRIBUTE = "attributes."
LONGEST_ATTRIBUTE = 100  # characters of its name

_BRACES = re.compile(r"\{\{|\}\}")
# Editors leave zero-width ones behind. All that repeats in a field is possessive: what does not fit costs one look.
_BLANKS = r"[\s\u200b\ufeff]*+"
_QUOTES = '"“”„‟«»'
_FIELD = re.compile(
    rf"{_BLANKS}([^\s\u200b\ufeff|]*+){_BLANKS}"
    rf"(?:\|{_BLANKS}default{_BLANKS}:{_BLANKS}(?:[{_QUOTES}]([^{_QUOTES}]*+)[{_QUOTES}]|'([^'\"]*+)'){_BLANKS})?"
)
_TAG = re.compile(r"<[A-Za-z/!?]")
_SPLIT_BRACES = re.compile(r"\{(?:<[^<>]*>)+\{")
_ADDRESS = re.compile(r"\b(?:href|src)\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s>]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Field:
    """One place that is filled in."""

    name: str
    default: str  # what an empty value becomes
    position: int  # in the text that it stands in, in characters
    in_address: bool = False  # within an href or src of HTML


Pieces = list[str | Field]


class BadField(RuleBroken):
    """Something between {{ and }} is no field. Its text says where, and what would be right."""

    def __init__(self, why: str, text: str, position: int) -> None:
        self.why = why
        self.position = position
        self.line = text.count("\n", 0, position) + 1
        self.column = position - text.rfind("\n", 0, position)
        super().__init__(_("Line %(line)s, column %(column)s: %(why)s", line=self.line, column=self.column, why=why))


def parse(text: str, *, html: bool = False) -> Pieces:
    """Literal texts and fields in their order; in HTML quotes and blanks may be written as entities.

    Takes time in proportion to the text, whatever is in it.

    Raises:
        BadField: at the first {{ that begins no field of the list.
    """
    if html and (split := _SPLIT_BRACES.search(text)):
        raise BadField(_formatting_inside(), text, split.start())
    return list(_pieces(text, html=html, strict=True))


def parse_leniently(text: str, *, html: bool = False) -> Pieces:
    """The same for texts that are older than the rules: what is no field stays as it is written."""
    return list(_pieces(text, html=html, strict=False))


def fill(text: str, value_of: Callable[[Field], str], *, html: bool = False) -> str:
    """The text with its fields filled in; what is no field stays as it is written."""
    pieces = parse_leniently(text, html=html)
    return "".join(piece if isinstance(piece, str) else _filled(piece, value_of(piece), html=html) for piece in pieces)


def _filled(field: Field, value: str, *, html: bool) -> str:
    value = tidy(value) or field.default
    return encoder_of(field)(value) if html else value


def encoder_of(field: Field) -> Callable[[str], str]:
    """What makes a value fit for its place in HTML: escaped, and percent-encoded within an address (RFC 3986, 2.1)."""
    return _percent_encoded if field.in_address and field.name != UNSUBSCRIBE_URL else escape


def _percent_encoded(value: str) -> str:
    return quote(value, safe="@")  # which is allowed in paths and queries, and needed after mailto:


def tidy(value: str) -> str:
    """A value on one line, in NFC: line ends and other control characters become blanks."""
    if value.isprintable() and (value.isascii() or unicodedata.is_normalized("NFC", value)):
        return value
    value = unicodedata.normalize("NFC", value)
    return re.sub(r"\r\n|[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", " ", value)


def sample_of(field: Field) -> str:
    """What a preview shows in the field's place."""
    samples = {
        "first_name": _("Anna"),
        "last_name": _("Petrova"),
        "patronymic": _("Sergeyevna"),
        "full_name": _("Petrova Anna Sergeyevna"),
        "email": "anna@example.com",
        "birth_year": "1990",
        UNSUBSCRIBE_URL: "https://example.com/unsubscribe",
    }
    return samples.get(field.name) or field.default or f"[{field.name.removeprefix(ATTRIBUTE)}]"


# ── Reading ──


def _pieces(text: str, *, html: bool, strict: bool) -> Iterator[str | Field]:
    addresses = _Addresses(text) if html else None
    written = 0  # how far the text has been given out
    for opened, closed in _pairs_of_braces(text, strict=strict):
        found = _field(text, opened, closed, addresses)
        if isinstance(found, Field):
            if written < opened:
                yield text[written:opened]
            yield found
            written = closed + 2
        elif strict:
            raise BadField(found(), text, opened)
    if written < len(text):
        yield text[written:]


def _pairs_of_braces(text: str, *, strict: bool) -> Iterator[tuple[int, int]]:
    """Where the {{ and }} stand that belong together."""
    opened: int | None = None
    for braces in _BRACES.finditer(text):
        if braces[0] == "}}":
            if opened is not None:
                yield opened, braces.start()
            opened = None
        elif opened is not None and strict:
            break
        else:
            opened = braces.start()
    if strict and opened is not None:
        raise BadField(_("“{{” begins a field, and “}}” has to end it."), text, opened)


class _Addresses:
    """Where in an HTML text the values of href and src stand."""

    def __init__(self, html: str) -> None:
        spans = [match.span() for match in _ADDRESS.finditer(html)]
        self._starts = [start for start, _end in spans]
        self._ends = [end for _start, end in spans]

    def hold(self, position: int) -> bool:
        number = bisect_right(self._starts, position) - 1
        return number >= 0 and position < self._ends[number]


def _field(text: str, opened: int, closed: int, addresses: _Addresses | None) -> Field | Callable[[], str]:
    """The field, or what says why it is none: putting that into words takes longer than reading thousands."""
    source = text[opened + 2 : closed]
    if addresses is not None:
        source = unescape(source)
        if _TAG.search(source):
            return _formatting_inside
    match = _FIELD.fullmatch(source)
    if match is None or not match[1]:
        return _misshapen
    name = unicodedata.normalize("NFC", match[1]) if len(match[1]) <= LONGEST_ATTRIBUTE * 2 else match[1]
    if name not in NAMES and not _is_attribute(name):
        return partial(_unknown, name)
    in_address = addresses is not None and addresses.hold(opened)
    return Field(name, tidy(match[2] or match[3] or ""), opened, in_address)


def _is_attribute(name: str) -> bool:
    word = name.removeprefix(ATTRIBUTE)
    return word != name and 0 < len(word) <= LONGEST_ATTRIBUTE and all(map(_belongs_in_name, word))


def _belongs_in_name(letter: str) -> bool:
    # Many scripts write vowels as marks.
    return letter.isalnum() or letter in "_-" or unicodedata.category(letter).startswith("M")


def _misshapen() -> str:
    return _('a field looks like {{ first_name }} or {{ first_name | default: "friend" }}.')


def _formatting_inside() -> str:
    return _("there is formatting inside a field. Write it anew, in one piece, such as {{ first_name }}.")


def _unknown(name: str) -> str:
    shown = name if len(name) <= 40 else name[:40] + "…"
    if name.startswith(ATTRIBUTE):
        return _("“%(name)s” is no attribute: its name has letters, digits, “_” and “-” only.", name=shown)
    near = get_close_matches(name[:40].lower().replace("-", "_"), NAMES, n=1)
    if near:
        return _("there is no field “%(name)s”. Did you mean “%(near)s”?", name=shown, near=near[0])
    return _(
        "there is no field “%(name)s”. There are %(names)s and attributes.NAME.", name=shown, names=", ".join(NAMES)
    )
