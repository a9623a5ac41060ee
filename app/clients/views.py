"""The address book and its segments."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

from flask import Blueprint, Response, current_app, flash, request, url_for
from flask_babel import format_date
from flask_babel import gettext as _
from sqlalchemy import Select
from sqlalchemy.orm import selectinload

from app import web
from app.auth.access import requires, signed_in
from app.auth.models import User
from app.auth.roles import Permission
from app.clients import queries, segments, service, unsubscribe
from app.clients.forms import STATUS_LABELS, ClientForm, ConditionsForm, SegmentForm
from app.clients.models import Client, ClientStatus, Segment
from app.clients.segments import Counts
from app.clients.service import AlreadyThere
from app.errors import NotFound
from app.extensions import csrf, db
from app.paging import paginate

blueprint = Blueprint("clients", __name__)


@blueprint.context_processor
def _words() -> dict[str, Any]:
    return {"status_labels": STATUS_LABELS, "format_date": format_date}


@dataclass(frozen=True)
class Filters:
    """What the address bar asks for. A status that does not exist asks for nothing."""

    q: str
    status: str
    tag: str

    @classmethod
    def of_request(cls) -> Self:
        status = _argument("status")
        return cls(_argument("q"), status if status in set(ClientStatus) else "", _argument("tag"))

    def of(self, user: User) -> Select[Client]:
        """The user's clients whom they ask for."""
        query = queries.matching(queries.owned_by(user), self.q)
        if self.status:
            query = queries.with_status(query, ClientStatus(self.status))
        return queries.with_tag(query, self.tag) if self.tag else query

    def given(self) -> dict[str, Any]:
        """Those that are set, for an address."""
        return {name: value for name, value in vars(self).items() if value}


def _argument(name: str) -> str:
    # PostgreSQL takes no text with a NUL in it.
    return request.args.get(name, "").replace("\0", "").strip()


@blueprint.get("/clients/")
@requires(Permission.OWN_THINGS)
def list_clients() -> Response:
    user, filters, cursor = signed_in(), Filters.of_request(), request.args.get("after")
    query = filters.of(user).options(selectinload(Client.tags))
    response = web.render(
        "clients/list.html",
        block="rows",
        page=paginate(query, Client.last_name, Client.first_name, Client.id, cursor=cursor),
        filters=filters,
        tags=db.session.scalars(queries.tag_names_in_use(user)).all(),
        has_clients=db.session.scalar(queries.has_clients(user)),
    )
    if not cursor:
        # What is searched for stands in the address bar, without the fields that are empty.
        response.headers["HX-Replace-Url"] = url_for(".list_clients", **filters.given())
    return response


@blueprint.get("/clients/<int:client_id>")
@requires(Permission.OWN_THINGS, Permission.SEE_OTHERS)
def show_client(client_id: int) -> Response:
    user = signed_in()
    client = service.get_client(user, client_id)
    owner = db.session.get_one(User, client.owner_id)
    may_edit = client.owner_id == user.id or user.may(Permission.EDIT_OTHERS)
    return web.render("clients/show.html", client=client, user=user, may_edit=may_edit, owner=owner)


@blueprint.route("/clients/new", methods=["GET", "POST"])
@requires(Permission.OWN_THINGS)
def create_client() -> Response:
    form = ClientForm()
    owner = signed_in()
    return _save_client(form, lambda: service.create_client(owner, form.client_data()), _("The client is added."))


@blueprint.route("/clients/<int:client_id>/edit", methods=["GET", "POST"])
@requires(Permission.OWN_THINGS)
def edit_client(client_id: int) -> Response:
    client = service.get_client(signed_in(), client_id, to_edit=True)
    form = ClientForm.of(client)
    return _save_client(
        form, lambda: service.edit_client(client, form.client_data()), _("The changes are saved."), client
    )


def _save_client(form: ClientForm, save: Callable[[], Client], success: str, client: Client | None = None) -> Response:
    """The form; or, when it was sent and is valid, the saved client's page."""
    if form.validate_on_submit():
        try:
            saved = save()
        except AlreadyThere as error:
            form.email.errors = [str(error)]
        else:
            db.session.commit()
            flash(success, "success")
            return web.redirect_to(url_for(".show_client", client_id=saved.id))
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.is_submitted() else HTTPStatus.OK
    return web.render("clients/form.html", block="form", status=status, form=form, client=client)


@blueprint.post("/clients/<int:client_id>/delete")
@requires(Permission.OWN_THINGS)
def delete_client(client_id: int) -> Response:
    client = service.get_client(signed_in(), client_id, to_edit=True)
    name = client.full_name or client.email
    service.delete_client(client)
    db.session.commit()
    flash(_("%(name)s is deleted.", name=name), "success")
    return web.redirect_to(url_for(".list_clients"))


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
    _offer_tags(form, signed_in(), _argument("tag"))
    return segments.count(signed_in(), form.conditions()) if form.validate() else None


def _offer_tags(form: ConditionsForm, owner: User, present: str | None = None) -> None:
    form.offer_tags(db.session.scalars(queries.tag_names_in_use(owner)), present)


# ── Leaving: for recipients, who have no account ──


def _by_link(view: web.View) -> web.View:
    """For whoever has the link: its address is a secret of the recipient, so no token of a session is asked for."""
    csrf.exempt(view)
    return view


@blueprint.route("/unsubscribe/<token>", methods=["GET", "POST"])
@_by_link
@web.takes_files  # mail programs send their one click as such a form (RFC 8058, 3.2)
def leave(token: str) -> Response:
    """GET asks, and changes nothing: programs that look for harm follow the links of letters.

    POST comes from our page's button or from the one of a mail program (RFC 8058), which takes no redirect.
    """
    client_id = _client_id_of(token)
    if request.method == "POST":
        unsubscribe.unsubscribe(client_id)
        db.session.commit()
    return _show_recipient(client_id, token)


@blueprint.post("/unsubscribe/<token>/undo")
@_by_link
def come_back(token: str) -> Response:
    client_id = _client_id_of(token)
    unsubscribe.subscribe_again(client_id)
    db.session.commit()
    return _show_recipient(client_id, token, is_back=True)


def _client_id_of(token: str) -> int:
    client_id = unsubscribe.client_id_of(token, current_app.config["SETTINGS"])
    if client_id is None:
        raise NotFound(_("This link is not whole. Open it from the letter again."))
    return client_id


def _show_recipient(client_id: int, token: str, *, is_back: bool = False) -> Response:
    """How things stand with this recipient. Somebody who is deleted gets nothing more, which is what they want."""
    client = db.session.get(Client, client_id, populate_existing=True)
    response = web.render(
        "clients/unsubscribe.html",
        address=unsubscribe.half_hidden(client.email) if client else "",
        gets_letters=client is not None and client.status is ClientStatus.ACTIVE,
        may_come_back=client is not None and client.status is ClientStatus.UNSUBSCRIBED,
        is_back=is_back,
        token=token,
    )
    response.headers["Cache-Control"] = "no-store"
    return response
