"""Workbooks that are written row by row, read by somebody else."""

import io
from typing import Any

import pytest
from python_calamine import CalamineWorkbook

from app import xlsx


def read(pieces: Any) -> list[list[list[Any]]]:
    book = CalamineWorkbook.from_filelike(io.BytesIO(b"".join(pieces)))
    return [book.get_sheet_by_name(name).to_python() for name in book.sheet_names]


def test_texts_are_texts_and_numbers_numbers() -> None:
    row = ["=1+1", "<b>&\"'", "a\nb", "Пётр", 1985, None, "", "\x01\ud800bad", " blank "]
    [[heading, written]] = read(xlsx.pieces("Clients", ["a"] * 9, [[row]]))
    assert heading == ["a"] * 9
    assert written == ["=1+1", "<b>&\"'", "a\nb", "Пётр", 1985, "", "", "bad", " blank "]


@pytest.mark.parametrize("rows", [0, 1, 4, 5, 8, 9])
def test_what_is_too_long_for_one_sheet_goes_on_in_the_next(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(xlsx, "LONGEST_SHEET", 5)
    batches = [[[n] for n in range(first, min(first + 3, rows))] for first in range(0, rows, 3)]
    sheets = read(xlsx.pieces("Лист", ["n"], batches))
    assert [len(sheet) - 1 for sheet in sheets] == [4] * (rows // 4) + [rows % 4] * (rows % 4 > 0 or not rows)
    assert [row[0] for sheet in sheets for row in sheet[1:]] == list(range(rows))


def test_it_comes_in_pieces() -> None:
    batches = ([[f"{n}-{m}" * 9 for m in range(9)] for n in range(1000)] for _ in range(20))
    pieces = [len(piece) for piece in xlsx.pieces("Clients", ["a"], batches)]
    assert len(pieces) > 5
    assert max(pieces) < 2 * 1024 * 1024
