"""Whom a letter is from: a name of the owner's beside the service's own address, and where answers go.

The envelope's sender and the address in From are always the service's: those that its domain vouches for (SPF, DKIM).
"""

import re
import unicodedata

from flask_babel import gettext as _
from sqlalchemy import ColumnElement, case, func, literal

from app.auth.models import User
from app.delivery.models import Run
from app.errors import GolubError
from app.mailings.models import Mailing

LONGEST_NAME = 60  # characters
LONGEST_HEADER: int = Run.sender.type.length  # the column's
CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})  # Unicode's categories: what ends a line, and what is no text
# They turn the direction of what follows: an address after them could read as another one.
DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class BadName(GolubError):
    """The text can't stand before an address; says why."""


def parse_name(text: str) -> str:
    """The name as it is kept: in NFC, without blanks around it; it may be empty.

    What could end a header's line (RFC 5322, 2.2) is refused, not repaired. So is an @: mail programs take a name that
    looks like an address for a fraud.

    Raises:
        BadName: with a sentence for the person who wrote it.
    """
    name = unicodedata.normalize("NFC", text.strip(" "))
    if any(unicodedata.category(letter) in CONTROLS for letter in name) or DIRECTIONS.search(name):
        raise BadName(_("Write the name on one line, in letters that can be seen."))
    if "@" in name:
        raise BadName(_("Write a name, not an address: mail programs take such letters for a fraud."))
    if len(name) > LONGEST_NAME:
        raise BadName(_("At most %(most)s characters.", most=LONGEST_NAME))
    return name


def from_header(address: str) -> ColumnElement[str]:
    """What a run of the mailing freezes as its sender: `"Name" <address>`, or the address alone (RFC 5322, 3.4)."""
    name = func.replace(func.replace(Mailing.sender_name, "\\", "\\\\"), '"', '\\"')
    whole = literal('"') + name + literal(f'" <{address}>')
    is_alone = (Mailing.sender_name == "") | (func.length(whole) > LONGEST_HEADER)
    return case((is_alone, literal(address)), else_=whole)


def answers_to() -> ColumnElement[str]:
    """Where answers to a run of the mailing go; joined with its owner."""
    return case((Mailing.reply_to != "", Mailing.reply_to), else_=User.email)
