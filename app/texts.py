"""Text as it comes from outside."""

import re
import unicodedata

MOST_MARKS = 30  # combining marks in a row: more than any language writes (UAX #15, Stream-Safe Text Format)

# Latin, Cyrillic and usual punctuation: letters that are composed already, and no marks that could join them.
COMPOSED = re.compile("[\x00-\u02ff\u0400-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u203a\u20ac\u2116\u2122]*")


def composed(text: str) -> str:
    """The text in NFC.

    Raises:
        ValueError: for more than MOST_MARKS combining marks in a row: to put them in order takes quadratic time.
    """
    if text.isascii() or COMPOSED.fullmatch(text):
        return text
    marks = 0
    for letter in text:
        marks = marks + 1 if unicodedata.combining(letter) else 0
        if marks > MOST_MARKS:
            raise ValueError("too many combining marks in a row")
    return unicodedata.normalize("NFC", text)
