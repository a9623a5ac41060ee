"""What public pages say to browsers and search engines: validators, what may be kept, structured data."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from flask import Response, current_app, g, request, session, url_for
from flask_babel import gettext as _
from flask_login import current_user
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from app.blog.counter import is_robot
from app.blog.queries import Article, Card, Cover
from app.compression import compressed
from app.pictures.models import Picture

SHARING_SIZE = (1200, 630)  # pixels of img/sharing.png


def for_guests(response: Response, changed_at: datetime | None) -> Response:
    """Let a guest's browser keep the page and ask whether it still holds: 304, as long as nothing on it changed.

    Who is logged in has a page of their own, which nobody keeps (see app.web).

    The page of a guest holds the token of their session: the validator names both, the content and the session. Where
    a session has ended, a kept page would have forms that are refused. A robot keeps no session and sends no forms: to
    it the content alone matters, and the moment of its last change.
    """
    if current_user.is_authenticated or response.status_code != 200:
        return response
    response.cache_control.private = True
    response.cache_control.no_cache = True
    response.vary.update(("Accept-Language", "Cookie"))
    content, owner = _content_digest(response), _digest(str(session.get("csrf_token", "")).encode())[:10]
    response.set_etag(f"{content}-{owner}", weak=True)
    if changed_at:
        response.last_modified = changed_at
    if _still_holds(response, content):
        return _not_modified(response)
    return compressed(response)


def for_everybody(response: Response, changed_at: datetime | None) -> Response:
    """Let anybody keep what is the same for everybody, if they ask each time whether it still holds."""
    response.cache_control.public = True
    response.cache_control.no_cache = True
    response.set_etag(_digest(response.get_data())[:32], weak=True)
    if changed_at:
        response.last_modified = changed_at
    response.make_conditional(request)
    return compressed(response) if response.status_code == 200 else response


def _still_holds(response: Response, content: str) -> bool:
    kept = request.if_none_match
    is_sessionless = not session_cookie() and is_robot(request.user_agent.string)
    if kept:
        mine, _weak = response.get_etag()
        tags = kept.as_set(include_weak=True)
        return mine in tags or (is_sessionless and any(tag.startswith(f"{content}-") for tag in tags))
    since = request.if_modified_since
    if not since or not response.last_modified or not is_robot(request.user_agent.string):
        return False
    return response.last_modified <= since


def session_cookie() -> str | None:
    return request.cookies.get(current_app.config["SESSION_COOKIE_NAME"])


def _not_modified(response: Response) -> Response:
    response.status_code = 304
    response.set_data(b"")
    for name in ("Content-Type", "Content-Length"):
        response.headers.pop(name, None)
    return response


def _content_digest(response: Response) -> str:
    """Of the page without its token, which is signed anew for every answer."""
    body = response.get_data()
    if token := g.get("csrf_token"):
        body = body.replace(str(token).encode(), b"")
    return _digest(body)[:22]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ── Addresses and structured data ───────────────────────────────────────────────────────────────────────────


def base_url() -> str:
    return str(current_app.config["SETTINGS"].base_url)


def absolute(path: str) -> str:
    """The address of a page of ours for those who are elsewhere: by BASE_URL, not by what they called us."""
    return base_url() + path


def picture_url(picture: Cover | Picture, width: int) -> str:
    """Where the size is that is `width` pixels wide, or the next larger one."""
    return f"/blog/pictures/{picture.key}/{_width_of(picture, width)}.webp"


def srcset(picture: Cover | Picture) -> str:
    """All sizes of a picture, for <img srcset>."""
    return ", ".join(f"{picture_url(picture, width)} {width}w" for width in _widths(picture))


def _width_of(picture: Cover | Picture, width: int) -> int:
    widths = _widths(picture)
    return min((each for each in widths if each >= width), default=max(widths))


def _widths(picture: Cover | Picture) -> Sequence[int]:
    """Of a preview's cover, which comes as its row, as well."""
    return picture.widths if isinstance(picture, Cover) else [size.width for size in picture.sizes]


def sharing_picture(cover: Cover | None = None) -> dict[str, Any]:
    """What other sites show beside a link to us: address, width, height, description."""
    if cover is None:
        width, height = SHARING_SIZE
        return {"url": absolute(url_for("static", filename="img/sharing.png")), "width": width, "height": height}
    width = _width_of(cover, SHARING_SIZE[0])
    height = round(cover.height * width / cover.width)
    return {"url": absolute(picture_url(cover, width)), "width": width, "height": height, "alt": cover.alt}


def about_the_service(description: str) -> Markup:
    """Organization and WebSite (schema.org) for the home page."""
    base = base_url()
    logo = absolute(url_for("static", filename="img/golub.svg"))
    organization = {"@type": "Organization", "@id": f"{base}/#organization", "name": "Golub", "url": f"{base}/"}
    search = {"@type": "SearchAction", "target": f"{base}/blog/?q={{words}}", "query-input": "required name=words"}
    website = {"@type": "WebSite", "@id": f"{base}/#website", "name": "Golub", "url": f"{base}/"}
    return linked_data(
        organization | {"logo": logo, "description": description},
        website | {"publisher": {"@id": f"{base}/#organization"}, "potentialAction": search},
    )


def about_the_article(article: Article) -> Markup:
    """BlogPosting (schema.org), and the way to it."""
    card, base = article.card, base_url()
    here = f"{base}/blog/{card.slug}"
    posting: dict[str, Any] = {
        "@type": "BlogPosting",
        "@id": here,
        "mainEntityOfPage": here,
        "url": here,
        "headline": card.title,
        "description": card.summary,
        "inLanguage": card.locale,
        "datePublished": card.published_at.isoformat(),
        "dateModified": card.changed_at.isoformat(),
        "image": sharing_picture(card.cover)["url"],
        "author": {"@type": "Person", "name": card.author.name} if card.author else {"@id": f"{base}/#organization"},
        "publisher": {"@type": "Organization", "@id": f"{base}/#organization", "name": "Golub", "url": f"{base}/"},
    }
    if card.words:
        posting["wordCount"] = card.words
    if card.tags:
        posting["keywords"] = list(card.tags)
    return linked_data(posting, _way_to(card, base))


def _way_to(card: Card, base: str) -> dict[str, Any]:
    blog = f"{base}/blog/"
    steps = (("Golub", f"{base}/"), (_("Blog"), f"{blog}?lang={card.locale}"), (card.title, blog + card.slug))
    items = [
        {"@type": "ListItem", "position": position, "name": name, "item": item}
        for position, (name, item) in enumerate(steps, 1)
    ]
    return {"@type": "BreadcrumbList", "itemListElement": items}


def linked_data(*things: Mapping[str, Any]) -> Markup:
    """JSON-LD for a page. A data block is no script: the Content-Security-Policy lets it be, nothing runs it."""
    data = htmlsafe_json_dumps({"@context": "https://schema.org", "@graph": things}, ensure_ascii=False)
    return Markup('<script type="application/ld+json">{}</script>').format(data)
