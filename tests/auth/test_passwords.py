"""Which passwords are taken."""

import pytest

from app.auth import passwords

pytestmark = pytest.mark.usefixtures("context")


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "carrier-pigeon",
        "ten letters",
        "пароль из трёх слов",
        "🐦🕊🐧🦆🦉🐓🦃🦚🦜🐤",
        "x7!kQ2#mV9",
    ],
)
def test_good_ones_are_taken(password):
    assert passwords.weakness(password, "anna@example.test", "Anna Ivanova") == ""


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("nine char", "at least 10"),
        ("x" * 129, "at most 128"),
        ("aaaaaaaaaaaa", "repeats"),
        ("1212121212", "repeats"),
        ("1234567890", "first that anybody would guess"),
        ("password123", "first that anybody would guess"),
        ("PassWord2026!", "first that anybody would guess"),
        ("qwertyuiop", "first that anybody would guess"),
        ("!!sunshine!!", "first that anybody would guess"),
        ("anna.petrova", "name or address"),
        ("Anna.Petrova1", "name or address"),
        ("anna.petrova@example.test", "name or address"),
        ("annamariapetrova", "name or address"),
    ],
)
def test_bad_ones_are_refused_and_it_is_said_why(password, why):
    assert why in passwords.weakness(password, "anna.petrova@example.test", "Anna Maria Petrova")


def test_a_common_word_within_a_sentence_is_no_fault():
    assert passwords.weakness("sunshine over the harbour") == ""


def test_hashes_are_argon2id_and_differ(app):
    first, second = passwords.hash_password("ten letters"), passwords.hash_password("ten letters")
    assert first.startswith("$argon2id$")
    assert first != second
    assert passwords.verify_password(first, "ten letters")
    assert not passwords.verify_password(first, "Ten letters")
    assert not passwords.verify_password("no hash", "ten letters")


def test_outside_of_tests_hashing_is_as_slow_as_the_library_advises():
    parameters = passwords._hasher(False)
    assert (parameters.time_cost, parameters.memory_cost, parameters.parallelism) == (3, 65536, 4)
