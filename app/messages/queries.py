"""Reads of messages: each gives a `Select`, scoped to who asks."""

import re
import unicodedata

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import defer, joinedload

from app.auth.models import User
from app.messages.models import Message

LONGEST_SEARCH = 100  # characters; what comes after them is not looked for
MOST_WORDS = 8


def visible_to(user: User) -> Select[Message]:
    """The messages that this person may change: their own."""
    return _existing().where(Message.owner_id == user.id)


def library() -> Select[Message]:
    """The common library: what its authors share with everybody."""
    return _existing().where(Message.is_shared)


def usable_by(user: User) -> Select[Message]:
    """The messages that this person may read, copy and send: their own and the common library's."""
    return _existing().where(or_(Message.owner_id == user.id, Message.is_shared))


def matching(query: Select[Message], words: str) -> Select[Message]:
    """Those whose subjects contain every one of the words, in any order and any case."""
    for word in words[:LONGEST_SEARCH].split()[:MOST_WORDS]:
        query = query.where(Message.subject.regexp_match(_pattern(word)))
    return query


def for_list(query: Select[Message]) -> Select[Message]:
    """The same rows as a list shows them: with their authors, and without the bodies, which may be half a megabyte."""
    return query.options(defer(Message.html), defer(Message.text), joinedload(Message.owner))


def _existing() -> Select[Message]:
    return select(Message).where(Message.deleted_at.is_(None))


def _pattern(word: str) -> str:
    """A regular expression for the word in any case.

    Neither SQLite's `lower()` nor that of a PostgreSQL with the locale C knows letters outside ASCII. So each letter
    becomes a class of its forms, `[Пп]`, which means the same to both databases.
    """
    word = unicodedata.normalize("NFC", word.replace("\0", ""))
    return "".join(map(_any_case, word))


def _any_case(letter: str) -> str:
    forms = {letter, letter.lower(), letter.upper(), letter.title()}
    if forms & {"е", "ё"}:  # Russians write one or the other as they please
        forms |= set("еёЕЁ")
    single = sorted(form for form in forms if len(form) == 1)
    return re.escape(letter) if len(single) == 1 else f"[{''.join(single)}]"
