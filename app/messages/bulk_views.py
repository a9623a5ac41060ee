"""What is done to many messages at once, and back."""

from http import HTTPStatus

from flask import Response, abort, flash, request, url_for
from flask_babel import format_number, ngettext
from sqlalchemy import func

from app import web
from app.auth.access import requires, signed_in
from app.auth.roles import Permission
from app.extensions import db
from app.messages import service
from app.messages.models import Message
from app.messages.views import blueprint, list_url, messages_found, show_list
from app.undo import moment_of, what_goes_with


@blueprint.post("/bulk")
@requires(Permission.OWN_THINGS)
def change_messages() -> Response:
    # In the library there are others' messages, too, and those are left alone.
    which = web.chosen(messages_found().where(Message.owner_id == signed_in().id), Message.id)
    if request.form.get("action") != "delete":
        abort(HTTPStatus.BAD_REQUEST)
    count = db.session.scalar(which.with_only_columns(func.count()).order_by(None)) or 0
    question = ngettext("Delete %(number)s message?", "Delete %(number)s messages?", count, number=format_number(count))
    if asked := web.ask_first(question, what_goes_with(Message, which), back=list_url()):
        return asked
    deleted = service.delete_all(signed_in(), which)
    db.session.commit()
    number = format_number(deleted.count)
    web.flash_undoable(
        ngettext("%(number)s message is deleted.", "%(number)s messages are deleted.", deleted.count, number=number),
        url_for(".undo_messages"),
        at=deleted.moment.isoformat(),
        back=list_url(),
    )
    return web.changed_list(show_list, list_url(), gone=True)


@blueprint.post("/undo")
@requires(Permission.OWN_THINGS)
def undo_messages() -> Response:
    back = service.restore_deleted(signed_in(), moment_of(request.form.get("at", "")))
    db.session.commit()
    number = format_number(back)
    flash(ngettext("%(number)s message is back.", "%(number)s messages are back.", back, number=number), "success")
    return web.redirect_to(web.local_path(request.form.get("back")) or url_for(".list_messages"))
