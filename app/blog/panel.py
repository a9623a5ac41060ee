"""The content manager's panel, and the pictures of articles."""

from datetime import datetime
from http import HTTPStatus
from typing import IO

from flask import Response, current_app, flash, get_template_attribute, jsonify, request, url_for
from flask_babel import gettext as _
from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from werkzeug.datastructures import FileStorage

from app import caching, clock, web
from app.auth.access import requires, signed_in
from app.auth.roles import Permission
from app.blog import html as article
from app.blog import panel_queries as queries
from app.blog import pictures as addresses
from app.blog import service
from app.blog.forms import SUMMARY_SHOWN, Intent, PictureForm, PostForm, PublishForm, typed
from app.blog.models import Post
from app.blog.panel_queries import PostState
from app.blog.views import blueprint
from app.errors import NotFound, RuleBroken
from app.extensions import db
from app.images import BadPicture
from app.mailings.schedule import local_to_utc
from app.paging import paginate
from app.pictures import views as pictures
from app.pictures.drawing import MOST_BYTES
from app.pictures.models import Picture, PictureFormat
from app.pictures.queries import of_articles
from app.pictures.service import add_to_articles

MANAGE = "/blog/manage"
ONE = f"{MANAGE}/<int(max=2147483647):post_id>"  # no id is larger than its column
PICTURES_SHOWN = 24
ORDERS = {
    "changed": ((Post.updated_at, Post.id), True),
    "views": ((Post.views, Post.id), True),
    "title": ((Post.title, Post.id), False),
}

blueprint.add_app_template_global(addresses.path_of, "picture_path")
blueprint.add_app_template_global(addresses.shown_path_of, "picture_shown_path")


# ── Looking ─────────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.get(f"{MANAGE}/")
@requires(Permission.RUN_BLOG)
def list_managed() -> Response:
    filters = {name: _word(name) for name in ("state", "q", "lang", "sort")}
    keys, descending = ORDERS.get(filters["sort"], ORDERS["changed"])
    query = queries.for_list(queries.in_state(filters["state"]), filters["q"], filters["lang"])
    return web.render(
        "blog/manage/list.html",
        block="rows",
        page=paginate(query, *keys, cursor=request.args.get("cursor"), descending=descending),
        filters={name: value for name, value in filters.items() if value},
        states=_state_words(),
        orders={"changed": _("Last changed"), "views": _("Most read"), "title": _("By title")},
        state_of=queries.state_of,
    )


@blueprint.get(f"{ONE}/preview")
@requires(Permission.RUN_BLOG)
def preview_post(post_id: int) -> Response:
    """The article as its readers would see it: with what was autosaved, if there is such a thing."""
    post = _post(post_id)
    shown = _as_typed(post)
    return web.render(
        "blog/manage/preview.html",
        post=shown,
        html=article.article_html(shown.html),
        is_preview=True,
        has_draft=post.draft is not None,
        state=queries.state_of(post),
        state_words=_state_words(),
    )


def _as_typed(post: Post) -> Post:
    """A copy that no session knows, with the autosaved text in the place of the saved one."""
    draft = {name: str(text) for name, text in (post.draft or {}).items()}
    html = service.clean(draft.get("html", post.html))
    return Post(
        id=post.id,
        title=draft.get("title", post.title) or _("Untitled"),
        slug=post.slug,
        summary=draft.get("summary", post.summary),
        html=html,
        locale=draft.get("locale", post.locale),
        tags=_tags_of(draft["tags"]) if "tags" in draft else post.tags,
        words=article.words_in(html),
        views=post.views,
        cover=_picture_of(draft["cover_id"]) if "cover_id" in draft else post.cover,
        author=post.author,
        created_at=post.created_at,
        updated_at=post.updated_at,
        published_at=post.published_at or clock.now(),
    )


def _tags_of(text: str) -> list[str]:
    try:
        return list(service.parse_tags(text))
    except service.BadTags:
        return []


def _picture_of(number: str) -> Picture | None:
    is_number = number.isascii() and number.isdigit() and len(number) < 10
    return db.session.scalar(of_articles().where(Picture.id == int(number))) if is_number else None


# ── Writing ─────────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.route(f"{MANAGE}/new", methods=["GET", "POST"])
@requires(Permission.RUN_BLOG)
@web.takes_files
def new_post() -> Response:
    return _written(PostForm(signed_in()), None)


@blueprint.route(f"{ONE}/edit", methods=["GET", "POST"])
@requires(Permission.RUN_BLOG)
@web.takes_files
def edit_post(post_id: int) -> Response:
    post = _post(post_id, to_change=request.method == "POST")
    is_restored = "draft" in request.args or (post.draft is not None and not post.html)
    return _written(PostForm(signed_in(), post, restored=is_restored), post)


def _written(form: PostForm, post: Post | None) -> Response:
    """The form; or when it was sent, what it leads to."""
    if not form.is_submitted():
        return _form_page(form, post)
    if form.intent is Intent.PREVIEW:
        return _preview_typed(form, post)
    _take_cover(form)
    if post is not None:
        post = _post(post.id, to_change=True)  # keeping the cover has let go of it
        if not _is_current(form, post):
            return _form_page(form, post)
    # validate() begins the lists of errors anew.
    cover_errors = list(form.cover.errors)
    if not form.validate() or cover_errors:
        form.cover.errors = cover_errors
        return _form_page(form, post)
    try:
        saved = _save(form, post)
    except IntegrityError:
        db.session.rollback()
        form.form_errors.append(_("Another article took this address at this very moment. Save once more."))
        return _form_page(form, None if post is None else _post(post.id))
    return web.redirect_to(url_for("blog.edit_post", post_id=saved.id))


def _is_current(form: PostForm, post: Post) -> bool:
    """Whether nobody saved meanwhile. If somebody did, the form says so, and its next try replaces what they saved."""
    try:
        service.check_version(post, form.version.data or "")
    except service.Changed:
        form.form_errors = [
            _("This article was saved in another window meanwhile. Your text is below, and not lost.")
            + " "
            + _("Look at the other version first: saving once more replaces it.")
        ]
        form.version.raw_data, form.version.data = None, service.version_of(post)
        form.is_outdated = True
        return False
    return True


def _take_cover(form: PostForm) -> None:
    """Keep the picture that came with the form, also when the rest of it comes back with errors."""
    file = form.cover.data
    if not isinstance(file, FileStorage) or not file.filename:
        return
    try:
        picture = _kept(file.stream, form.cover_alt.data)
    except BadPicture as error:
        form.cover.errors = [str(error)]
        return
    db.session.commit()
    form.cover_id.data, form.remove_cover.data = str(picture.id), False


def _save(form: PostForm, post: Post | None) -> Post:
    is_new = post is None
    if post is None:
        post = service.create(signed_in(), form.parsed())
    else:
        service.edit(post, form.parsed(), known=form.draft.data or "")
    if picture := form.picture:
        service.describe(picture, form.cover_alt.data or "")
    moment = form.moment()
    is_moved = post.published_at is not None and moment not in (None, post.published_at)
    if form.intent is Intent.PUBLISH or is_moved:
        service.publish(post, moment)
    db.session.commit()
    caching.forget_blog()
    _say_saved(post, is_new=is_new, published=form.intent is Intent.PUBLISH)
    return post


def _say_saved(post: Post, *, is_new: bool, published: bool) -> None:
    state = queries.state_of(post)
    if published and state is PostState.PUBLISHED:
        flash(_link(_("Published. Everybody can read it now."), post), "success")
    elif published and post.published_at:
        flash(_("It will be published on %(time)s.", time=web.local_time(post.published_at, style="medium")), "success")
    elif state is PostState.PUBLISHED:
        flash(_link(_("Saved. Readers see it already."), post), "success")
    else:
        flash(_("Saved as a draft.") if is_new else _("Saved."), "success")


def _link(text: str, post: Post) -> Markup:
    """The sentence with a link to the article."""
    return _part("with_link", text, url_for("blog.show_post", slug=post.slug), _("Open"))


def _part(name: str, *arguments: object) -> Markup:
    made: Markup = get_template_attribute("blog/manage/parts.html", name)(*arguments)
    return made


def _preview_typed(form: PostForm, post: Post | None) -> Response:
    """Autosave what was typed, whatever it is, and show it."""
    _take_cover(form)
    try:
        if post is None:
            post = service.begin(signed_in(), form.title.data or "")
        _keep_typed(post, form.version.data or service.version_of(post), form.draft.data or "", form.cover_id.data)
    except RuleBroken as error:
        form.form_errors.append(str(error))
        return _form_page(form, post)
    db.session.commit()
    return web.redirect_to(url_for("blog.preview_post", post_id=post.id))


def _keep_typed(post: Post, version: str, known: str, cover_id: str | None = None) -> None:
    fields = typed()
    if cover_id is not None:
        fields["cover_id"] = cover_id
    service.autosave(post, fields, version=version, known=known)


def _form_page(form: PostForm, post: Post | None) -> Response:
    return web.render(
        "blog/manage/form.html",
        block="form",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if form.is_submitted() else HTTPStatus.OK,
        form=form,
        post=post,
        cover=form.picture,
        state=queries.state_of(post) if post else PostState.DRAFT,
        state_words=_state_words(),
        known_tags=queries.known_tags(),
        summary_shown=SUMMARY_SHOWN,
        draft_at=_draft_time(form, post),
        largest_picture=MOST_BYTES,
    )


def _draft_time(form: PostForm, post: Post | None) -> str | None:
    """When the text was autosaved that this form does not show; None when there is no such text."""
    mark = service.draft_mark(post) if post else ""
    if not mark or form.is_submitted() or form.draft.data == mark:
        return None
    return web.local_time(datetime.fromisoformat(mark), style="short")


# ── Autosaving ──────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.post(f"{MANAGE}/autosave")
@requires(Permission.RUN_BLOG)
@web.takes_files
def autosave_new() -> Response:
    """The first words of an article make a place for it."""
    post = service.begin(signed_in(), request.form.get("title", ""))
    return _autosaved(post, service.version_of(post))


@blueprint.post(f"{ONE}/autosave")
@requires(Permission.RUN_BLOG)
@web.takes_files
def autosave_post(post_id: int) -> Response:
    return _autosaved(_post(post_id, to_change=True), request.form.get("version", ""))


def _autosaved(post: Post, version: str) -> Response:
    try:
        _keep_typed(post, version, request.form.get("draft", ""))
    except RuleBroken as error:
        db.session.rollback()
        answer = jsonify(error=str(error))
        answer.status_code = HTTPStatus.CONFLICT
        return answer
    db.session.commit()
    now = web.local_time(clock.now(), style="HH:mm")
    return jsonify(
        message=_("Saved at %(time)s", time=now),
        fields={"version": version, "draft": service.draft_mark(post)},
        action=url_for("blog.edit_post", post_id=post.id),
        autosave=url_for("blog.autosave_post", post_id=post.id),
    )


@blueprint.post(f"{ONE}/discard")
@requires(Permission.RUN_BLOG)
def discard_draft(post_id: int) -> Response:
    service.discard_draft(_post(post_id, to_change=True))
    db.session.commit()
    flash(_("The unsaved text is thrown away."), "success")
    return web.redirect_to(url_for("blog.edit_post", post_id=post_id))


# ── Publishing ──────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.post(f"{ONE}/publish")
@requires(Permission.RUN_BLOG)
def publish_post(post_id: int) -> Response:
    post = _post(post_id, to_change=True)
    form = PublishForm()
    if not form.validate():
        flash(" ".join(form.publish_at.errors), "danger")
        return _back(post)
    local = form.publish_at.data
    service.publish(post, local_to_utc(local, signed_in().timezone) if local else None)
    db.session.commit()
    caching.forget_blog()
    _say_saved(post, is_new=False, published=True)
    return _back(post)


@blueprint.post(f"{ONE}/unpublish")
@requires(Permission.RUN_BLOG)
def unpublish_post(post_id: int) -> Response:
    post = _post(post_id, to_change=True)
    service.unpublish(post)
    db.session.commit()
    caching.forget_blog()
    flash(_("It is a draft again: nobody else can read it."), "success")
    return _back(post)


def _back(post: Post) -> Response:
    return web.redirect_to(url_for("blog.edit_post", post_id=post.id))


@blueprint.post(f"{ONE}/delete")
@requires(Permission.RUN_BLOG)
def delete_post(post_id: int) -> Response:
    post = _post(post_id, to_change=True)
    service.delete(post)
    db.session.commit()
    caching.forget_blog()
    said = _("“%(title)s” is in the trash.", title=post.title or _("Untitled"))
    web.flash_undoable(said, url_for("blog.restore_post", post_id=post.id))
    return web.redirect_to(url_for("blog.list_managed"))


@blueprint.post(f"{ONE}/restore")
@requires(Permission.RUN_BLOG)
def restore_post(post_id: int) -> Response:
    post = _found(db.session.scalar(select(Post).where(Post.id == post_id).with_for_update()))
    service.restore(post)
    db.session.commit()
    caching.forget_blog()
    flash(_("“%(title)s” is back.", title=post.title or _("Untitled")), "success")
    return web.redirect_to(url_for("blog.list_managed"))


# ── Pictures ────────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.route(f"{MANAGE}/pictures", methods=["GET", "POST"])
@requires(Permission.RUN_BLOG)
@web.takes_files
def manage_pictures() -> Response:
    """For a script, which asks for JSON, the picture's address; for everybody else a page with what to copy."""
    form = PictureForm()
    picture = None
    if form.validate_on_submit():
        try:
            picture = _kept(form.picture.data.stream, form.alt.data)
            db.session.commit()
        except BadPicture as error:
            form.picture.errors = [str(error)]
    if _wants_json():
        return _picture_as_json(picture, form)
    if picture:
        return web.redirect_to(url_for("blog.manage_pictures"))
    newest = queries.pictures_newest_first()
    return web.render(
        "blog/manage/pictures.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if form.is_submitted() else HTTPStatus.OK,
        form=form,
        page=paginate(
            newest.order_by(None), Picture.id, cursor=request.args.get("cursor"), descending=True, size=PICTURES_SHOWN
        ),
    )


def _kept(file: IO[bytes], alt: str | None) -> Picture:
    return add_to_articles(signed_in(), file, alt or "", current_app.config["SETTINGS"].pictures_max_mb)


def _wants_json() -> bool:
    return request.accept_mimetypes.best == "application/json"


def _picture_as_json(picture: Picture | None, form: PictureForm) -> Response:
    if picture is None:
        answer = jsonify(error=" ".join(str(error) for errors in form.errors.values() for error in errors))
        answer.status_code = HTTPStatus.UNPROCESSABLE_ENTITY
        return answer
    answer = jsonify(
        id=picture.id,
        src=addresses.shown_path_of(picture),
        alt=picture.alt,
        width=picture.width,
        height=picture.height,
    )
    answer.status_code = HTTPStatus.CREATED
    return answer


@blueprint.get("/blog/pictures/<key>/<int(max=99999):width>.webp")
def show_picture(key: str, width: int) -> Response:
    return pictures.served(key, PictureFormat.WEBP, width)


# ── Shared ──────────────────────────────────────────────────────────────────────────────────────────────────


def _post(post_id: int, *, to_change: bool = False) -> Post:
    query = queries.not_deleted(post_id)
    return _found(db.session.scalar(query.with_for_update() if to_change else query))


def _found(post: Post | None) -> Post:
    if post is None:
        raise NotFound(_("There is no such article."))
    return post


def _word(name: str) -> str:
    """A text in the address, without the NUL that PostgreSQL refuses."""
    return request.args.get(name, "").replace("\0", "").strip()


def _state_words() -> dict[PostState, str]:
    return {
        PostState.DRAFT: _("Draft"),
        PostState.SCHEDULED: _("Scheduled"),
        PostState.PUBLISHED: _("Published"),
        PostState.TRASH: _("Trash"),
    }
