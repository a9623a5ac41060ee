"""Messages: one's own, and the common library."""

from flask import Blueprint, Response, flash, request, url_for
from flask_babel import gettext as _

from app import merge_fields, web
from app.auth.access import requires, signed_in
from app.auth.models import User
from app.auth.roles import Permission
from app.errors import NotFound
from app.extensions import db
from app.messages import content, preview, queries, service
from app.messages.forms import MessageForm
from app.messages.models import Message
from app.paging import paginate

# Two bodies of 500 kB, in Cyrillic, each byte of which a browser writes as %D0.
MOST_NAMED = 8  # of what was left out of a letter
ONE = "/<int(max=2147483647):message_id>"  # no id is larger than its column

blueprint = Blueprint("messages", __name__, url_prefix="/messages")


# ── Looking ─────────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.get("/")
@requires(Permission.SEE_LIBRARY)
def list_messages() -> Response:
    user = signed_in()
    # Whoever owns nothing has the library alone.
    shared = request.args.get("shared") == "1" or not user.may(Permission.OWN_THINGS)
    search = request.args.get("q", "").strip()
    query = queries.matching(queries.library() if shared else queries.owned_by(user), search)
    page = paginate(queries.for_list(query), Message.id, cursor=request.args.get("after"), descending=True)
    return web.render(
        "messages/list.html",
        block="rows",
        page=page,
        shared=shared,
        search=search,
        user=user,
        author_of=_author_of,
    )


@blueprint.get(ONE)
@requires(Permission.SEE_LIBRARY)
def show_message(message_id: int) -> Response:
    user = signed_in()
    message = _readable(message_id, user)
    return web.render(
        "messages/show.html",
        message=message,
        text=preview.filled(content.text_part(message)),
        has_fields="{{" in message.subject + message.html + message.text,
        is_own=user.may(Permission.OWN_THINGS) and message.owner_id == user.id,
        may_edit=message.owner_id == user.id or user.may(Permission.EDIT_OTHERS),
        user=user,
        author_of=_author_of,
    )


@blueprint.get(f"{ONE}/preview")
@requires(Permission.SEE_LIBRARY)
def preview_message(message_id: int) -> Response:
    """The letter alone, for the sandboxed frame."""
    message = _readable(message_id, signed_in())
    return preview.framed(message.subject, message.html)


def _author_of(message: Message) -> str:
    """The author's name, or just enough of the address to tell two apart: the library is everybody's."""
    if message.owner.name:
        return message.owner.name
    local, _at, domain = message.owner.email.rpartition("@")
    return f"{local[:1]}…@{domain}"


# ── Writing ─────────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.route("/new", methods=["GET", "POST"])
@requires(Permission.OWN_THINGS)
@web.takes_files
def create_message() -> Response:
    form = MessageForm()
    if not form.validate_on_submit():
        return _form_page(form, None)
    message = service.create(signed_in(), form.parsed())
    db.session.commit()
    flash(_("The message is saved."), "success")
    _say_what_was_left_out(form)
    return _show(message)


@blueprint.route(f"{ONE}/edit", methods=["GET", "POST"])
@requires(Permission.OWN_THINGS)
@web.takes_files
def edit_message(message_id: int) -> Response:
    message = _editable(message_id)
    form = MessageForm(obj=message)
    if not form.validate_on_submit():
        return _form_page(form, message)
    service.edit(message, form.parsed())
    db.session.commit()
    flash(_("The message is saved."), "success")
    _say_what_was_left_out(form)
    return _show(message)


@blueprint.post(f"{ONE}/delete")
@requires(Permission.OWN_THINGS)
def delete_message(message_id: int) -> Response:
    service.delete(_editable(message_id))
    db.session.commit()
    flash(_("The message is deleted."), "success")
    return web.redirect_to(url_for("messages.list_messages"))


@blueprint.post(f"{ONE}/copy")
@requires(Permission.OWN_THINGS)
def copy_message(message_id: int) -> Response:
    user = signed_in()
    copy = service.copy(_readable(message_id, user), user)
    db.session.commit()
    flash(_("This is your own copy now."), "success")
    return web.redirect_to(url_for("messages.edit_message", message_id=copy.id))


@blueprint.post(f"{ONE}/share")
@requires(Permission.OWN_THINGS)
def share_message(message_id: int) -> Response:
    message = _editable(message_id)
    service.set_shared(message, True)
    db.session.commit()
    flash(_("Everybody finds this message in the common library now."), "success")
    return _show(message)


@blueprint.post(f"{ONE}/unshare")
@requires(Permission.OWN_THINGS)
def unshare_message(message_id: int) -> Response:
    message = _editable(message_id)
    service.set_shared(message, False)
    db.session.commit()
    flash(_("The message is yours alone again."), "success")
    return _show(message)


def _form_page(form: MessageForm, message: Message | None) -> Response:
    return web.render(
        "messages/form.html",
        block="form",
        status=422 if form.errors else 200,
        form=form,
        message=message,
        fields=[*merge_fields.NAMES, "attributes.city"],
    )


def _show(message: Message) -> Response:
    return web.redirect_to(url_for("messages.show_message", message_id=message.id))


def _say_what_was_left_out(form: MessageForm) -> None:
    removed = content.removed_from(form.html.data or "")
    if removed:
        named = ", ".join(removed[:MOST_NAMED]) + (" …" if len(removed) > MOST_NAMED else "")
        flash(_("A letter can't hold everything. We left out: %(what)s", what=named), "warning")


# ── Loading ─────────────────────────────────────────────────────────────────────────────────────────────────


def _editable(message_id: int) -> Message:
    message = db.session.scalar(queries.editable_by(signed_in()).where(Message.id == message_id))
    return _found(message)


def _readable(message_id: int, user: User) -> Message:
    return _found(db.session.scalar(queries.readable_by(user).where(Message.id == message_id)))


def _found(message: Message | None) -> Message:
    if message is None:
        raise NotFound(_("There is no such message."))
    return message
