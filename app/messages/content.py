"""What a letter may hold: subjects, HTML without anything active in it, and the text part made from the HTML.

Whatever people send, it is cleaned or refused within a few seconds: what would take longer (too deep, too tangled)
is refused before a parser sees it.
"""

import re
import secrets
import unicodedata
from collections import Counter
from typing import Any

import nh3
from flask_babel import gettext as _
from inscriptis.css_profiles import STRICT_CSS_PROFILE
from inscriptis.html_engine import Inscriptis
from inscriptis.html_properties import Display
from inscriptis.model.config import ParserConfig
from inscriptis.model.html_document_state import HtmlDocumentState
from inscriptis.model.html_element import HtmlElement
from inscriptis.model.tag import CustomHtmlTagHandlerMapping
from lxml import etree  # type: ignore[import-untyped]  # lxml has no types
from lxml import html as lxml_html

from app import merge_fields
from app.errors import RuleBroken
from app.messages.models import Message
from app.texts import composed

LONGEST_SUBJECT = 200  # characters
LONGEST_PREHEADER = 200
LARGEST_BODY = 500_000  # bytes of UTF-8, before and after cleaning
DEEPEST = 150  # elements within each other, a table with its rows and cells counted as one
MOST_REPEATS = 300_000  # open formatting elements, summed over all tags
MOST_ATTRIBUTES = 500  # in one tag
DEEPEST_TEXT = 250  # a layout is computed no deeper than that: it recurses


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TAGS = _words("""
    a abbr address article aside b big blockquote br caption center cite code col colgroup dd del dfn div dl dt em
    figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark ol p pre q s samp section
    small span strike strong sub sup table tbody td tfoot th thead tr tt u ul var wbr
""")
# The frame of a whole document: nobody misses it when they paste one.
FRAME = _words("html head body meta title")
DROPPED_WITH_CONTENT = _words("""
    applet audio canvas embed iframe math noembed noframes noscript object script select style svg template textarea
    title video xmp
""")
CELL = _words("align bgcolor colspan height nowrap rowspan scope valign width")
ATTRIBUTES = {
    "*": _words("align aria-hidden aria-label class dir lang role style title"),
    "a": _words("href"),
    "col": _words("span valign width"),
    "colgroup": _words("span valign width"),
    "font": _words("color face size"),
    "hr": _words("color noshade size width"),
    "img": _words("alt border height hspace src vspace width"),
    "li": _words("type value"),
    "ol": _words("reversed start type"),
    "table": _words("bgcolor border cellpadding cellspacing height width"),
    "tbody": _words("valign"),
    "td": CELL,
    "tfoot": _words("valign"),
    "th": CELL,
    "thead": _words("valign"),
    "tr": _words("bgcolor height valign"),
    "ul": _words("type"),
}
LINK_SCHEMES = _words("http https mailto tel")
IMAGE_SCHEMES = _words("http https")
_SIDES = ("top", "right", "bottom", "left")
STYLES = (
    _words("""
        background background-color border border-collapse border-color border-radius border-spacing border-style
        border-width caption-side clear color direction display float font font-family font-size font-style font-variant
        font-weight height letter-spacing line-height list-style list-style-position list-style-type margin max-height
        max-width min-height min-width mso-line-height-rule mso-table-lspace mso-table-rspace opacity overflow
        overflow-wrap padding table-layout text-align text-decoration text-indent text-transform vertical-align
        white-space width word-break word-spacing word-wrap
    """)
    | {f"{name}-{side}" for name in ("border", "margin", "padding") for side in _SIDES}
    | {f"border-{side}-{part}" for side in _SIDES for part in ("color", "style", "width")}
)


class BadContent(RuleBroken):
    """What was written can't be a letter; says why."""


# ── What comes in ──


def parse_subject(text: str) -> str:
    """One line of 1 to 200 characters in NFC.

    Raises:
        BadContent: when it is empty, too long, has line breaks or other control characters, or a field that is none.
    """
    subject = _one_line(text, _("A subject is one line, without control characters."))
    if not is_visible(subject):
        raise BadContent(_("Write a subject."))
    if len(subject) > LONGEST_SUBJECT:
        raise BadContent(_("A subject has at most %(limit)s characters.", limit=LONGEST_SUBJECT))
    _check_fields(subject)
    return subject


def parse_preheader(text: str) -> str:
    """The preview text: one line of at most 200 characters in NFC; empty when nothing in it can be seen.

    Raises:
        BadContent: when it is too long, has line breaks or other control characters, or a field that is none.
    """
    line = _one_line(text, _("A preview text is one line, without control characters."))
    if len(line) > LONGEST_PREHEADER:
        raise BadContent(_("A preview text has at most %(limit)s characters.", limit=LONGEST_PREHEADER))
    _check_fields(line)
    return line if is_visible(line) else ""


def _one_line(text: str, complaint: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise BadContent(complaint)
    return _composed(text).strip()


def parse_html(text: str) -> str:
    """The HTML as it is stored: sanitised.

    Raises:
        BadContent: when it is too large, too tangled, nothing in it can be seen, or a field in it is none.
    """
    check_size(text)
    html = sanitise(text)
    # Cleaning closes tags and writes &lt; for <; what is stored must be storable again after an edit.
    check_size(html)
    if not is_visible(text_of(html)) and not re.search(r'<img [^>]*src="', html):
        raise BadContent(_("Write something that can be seen: text, or a picture."))
    _check_fields(html, typed=_plain(text))
    return html


def parse_text(text: str) -> str:
    """The text part as the owner wrote it; empty when they leave it to us.

    Raises:
        BadContent: when it is too large, or a field in it is none.
    """
    text = _plain(text).strip("\n")
    check_size(text)
    if not is_visible(text):
        return ""
    text = _composed(text)
    _check_fields(text)
    return text


def _check_fields(text: str, *, typed: str | None = None) -> None:
    """Refuse a merge field that is none; `typed` is HTML as its author sees it, before it was cleaned to `text`."""
    try:
        merge_fields.parse(text, html=typed is not None)
    except merge_fields.BadField as error:
        if typed is not None:
            error = merge_fields.BadField(error.why, typed, _place_before_cleaning(error.position, text, typed))
        raise BadContent(str(error)) from None


def _place_before_cleaning(position: int, cleaned: str, typed: str) -> int:
    """Where the braces at this position stood; about there when cleaning took some out."""
    place = -1
    for _each in range(cleaned.count("{{", 0, position) + 1):
        place = typed.find("{{", place + 1 if place < 0 else place + 2)
    return place if place >= 0 and typed.count("{{") == cleaned.count("{{") else min(position, len(typed))


def _composed(text: str) -> str:
    try:
        return composed(text)
    except ValueError:
        raise BadContent(_("Too many accents stand on one letter. Please write the text anew.")) from None


def is_visible(text: str) -> bool:
    """Whether there is anything in `text` that leaves ink: blanks and zero-width characters leave none."""
    return any(unicodedata.category(character)[0] in "LNPS" for character in text)


def check_size(text: str) -> None:
    """Raises: BadContent"""
    if len(text.encode(errors="replace")) > LARGEST_BODY:
        raise BadContent(_("That is larger than %(limit)s kB.", limit=LARGEST_BODY // 1000))


def _plain(text: str) -> str:
    """Line ends as \\n, and none of the control characters that databases, parsers and mail refuse."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f\x85\ud800-\udfff\ufffe\uffff]", "", text)


# ── Sanitising ──

# The one field that is an address by itself; editors write its braces in percent signs. While a letter is cleaned an
# address stands for it that nobody can guess: one that its author writes is not turned into the field.
_BLANK = r"(?:\s|&nbsp;|%20)*"
_LINK_OUT = re.compile(
    rf"(?:\{{\{{|%7B%7B){_BLANK}{merge_fields.UNSUBSCRIBE_URL}{_BLANK}(?:\}}\}}|%7D%7D)", re.IGNORECASE
)
_STAND_IN = f"https://{secrets.token_hex(16)}.invalid/"


def sanitise(html: str) -> str:
    """`html` with what letters need (text, tables, pictures, links, inline styles) and nothing active.

    Pictures come by http(s), links lead to http(s), mailto and tel.

    Raises:
        BadContent: when it is nested too deeply, or too tangled, to be parsed in bounded time.
    """
    html = _LINK_OUT.sub(_STAND_IN, _plain(html))
    check_nesting(html)
    cleaned = nh3.clean(
        html,
        tags=set(TAGS),
        clean_content_tags=set(DROPPED_WITH_CONTENT),
        attributes={tag: set(names) for tag, names in ATTRIBUTES.items()},
        attribute_filter=_filter_attribute,
        filter_style_properties=set(STYLES),
        url_schemes=set(LINK_SCHEMES),
        url_relative="deny",  # in a letter there is nothing that it could be relative to
        link_rel=None,
    )
    check_nesting(cleaned)
    return cleaned.replace(_STAND_IN, "{{ " + merge_fields.UNSUBSCRIBE_URL + " }}")


def removed_from(html: str) -> list[str]:
    """What `sanitise` takes out of `html` and its author may miss: such as `<script>`, `onclick`, `src="cid:logo"`."""
    root = tree_of(_LINK_OUT.sub(_STAND_IN, html))
    if root is None:
        return []
    found = dict.fromkeys(name for element in root.iter(etree.Element) for name in _removed_of(element))
    return sorted(found)


def _removed_of(element: Any) -> list[str]:
    tag = str(element.tag)
    if tag in FRAME:
        return []
    if tag not in TAGS:
        return [f"<{tag}>"]
    names = [name for name in element.attrib if name.startswith("on")]
    for name, schemes in (("href", LINK_SCHEMES), ("src", IMAGE_SCHEMES)):
        address = element.get(name)
        if address is not None and _scheme(address) not in schemes:
            names.append(f'{name}="{_shortened(address)}"')
    return names


def _shortened(text: str, longest: int = 40) -> str:
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _filter_attribute(tag: str, name: str, value: str) -> str | None:
    """What nh3 asks about each attribute that it is about to keep; None drops it."""
    if name == "style":
        return _filter_style(value)
    if tag == "img" and name == "src" and _scheme(value) not in IMAGE_SCHEMES:
        return None
    return value


def _scheme(address: str) -> str:
    # Browsers skip control characters and blanks within a scheme.
    match = re.match(r"([a-z][a-z0-9+.-]*):", re.sub(r"[\x00-\x20]", "", address), re.IGNORECASE)
    return match[1].lower() if match else ""


def _filter_style(style: str) -> str | None:
    """The declarations with plain values: nothing that loads or escapes, and no functions but colours and calc()."""
    kept = [declaration for declaration in map(_filter_declaration, style.split(";")) if declaration]
    return ";".join(kept) or None


def _filter_declaration(declaration: str) -> str | None:
    name, colon, value = declaration.partition(":")
    name = name.strip().lower()
    without_functions = re.sub(r"\b(rgba?|hsla?|calc)\(([^()]*)\)", r"\2", value, flags=re.IGNORECASE)
    if not colon or name not in STYLES or re.search(r"[\\<>@{}()]|/\*|javascript:", without_functions, re.IGNORECASE):
        return None
    if value.count('"') % 2 or value.count("'") % 2:
        return None
    return f"{name}:{value.strip()}"


# What closes itself, and what can't nest without a <table> or another counted element around it.
_UNCOUNTED = _words("area base br col embed hr img input link meta p param source tbody td tfoot th thead tr track wbr")
# What an HTML5 parser repeats in each new paragraph until it is closed.
_FORMATTING = _words("a b big code em font i nobr s small strike strong tt u")
_TAG = re.compile(r"<(/?)([a-z][^\s/>]*)")
_WHOLE_TAG = re.compile(r"<[a-z][^>]+")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")


def check_nesting(html: str) -> None:
    """Refuse what makes an HTML5 parser slow or its result huge, judged by the tags alone.

    At many tags a parser looks through all open elements, and it repeats unclosed formatting in each new paragraph:
    half a megabyte can take half a minute, or become gigabytes. Each name is counted by itself, so that a closing tag
    which closes nothing hides no element that stays open.
    """
    html = html.lower()
    # In foreign content every name nests.
    uncounted = frozenset() if "<svg" in html or "<math" in html else _UNCOUNTED
    open_now: Counter[str] = Counter()
    depth = formatting = repeats = 0
    for closing, name in _TAG.findall(html):
        step = -1 if closing else 1
        if name not in uncounted and (not closing or open_now[name]):
            open_now[name] += step
            depth += step
            formatting += step if name in _FORMATTING else 0
        repeats += formatting
        if depth > DEEPEST or repeats > MOST_REPEATS:
            raise BadContent(
                _("This HTML is too tangled: close what you open, and nest no deeper than %(limit)s.", limit=DEEPEST)
            )
    for tag in _WHOLE_TAG.findall(html):
        if len(tag) > MOST_ATTRIBUTES and len(re.findall(r"[\s/\"]+", _QUOTED.sub('"', tag))) > MOST_ATTRIBUTES:
            raise BadContent(_("One of the tags in this HTML has too many attributes."))


# ── The text part ──


def text_part(message: Message) -> str:
    """The letter as plain text: what the owner wrote, else made from the HTML."""
    return message.text or text_of(message.html)


def text_of(html: str) -> str:
    """What a person would read in `html`, however broken it is, with links as «text (https://…)».

    The cells of a table's row stand in one line, two blanks apart. They are not aligned: a letter's text part is read
    in proportional type, and padding would make megabytes of a few long cells.
    """
    root = tree_of(html)
    if root is None:
        return ""
    _prepare_for_text(root)
    if _depth(root) <= DEEPEST_TEXT:
        text = _tidy(Inscriptis(root, _layout()).get_text())
        if len(text.encode()) <= LARGEST_BODY:
            return text
    # Too deep to lay out, or the indentation of its lists outgrew it.
    return _tidy("\n".join(root.itertext()).replace("&amp;", "&"))


_CELL_EDGE = "\x02"  # can't be in the HTML any more, and is no blank that the layout would swallow


def _start_cell(state: HtmlDocumentState, _attributes: dict[str, str]) -> None:
    state.tags[-1].write(_CELL_EDGE)


def _nothing(*_args: Any) -> None:
    """A table's own layout is not wanted."""


def _layout() -> ParserConfig:
    css = STRICT_CSS_PROFILE.copy()
    css |= {
        tag: HtmlElement(display=Display.block) for tag in ("tr", "caption", "dd", "dt", "section", "main", "center")
    }
    # No margin after: Inscriptis would set it after each row.
    css |= {tag: HtmlElement(display=Display.block, margin_before=1) for tag in ("table", "dl")}
    start = {"table": _nothing, "tr": _nothing, "td": _start_cell, "th": _start_cell}
    end = {"table": _nothing, "td": _nothing, "th": _nothing}
    return ParserConfig(
        css=css,
        display_images=True,
        custom_html_tag_handler_mapping=CustomHtmlTagHandlerMapping(start, end),
    )


def tree_of(html: str) -> Any | None:
    """The tree of a document or fragment, None when there is nothing in it."""
    parser = lxml_html.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)
    html = _plain(html)
    if not html.strip():
        return None
    try:
        return lxml_html.document_fromstring(html.encode(), parser=parser)
    except etree.ParserError:  # nothing but comments
        return None


def _prepare_for_text(root: Any) -> None:
    """Write the links' addresses out, and take away all attributes that the layout would stumble over."""
    for link in root.iter("a"):
        _write_address(link)
    for element in root.iter(etree.Element):
        # Inscriptis reads entities once more: «&amp;lt;», which shows «&lt;», would become «<».
        element.text, element.tail = _escaped(element.text), _escaped(element.tail)
        alt = _escaped(element.get("alt"))
        hidden = "display:none" in re.sub(r"\s", "", element.get("style", "")).lower()
        element.attrib.clear()
        if hidden:
            element.set("style", "display:none")
        elif element.tag == "img" and alt:
            element.set("alt", alt)


def _escaped(text: str | None) -> str | None:
    return text and text.replace("&", "&amp;")


def _write_address(link: Any) -> None:
    href = (link.get("href") or "").strip()
    label = " ".join("".join(link.itertext()).split())
    address = href
    for scheme in ("mailto:", "tel:"):
        if href.lower().startswith(scheme):
            address = href[len(scheme) :].partition("?")[0]
    picture = link.find(".//img")
    if not address or label in (href, address) or (not label and picture is None):
        return
    link.append(tail := link.makeelement("span"))
    tail.text = f" ({address})"


def _depth(root: Any) -> int:
    deepest = depth = 0
    for event, _element in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        deepest = max(deepest, depth)
    return deepest


def _tidy(text: str) -> str:
    """No blanks at line ends, two blanks between cells, and never more than one empty line."""
    lines = []
    for line in text.split("\n"):
        cells = [cell.strip() for cell in line.split(_CELL_EDGE)]
        lines.append("  ".join(filter(None, cells)) if len(cells) > 1 else line.rstrip())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
