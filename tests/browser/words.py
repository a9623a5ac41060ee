"""What a page says, in the language of the window: tests name it by the English of the code."""

from functools import cache
from typing import Any

import pytest
from babel.support import Translations
from playwright.sync_api import Page

from app.config import ROOT

ENGLISH, RUSSIAN = "en-GB", "ru-RU"

# For a test, or as `pytestmark` for a file: once in each language. What a file has made for its tests is made anew.
in_both_languages = pytest.mark.parametrize("language", [ENGLISH, RUSSIAN], ids=["English", "Russian"], indirect=True)


@cache
def _russian() -> Translations:
    found = Translations.load(str(ROOT / "app" / "translations"), ["ru"])
    assert isinstance(found, Translations), "the catalogue is not compiled"
    return found


class Words:
    """Translates as the application does. Fails for a text that the application doesn't have, in either language.

    language: as a browser has it, ENGLISH or RUSSIAN.
    """

    def __init__(self, language: str) -> None:
        self.language = language

    @classmethod
    def of(cls, page: Page) -> "Words":
        return cls(page.evaluate("navigator.language"))

    @property
    def is_english(self) -> bool:
        return self.language.startswith("en")

    def __call__(self, text: str, context: str = "", **values: Any) -> str:
        """A text of `gettext`, or with a context of `pgettext`, filled in; numbers as they stand on the page."""
        russian = _russian()
        key = f"{context}\x04{text}" if context else text
        assert key in russian._catalog, f"the application never says {text!r}"  # type: ignore[attr-defined]
        said = text if self.is_english else russian.gettext(key)
        return said % values if values else said

    def count(self, one: str, many: str, number: int, **values: Any) -> str:
        """A text of `ngettext`, its `%(number)s` filled in."""
        russian = _russian()
        assert (one, 0) in russian._catalog, f"the application never says {one!r}"  # type: ignore[attr-defined]
        said = (one if number == 1 else many) if self.is_english else russian.ngettext(one, many, number)
        return said % ({"number": number} | values)
