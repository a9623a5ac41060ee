"""Addresses made of titles."""

import re
import unicodedata

from app.texts import composed

LONGEST_SLUG = 80  # characters, before a number that keeps two apart
RESERVED = frozenset({"manage", "pictures", "feed"})  # what else stands below /blog/
NAMELESS = "article"  # for a title without a letter that we can write in Latin

# As Russian passports have it, and people write it: ISO/IEC 7501-3 without its signs.
_CYRILLIC = dict(zip("абвгдезийклмнопрстуфыэіў", "abvgdeziyklmnoprstufyeiu", strict=True)) | {
    "ё": "e",
    "ж": "zh",
    "х": "kh",
    "ц": "ts",
    "ч": "ch",
    "ш": "sh",
    "щ": "shch",
    "ъ": "",
    "ь": "",
    "ю": "yu",
    "я": "ya",
    "ґ": "g",
    "є": "ye",
    "ї": "yi",
}
_OTHERS = {"ß": "ss", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "&": " and "}
_LATIN = str.maketrans(_CYRILLIC | _OTHERS)


def slug_of(title: str) -> str:
    """`title` in small Latin letters, digits and single hyphens, at most LONGEST_SLUG characters; never empty."""
    try:
        text = composed(title).casefold()
    except ValueError:  # nobody's language
        return NAMELESS
    latin = unicodedata.normalize("NFKD", text.translate(_LATIN)).encode("ascii", "ignore").decode()
    # An apostrophe parts no words: don't is one.
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])['’](?=[a-z])", "", latin))
    return _cut("-".join(words)) or NAMELESS


def _cut(slug: str) -> str:
    """Not in the middle of a word, unless it is one word."""
    if len(slug) <= LONGEST_SLUG:
        return slug
    whole, hyphen, _rest = slug[: LONGEST_SLUG + 1].rpartition("-")
    return whole if hyphen else slug[:LONGEST_SLUG]


def numbered(slug: str, number: int) -> str:
    """The `number`th with this name: pigeons, pigeons-2, pigeons-3."""
    return slug if number == 1 else f"{slug}-{number}"
