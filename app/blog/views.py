"""The home page, the public blog, and the choice of a language, which every page offers."""

from flask import Blueprint, Response, abort, request, session, url_for
from flask_babel import gettext as _
from flask_login import current_user

from app import web
from app.auth import service as accounts
from app.blog import queries
from app.blog.html import article_html
from app.blog.models import Post
from app.errors import NotFound
from app.extensions import db
from app.paging import paginate

blueprint = Blueprint("blog", __name__)

NEWS_ON_HOME_PAGE = 3
PAGE_SIZE = 10
BY_NEWNESS = (Post.published_at, Post.id)


@blueprint.get("/")
def home() -> Response:
    posts = paginate(queries.published(), *BY_NEWNESS, descending=True, size=NEWS_ON_HOME_PAGE)
    return web.render("blog/home.html", posts=posts)


@blueprint.get("/blog/")
def list_posts() -> Response:
    cursor = request.args.get("cursor")
    posts = paginate(queries.published(), *BY_NEWNESS, cursor=cursor, descending=True, size=PAGE_SIZE)
    return web.render("blog/list.html", block="rows", posts=posts)


@blueprint.get("/blog/<slug>")
def show_post(slug: str) -> Response:
    post = db.session.scalar(queries.published().where(Post.slug == slug))
    if post is None:
        raise NotFound(_("There is no such article."))
    return web.render("blog/show.html", post=post, html=article_html(post.html))


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
