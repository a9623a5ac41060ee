"""Messages: one's own, and the common library."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, current_app, flash, request, url_for
from flask_babel import gettext as _
from sqlalchemy import Select

from app import clock, merge_fields, web
from app.auth.access import requires, signed_in
from app.auth.jobs import send_letter
from app.auth.limits import limit_test_letters
from app.auth.models import User
from app.auth.roles import Permission
from app.clients import queries as clients
from app.clients.models import Client
from app.errors import NotFound
from app.extensions import db
from app.messages import checks, content, drafts, layouts, preview, queries, service
from app.messages.forms import MessageForm
from app.messages.models import Message, MessageDraft, MessageVersion
from app.paging import COUNTED, Order, count_some, paginate, sorting
from app.pictures.drawing import MOST_BYTES
from app.queue import enqueue

MOST_NAMED = 8  # of what was left out of a letter
ONE = "/<int(max=2147483647):message_id>"  # no id is larger than its column
VERSION = f"{ONE}/versions/<int(max=2147483647):version_id>"
CLIENTS_OFFERED = 12
BEST_SUBJECT = 60  # characters; mail programs cut off what is longer
BEST_PREHEADER = 100
ORDERS = {
    "changed": Order((Message.updated_at, Message.id), descending=True),
    "subject": Order((Message.subject, Message.id)),
}
DRAFTS_OFFERED = 5

blueprint = Blueprint("messages", __name__, url_prefix="/messages")


# ── Looking ─────────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.get("/")
@requires(Permission.SEE_LIBRARY)
def list_messages() -> Response:
    if "count" in request.args:
        return web.render_count(count_some(messages_found(), Message.id), COUNTED)
    return show_list()


def show_list() -> Response:
    """The list as the address asks for it, the one of an action on it, too."""
    cursor, order = request.args.get("after"), sorting(request.args.get("sort", ""), ORDERS)
    query = queries.for_list(messages_found())
    return web.render_list(
        "messages/list.html",
        list_url(),
        is_further=bool(cursor),
        page=paginate(query, *order.keys, cursor=cursor, descending=order.descending),
        sorting=order,
        user=signed_in(),
        author_of=_author_of,
        shared=_in_library(),
        search=_search(),
        filters=_filters(),
    )


def messages_found() -> Select[Message]:
    """The messages that the address asks for: one's own, or the library's."""
    own_or_all = queries.library() if _in_library() else queries.owned_by(signed_in())
    return queries.matching(own_or_all, _search())


def list_url() -> str:
    sort = sorting(request.args.get("sort", ""), ORDERS).word
    return web.url_with("messages.list_messages", **_filters(), sort=sort)


def _filters() -> dict[str, Any]:
    given = {"shared": "1" if request.args.get("shared") == "1" else "", "q": _search()}
    return {name: value for name, value in given.items() if value}


def _in_library() -> bool:
    # Whoever owns nothing has the library alone.
    return request.args.get("shared") == "1" or not signed_in().may(Permission.OWN_THINGS)


def _search() -> str:
    return request.args.get("q", "").replace("\0", "").strip()


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
    if not form.is_submitted():
        form.html.data = layouts.read(request.args.get("layout", ""), web.locale())
        _go_on_with_draft(form, None)
    if not form.validate_on_submit():
        return _form_page(form, None)
    message = service.create(signed_in(), form.parsed())
    drafts.forget(signed_in(), None, form.draft.data or "")
    db.session.commit()
    flash(_("The message is saved."), "success")
    _say_what_was_left_out(form)
    return _show(message)


@blueprint.route(f"{ONE}/edit", methods=["GET", "POST"])
@requires(Permission.OWN_THINGS)
@web.takes_files
def edit_message(message_id: int) -> Response:
    message = editable_message(message_id)
    form = MessageForm(obj=message)
    if not form.is_submitted():
        form.version.data = drafts.version_of(message)
        _go_on_with_draft(form, message)
    if not form.validate_on_submit() or not _is_current(form, message):
        return _form_page(form, message)
    service.edit(message, form.parsed(), signed_in())
    drafts.forget(signed_in(), message, form.draft.data or "")
    db.session.commit()
    flash(_("The message is saved."), "success")
    _say_what_was_left_out(form)
    return _show(message)


def _go_on_with_draft(form: MessageForm, message: Message | None) -> None:
    """Fill the form with what was typed and not saved, when the address names such a draft."""
    number = request.args.get("draft", type=int)
    if number is None or not 0 < number < 2**31:
        return
    draft = db.session.scalar(drafts.beside(signed_in(), message).where(MessageDraft.id == number))
    if draft is not None:
        for name in (*drafts.FIELDS, "version"):
            form[name].data = draft.fields.get(name, "")
        form.draft.data = drafts.mark_of(draft)


def _is_current(form: MessageForm, message: Message) -> bool:
    """Whether nobody saved meanwhile. If somebody did, the form says so, and its next try goes over what they saved."""
    if form.version.data in ("", None, drafts.version_of(message)):
        return True
    form.form_errors.append(
        _("This message was saved in another window meanwhile. Your text is below, and not lost.")
        + " "
        + _("Saving once more goes over the other one, which stays among the versions.")
    )
    form.version.raw_data, form.version.data = None, drafts.version_of(message)
    return False


# ── While writing: what is typed is looked at, and nothing of it is kept ──


@blueprint.post("/preview")
@requires(Permission.OWN_THINGS)
@web.takes_files
def preview_typed() -> Response:
    """What is typed, for the sandboxed frame, as the chosen client would get it."""
    try:
        letter = preview.letter_for(MessageForm().typed(), preview.reader_of(_chosen_client()))
    except content.BadContent as error:
        return preview.refused(str(error))
    return preview.page(letter.subject, letter.html, is_dark=request.form.get("dark") == "1")


@blueprint.post("/check")
@requires(Permission.OWN_THINGS)
@web.takes_files
def check_typed() -> Response:
    return web.render("messages/checks.html", block="checks", **_checked(MessageForm()))


@blueprint.post("/text")
@requires(Permission.OWN_THINGS)
@web.takes_files
def make_text() -> Response:
    """The text part as it would be made of the HTML that is typed, to be edited."""
    form = MessageForm()
    try:
        form.text.data = content.text_of(content.sanitise(form.typed().html))
    except content.BadContent as error:
        form.text.errors = [str(error)]
    return web.render("messages/text_part.html", block="text_part", form=form)


@blueprint.get("/clients")
@requires(Permission.OWN_THINGS)
def choose_client() -> Response:
    """Clients to look at the letter as."""
    return web.render("messages/clients.html", block="clients", clients=_clients(request.args.get("client_search", "")))


@blueprint.post("/test")
@requires(Permission.OWN_THINGS)
@limit_test_letters
@web.takes_files
def test_new_message() -> Response:
    return _tested(MessageForm(), None)


@blueprint.post(f"{ONE}/test")
@requires(Permission.OWN_THINGS)
@limit_test_letters
@web.takes_files
def test_message(message_id: int) -> Response:
    return _tested(MessageForm(), editable_message(message_id))


def _tested(form: MessageForm, message: Message | None) -> Response:
    """What is typed leaves for its author; the form stays as it is."""
    if not form.validate():
        return _form_page(form, message)
    user = signed_in()
    home: str = current_app.config["SETTINGS"].base_url
    letter_id = service.send_test(user, preview.letter_for(form.typed(), preview.reader_of(_chosen_client(), home)))
    db.session.commit()
    enqueue(send_letter, letter_id)
    flash(_("A test is on its way to %(address)s.", address=user.email), "success")
    if web.wants_fragment():
        return web.render("messages/test_sent.html", block="sent", now=clock.now())
    return _form_page(form, message)


# ── Versions ────────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.get(f"{ONE}/versions")
@requires(Permission.OWN_THINGS)
def list_versions(message_id: int) -> Response:
    message = editable_message(message_id)
    versions = db.session.scalars(queries.versions_for_list(message)).all()
    shown = request.args.get("shown", type=int)
    return web.render(
        "messages/versions.html",
        message=message,
        versions=versions,
        shown=next((version for version in versions if version.id == shown), versions[0] if versions else None),
        changed_words=_changed_words(message),
        author_of=_name_of,
    )


@blueprint.get(f"{VERSION}/preview")
@requires(Permission.OWN_THINGS)
def preview_version(message_id: int, version_id: int) -> Response:
    version = _version(editable_message(message_id), version_id)
    return preview.framed(version.subject, version.html)


@blueprint.post(f"{VERSION}/restore")
@requires(Permission.OWN_THINGS)
def restore_version(message_id: int, version_id: int) -> Response:
    message = editable_message(message_id)
    service.restore(message, _version(message, version_id), signed_in())
    db.session.commit()
    flash(_("The message is as it was then. The other versions are kept."), "success")
    return _show(message)


# ── What becomes of messages ────────────────────────────────────────────────────────────────────────────────


@blueprint.post(f"{ONE}/delete")
@requires(Permission.OWN_THINGS)
def delete_message(message_id: int) -> Response:
    deleted = service.delete(editable_message(message_id))
    db.session.commit()
    web.flash_undoable(_("The message is deleted."), url_for("messages.undo_messages"), at=deleted.moment.isoformat())
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
    message = editable_message(message_id)
    service.set_shared(message, True)
    db.session.commit()
    flash(_("Everybody finds this message in the common library now."), "success")
    return _show(message)


@blueprint.post(f"{ONE}/unshare")
@requires(Permission.OWN_THINGS)
def unshare_message(message_id: int) -> Response:
    message = editable_message(message_id)
    service.set_shared(message, False)
    db.session.commit()
    flash(_("The message is yours alone again."), "success")
    return _show(message)


def _form_page(form: MessageForm, message: Message | None) -> Response:
    response = web.render(
        "messages/form.html",
        block="form",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK,
        form=form,
        message=message,
        fields=[*merge_fields.NAMES, "attributes.city"],
        field_words=_field_words(),
        layouts=layouts.titles(),
        layout=request.args.get("layout", ""),
        is_blank=message is None and not form.is_submitted(),
        clients=_clients(""),
        drafts=[] if form.is_submitted() else _other_drafts(form, message),
        version=drafts.version_of(message),
        largest_picture=MOST_BYTES,
        best_subject=BEST_SUBJECT,
        best_preheader=BEST_PREHEADER,
        **_checked(form),
    )
    if form.errors and web.wants_fragment():
        # Whichever button it was: what comes back is the form.
        response.headers["HX-Retarget"], response.headers["HX-Reswap"] = "#message-form", "outerHTML"
    return response


def _other_drafts(form: MessageForm, message: Message | None) -> Sequence[MessageDraft]:
    """What is typed in other windows, or was in windows that are closed."""
    found = db.session.scalars(drafts.beside(signed_in(), message).limit(DRAFTS_OFFERED)).all()
    return [draft for draft in found if drafts.mark_of(draft) != form.draft.data]


def _checked(form: MessageForm) -> dict[str, Any]:
    try:
        typed = form.typed()
    except content.BadContent as error:
        return {"findings": [checks.unreadable(error)], "is_begun": True, "adds_way_out": False}
    subject, preheader, html, text = typed.subject, typed.preheader, typed.html, typed.text
    return {
        "findings": checks.findings(subject, preheader, html, text) if subject or html else [],
        "is_begun": bool(subject or html),
        "adds_way_out": not preview.has_way_out(html, html=True),
    }


def _field_words() -> dict[str, str]:
    return {
        "first_name": _("First name"),
        "last_name": _("Last name"),
        "patronymic": _("Patronymic"),
        "full_name": _("Full name"),
        "email": _("E-mail"),
        "birth_year": _("Birth year"),
        merge_fields.UNSUBSCRIBE_URL: _("Link to unsubscribe"),
        "attributes.city": _("An attribute, such as the city"),
    }


def _show(message: Message) -> Response:
    return web.redirect_to(url_for("messages.show_message", message_id=message.id))


def _say_what_was_left_out(form: MessageForm) -> None:
    removed = content.removed_from(form.html.data or "")
    if removed:
        named = ", ".join(removed[:MOST_NAMED]) + (" …" if len(removed) > MOST_NAMED else "")
        flash(_("A letter can't hold everything. We left out: %(what)s", what=named), "warning")


def _changed_words(message: Message) -> dict[int, list[str]]:
    """What each of its versions changed, in words."""
    words = {"subject": _("subject"), "preheader": _("preview text"), "html": _("letter"), "text": _("text part")}
    return {version: [words[name] for name in names] for version, names in service.changes_between(message).items()}


def _name_of(person: User | None) -> str:
    if person is None:
        return ""
    return _("You") if person.id == signed_in().id else person.name or person.email


# ── Loading ─────────────────────────────────────────────────────────────────────────────────────────────────


def editable_message(message_id: int) -> Message:
    """The message, for whoever may change it.

    Raises:
        NotFound
    """
    message = db.session.scalar(queries.editable_by(signed_in()).where(Message.id == message_id))
    return _found(message)


def _readable(message_id: int, user: User) -> Message:
    return _found(db.session.scalar(queries.readable_by(user).where(Message.id == message_id)))


def _found(message: Message | None) -> Message:
    if message is None:
        raise NotFound(_("There is no such message."))
    return message


def _version(message: Message, version_id: int) -> MessageVersion:
    version = db.session.scalar(queries.versions_of(message).where(MessageVersion.id == version_id))
    if version is None:
        raise NotFound(_("There is no such version."))
    return version


def _clients(words: str) -> Sequence[Client]:
    """A few of one's own, the newest first."""
    own = clients.matching(clients.owned_by(signed_in()), words)
    return db.session.scalars(own.order_by(Client.id.desc()).limit(CLIENTS_OFFERED)).all()


def _chosen_client() -> Client | None:
    number = request.form.get("client", type=int)
    if number is None or not 0 < number < 2**63:
        return None
    return db.session.scalar(clients.owned_by(signed_in()).where(Client.id == number))
