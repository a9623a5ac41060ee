"""The address book."""

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
from app.clients.forms import ClientForm
from app.clients.models import Client, ClientStatus, Segment
from app.clients.service import AlreadyThere
from app.clients.words import STATUS_LABELS
from app.errors import NotFound
from app.extensions import csrf, db
from app.paging import COUNTED, Order, count_some, paginate, sorting

blueprint = Blueprint("clients", __name__)

ORDERS = {
    "name": Order((Client.last_name, Client.first_name, Client.id)),
    "email": Order((Client.email_key,)),  # there is no second one in an address book
    "added": Order((Client.id,), descending=True),
}


SEGMENTS_OFFERED = 100


@blueprint.context_processor
def _words() -> dict[str, Any]:
    return {"status_labels": STATUS_LABELS, "format_date": format_date}


@dataclass(frozen=True)
class Filters:
    """What the address bar asks for. A status that does not exist asks for nothing."""

    q: str
    status: str
    tag: str
    segment: str  # its id

    @classmethod
    def of_request(cls) -> Self:
        status = argument("status")
        return cls(argument("q"), status if status in set(ClientStatus) else "", argument("tag"), argument("segment"))

    def of(self, user: User) -> Select[Client]:
        """The user's clients whom they ask for.

        Raises:
            NotFound: for a segment that is not theirs, or no more: nobody shall act on all clients instead.
        """
        query = queries.matching(queries.owned_by(user), self.q)
        if self.segment:
            query = segments.members(service.own_segment(user, self.segment), query)
        if self.status:
            query = queries.with_status(query, ClientStatus(self.status))
        return queries.with_tag(query, self.tag) if self.tag else query

    def given(self) -> dict[str, Any]:
        """Those that are set, for an address."""
        return {name: value for name, value in vars(self).items() if value}


def argument(name: str) -> str:
    """A text in the address, without the NUL that PostgreSQL refuses."""
    return request.args.get(name, "").replace("\0", "").strip()


@blueprint.get("/clients/")
@requires(Permission.OWN_THINGS)
def list_clients() -> Response:
    if "count" in request.args:
        return web.render_count(count_some(Filters.of_request().of(signed_in()), Client.id), COUNTED)
    return show_list()


def show_list() -> Response:
    """The list as the address asks for it, the one of an action on it, too."""
    user, filters, cursor = signed_in(), Filters.of_request(), request.args.get("after")
    query = filters.of(user).options(selectinload(Client.tags))
    order = sorting(argument("sort"), ORDERS)
    return web.render_list(
        "clients/list.html",
        list_url(),
        is_further=bool(cursor),
        page=paginate(query, *order.keys, cursor=cursor, descending=order.descending),
        filters=filters,
        sorting=order,
        tags=db.session.scalars(queries.tag_names_in_use(user)).all(),
        segments=db.session.scalars(queries.segments_of(user).order_by(Segment.name).limit(SEGMENTS_OFFERED)).all(),
        has_clients=db.session.scalar(queries.has_clients(user)),
    )


def list_url() -> str:
    """The list with what the address asks for, without the fields that are empty."""
    sort = sorting(argument("sort"), ORDERS).word
    return web.url_with("clients.list_clients", **vars(Filters.of_request()), sort=sort)


@blueprint.get("/clients/<int:client_id>")
@requires(Permission.OWN_THINGS, Permission.SEE_OTHERS)
def show_client(client_id: int) -> Response:
    user = signed_in()
    client = service.get_client(user, client_id)
    owner = db.session.get_one(User, client.owner_id)
    may_edit = client.owner_id == user.id or user.may(Permission.EDIT_OTHERS)
    address = service.address_for(user, client)
    return web.render("clients/show.html", client=client, user=user, may_edit=may_edit, owner=owner, address=address)


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
    deleted = service.delete_client(client)
    db.session.commit()
    web.flash_undoable(_("%(name)s is deleted.", name=name), url_for(".undo_clients"), at=deleted.moment.isoformat())
    return web.redirect_to(url_for(".list_clients"))


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
    client = db.session.scalar(queries.existing().where(Client.id == client_id))
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
