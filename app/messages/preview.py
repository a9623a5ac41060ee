"""A letter alone, for a sandboxed frame."""

from flask import Response, make_response, render_template

from app import merge_fields
from app.messages import content

# A letter may do nothing but be looked at. Its pictures stand on other hosts, which shall not learn who looks.
POLICY = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'"


def framed(subject: str, html: str) -> Response:
    """The letter as a page of its own that runs nothing and asks no other host, as a sample client would get it."""
    clean = content.sanitise(html)  # once more: rows may be older than the rules
    html = merge_fields.fill(clean, merge_fields.sample_of, html=True)
    response = make_response(render_template("messages/preview.html", subject=filled(subject), html=html))
    response.headers["Content-Security-Policy"] = POLICY
    return response


def filled(text: str) -> str:
    """A subject or text part as a sample client would get it."""
    return merge_fields.fill(text, merge_fields.sample_of)
