"""What an article may hold, and the one place where its HTML becomes part of a page."""

import re
from collections.abc import Callable, Mapping

import nh3
from flask_babel import gettext as _
from markupsafe import Markup, escape

from app.blog.pictures import shown_path_of, srcset
from app.errors import RuleBroken
from app.messages.content import check_nesting, text_of
from app.pictures.models import Picture
from app.pictures.service import LONGEST_ALT

LARGEST_ARTICLE = 500_000  # bytes of UTF-8


def _words(text: str) -> set[str]:
    return set(text.split())


# What the editor writes, and the few that people type by hand.
TAGS = _words("a b blockquote br code em h2 h3 h4 hr i img li ol p pre s strike strong sub sup u ul")
DROPPED_WITH_CONTENT = _words("""
    applet audio canvas embed iframe math noembed noframes noscript object script select style svg template textarea
    title video xmp
""")
ATTRIBUTES = {"a": {"href"}, "img": {"alt", "height", "src", "width"}}
LINE_CLASSES = {f"ql-align-{side}" for side in ("center", "right", "justify")} | {
    f"ql-indent-{level}" for level in range(1, 9)
}
CLASSES = dict.fromkeys(("p", "h2", "h3", "h4", "li"), LINE_CLASSES)
SCHEMES = _words("http https mailto tel")
SIZES = "(min-width: 46rem) 42rem, 100vw"  # the width of an article's column

_ADDRESS = re.compile(r"/blog/pictures/([0-9a-f]{32})/\d{1,5}\.webp")
_NUMBER = re.compile(r"\d{1,5}")
# As nh3 writes them: quoted values without a quote inside.
_IMG = re.compile(r'<img((?: [a-z]+="[^"]*")*)>')
_ATTRIBUTE = re.compile(r' ([a-z]+)="([^"]*)"')
_EMPTY_LINE = re.compile(r"<p>(?:<br>|\s|&nbsp;)*</p>")  # paragraphs keep their distance by themselves


class BadArticle(RuleBroken):
    """What was written can't be an article; says why."""


def check(html: str) -> None:
    """Refuse what is too large, or would take a parser too long.

    Raises:
        BadArticle, app.messages.content.BadContent
    """
    if len(html.encode(errors="replace")) > LARGEST_ARTICLE:
        raise BadArticle(_("That is larger than %(limit)s kB.", limit=LARGEST_ARTICLE // 1000))
    check_nesting(html)


def sanitise(html: str, pictures: Mapping[str, Picture]) -> str:
    """`html` with what articles need and nothing active, as it is stored. Of pictures ours alone stay, by their keys.

    Raises:
        BadArticle, app.messages.content.BadContent: see `check`.
    """
    html = html.replace("\0", "")
    check(html)
    cleaned = _cleaned(_fit_headings(html))
    return _EMPTY_LINE.sub("", _IMG.sub(_picture_tag(pictures), cleaned)).strip()


def article_html(html: str) -> Markup:
    """The stored HTML, ready for a page, with pictures in the size that fits the reader's screen.

    It was sanitised when it was written. It is once more here: a row that came in any other way, or under an older
    and laxer list of tags, must not run in a reader's browser.
    """
    return Markup(_IMG.sub(_responsive, _cleaned(html)))  # noqa: S704  nh3 leaves nothing that could run


def keys_in(html: str) -> set[str]:
    """The keys of all pictures that `html` may show."""
    return {match[1] for match in _ADDRESS.finditer(html)}


def words_in(html: str) -> int:
    return len(text_of(html).split())


def is_empty(html: str) -> bool:
    """Whether a reader would see nothing."""
    return not words_in(html) and "<img" not in html


def _cleaned(html: str) -> str:
    return nh3.clean(
        html,
        tags=TAGS,
        clean_content_tags=DROPPED_WITH_CONTENT,
        attributes=ATTRIBUTES,
        attribute_filter=_filter,
        allowed_classes=CLASSES,
        url_schemes=SCHEMES,
        link_rel="noopener noreferrer",
    )


_ALLOWED: dict[str, Callable[[str], object]] = {
    "src": _ADDRESS.fullmatch,
    "width": _NUMBER.fullmatch,
    "height": _NUMBER.fullmatch,
}


def _filter(tag: str, attribute: str, value: str) -> str | None:
    if tag == "img" and attribute == "alt":
        return " ".join(value.split())[:LONGEST_ALT]
    if tag == "img" and not _ALLOWED[attribute](value):
        return None
    return value


def _fit_headings(html: str) -> str:
    """The page's own h1 is the title."""
    html = re.sub(r"<(/?)h1\b", r"<\1h2", html, flags=re.IGNORECASE)
    return re.sub(r"<(/?)h[56]\b", r"<\1h4", html, flags=re.IGNORECASE)


def _picture_tag(pictures: Mapping[str, Picture]) -> Callable[[re.Match[str]], str]:
    def write(match: re.Match[str]) -> str:
        given = dict(_ATTRIBUTE.findall(match[1]))
        address = _ADDRESS.fullmatch(given.get("src", ""))
        picture = pictures.get(address[1]) if address else None
        if picture is None:
            return ""
        alt = given["alt"] if "alt" in given else escape(picture.alt)
        return f'<img src="{shown_path_of(picture)}" width="{picture.width}" height="{picture.height}" alt="{alt}">'

    return write


def _responsive(match: re.Match[str]) -> str:
    given = dict(_ATTRIBUTE.findall(match[1]))
    address = _ADDRESS.fullmatch(given.get("src", ""))
    if address is None or not given.get("width"):
        return match[0]
    sizes = srcset(address[1], int(given["width"]))
    return f'<img{match[1]} srcset="{sizes}" sizes="{SIZES}" loading="lazy" decoding="async">'
