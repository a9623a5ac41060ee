"""Workbooks (XLSX, XLS, ODS) become CSV, in a process of their own: a small file may ask for all of the memory.

`python -m app.clients.workbook < FILE > CSV` is that process. It needs no settings and no database.
"""

import contextlib
import csv
import io
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from typing import Any, BinaryIO, cast

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from app.config import ROOT

SIGNATURES = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # a ZIP file, which CSV never begins like; an old Office document
MOST_MEMORY = 2 * 1024**3  # bytes: a full sheet of a million rows and a dozen columns takes half of it
MOST_CPU_SECONDS = 120
LONGEST_SECONDS = 300
MOST_OUTPUT = 1024**3  # bytes
UNREADABLE, NO_ROWS = 3, 4  # exit codes


class UnreadableWorkbook(Exception):
    """It is no workbook, is locked by a password, or asks for too much."""


def is_workbook(start: bytes) -> bool:
    """Whether a file that begins like this may be one."""
    return start.startswith(SIGNATURES)


@contextlib.contextmanager
def as_csv(book: BinaryIO) -> Iterator[BinaryIO]:
    """The first sheet with anything in it, as CSV in UTF-8, in a temporary file. `book` must be a real file.

    Raises:
        UnreadableWorkbook
    """
    with tempfile.TemporaryFile() as file:
        rows = cast("BinaryIO", file)
        book.seek(0)
        command = [sys.executable, "-m", "app.clients.workbook"]
        try:
            subprocess.run(  # noqa: S603  our own program, without arguments
                command,
                stdin=book,
                stdout=rows,
                stderr=subprocess.DEVNULL,
                cwd=ROOT,
                timeout=LONGEST_SECONDS,
                check=True,
            )
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
            raise UnreadableWorkbook from None
        rows.seek(0)
        yield rows


def main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_SECONDS, MOST_CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_OUTPUT, MOST_OUTPUT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(sys.stdin.buffer.read()))
        sheet = first_sheet(book)
    except (CalamineError, OSError, ValueError, MemoryError):
        return UNREADABLE
    if sheet is None:
        return NO_ROWS
    write_rows(sheet, io.TextIOWrapper(sys.stdout.buffer, "utf-8", "replace", newline=""))
    return 0


def first_sheet(book: CalamineWorkbook) -> CalamineSheet | None:
    """The first visible sheet that is not empty."""
    for index, about in enumerate(book.sheets_metadata):
        if about.typ is SheetTypeEnum.WorkSheet and about.visible is SheetVisibleEnum.Visible:
            sheet = book.get_sheet_by_index(index)
            if sheet.height:
                return sheet
    return None


def write_rows(sheet: CalamineSheet, target: io.TextIOWrapper) -> None:
    writer = csv.writer(target)
    # They begin with the first row, so they have the numbers that the spreadsheet shows.
    for row in sheet.iter_rows():
        writer.writerow(cells_of(row))
    target.flush()


def cells_of(row: Sequence[Any]) -> list[str]:
    """The cells as people see them; of a formula, what came out of it when the file was saved."""
    return [cell if cell.__class__ is str else _as_text(cell) for cell in row]


def _as_text(cell: Any) -> str:
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == time() else cell.isoformat(" ", "seconds")
    return cell.isoformat() if isinstance(cell, date | time) else str(cell)


if __name__ == "__main__":
    sys.exit(main())
