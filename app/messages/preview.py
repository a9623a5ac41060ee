"""A letter alone, as a sample client or one of the owner's would get it; and the page that a sandboxed frame shows."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from http import HTTPStatus

from flask import Response, current_app, make_response, render_template
from flask_babel import gettext as _

from app import merge_fields
from app.clients.models import Client
from app.messages import content
from app.messages.models import Message

# A letter may do nothing but be looked at. Its pictures stand on other hosts, which shall not learn who looks.
POLICY = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'"
WAY_OUT = "{{ " + merge_fields.UNSUBSCRIBE_URL + " }}"

_PICTURE = re.compile(r"<img(?:\s+[\w-]+=\"[^\"]*\")*?\s+(?=src=\"(?!data:))")

Reader = Callable[[merge_fields.Field], str]


@dataclass(frozen=True)
class Letter:
    """One letter, filled in."""

    subject: str
    preheader: str
    html: str  # sanitised, no page of its own
    text: str


def framed(subject: str, html: str) -> Response:
    """The letter as a page of its own that runs nothing and asks no other host, as a sample client would get it."""
    clean = content.sanitise(html)  # once more: rows may be older than the rules
    return page(filled(subject), merge_fields.fill(clean, merge_fields.sample_of, html=True))


def page(subject: str, html: str, *, status: int = HTTPStatus.OK, is_dark: bool = False) -> Response:
    """The page of sanitised HTML for the frame. In the place of pictures from other hosts stand their words.

    is_dark: on a dark page, as mail programs begin with that leave the letter's own colours alone.
    """
    html = _PICTURE.sub(_without_address, html)
    body = render_template("messages/preview.html", subject=subject, html=html, is_dark=is_dark)
    response = make_response(body, status)
    response.headers["Content-Security-Policy"] = POLICY
    return response


def _without_address(picture: re.Match[str]) -> str:
    own = str(current_app.config["SETTINGS"].base_url) + "/"
    is_own = picture.string.startswith(f'src="{own}', picture.end())
    return picture[0] if is_own else picture[0] + "data-"


def refused(why: str) -> Response:
    """In the letter's place: why there is none."""
    return page(why, f"<p>{escape(why)}</p>", status=HTTPStatus.UNPROCESSABLE_ENTITY)


def letter_for(message: Message, value_of: Reader) -> Letter:
    """What this reader's client would get, with the way out that the engine adds where there is none.

    Raises:
        BadContent: when its HTML can't be cleaned.
    """
    html = content.sanitise(message.html)
    text = message.text or content.text_of(html)
    word = _("Unsubscribe")
    if not has_way_out(html, html=True):
        html += f'\n<p style="font-size: 13px"><a href="{WAY_OUT}">{escape(word)}</a></p>'
    if not has_way_out(text):
        text = f"{text}\n\n{word}: {WAY_OUT}".strip()
    return Letter(
        merge_fields.fill(message.subject, value_of),
        merge_fields.fill(message.preheader or "", value_of),
        merge_fields.fill(html, value_of, html=True),
        merge_fields.fill(text, value_of),
    )


def has_way_out(text: str, *, html: bool = False) -> bool:
    """Whether it has a link to unsubscribe of its own."""
    pieces = merge_fields.parse_leniently(text, html=html)
    return any(isinstance(piece, merge_fields.Field) and piece.name == merge_fields.UNSUBSCRIBE_URL for piece in pieces)


def reader_of(client: Client | None, way_out: str = "https://example.com/unsubscribe") -> Reader:
    """What fills the fields in for this client; None is the sample client."""
    if client is None:
        return merge_fields.sample_of

    def value_of(field: merge_fields.Field) -> str:
        name = field.name
        if name == merge_fields.UNSUBSCRIBE_URL:
            return way_out
        if name.startswith(merge_fields.ATTRIBUTE):
            value = client.attributes.get(name.removeprefix(merge_fields.ATTRIBUTE))
        else:
            value = getattr(client, name)
        return "" if value is None else str(value)

    return value_of


def filled(text: str) -> str:
    """A subject or text part as a sample client would get it."""
    return merge_fields.fill(text, merge_fields.sample_of)
