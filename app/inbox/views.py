"""The local inbox's pages. Only development registers them: they show all letters, and ask for no log-in."""

import re
from http import HTTPStatus

from babel.units import format_unit
from flask import Blueprint, Response, current_app, flash, make_response, request, url_for
from flask_babel import get_locale, ngettext
from flask_babel import gettext as _
from markupsafe import Markup, escape

from app import web
from app.errors import NotFound
from app.inbox.parsing import Contents, parse
from app.inbox.store import ID_PATTERN, Letter, Store

blueprint = Blueprint("inbox", __name__, url_prefix="/inbox")

TABS = ("html", "text", "headers")
# A letter may do nothing here but look: no script, no form, no request. Its links open in tabs of their own.
LETTER_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; "
    "default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
BASE = '<base target="_blank">'
HEAD = re.compile(r"<head(?:\s[^>]*)?>", re.IGNORECASE)
LINK = re.compile(r"https?://[^\s<>\"']+")
AFTER_LINKS = ".,;:!?)]}»"  # belongs to the sentence around a link


@blueprint.app_template_filter()
def file_size(size: int) -> str:
    """So many bytes in the reader's language: "950 byte", "1.9 kB", "31,200 kB"."""
    if size < 1000:
        amount, unit = float(size), "digital-byte"
    else:
        amount, unit = round(size / 1000, 1 if size < 100_000 else None), "digital-kilobyte"
    return format_unit(amount, unit, length="short", locale=get_locale())


@blueprint.get("", strict_slashes=False)
def list_letters() -> Response:
    search = request.args.get("q", "").strip()
    before = request.args.get("before")
    if before and not ID_PATTERN.fullmatch(before):
        raise NotFound(_("There is no such page."))
    letters = _store().letters(search, before)
    return web.render("inbox/list.html", block="letters", letters=letters, search=search, before=before)


@blueprint.post("/delete")
def delete_letters() -> Response:
    count = _store().delete_all()
    flash(ngettext("%(num)s letter deleted.", "%(num)s letters deleted.", count), "success")
    return web.redirect_to(url_for(".list_letters"))


@blueprint.get("/<letter_id>")
def show_letter(letter_id: str) -> Response:
    letter, source = _letter_or_404(letter_id)
    contents = parse(source)
    tab = request.args.get("tab")
    if tab not in TABS:
        tab = _best_tab(contents)
    text = linkified(contents.text or "")
    return web.render("inbox/show.html", letter=letter, contents=contents, tab=tab, text=text)


@blueprint.get("/<letter_id>/html")
def show_html(letter_id: str) -> Response:
    """The letter's HTML itself, for the frame on its page."""
    _letter, source = _letter_or_404(letter_id)
    return _as_letter(with_links_in_tabs(parse(source).html or ""), "text/html")


@blueprint.get("/<letter_id>/source")
def show_source(letter_id: str) -> Response:
    """The letter byte for byte."""
    _letter, source = _letter_or_404(letter_id)
    return _as_letter(source, "text/plain")


def linkified(text: str) -> Markup:
    """`text` as HTML, its http links to be clicked."""
    pieces = []
    end = 0
    for found in LINK.finditer(text):
        url = found.group().rstrip(AFTER_LINKS)
        pieces.append(escape(text[end : found.start()]))
        pieces.append(Markup('<a href="{0}" target="_blank" rel="noopener noreferrer">{0}</a>').format(url))
        end = found.start() + len(url)
    pieces.append(escape(text[end:]))
    return Markup("").join(pieces)


def with_links_in_tabs(html: str) -> str:
    """`html` with its links opening outside: the sites they lead to don't show inside a frame."""
    head = HEAD.search(html)
    at = head.end() if head else 0
    return html[:at] + BASE + html[at:]


def _store() -> Store:
    return Store(current_app.config["SETTINGS"].instance_path)


def _letter_or_404(letter_id: str) -> tuple[Letter, bytes]:
    found = _store().letter(letter_id)
    if not found:
        raise NotFound(_("There is no such letter, or it has been deleted."))
    return found


def _best_tab(contents: Contents) -> str:
    if contents.html is not None:
        return "html"
    return "text" if contents.text is not None else "headers"


def _as_letter(body: str | bytes, mimetype: str) -> Response:
    response = make_response(body, HTTPStatus.OK)
    response.mimetype = mimetype
    response.headers["Content-Security-Policy"] = LETTER_POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
