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


def csv_line(values: Iterable[Any]) -> str:
    """One line (RFC 4180), with CRLF at its end; texts that a spreadsheet would run begin with an apostrophe."""
    line = io.StringIO()
    csv.writer(line).writerow([_cell(value) for value in values])
    return line.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool | int | float):
        return value
    text = str(value).replace("\0", "")
    text = AFTER_SEPARATORS.sub(r"\1'\2", text)
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_SIGNS) else text
