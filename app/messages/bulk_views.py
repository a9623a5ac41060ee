"""What is done to many messages at once, and back."""

from functools import partial
from http import HTTPStatus

from flask import Response, abort, flash, request, url_for
from flask_babel import format_number, ngettext

from app import ticked
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
    which = ticked.chosen(messages_found().where(Message.owner_id == signed_in().id), Message.id)
    if request.form.get("action") != "delete":
        abort(HTTPStatus.BAD_REQUEST)
    return ticked.delete(
        which,
        partial(service.delete_all, signed_in()),
        question=lambda n: ngettext(
            "Delete %(number)s message?", "Delete %(number)s messages?", n, number=format_number(n)
        ),
        goes_with=partial(what_goes_with, Message),
        said=lambda n: ngettext(
            "%(number)s message is deleted.", "%(number)s messages are deleted.", n, number=format_number(n)
        ),
        undo=url_for(".undo_messages"),
        show=show_list,
        url=list_url(),
    )


@blueprint.post("/undo")
@requires(Permission.OWN_THINGS)
def undo_messages() -> Response:
    back = service.restore_deleted(signed_in(), moment_of(request.form.get("at", "")))
    db.session.commit()
    number = format_number(back)
    flash(ngettext("%(number)s message is back.", "%(number)s messages are back.", back, number=number), "success")
    return ticked.back_in_list(".list_messages")
