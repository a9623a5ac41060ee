"""What people write about a client, in a form or a file: read, tidied, and refused with a reason.

Every function raises `BadField`, whose text is a sentence for the person who wrote it.
"""

import re
import unicodedata
from collections.abc import Iterable
from datetime import date

from flask_babel import gettext as _

from app import clock
from app.addresses import parse_address
from app.errors import RuleBroken
from app.texts import composed

LONGEST_NAME = 100
LONGEST_COMMENT = 5000
LONGEST_TAG = 50
MOST_TAGS = 20
LONGEST_VALUE = 500
MOST_ATTRIBUTES = 30
FIRST_YEAR = 1900
LAST_YEAR = 2100

ATTRIBUTE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
JOINERS = "\u200c\u200d"  # the only invisible characters that spelling needs, in Persian and Hindi
UNREADABLE = "\ufffd"  # what a decoder writes for bytes that it could not read


class BadField(RuleBroken):
    """The text does not fit this field; says why."""


def one_line(text: str, longest: int = LONGEST_NAME) -> str:
    """The text on one line, composed (NFC), with single blanks, and without invisible characters."""
    return _checked(" ".join(text.split()), longest)


def many_lines(text: str, longest: int = LONGEST_COMMENT) -> str:
    """The same for a text that may have line breaks and tabs; they end as `\\n`."""
    return "\n".join(_checked(line.rstrip(), longest) for line in _shorter(text.strip(), longest).splitlines())


def _checked(text: str, longest: int) -> str:
    try:
        text = composed(text)
    except ValueError:
        raise BadField(_("Too many accents stand on one letter. Please write the text anew.")) from None
    if not text.isprintable():
        text = "".join(letter for letter in text if letter in JOINERS or unicodedata.category(letter) != "Cf")
        if any(unicodedata.category(letter) == "Cc" and letter != "\t" for letter in text):
            raise BadField(_("There are control characters in the text. Please write it anew."))
        # A lone surrogate is a byte that could not be read: see app.clients.csv_reading.
        text = "".join(UNREADABLE if unicodedata.category(letter) == "Cs" else letter for letter in text)
    if UNREADABLE in text:
        raise BadField(_("Some characters could not be read. Please write the text anew."))
    return _shorter(text, longest)


def _shorter(text: str, longest: int) -> str:
    if len(text) > longest:
        raise BadField(_("Please write at most %(limit)s characters.", limit=longest))
    return text


def parse_birth_year(text: str) -> int | None:
    """A year from 1900 to the present one; None for an empty text."""
    text = text.strip()
    if not text:
        return None
    this_year = clock.now().year
    if not (text.isascii() and text.isdigit() and len(text) == 4 and FIRST_YEAR <= int(text) <= this_year):
        raise BadField(
            _(
                "Write a year from %(first)s to %(last)s, such as 1985.",
                first=str(FIRST_YEAR),
                last=str(this_year),
            )
        )
    return int(text)


def parse_day(text: str) -> date | None:
    """A day as browsers send it, `2026-12-31`, from 1900 to 2100; None for an empty text."""
    text = text.strip()
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise BadField(_("Write a day as year-month-day, such as 2026-12-31.")) from None
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise BadField(_("Write a year from %(first)s to %(last)s.", first=str(FIRST_YEAR), last=str(LAST_YEAR)))
    return day


def parse_domain(text: str) -> str | None:
    """The domain of e-mail addresses, as `app.addresses` writes it; None for an empty text."""
    domain = text.strip().removeprefix("@")
    if not domain:
        return None
    return parse_address(f"someone@{domain}").email.partition("@")[2]


def parse_tags(text: str) -> tuple[str, ...]:
    """Tags between commas or semicolons; each once, whatever its case, in the spelling that came first."""
    tags = distinct(one_line(part, LONGEST_TAG) for part in re.split("[,;\n]", text))
    if len(tags) > MOST_TAGS:
        raise BadField(_("A client can have at most %(limit)s tags.", limit=MOST_TAGS))
    return tags


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """The names that are not empty, each once, whatever its case."""
    by_key: dict[str, str] = {}
    for name in filter(None, names):
        by_key.setdefault(name.casefold(), name)
    return tuple(by_key.values())


def parse_attributes(text: str) -> dict[str, str]:
    """Attributes, one a line, as `name: value`."""
    attributes: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            name, value = _attribute(line, number)
            if name in attributes:
                raise BadField(_("Line %(line)s: “%(name)s” is there already.", line=number, name=name))
            attributes[name] = value
    if len(attributes) > MOST_ATTRIBUTES:
        raise BadField(_("A client can have at most %(limit)s attributes.", limit=MOST_ATTRIBUTES))
    return attributes


def _attribute(line: str, number: int) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    name = name.strip()
    if not colon:
        raise BadField(_("Line %(line)s: write a name, a colon and a value, such as “city: Tver”.", line=number))
    if not ATTRIBUTE_NAME.fullmatch(name):
        why = _("a name begins with a Latin letter, and has up to 40 Latin letters, digits and “_”.")
        raise BadField(_("Line %(line)s: %(why)s", line=number, why=why))
    try:
        return name, one_line(value, LONGEST_VALUE)
    except BadField as error:
        raise BadField(_("Line %(line)s: %(why)s", line=number, why=str(error))) from None


def attributes_as_text(attributes: dict[str, str]) -> str:
    """The same as `parse_attributes` reads."""
    return "\n".join(f"{name}: {value}" for name, value in attributes.items())
