"""What the columns of a file are, and what a row of it becomes."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import orjson
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from app.addresses import parse_address, plain_address
from app.clients import fields
from app.clients.fields import ATTRIBUTE_NAME, BadField
from app.clients.models import KnownClients
from app.csv_text import as_written
from app.errors import RuleBroken

IGNORED = ""
ATTRIBUTE = "attribute:"  # followed by its name
VALUES_KEPT = 10_000

# What a column can be, and what people call it, in any case; "_", "-" and dots there count as blanks.
HEADINGS = {
    "email": (
        "email",
        "e mail",
        "e mail address",
        "email address",
        "mail",
        "почта",
        "эл почта",
        "электронная почта",
        "адрес электронной почты",
        "емейл",
    ),
    "last_name": ("last name", "lastname", "surname", "family name", "фамилия"),
    "first_name": ("first name", "firstname", "given name", "name", "имя"),
    "patronymic": ("patronymic", "middle name", "middlename", "отчество"),
    "full_name": ("full name", "фио", "ф и о", "фамилия имя отчество", "фамилия имя"),
    "birth_year": (
        "birth year",
        "year of birth",
        "born",
        "birthday",
        "birth date",
        "birthdate",
        "date of birth",
        "год рождения",
        "дата рождения",
        "день рождения",
    ),
    "tags": ("tags", "tag", "теги", "тег", "метки"),
    "comment": ("comment", "comments", "note", "notes", "комментарий", "комментарии", "примечание", "заметки"),
}
COLUMN_OF = {heading: column for column, headings in HEADINGS.items() for heading in headings}
LABELS = {
    "email": _l("E-mail"),
    "last_name": _l("Last name"),
    "first_name": _l("First name"),
    "patronymic": _l("Patronymic"),
    "full_name": _l("Last name, first name, patronymic in one"),
    "birth_year": _l("Birth year or date"),
    "tags": _l("Tags"),
    "comment": _l("Comment"),
}
DATE = re.compile(r"(?:(\d{4})[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./](\d{4}))(?:[ T].*)?", re.ASCII)
LATIN_LETTERS = "a b v g d e e zh z i y k l m n o p r s t u f kh ts ch sh shch  y  e yu ya"
LATIN = dict(zip("абвгдеёжзийклмнопрстуфхцчшщъыьэюя", LATIN_LETTERS.split(" "), strict=True))


class Taken(NamedTuple):
    """What a row says about a client. attributes: JSON. tags: a number of `RowReader.tag_sets`."""

    email: str
    email_key: str
    last_name: str
    first_name: str
    patronymic: str
    birth_year: int | None
    comment: str
    attributes: str
    tag_set: int


class BadColumns(RuleBroken):
    """The columns can't be what they are said to be; says why."""


def guess(heading: str) -> str:
    """What a column with this heading is; IGNORED when nobody knows."""
    words = re.sub(r"[\W_]+", " ", unicodedata.normalize("NFC", heading[:200])).casefold().split()
    return COLUMN_OF.get(" ".join(words), IGNORED)


def guess_all(headings: Sequence[str], attributes: Iterable[str] = ()) -> list[str]:
    """What the columns are; of two that seem to be the same the first one is. attributes: names that are in use."""
    known = {name.casefold(): name for name in attributes}
    guessed: list[str] = []
    for heading in headings:
        column = guess(heading)
        if not column and (name := known.get(heading.strip().casefold())):
            column = ATTRIBUTE + name
        guessed.append(column if column not in guessed else IGNORED)
    return guessed


def guess_by_cells(cells: Sequence[str]) -> list[str]:
    """The same for a file without headings: the first cell that is an address is the address."""
    addresses = [plain_address(cell.strip()) is not None for cell in cells]
    first = addresses.index(True) if any(addresses) else -1
    return ["email" if index == first else IGNORED for index in range(len(cells))]


def attribute_name(heading: str) -> str:
    """A name for an attribute, made of what people call the column: «Город» → gorod."""
    latin = "".join(LATIN.get(letter, letter) for letter in heading[:200].casefold())
    plain = unicodedata.normalize("NFKD", latin).encode("ascii", "ignore").decode()
    name = re.sub(r"\W+", "_", plain).strip("_")[:40]
    return name if ATTRIBUTE_NAME.fullmatch(name) else ""


def check(columns: Sequence[str]) -> None:
    """Raises: BadColumns."""
    used = [column for column in columns if column]
    if "email" not in used:
        raise BadColumns(_("Say which column has the e-mail addresses."))
    for column in used:
        if column.startswith(ATTRIBUTE):
            name = column.removeprefix(ATTRIBUTE)
            if not ATTRIBUTE_NAME.fullmatch(name):
                raise BadColumns(
                    _(
                        "“%(name)s” can't be the name of an attribute: it begins with a Latin letter, and has up to 40 "
                        "Latin letters, digits and “_”.",
                        name=name,
                    )
                )
        elif column not in HEADINGS:
            raise BadColumns(_("Choose one of the offered columns."))
    if twice := next((column for column in used if used.count(column) > 1), None):
        raise BadColumns(_("Two columns can't both be “%(name)s”.", name=label_of(twice)))
    if "full_name" in used and {"last_name", "first_name", "patronymic"} & set(used):
        raise BadColumns(_("Take the names from one column, or from several, not from both."))
    if sum(column.startswith(ATTRIBUTE) for column in used) > fields.MOST_ATTRIBUTES:
        raise BadColumns(_("A client can have at most %(limit)s attributes.", limit=fields.MOST_ATTRIBUTES))


def label_of(column: str) -> str:
    return column.removeprefix(ATTRIBUTE) if column.startswith(ATTRIBUTE) else str(LABELS[column])


class RowReader:
    """Makes clients of rows, many thousands a second: what occurs often is read once."""

    def __init__(self, columns: Sequence[str], tags: Sequence[str] = ()) -> None:
        """columns: see `check`. tags: what all get."""
        self._width = len(columns)
        at = {column: index for index, column in enumerate(columns) if column}
        # The cell after the last one is empty: what the file does not tell is found there.
        self._email, self._birth_year, self._comment, self._tags, self._full_name = (
            at.get(column, self._width) for column in ("email", "birth_year", "comment", "tags", "full_name")
        )
        self._names = [at.get(column, self._width) for column in ("last_name", "first_name", "patronymic")]
        self._has_full_name = "full_name" in at
        self._attributes = [
            (column.removeprefix(ATTRIBUTE), index) for column, index in at.items() if column.startswith(ATTRIBUTE)
        ]
        self._tags_of_all = tuple(tags)
        self._numbers: dict[tuple[str, ...], int] = {}
        self._one_line = lru_cache(VALUES_KEPT)(_one_line)
        self._value = lru_cache(VALUES_KEPT)(partial(_one_line, longest=fields.LONGEST_VALUE))
        self._year = lru_cache(500)(_birth_year)
        self._tag_set = lru_cache(VALUES_KEPT)(self._number_of)

    @property
    def tag_sets(self) -> list[tuple[str, ...]]:
        """The tags that belong to each number."""
        return list(self._numbers)

    def forget_tags(self) -> None:
        """Begin to count anew."""
        self._numbers.clear()
        self._tag_set.cache_clear()

    def email_of(self, cells: Sequence[str]) -> str:
        return cells[self._email] if self._email < len(cells) else ""

    def read(self, cells: list[str]) -> Taken:
        """Raises: GolubError, with the reason why the row can't be taken. `cells` must not be used any more."""
        if len(cells) == self._width:
            cells.append("")
        else:
            self._make_fit(cells)
        email, key = plain_address(cells[self._email]) or _address(cells[self._email])
        if self._has_full_name:
            last_name, first_name, patronymic = self._split_name(cells[self._full_name])
        else:
            last_name, first_name, patronymic = [self._one_line(cells[index]) for index in self._names]
        comment = cells[self._comment]
        return Taken(
            email,
            key,
            last_name,
            first_name,
            patronymic,
            self._year(cells[self._birth_year]),
            _many_lines(comment) if comment else "",
            self._attributes_of(cells) if self._attributes else "{}",
            self._tag_set(cells[self._tags]),
        )

    def merge(self, earlier: Taken, later: Taken, known: KnownClients) -> Taken:
        """What two rows with one address say together: as if the first one were in the address book already."""
        if known is KnownClients.SKIP:
            return earlier
        over, under = (later, earlier) if known is KnownClients.UPDATE else (earlier, later)
        sets = self.tag_sets
        tags = fields.distinct(sets[earlier.tag_set] + sets[later.tag_set])
        return Taken(
            earlier.email,
            earlier.email_key,
            over.last_name or under.last_name,
            over.first_name or under.first_name,
            over.patronymic or under.patronymic,
            over.birth_year or under.birth_year,
            over.comment or under.comment,
            orjson.dumps(orjson.loads(under.attributes) | orjson.loads(over.attributes)).decode(),
            self._numbers.setdefault(tags, len(self._numbers)),
        )

    def _make_fit(self, cells: list[str]) -> None:
        if any(map(str.strip, cells[self._width :])):
            # Some value has the delimiter in it, and no quotation marks around: what follows is one column off.
            raise BadField(_("The row has more values than the file has columns."))
        cells[self._width :] = [""] * max(self._width + 1 - len(cells), 1)

    def _split_name(self, cell: str) -> list[str]:
        words = self._value(cell).split(" ", 2)
        return [fields.one_line(word) for word in (*words, "", "")[:3]]

    def _attributes_of(self, cells: Sequence[str]) -> str:
        found = {name: value for name, index in self._attributes if (value := self._value(cells[index]))}
        return orjson.dumps(found).decode()

    def _number_of(self, cell: str) -> int:
        tags = fields.distinct((*self._tags_of_all, *fields.parse_tags(as_written(cell))))
        if len(tags) > fields.MOST_TAGS:
            raise BadField(_("A client can have at most %(limit)s tags.", limit=fields.MOST_TAGS))
        return self._numbers.setdefault(tags, len(self._numbers))


def _address(cell: str) -> tuple[str, str]:
    address = parse_address(as_written(cell.strip()))
    return address.email, address.key


def _one_line(cell: str, longest: int = fields.LONGEST_NAME) -> str:
    return fields.one_line(as_written(cell), longest)


def _many_lines(cell: str) -> str:
    if cell.isascii() and cell.isprintable() and len(cell) <= fields.LONGEST_COMMENT and cell[0] != "'":
        return cell.strip()
    return fields.many_lines(as_written(cell))


def _birth_year(cell: str) -> int | None:
    """A year, or that of a date as people and spreadsheets write them."""
    text = cell.strip()
    date = DATE.fullmatch(text)
    return fields.parse_birth_year((date[1] or date[2]) if date else text)
