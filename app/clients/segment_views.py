"""Segments: their list and their editor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from flask import Response, flash, request, url_for
from flask_babel import gettext as _
from sqlalchemy import Select

from app import web
from app.auth.access import requires, signed_in
from app.auth.models import User
from app.auth.roles import Permission
from app.clients import queries, segments, service
from app.clients.models import Client, Segment
from app.clients.segment_forms import SegmentForm
from app.clients.segments import Counts
from app.clients.views import argument, blueprint
from app.database import TookTooLong, only_reads, time_limit
from app.extensions import db
from app.paging import Order, paginate, sorting

Found = TypeVar("Found")
ORDERS = {
    "name": Order((Segment.name, Segment.id)),
    "added": Order((Segment.id,), descending=True),
}
PATIENCE_SECONDS = 2  # for the count, and for the sample: a heavy condition must not hold the page up


@blueprint.get("/clients/segments/")
@requires(Permission.OWN_THINGS)
def list_segments() -> Response:
    return show_segments()


def show_segments() -> Response:
    """The list as the address asks for it, the one of an action on it, too."""
    search, cursor, order = argument("q"), request.args.get("after"), sorting(argument("sort"), ORDERS)
    book = segments.book_of(signed_in())
    return web.render_list(
        "clients/segments.html",
        segments_url(),
        is_further=bool(cursor),
        page=paginate(segments_found(), *order.keys, cursor=cursor, descending=order.descending),
        search=search,
        sorting=order,
        in_words=lambda segment: segments.in_words(segment.conditions, book),
    )


def segments_found() -> Select[Segment]:
    """The user's segments that the address asks for."""
    return queries.segments_named(queries.segments_of(signed_in()), argument("q"))


def segments_url() -> str:
    return web.url_with("clients.list_segments", q=argument("q"), sort=sorting(argument("sort"), ORDERS).word)


@blueprint.route("/clients/segments/new", methods=["GET", "POST"])
@requires(Permission.OWN_THINGS)
def create_segment() -> Response:
    owner = signed_in()
    form = SegmentForm(segments.book_of(owner), conditions=_asked_for())
    return _edit(form, owner, lambda: service.create_segment(owner, form.name.parsed, form.complete()))


def _asked_for() -> dict[str, str]:
    """What a link proposes for a new segment: the tag that a list is filtered by."""
    return {"tag": tag} if (tag := argument("tag")) else {}


@blueprint.route("/clients/segments/<int:segment_id>/edit", methods=["GET", "POST"])
@requires(Permission.OWN_THINGS)
def edit_segment(segment_id: int) -> Response:
    segment = service.get_segment(signed_in(), segment_id)
    owner = db.session.get_one(User, segment.owner_id)
    form = SegmentForm(segments.book_of(owner), segment.name, segment.conditions)
    return _edit(form, owner, lambda: service.edit_segment(segment, form.name.parsed, form.complete()), segment)


@blueprint.post("/clients/segments/new/preview")
@requires(Permission.OWN_THINGS)
def preview_new_segment() -> Response:
    return _preview(signed_in())


@blueprint.post("/clients/segments/<int:segment_id>/preview")
@requires(Permission.OWN_THINGS)
def preview_segment(segment_id: int) -> Response:
    segment = service.get_segment(signed_in(), segment_id)
    return _preview(db.session.get_one(User, segment.owner_id), segment)


@blueprint.post("/clients/segments/<int:segment_id>/delete")
@requires(Permission.OWN_THINGS)
def delete_segment(segment_id: int) -> Response:
    deleted = service.delete_segment(service.get_segment(signed_in(), segment_id))
    db.session.commit()
    web.flash_undoable(
        _("The segment is deleted. Its clients stay."), url_for(".undo_segments"), at=deleted.moment.isoformat()
    )
    return web.redirect_to(url_for(".list_segments"))


def _edit(form: SegmentForm, owner: User, save: Callable[[], object], segment: Segment | None = None) -> Response:
    """The form: as it is, with a row more or less when a button says so, or saved when it was sent and is valid."""
    status = HTTPStatus.OK
    if what := request.form.get("do"):
        form.change(what)
        if web.wants_fragment():
            response = web.render("clients/segment_form.html", block="conditions", form=form, segment=segment)
            response.headers["HX-Trigger"] = '{"conditions-changed": {"target": "#preview"}}'
            return response
    elif form.is_submitted():
        if form.validate():
            save()
            db.session.commit()
            flash(_("The segment is saved."), "success")
            return web.redirect_to(url_for(".list_segments"))
        status = HTTPStatus.UNPROCESSABLE_ENTITY
    previewed = _preview_of(form, owner)
    return web.render(
        "clients/segment_form.html", block="form", status=status, form=form, segment=segment, previewed=previewed
    )


def _preview(owner: User, segment: Segment | None = None) -> Response:
    """Who fulfils what is typed so far. It is no mistake yet that something is missing, so never 422."""
    form = SegmentForm(segments.book_of(owner))
    previewed = _preview_of(form, owner)
    return web.render("clients/segment_form.html", block="preview", form=form, segment=segment, previewed=previewed)


@dataclass(frozen=True)
class Preview:
    """What a segment would be. counts, sample: None where it took too long to find out."""

    words: str
    incomplete: int
    counts: Counts | None
    sample: Sequence[Client] | None


def _preview_of(form: SegmentForm, owner: User) -> Preview:
    # From here on it only reads: on SQLite whoever writes shall not wait for a count, which would hold the one lock.
    db.session.rollback()
    only_reads.set(True)
    conditions = form.complete()
    return Preview(
        segments.in_words(conditions, form.book),
        form.incomplete,
        _in_time(lambda: segments.count(owner, conditions)),
        _in_time(lambda: segments.sample(owner, conditions)),
    )


def _in_time(find: Callable[[], Found]) -> Found | None:
    try:
        with time_limit(db.session(), PATIENCE_SECONDS):
            return find()
    except TookTooLong:
        return None
