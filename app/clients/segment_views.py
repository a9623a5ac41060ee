"""Segments: their list and their editor."""

from collections.abc import Callable
from http import HTTPStatus

from flask import Response, flash, request, url_for
from flask_babel import gettext as _

from app import web
from app.auth.access import requires, signed_in
from app.auth.models import User
from app.auth.roles import Permission
from app.clients import queries, segments, service
from app.clients.models import Segment
from app.clients.segment_forms import ConditionsForm, SegmentForm
from app.clients.segments import Counts
from app.clients.views import blueprint
from app.extensions import db
from app.paging import paginate


@blueprint.get("/clients/segments/")
@requires(Permission.OWN_THINGS)
def list_segments() -> Response:
    return web.render(
        "clients/segments.html",
        block="rows",
        page=paginate(queries.segments_of(signed_in()), Segment.name, Segment.id, cursor=request.args.get("after")),
        describe=segments.describe,
    )


@blueprint.route("/clients/segments/new", methods=["GET", "POST"])
@requires(Permission.OWN_THINGS)
def create_segment() -> Response:
    """The form, filled with what the address says; HTMX asks this way for the count while somebody types."""
    form = SegmentForm(request.form if request.method == "POST" else request.args)
    _offer_tags(form, signed_in())
    if form.is_submitted():
        owner = signed_in()
        return _save_segment(form, lambda: service.create_segment(owner, form.name.parsed, form.conditions()))
    return web.render("clients/segment_form.html", block="count", form=form, segment=None, counts=_counts_of_request())


@blueprint.route("/clients/segments/<int:segment_id>/edit", methods=["GET", "POST"])
@requires(Permission.OWN_THINGS)
def edit_segment(segment_id: int) -> Response:
    segment = service.get_segment(signed_in(), segment_id)
    form = SegmentForm.of(segment)
    owner = db.session.get_one(User, segment.owner_id)
    _offer_tags(form, owner, segment.conditions.get("tag"))
    if form.is_submitted():
        return _save_segment(form, lambda: service.edit_segment(segment, form.name.parsed, form.conditions()), segment)
    counts = segments.count(owner, segment.conditions)
    return web.render("clients/segment_form.html", block="form", form=form, segment=segment, counts=counts)


def _save_segment(form: SegmentForm, save: Callable[[], object], segment: Segment | None = None) -> Response:
    """The list when the form was valid, else the form."""
    if form.validate():
        save()
        db.session.commit()
        flash(_("The segment is saved."), "success")
        return web.redirect_to(url_for(".list_segments"))
    return web.render(
        "clients/segment_form.html",
        block="form",
        status=HTTPStatus.UNPROCESSABLE_ENTITY,
        form=form,
        segment=segment,
        counts=None,
    )


@blueprint.post("/clients/segments/<int:segment_id>/delete")
@requires(Permission.OWN_THINGS)
def delete_segment(segment_id: int) -> Response:
    service.delete_segment(service.get_segment(signed_in(), segment_id))
    db.session.commit()
    flash(_("The segment is deleted. Its clients stay."), "success")
    return web.redirect_to(url_for(".list_segments"))


def _counts_of_request() -> Counts | None:
    """Who fulfils the conditions in the address; None when they make no sense."""
    form = ConditionsForm(request.args, meta={"csrf": False})
    _offer_tags(form, signed_in(), request.args.get("tag", "").replace("\0", "").strip())
    return segments.count(signed_in(), form.conditions()) if form.validate() else None


def _offer_tags(form: ConditionsForm, owner: User, present: str | None = None) -> None:
    form.offer_tags(db.session.scalars(queries.tag_names_in_use(owner)), present)
