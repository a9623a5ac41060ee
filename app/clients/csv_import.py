"""Clients from a CSV file, as spreadsheets write them in English and in Russian."""

import codecs
import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, BinaryIO, NamedTuple

from flask_babel import gettext as _
from sqlalchemy import insert

from app.addresses import parse_address
from app.auth.models import User
from app.clients import fields, service
from app.clients.fields import BadField
from app.clients.models import Client, client_tag
from app.clients.service import ClientData
from app.database import insert_or_ignore
from app.errors import GolubError, RuleBroken
from app.extensions import db

CHUNK_ROWS = 1000
DELIMITERS = ",;\t"
LONGEST_HEADER = 10_000  # characters

# What people call the columns, in any case; "_" and "-" there count as blanks.
HEADERS = {
    "email": (
        "email",
        "e mail",
        "e mail address",
        "email address",
        "почта",
        "эл. почта",
        "электронная почта",
    ),
    "last_name": ("last name", "surname", "family name", "фамилия"),
    "first_name": ("first name", "given name", "name", "имя"),
    "patronymic": ("patronymic", "middle name", "отчество"),
    "birth_year": ("birth year", "year of birth", "год рождения"),
    "comment": ("comment", "comments", "note", "notes", "комментарий", "примечание"),
    "tags": ("tags", "tag", "теги", "тег", "метки"),
}
COLUMN_OF = {header: column for column, headers in HEADERS.items() for header in headers}


class UnusableFile(RuleBroken):
    """The file as a whole can't be imported; says why."""


@dataclass(frozen=True)
class BadRow:
    number: int  # as a spreadsheet counts: the header is row 1
    reason: str


@dataclass
class ImportReport:
    added: int = 0
    skipped: int = 0  # in the address book already, or twice in the file
    bad: list[BadRow] = field(default_factory=list)


class _Row(NamedTuple):
    number: int
    cells: list[str]  # none: it could not be read


class _Columns(NamedTuple):
    known: dict[str, int]  # which cell holds which column
    width: int


def import_csv(owner: User, stream: BinaryIO) -> ImportReport:
    """Add the clients in the file to the owner's address book; those who are there already stay as they are.

    The first row names the columns; only the one with the addresses must be there. The text is UTF-8, UTF-16 with
    its mark, or else Windows-1251. A bad row is reported and stops nothing. `stream` must be seekable; the caller
    commits.

    Raises:
        UnusableFile: when the file is empty, or no column is named as the one with the addresses.
    """
    text = io.TextIOWrapper(stream, _encoding(stream), errors="replace", newline="")
    try:
        return _import_rows(owner, text)
    finally:
        text.detach()  # or it would close the caller's file


def _import_rows(owner: User, text: io.TextIOWrapper) -> ImportReport:
    rows = _rows(text, _delimiter(text))
    columns = _columns(next(rows, _Row(1, [])).cells)
    report = ImportReport()
    clients = _clients(rows, columns, report)
    service.lock_tags(owner.id)
    while chunk := list(islice(clients, CHUNK_ROWS)):
        added = _add(owner, chunk)
        report.added += added
        report.skipped += len(chunk) - added
    return report


def _encoding(stream: BinaryIO) -> str:
    if stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        encoding = "utf-16"
    else:
        encoding = "utf-8-sig" if _is_utf8(stream) else "windows-1251"
    stream.seek(0)
    return encoding


def _is_utf8(stream: BinaryIO) -> bool:
    stream.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while block := stream.read(1 << 20):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _delimiter(text: io.TextIOWrapper) -> str:
    """The one that makes the most known columns of the header.

    csv.Sniffer guesses by how evenly characters are spread, and commas in comments lead it astray; the
    header, which must be there anyway, says it for certain.
    """
    header = text.readline()[:LONGEST_HEADER]
    text.seek(0)

    def known(delimiter: str) -> int:
        return len(_known_columns(next(csv.reader([header], delimiter=delimiter), [])))

    return max(DELIMITERS, key=known)


def _known_columns(header: Sequence[str]) -> dict[str, int]:
    """Which cell of a row holds which column. Of two columns with one name the first counts."""
    known: dict[str, int] = {}
    for index, cell in enumerate(header):
        words = unicodedata.normalize("NFC", cell).casefold().replace("_", " ").replace("-", " ").split()
        if column := COLUMN_OF.get(" ".join(words)):
            known.setdefault(column, index)
    return known


def _columns(header: Sequence[str]) -> _Columns:
    known = _known_columns(header)
    if "email" not in known:
        raise UnusableFile(
            _("The first row of the file must name its columns, and one of them must be “email” or “почта”.")
        )
    return _Columns(known, len(header))


def _rows(text: Iterable[str], delimiter: str) -> Iterator[_Row]:
    """The rows that are not blank; those that are no CSV come without cells."""
    # Strict: else a quote that is never closed would swallow the rows after it in silence.
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    for number in count(1):
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield _Row(number, [])
        else:
            if any(cell.strip() for cell in cells):
                yield _Row(number, cells)


def _clients(rows: Iterable[_Row], columns: _Columns, report: ImportReport) -> Iterator[ClientData]:
    """The good rows; the bad ones go into the report."""
    for row in rows:
        try:
            yield _client(row.cells, columns)
        except GolubError as error:
            report.bad.append(BadRow(row.number, str(error)))


def _client(cells: Sequence[str], columns: _Columns) -> ClientData:
    if not cells:
        raise BadField(_("The quotation marks in this row don't match."))
    if any(cell.strip() for cell in cells[columns.width :]):
        # Some value has the delimiter in it, and no quotation marks around: what follows is one column off.
        raise BadField(_("The row has more values than the file has columns."))

    def cell(column: str) -> str:
        index = columns.known.get(column)
        return cells[index] if index is not None and index < len(cells) else ""

    return ClientData(
        address=parse_address(cell("email")),
        last_name=fields.one_line(cell("last_name")),
        first_name=fields.one_line(cell("first_name")),
        patronymic=fields.one_line(cell("patronymic")),
        birth_year=fields.parse_birth_year(cell("birth_year")),
        comment=fields.many_lines(cell("comment")),
        tags=fields.parse_tags(cell("tags")),
    )


def _add(owner: User, chunk: Sequence[ClientData]) -> int:
    """Insert those who are new, and say how many."""
    names = [name for data in chunk for name in data.tags]
    tag_ids = {tag.name.casefold(): tag.id for tag in service.tags_named(owner.id, names)}
    statement = insert_or_ignore(Client.__table__, db.session).returning(Client.id, Client.email_key)
    inserted = db.session.execute(statement, [_columns_of(owner, data) for data in chunk]).all()
    first = {data.address.key: data for data in reversed(chunk)}  # of two rows with one address it was the first
    worn = [
        {"client_id": client_id, "tag_id": tag_ids[name.casefold()]}
        for client_id, email_key in inserted
        for name in first[email_key].tags
    ]
    if worn:
        db.session.execute(insert(client_tag), worn)
    return len(inserted)


def _columns_of(owner: User, data: ClientData) -> dict[str, Any]:
    return {
        "owner_id": owner.id,
        "email": data.address.email,
        "email_key": data.address.key,
        "last_name": data.last_name,
        "first_name": data.first_name,
        "patronymic": data.patronymic,
        "birth_year": data.birth_year,
        "comment": data.comment,
    }
