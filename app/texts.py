"""Text as it comes from outside."""

import unicodedata

MOST_MARKS = 30  # combining marks in a row: more than any language writes (UAX #15, Stream-Safe Text Format)


def composed(text: str) -> str:
    """The text in NFC.

    Raises:
        ValueError: for more than MOST_MARKS combining marks in a row: to put them in order takes quadratic time.
    """
    if text.isascii():
        return text
    marks = 0
    for letter in text:
        marks = marks + 1 if unicodedata.combining(letter) else 0
        if marks > MOST_MARKS:
            raise ValueError("too many combining marks in a row")
    return unicodedata.normalize("NFC", text)
