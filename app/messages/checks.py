"""What an author should look at before a letter goes out, found in what they have typed so far."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from flask_babel import gettext as _

from app import merge_fields
from app.messages import content

CLIPPED_AT = 102_000  # bytes of HTML: Gmail cuts off what comes after them
FULL_WEIGHT = 90_000  # bytes, from which on a letter is near that
HALF_WIDTH = 300  # pixels, of a letter's usual 600
MOST_NAMED = 3
LONGEST_NAMED = 60  # characters
_PICTURE = re.compile(r"<img(?:\s+[\w-]+=\"[^\"]*\")*\s*/?>")  # in cleaned HTML
FEW_LETTERS = 120  # characters; with less text a picture is the whole letter


class Weight(StrEnum):
    """How bad it is."""

    BAD = "bad"  # it can't be saved so, or readers will miss something
    WARN = "warn"


@dataclass(frozen=True)
class Finding:
    """One thing to look at: what is wrong, and what to do about it."""

    weight: Weight
    what: str
    advice: str


def findings(subject: str, preheader: str, html: str, text: str) -> list[Finding]:
    """All there is to say about this letter, the worst first. Takes whatever people type; raises nothing."""
    found = [*_of_fields(subject, preheader, html, text), *_of_html(html)]
    return sorted(found, key=lambda finding: finding.weight is not Weight.BAD)


def _of_fields(subject: str, preheader: str, html: str, text: str) -> Iterator[Finding]:
    for place, written, is_html in (
        (_("Subject"), subject, False),
        (_("Preview text"), preheader, False),
        (_("Letter"), html, True),
        (_("Text part"), text, False),
    ):
        try:
            merge_fields.parse(written, html=is_html)
        except merge_fields.BadField as error:
            yield _bad(f"{place}: {error}", _("Take a field from the list, or write the braces apart."))


def unreadable(error: content.BadContent) -> Finding:
    """What is said of a letter that can't be looked into."""
    return _bad(str(error), _("Paste it anew from a simpler source."))


def _of_html(html: str) -> Iterator[Finding]:
    if not html.strip():
        yield _bad(_("The letter is empty."), _("Write something, or begin with one of the layouts."))
        return
    try:
        clean = content.sanitise(html)
    except content.BadContent as error:
        yield unreadable(error)
        return
    yield from _of_weight(len(clean.encode()))
    root = content.tree_of(clean)
    if root is not None:
        pictures = list(root.iter("img"))
        yield from _of_text(content.text_of(_PICTURE.sub("", clean)), pictures)
        yield from _of_alt(pictures)
    # As they are typed: what is no link has lost its address when it is cleaned.
    if (typed := content.tree_of(html)) is not None:
        yield from _of_links(typed)
    lost = [name for name in content.removed_from(html) if not name.startswith("href=")]
    if lost:
        advice = _("Letters can't hold it; look at the preview, whether anything is missing.")
        yield _warn(_("This will be left out: %(names)s", names=_some(lost)), advice)


def _of_weight(size: int) -> Iterator[Finding]:
    kilobytes = round(size / 1000)
    advice = _("Shorten it: styles that are repeated in every cell are the heaviest part.")
    if size > CLIPPED_AT:
        yield _bad(_("The letter has %(size)s kB. Gmail cuts off what comes after 102 kB.", size=kilobytes), advice)
    elif size > FULL_WEIGHT:
        yield _warn(_("The letter has %(size)s kB, and Gmail shows 102 kB at most.", size=kilobytes), advice)


def _of_text(words: str, pictures: list[Any]) -> Iterator[Finding]:
    if not content.is_visible(re.sub(r"https?://\S+", "", words)):
        advice = _("Write what it is about in words: many mail programs show no pictures until they are asked.")
        yield _bad(_("There is no text in the letter."), advice)
    elif len(pictures) == 1 and len(words) < FEW_LETTERS and _is_large(pictures[0]):
        advice = _("Say the most important thing as text, too. Filters take a picture alone for spam.")
        yield _warn(_("The letter is almost nothing but one picture."), advice)


def _is_large(picture: Any) -> bool:
    """Unless it says that it is small: logos and signatures do."""
    width = re.match(r"\s*(\d+)\s*(px)?\s*$", picture.get("width") or "")
    return width is None or int(width[1]) >= HALF_WIDTH


def _of_alt(pictures: list[Any]) -> Iterator[Finding]:
    # An empty alt is a decision: the picture only decorates.
    silent = [picture for picture in pictures if picture.get("alt") is None]
    if silent:
        names = _some(urlsplit(picture.get("src") or "").path.rpartition("/")[2] or "?" for picture in silent)
        advice = _('Say in alt="…" what each shows; leave it empty for mere decoration.')
        yield _warn(_("Pictures without words: %(names)s", names=names), advice)


def _of_links(root: Any) -> Iterator[Finding]:
    wrong, empty = [], 0
    for link in root.iter("a"):
        address = (link.get("href") or "").strip()
        label = " ".join("".join(link.itertext()).split())
        if not address:
            # What has neither an address nor words is an anchor of some editor.
            wrong += [label] if label else []
        elif not _leads_somewhere(address):
            wrong.append(address)
        elif not label and link.find(".//img") is None:
            empty += 1
    if wrong:
        advice = _("A link begins with https://, http:// or mailto:, and has a whole address after it.")
        yield _bad(_("Links that lead nowhere: %(links)s", links=_some(wrong)), advice)
    if empty:
        yield _warn(_("There is a link without words."), _("Write what it leads to, or take it out."))


def _leads_somewhere(address: str) -> bool:
    if any(character.isspace() for character in re.sub(r"\{\{.*?\}\}", "", address)):
        return False
    try:
        parts = urlsplit(re.sub(r"\{\{.*?\}\}", "field", address))
    except ValueError:
        return False
    if parts.scheme in ("mailto", "tel"):
        return bool(parts.path) and (parts.scheme == "tel" or "@" in parts.path or parts.path == "field")
    if parts.scheme in ("http", "https"):
        return "." in parts.netloc.strip(".") or parts.netloc.partition(":")[0] in ("localhost", "field")
    return re.sub(r"[\s{}]", "", address) == merge_fields.UNSUBSCRIBE_URL


def _some(names: Any) -> str:
    shown = [name if len(name) <= LONGEST_NAMED else name[: LONGEST_NAMED - 1] + "…" for name in dict.fromkeys(names)]
    return ", ".join(shown[:MOST_NAMED]) + (" …" if len(shown) > MOST_NAMED else "")


def _bad(what: str, advice: str) -> Finding:
    return Finding(Weight.BAD, what, advice)


def _warn(what: str, advice: str) -> Finding:
    return Finding(Weight.WARN, what, advice)
