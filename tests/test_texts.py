"""Text as it comes from outside, in its composed form."""

import sys
import unicodedata

from app.texts import COMPOSED, composed


def test_letters_that_are_taken_as_they_are_have_nothing_to_compose() -> None:
    taken = [letter for letter in map(chr, range(sys.maxunicode + 1)) if COMPOSED.fullmatch(letter)]
    assert len(taken) > 900
    for letter in taken:
        assert not unicodedata.combining(letter)
        assert unicodedata.normalize("NFC", letter) == letter
    # Nor does any of them join the one before it.
    text = "".join(taken)
    assert unicodedata.normalize("NFC", text) == text


def test_what_is_decomposed_is_composed() -> None:
    assert composed("и\u0306 cafe\u0301") == "й café"
