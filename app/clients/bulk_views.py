"""What is done in the lists of clients and segments: to a row, to many rows at once, and back."""

from functools import partial
from http import HTTPStatus

from flask import Response, abort, flash, request, url_for
from flask_babel import format_number, ngettext
from flask_babel import gettext as _
from sqlalchemy import Select

from app import ticked, web
from app.auth.access import requires, signed_in
from app.auth.roles import Permission
from app.clients import bulk, fields, service
from app.clients.forms import ClientRowForm
from app.clients.models import Client, ClientStatus, Segment
from app.clients.segment_views import segments_found, segments_url, show_segments
from app.clients.service import AlreadyThere
from app.clients.views import Filters, blueprint, list_url, show_list
from app.errors import RuleBroken
from app.extensions import db
from app.undo import moment_of, what_goes_with

# ── A row ──


@blueprint.route("/clients/<int:client_id>/row", methods=["GET", "POST"])
@requires(Permission.OWN_THINGS)
def client_row(client_id: int) -> Response:
    """The client's row: to be looked at, with `edit` in the address to be changed, and when it was sent, changed."""
    client = service.get_client(signed_in(), client_id, to_edit=True)
    if not web.wants_fragment():
        return web.redirect_to(url_for(".edit_client", client_id=client.id))
    form = ClientRowForm(client) if request.method == "POST" or "edit" in request.args else None
    status = HTTPStatus.OK
    if form is not None and form.is_submitted():
        if form.validate() and _is_saved(form):
            form = None
        else:
            status = HTTPStatus.UNPROCESSABLE_ENTITY
    return web.render("clients/row.html", block="row", status=status, client=client, form=form)


def _is_saved(form: ClientRowForm) -> bool:
    try:
        service.edit_client(form.client, form.client_data())
    except AlreadyThere as error:
        form.email.errors = [str(error)]
        return False
    db.session.commit()
    return True


# ── Many clients ──


@blueprint.post("/clients/bulk")
@requires(Permission.OWN_THINGS)
def change_clients() -> Response:
    which = ticked.chosen(Filters.of_request().of(signed_in()), Client.id)
    action = request.form.get("action")
    if action == "delete":
        return _delete_clients(which)
    if action in ("add_tag", "remove_tag"):
        sentence = _change_tag(which, has_it=action == "add_tag")
    elif action in bulk.SETTABLE:
        count = bulk.set_status(which, ClientStatus(action))
        sentence = ngettext(
            "%(number)s client has a new status.",
            "%(number)s clients have a new status.",
            count,
            number=format_number(count),
        )
    else:
        abort(HTTPStatus.BAD_REQUEST)
    db.session.commit()
    flash(sentence, "success")
    return ticked.changed_list(show_list, list_url())


def _change_tag(which: Select[Client], *, has_it: bool) -> str:
    names = fields.parse_tags(request.form.get("tag_name", ""))
    if len(names) != 1:
        raise RuleBroken(_("Write one tag."))
    owner_id, [name] = signed_in().id, names
    if has_it:
        count = bulk.add_tag(owner_id, which, name)
        return ngettext(
            "%(number)s client has got the tag “%(tag)s”.",
            "%(number)s clients have got the tag “%(tag)s”.",
            count,
            number=format_number(count),
            tag=name,
        )
    count = bulk.remove_tag(owner_id, which, name)
    return ngettext(
        "%(number)s client has lost the tag “%(tag)s”.",
        "%(number)s clients have lost the tag “%(tag)s”.",
        count,
        number=format_number(count),
        tag=name,
    )


def _delete_clients(which: Select[Client]) -> Response:
    return ticked.delete(
        which,
        partial(service.delete_clients, signed_in()),
        question=lambda n: ngettext(
            "Delete %(number)s client?", "Delete %(number)s clients?", n, number=format_number(n)
        ),
        goes_with=partial(what_goes_with, Client),
        said=lambda n: ngettext(
            "%(number)s client is deleted.", "%(number)s clients are deleted.", n, number=format_number(n)
        ),
        undo=url_for(".undo_clients"),
        show=show_list,
        url=list_url(),
    )


@blueprint.post("/clients/undo")
@requires(Permission.OWN_THINGS)
def undo_clients() -> Response:
    """Bring back whom one deletion took away."""
    back, lost = service.restore_clients(signed_in(), moment_of(request.form.get("at", "")))
    db.session.commit()
    number = format_number(back)
    flash(
        ngettext("%(number)s client is back.", "%(number)s clients are back.", back, number=number),
        "success" if back else "info",
    )
    if lost:
        flash(
            ngettext(
                "%(number)s address has been added anew meanwhile, so the deleted client stays away.",
                "%(number)s addresses have been added anew meanwhile, so the deleted clients stay away.",
                lost,
                number=format_number(lost),
            ),
            "warning",
        )
    return ticked.back_in_list(".list_clients")


# ── Many segments ──


@blueprint.post("/clients/segments/bulk")
@requires(Permission.OWN_THINGS)
def change_segments() -> Response:
    which = ticked.chosen(segments_found(), Segment.id)
    if request.form.get("action") != "delete":
        abort(HTTPStatus.BAD_REQUEST)
    service.refuse_while_used(which)
    return ticked.delete(
        which,
        partial(service.delete_segments, signed_in()),
        question=lambda n: ngettext(
            "Delete %(number)s segment?", "Delete %(number)s segments?", n, number=format_number(n)
        ),
        goes_with=lambda _which: [_("Their clients stay in your address book.")],
        said=lambda n: ngettext(
            "%(number)s segment is deleted. Its clients stay.",
            "%(number)s segments are deleted. Their clients stay.",
            n,
            number=format_number(n),
        ),
        undo=url_for(".undo_segments"),
        show=show_segments,
        url=segments_url(),
    )


@blueprint.post("/clients/segments/undo")
@requires(Permission.OWN_THINGS)
def undo_segments() -> Response:
    back = service.restore_segments(signed_in(), moment_of(request.form.get("at", "")))
    db.session.commit()
    number = format_number(back)
    flash(ngettext("%(number)s segment is back.", "%(number)s segments are back.", back, number=number), "success")
    return ticked.back_in_list(".list_segments")
