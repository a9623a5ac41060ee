"""CSV that spreadsheets show and never run."""

import csv
import io
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

# What makes a formula of a cell, as OWASP lists them, and their full-width twins, which some spreadsheets take as well.
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


# Half of Europe's spreadsheets split a file of commas at semicolons, whatever is quoted.
AFTER_SEPARATORS = re.compile(r"([;\t\r\n][ \"]*)([=+\-@＝＋－＠])")

# What most texts have nothing of, so that they need no closer look.
SUSPICIOUS = re.compile(r"[;\t\r\n\0]|^ *[=+\-@＝＋－＠]")


def csv_line(values: Iterable[Any]) -> str:
    """One line (RFC 4180), with CRLF at its end; texts that a spreadsheet would run begin with an apostrophe."""
    return csv_lines([values])


def csv_lines(rows: Iterable[Iterable[Any]]) -> str:
    """The same for many."""
    lines = io.StringIO()
    csv.writer(lines).writerows([list(map(_cell, values)) for values in rows])
    return lines.getvalue()


def as_written(text: str) -> str:
    """The text without the apostrophe that we, or somebody as careful, put before it."""
    if text.startswith("'") and text[1:].lstrip(" ").startswith(FORMULA_SIGNS):
        return text[1:]
    return text


def _cell(value: Any) -> Any:
    if value.__class__ is str and not SUSPICIOUS.search(value):
        return value
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool | int | float):
        return value
    text = str(value).replace("\0", "")
    text = AFTER_SEPARATORS.sub(r"\1'\2", text)
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_SIGNS) else text
