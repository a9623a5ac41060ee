"""Search that ignores case in every script, on both databases alike."""

import re
import unicodedata
from typing import Any

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, or_

LONGEST_SEARCH = 100  # characters; what comes after them is not looked for
MOST_WORDS = 8
AFTER_IT_NO_TAG_ENDS = "[^<>]*(<|$)"


def containing(
    query: Select[Any], text: SQLColumnExpression[str], words: str, *, html: SQLColumnExpression[str] | None = None
) -> Select[Any]:
    """The rows of `query` whose `text` contains every one of the words, in any order and any case.

    html: where a word may stand as well, outside of its tags.

    Neither SQLite's `lower()` nor that of a PostgreSQL with the locale C knows letters outside ASCII. So each letter
    becomes a class of its forms, `[Пп]`, and both databases compare by regular expression: SQLAlchemy gives SQLite
    Python's `re`, PostgreSQL has its own; plain characters and classes mean the same to both.
    """
    for word in words[:LONGEST_SEARCH].split()[:MOST_WORDS]:
        pattern = _pattern(word)
        found = text.regexp_match(pattern)
        if html is not None:
            found = or_(found, html.regexp_match(pattern + AFTER_IT_NO_TAG_ENDS))
        query = query.where(found)
    return query


def beginning(column: SQLColumnExpression[str], text: str) -> ColumnElement[bool]:
    """Whether the column begins with the text, as it is written: what an index of keys can answer."""
    return column.startswith(text.replace("\0", ""), autoescape=True)


def has_phrase(text: SQLColumnExpression[str], phrase: str) -> ColumnElement[bool]:
    """Whether `text` contains the phrase as it stands, in any case."""
    return text.regexp_match(_pattern(phrase[:LONGEST_SEARCH]))


def _pattern(word: str) -> str:
    word = unicodedata.normalize("NFC", word.replace("\0", ""))
    return "".join(map(_any_case, word))


def _any_case(letter: str) -> str:
    """A regular expression for the letter in any case. Russians write ё and е as they please."""
    forms = {letter, letter.lower(), letter.upper(), letter.upper().lower(), letter.title()}
    if forms & set("её"):
        forms |= set("еёЕЁ")
    single = sorted(form for form in forms if len(form) == 1)
    return re.escape(letter) if len(single) == 1 else f"[{''.join(single)}]"
