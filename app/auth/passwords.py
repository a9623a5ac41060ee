"""Passwords: argon2id at rest (RFC 9106, by argon2-cffi), and none that guessers try first."""

from functools import cache
from itertools import takewhile
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from flask import current_app
from flask_babel import gettext as _

SHORTEST_PASSWORD = 10  # characters
LONGEST_PASSWORD = 128  # characters: argon2 takes more, but nobody shall keep it busy with megabytes
FEWEST_DIFFERENT = 5  # characters
LONGEST_PERSONAL = 320  # characters; anybody may send millions
ENDS = 8  # characters: a common word with fewer digits and signs around it is still a common word
COMMON = Path(__file__).with_name("common_passwords.txt")  # the heads of public lists of leaked passwords


def weakness(password: str, *personal: str) -> str:
    """Why this can't be a password, as a sentence; empty when it can.

    `personal` are the texts that a guesser would try for this very person: the address, the name.
    """
    if len(password) < SHORTEST_PASSWORD:
        return _("A password has at least %(min)s characters.", min=SHORTEST_PASSWORD)
    if len(password) > LONGEST_PASSWORD:
        return _("A password has at most %(max)s characters.", max=LONGEST_PASSWORD)
    if len(set(password)) < FEWEST_DIFFERENT:
        return _("This password repeats a few characters. Take a few words in a row instead.")
    word = _word_in(password)
    if password.casefold() in _common() or (len(password) - len(word) < ENDS and word in _common()):
        return _("This password is among the first that anybody would guess. Take a few words in a row instead.")
    if word in {
        _word_in(part)
        for text in (given[:LONGEST_PERSONAL] for given in personal)
        for part in (text, *text.split("@"), text.replace(" ", ""))
    }:
        return _("This password is your name or address. Take a few words in a row instead.")
    return ""


def _words_of(personal: str) -> set[str]:
    text = personal[:LONGEST_PERSONAL]
    return {_word_in(part) for part in (text, *text.split("@"), text.replace(" ", ""))}


def hash_password(password: str) -> str:
    return _hasher(current_app.testing).hash(password)


def verify_password(password_hash: str, password: str) -> bool:
    try:
        return _hasher(current_app.testing).verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def needs_rehash(password_hash: str) -> bool:
    """True when the hash was made with weaker parameters than today's."""
    return _hasher(current_app.testing).check_needs_rehash(password_hash)


def _word_in(password: str) -> str:
    """The password without the digits and signs at its ends, in lower case."""
    text = password.casefold()
    head = sum(1 for _sign in takewhile(lambda sign: not sign.isalpha(), text))
    tail = sum(1 for _sign in takewhile(lambda sign: not sign.isalpha(), reversed(text[head:])))
    return text[head : len(text) - tail]


@cache
def _common() -> frozenset[str]:
    return frozenset(COMMON.read_text().splitlines())


@cache
def _hasher(testing: bool) -> PasswordHasher:
    # Tests log in hundreds of times; what the parameters are worth is not theirs to judge.
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1) if testing else PasswordHasher()
