"""The part of a client's page that tells what was sent to them."""

from flask import Response, request

from app import web
from app.auth.access import requires, signed_in
from app.auth.models import User
from app.auth.roles import Permission
from app.clients import segments
from app.clients import service as clients
from app.delivery.models import Delivery
from app.extensions import db
from app.mailings import client_history as history
from app.mailings.views import blueprint
from app.paging import paginate

PAGE_SIZE = 25


@blueprint.get("/clients/<int:client_id>/history")
@requires(Permission.OWN_THINGS, Permission.SEE_OTHERS)
def show_client_history(client_id: int) -> Response:
    """Within the client's page, or, without JavaScript, as a page of its own."""
    user = signed_in()
    client = clients.get_client(user, client_id)
    owner = db.session.get_one(User, client.owner_id)
    may_edit = client.owner_id == user.id or user.may(Permission.EDIT_OTHERS)
    in_full = client.owner_id == user.id or user.may(Permission.SEE_ADDRESSES)
    after = request.args.get("after")
    page = paginate(history.deliveries_to(client), Delivery.id, cursor=after, descending=True, size=PAGE_SIZE)
    belongs_to = [] if after else segments.segments_of_client(client, owner)
    return web.render(
        "mailings/client_history.html",
        block="rows" if after else "history",
        client=client,
        name=client.full_name or clients.address_for(user, client),
        entries=history.entries(page, in_full=in_full),
        next_cursor=page.next_cursor,
        figures=history.figures_of(client),
        bounce=history.bounce_of(client, in_full=in_full),
        belongs_to=belongs_to if may_edit else [],
        planned=history.planned_for(client, owner, belongs_to),
    )
