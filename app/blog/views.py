"""The home page, the public blog, and the choice of a language, which every page offers."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from flask import Blueprint, Response, abort, make_response, redirect, render_template, request, session, url_for
from flask_babel import force_locale, get_locale
from flask_babel import gettext as _
from flask_login import current_user
from markupsafe import Markup

from app import caching, web
from app.auth import service as accounts
from app.auth.roles import Permission
from app.blog import counter, feeds, pages, queries
from app.blog.html import article_html
from app.blog.queries import Article, Listing
from app.caching import Kind
from app.errors import NotFound
from app.extensions import db

blueprint = Blueprint("blog", __name__)
blueprint.add_app_template_global(pages.absolute, "absolute_url")
blueprint.add_app_template_global(pages.picture_url, "picture_url")
blueprint.add_app_template_global(queries.minutes_to_read, "minutes_to_read")
blueprint.add_app_template_global(pages.srcset, "picture_srcset")
blueprint.add_app_template_global(pages.sharing_picture, "sharing_picture")

POSTS_ON_HOME_PAGE = 3
LONGEST_TAG = 40  # characters

T = TypeVar("T")


@blueprint.get("/")
def home() -> Response:
    """The same for all guests of one language but for its frame, which is made for each of them."""
    if current_user.is_authenticated:
        body, changed_at = _home_body()
    else:
        body, changed_at = caching.remembered(caching.HOME_FOR_GUESTS, _home_body, _language())
    description = _("A mailing manager that shows for each recipient what the mail server said.")
    response = web.render(
        "blog/home.html",
        body=body,
        description=description,
        linked_data=pages.about_the_service(description),
    )
    return pages.for_guests(response, changed_at)


def _home_body() -> tuple[Markup, datetime]:
    figures = caching.remembered(caching.HOME_FIGURES, queries.figures)
    language = _language()
    draw = partial(queries.random_cards, language, POSTS_ON_HOME_PAGE)
    posts = _remembered(caching.RANDOM_POSTS, draw, language)
    html = render_template("blog/home_body.html", figures=figures, posts=posts)
    # It was escaped as it was made; what came out of Redis is what we put there.
    return Markup(html), _later(figures.at, _changed_at())  # noqa: S704


@blueprint.get("/blog/")
def list_posts() -> Response:
    """The articles in one language: that of the address, else the reader's."""
    given = request.args.get("lang", "")
    language = given if given in web.LANGUAGES else _language()
    tag = request.args.get("tag", "").replace("\0", " ")[:LONGEST_TAG].lower()  # PostgreSQL's JSON has no NUL
    words = request.args.get("q", "").strip()
    cursor = request.args.get("cursor")
    listing = _listing(language, tag, words, cursor)
    response = web.render(
        "blog/list.html",
        block="rows" if cursor else "found",
        page=listing.page,
        tags=listing.tags,
        tag=tag,
        words=words,
        language=language,
        cursor=cursor,
    )
    return pages.for_guests(response, _changed_at())


def _listing(language: str, tag: str, words: str, cursor: str | None) -> Listing:
    """Words, cursors and unknown tags are endless: what anybody could fill Redis with is not remembered."""
    beginning = partial(_remembered, caching.POST_LIST)
    if words or cursor:
        return queries.listing(language, tag, words, cursor)
    whole = beginning(partial(queries.listing, language, "", "", None), language)
    if not tag:
        return whole
    find = partial(queries.listing, language, tag, "", None)
    return beginning(find, language, tag) if tag in dict(whole.tags) else find()


@blueprint.get("/blog/<slug>")
def show_post(slug: str) -> Response:
    try:
        article = _remembered(caching.POST, partial(_find_article, slug), slug)
    except NotFound:
        if current := queries.slug_after(slug):
            return make_response(redirect(url_for(".show_post", slug=current), HTTPStatus.MOVED_PERMANENTLY))
        raise
    _count_view(article)
    response = web.render(
        "blog/show.html",
        post=article.card,
        html=article.html,
        article=article,
        linked_data=pages.about_the_article(article),
    )
    return pages.for_guests(response, _later(article.card.changed_at, _changed_at()))


def _find_article(slug: str) -> Article:
    """The article as it is shown: cleaned once more, and once for all its readers."""
    found = queries.article(slug)
    if found is None:
        raise NotFound(_("There is no such article."))
    return replace(found, html=article_html(found.html))


def _count_view(article: Article) -> None:
    is_author = current_user.is_authenticated and current_user.id == article.card.author_id
    if not is_author and counter.is_worth_counting(request):
        counter.count(article.card.id, request.remote_addr or "", request.user_agent.string)


# ── For programs ────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.get("/blog/feed.atom")
def atom_feed() -> Response:
    return _feed("atom")


@blueprint.get("/blog/feed.rss")
def rss_feed() -> Response:
    return _feed("rss")


def _feed(kind: feeds.Format) -> Response:
    """The newest articles of the language in the address; without one, of all."""
    given = request.args.get("lang", "")
    language = given if given in web.LANGUAGES else None
    body, changed_at = _remembered(caching.FEED, partial(_build_feed, kind, language), kind, language)
    return pages.for_everybody(Response(body, mimetype=f"application/{kind}+xml"), changed_at)


def _build_feed(kind: feeds.Format, language: str | None) -> tuple[bytes, datetime]:
    posts = queries.newest(language, feeds.POSTS_IN_FEED)
    # Nothing is newer than an empty feed's beginning of time, so that it has no other date tomorrow.
    changed_at = queries.changed_at() or datetime.fromtimestamp(0, UTC)
    with force_locale(language or "en"):  # the feed's own: whoever asks first must not choose for everybody
        feed = feeds.Feed(
            title=_("Golub: the blog"),
            subtitle=_("News about Golub and advice for better mailings."),
            site=pages.absolute(url_for(".list_posts", lang=language)),
            itself=pages.absolute(url_for(f".{kind}_feed", lang=language)),
            base=pages.base_url(),
            locale=language,
            changed_at=changed_at,
        )
    return feeds.build(kind, feed, posts), changed_at


@blueprint.get("/sitemap.xml")
def sitemap() -> Response:
    body, changed_at = _remembered(caching.SITEMAP, _build_sitemap)
    return pages.for_everybody(Response(body, mimetype="application/xml"), changed_at)


def _build_sitemap() -> tuple[bytes, datetime | None]:
    return feeds.sitemap(pages.base_url(), queries.addresses(), web.LANGUAGES), queries.changed_at()


@blueprint.get("/robots.txt")
def robots() -> Response:
    return pages.for_everybody(Response(feeds.robots(pages.base_url()), mimetype="text/plain"), None)


# ── Languages ───────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.post("/language")
def set_language() -> Response:
    """Keep the reader's language: in the session, and with an account for their letters, too."""
    language = request.form.get("lang", "")
    if language not in web.LANGUAGES:
        abort(400)
    session["locale"] = language
    if current_user.is_authenticated:
        accounts.set_locale(current_user, language)
        db.session.commit()
    return web.redirect_to(_where_they_were() or url_for(".home"))


def _where_they_were() -> str | None:
    """The page whose form it was: it says so itself, else the browser does."""
    if page := web.local_path(request.form.get("next")):
        return page
    referrer = request.referrer or ""
    return web.local_part(referrer) if referrer.startswith(request.host_url) else None


def _language() -> str:
    return str(get_locale().language)


# ── What is remembered ──────────────────────────────────────────────────────────────────────────────────────


def _remembered(kind: Kind, make: Callable[[], T], *key: object) -> T:
    """For readers, what is remembered. Whoever writes articles sees each change at once, whatever Redis does."""
    if current_user.is_authenticated and current_user.may(Permission.RUN_BLOG):
        return make()
    return caching.remembered(kind, make, *key)


def _changed_at() -> datetime | None:
    return _remembered(caching.BLOG_CHANGED, queries.changed_at)


def _later(one: datetime, other: datetime | None) -> datetime:
    return max(one, other or one)
