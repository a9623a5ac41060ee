"""Letters to begin with: responsive, made of tables, readable on dark paper, in each of our languages."""

from pathlib import Path

from flask_babel import gettext as _

FOLDER = Path(__file__).parent / "layouts"
NAMES = ("news", "announcement", "digest", "greeting")


def titles() -> dict[str, str]:
    """What they are called, by name."""
    return {
        "news": _("News"),
        "announcement": _("Announcement"),
        "digest": _("Digest"),
        "greeting": _("Greeting"),
    }


def read(name: str, locale: str) -> str:
    """The layout's HTML in this language, else in English; empty when there is no such layout."""
    if name not in NAMES:
        return ""
    path = FOLDER / f"{name}.{locale}.html"
    return (path if path.is_file() else FOLDER / f"{name}.en.html").read_text(encoding="utf-8")
