"""CSV as spreadsheets write it: found out how it is written, and read in portions that can be continued anywhere."""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

DELIMITERS = ",;\t|"
# What the guess chooses from, and the reader of the page. The name in Python, and the one for people.
ENCODINGS = {
    "utf-8": "UTF-8",
    "utf-16-le": "UTF-16 LE",
    "utf-16-be": "UTF-16 BE",
    "cp1251": "Windows-1251",
    "koi8-r": "KOI8-R",
    "cp1252": "Latin-1 (Windows-1252)",
}
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
CYRILLIC = ("cp1251", "koi8-r")
OFTEN = set("оеаинтсрвлкмдпу")  # four letters of five in Russian, and about as many in its neighbours
WORD = re.compile(r"[^\W\d_]+")
# Bytes that can't be read come as lone surrogates, so that text and bytes can be told to each other exactly.
UNREADABLE_BYTES = {"utf-8": "surrogateescape", "utf-16-le": "surrogatepass", "utf-16-be": "surrogatepass"}
SAMPLE_BYTES = 256 * 1024
BLOCK_BYTES = 1024 * 1024
ROWS_LOOKED_AT = 20
SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)  # what Excel writes first, and reads


class Layout(NamedTuple):
    """How a file is written. begins_at: the byte where its first row begins."""

    encoding: str
    delimiter: str
    begins_at: int


class Row(NamedTuple):
    """cells: None when the row is no CSV."""

    number: int
    cells: list[str] | None


@dataclass(frozen=True)
class Place:
    """Where the reading is: the byte where the next row begins, and its number, as a spreadsheet counts."""

    position: int
    number: int = 1


def layout_of(stream: BinaryIO, is_heading: Callable[[str], bool]) -> Layout:
    """How the file in `stream`, which must be seekable, is written.

    is_heading: whether a cell of the first row is known to name a column.
    """
    stream.seek(0)
    start = stream.read(SAMPLE_BYTES)
    encoding, begins_at = _encoding(stream, start)
    text = decode(start[begins_at:], encoding, is_whole=len(start) < SAMPLE_BYTES)
    if separator := SEPARATOR_LINE.match(text):
        return Layout(encoding, separator[1], begins_at + len(encode(separator[0], encoding)))
    return Layout(encoding, _delimiter(text, is_heading), begins_at)


def _encoding(stream: BinaryIO, start: bytes) -> tuple[str, int]:
    for mark, encoding in MARKS.items():
        if start.startswith(mark):
            return encoding, len(mark)
    if 0 in start:
        # Of a letter's two bytes the higher one is 0, or 4 in Cyrillic.
        for encoding, higher in (("utf-16-le", start[1:1000:2]), ("utf-16-be", start[0:1000:2])):
            if sum(byte in (0, 4) for byte in higher) > 0.8 * len(higher):
                return encoding, 0
    telling = _telling_lines(stream)
    if telling is None:
        return "utf-8", 0
    return max((*CYRILLIC, "cp1252"), key=lambda encoding: _sense_in(telling, encoding)), 0


def _sense_in(data: bytes, encoding: str) -> int:
    """How much these bytes look like words in this encoding.

    In the wrong one of the two Cyrillic ones capitals and small letters change places, and rare letters become
    frequent; Latin words have a letter of the other script in their midst.
    """
    words = WORD.findall(data.decode(encoding, "replace"))
    return sum(_sense(word, is_cyrillic=encoding in CYRILLIC) for word in words if not word.isascii())


def _sense(word: str, *, is_cyrillic: bool) -> int:
    """How many of the word's letters speak for it; below zero, when it is none."""
    if not (word.islower() or word.istitle() or word.isupper()):
        return -len(word)
    if not is_cyrillic:
        return len(word) if 2 * sum(letter.isascii() for letter in word) >= len(word) else -len(word)
    if not all("\u0400" <= letter <= "\u04ff" for letter in word):
        return -len(word)
    return sum(letter in OFTEN for letter in word.lower())


def _telling_lines(stream: BinaryIO) -> bytes | None:
    """Of a file that is no UTF-8, its first lines with letters outside ASCII; None for one that is."""
    stream.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines, size, is_utf8 = [], 0, True
    while block := stream.read(BLOCK_BYTES):
        if not block.isascii() and size < SAMPLE_BYTES:
            lines += [line for line in block.splitlines() if not line.isascii()]
            size = sum(map(len, lines))
        is_utf8 = is_utf8 and _decodes(decoder, block)
        if not is_utf8 and size >= SAMPLE_BYTES:
            break
    if is_utf8 and _decodes(decoder, b"", final=True):
        return None
    return b"\n".join(lines)[:SAMPLE_BYTES]


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def _delimiter(text: str, is_heading: Callable[[str], bool]) -> str:
    """The one that makes the most known columns of the first row; or else the same number of columns in most rows.

    Commas in comments lead every guess by frequency astray; the headings say it for certain.
    """
    lines = [line for line in io.StringIO(text, newline="") if line.strip()][:ROWS_LOOKED_AT]

    def likelihood(delimiter: str) -> tuple[int, int]:
        try:
            rows = list(csv.reader(lines, delimiter=delimiter))
        except csv.Error:
            return 0, 0
        if not rows:
            return 0, 0
        width = len(rows[0])
        alike = sum(len(row) == width for row in rows)
        return sum(map(is_heading, rows[0])), alike * (width - 1)

    return max(DELIMITERS, key=likelihood)


def decode(data: bytes, encoding: str, *, is_whole: bool) -> str:
    """The text of these bytes; a letter cut at the end is left off, unless they are the `is_whole` rest of a file."""
    if encoding.startswith("utf-16"):
        data = data[: len(data) // 2 * 2]
    decoder = codecs.getincrementaldecoder(encoding)(UNREADABLE_BYTES.get(encoding, "replace"))
    return decoder.decode(data, is_whole and encoding == "utf-8")


def encode(text: str, encoding: str) -> bytes:
    """The bytes that `decode` made the text of; of an encoding with one byte a letter, as many."""
    return text.encode(encoding, UNREADABLE_BYTES.get(encoding, "replace"))


class Rows:
    """The rows of a part of the file, one by one; `place` is where the row after the last one given begins.

    text: what stands at `place`. Unless it is the `is_last` part it may end within a row, which is left for the next.

    Blank rows are counted and not given. A row that is no CSV ends with its first line, so that a quotation mark
    that is never closed swallows nothing.
    """

    def __init__(self, text: str, layout: Layout, place: Place, *, is_last: bool) -> None:
        if not is_last:
            # Half a line would be taken for a whole one, and the first half of CR LF for a line end of its own.
            text = text[: max(text.rfind("\n"), text.rfind("\r", 0, max(len(text) - 1, 0))) + 1]
        self._text = text
        self._layout = layout
        self._began = place
        self._is_last = is_last
        self._file = io.StringIO(text, newline="")
        self._read = 0  # characters that the CSV reader has taken
        self._ends = 0  # where the last whole row ends
        self._number = place.number

    @property
    def place(self) -> Place:
        size = len(encode(self._text[: self._ends], self._layout.encoding))
        return Place(self._began.position + size, self._number)

    def __iter__(self) -> Iterator[Row]:
        while self._ends < len(self._text):
            try:
                yield from self._whole_rows()
            except csv.Error:
                if self._is_cut_off():
                    return
                yield self._broken_row()

    def _whole_rows(self) -> Iterator[Row]:
        # Strict: else a quotation mark in the wrong place would be guessed around in silence.
        for cells in csv.reader(self._lines(), delimiter=self._layout.delimiter, strict=True):
            self._ends = self._read
            number = self._number
            self._number = number + 1
            if cells and (cells[0].strip() or any(map(str.strip, cells))):
                yield Row(number, cells)

    def _lines(self) -> Iterator[str]:
        for line in self._file:
            self._read += len(line)
            yield line

    def _is_cut_off(self) -> bool:
        """Whether the row may be whole in the next part, which begins with it."""
        return not self._is_last and self._read == len(self._text) and self._ends > 0

    def _broken_row(self) -> Row:
        self._file.seek(self._ends)
        self._ends += len(self._file.readline())
        self._read = self._ends
        self._number += 1
        return Row(self._number - 1, None)
