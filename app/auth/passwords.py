"""Passwords at rest: argon2id (RFC 9106), by argon2-cffi."""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from flask import current_app

SHORTEST_PASSWORD = 10  # characters
LONGEST_PASSWORD = 128  # characters: argon2 takes more, but nobody shall keep it busy with megabytes


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


@cache
def _hasher(testing: bool) -> PasswordHasher:
    # Tests log in hundreds of times; what the parameters are worth is not theirs to judge.
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1) if testing else PasswordHasher()
