"""A letter alone, for a sandboxed frame."""

from flask import Response, make_response, render_template

from app.messages import content

# A letter may do nothing but be looked at. Its pictures stand on other hosts, which shall not learn who looks.
POLICY = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'"


def framed(subject: str, html: str) -> Response:
    """The letter as a page of its own that runs nothing and asks no other host."""
    clean = content.sanitise(html)  # once more: rows may be older than the rules
    response = make_response(render_template("messages/preview.html", subject=subject, html=clean))
    response.headers["Content-Security-Policy"] = POLICY
    return response
