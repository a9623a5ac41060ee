"""While a message is written: drafts that outlive the window, and the pictures of letters."""

from http import HTTPStatus
from typing import IO

from flask import Response, current_app, flash, jsonify, request, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from flask_wtf.file import FileField, FileRequired
from wtforms import StringField

from app import clock, web
from app.auth.access import requires, signed_in
from app.auth.roles import Permission
from app.errors import NotFound
from app.extensions import db
from app.images import BadPicture
from app.messages import drafts
from app.messages.models import Message, MessageDraft
from app.messages.views import ONE, blueprint, editable_message
from app.paging import paginate
from app.pictures import queries as pictures
from app.pictures.drawing import MOST_BYTES
from app.pictures.models import Picture
from app.pictures.service import add_to_letters, path_in_letter, weight_of

PICTURES_SHOWN = 24
WIDEST_SHOWN = 600  # pixels: a letter is no wider; the picture itself has twice as many


# ── Drafts ──────────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.post("/autosave")
@requires(Permission.OWN_THINGS)
@web.takes_files
def autosave_new() -> Response:
    return _autosaved(None)


@blueprint.post(f"{ONE}/autosave")
@requires(Permission.OWN_THINGS)
@web.takes_files
def autosave_message(message_id: int) -> Response:
    return _autosaved(editable_message(message_id))


def _autosaved(message: Message | None) -> Response:
    version, mark = request.form.get("version", ""), request.form.get("draft", "")
    try:
        draft = drafts.keep(signed_in(), message, request.form, version, mark)
    except drafts.TooLarge as error:
        answer = jsonify(error=str(error))
        answer.status_code = HTTPStatus.UNPROCESSABLE_ENTITY
        return answer
    db.session.commit()
    here = url_for(".edit_message", message_id=message.id) if message else url_for(".create_message")
    return jsonify(
        message=_what_was_kept(message, draft, version, mark),
        fields={"draft": drafts.mark_of(draft)},
        action=f"{here}?draft={draft.id}",
    )


def _what_was_kept(message: Message | None, draft: MessageDraft, version: str, mark: str) -> str:
    said = _("Draft kept at %(time)s", time=web.local_time(clock.now(), style="HH:mm"))
    if mark and mark.partition(" ")[0] != str(draft.id):
        said += ". " + _("Another window has a draft of its own: both are kept.")
    if message and version and version != drafts.version_of(message):
        said += ". " + _("The message was saved in another window meanwhile.")
    return said


@blueprint.post("/drafts/<int(max=2147483647):draft_id>/discard")
@requires(Permission.OWN_THINGS)
def discard_draft(draft_id: int) -> Response:
    draft = db.session.scalar(drafts.of_user(signed_in()).where(MessageDraft.id == draft_id))
    if draft is None:
        raise NotFound(_("There is no such draft."))
    message_id = draft.message_id
    db.session.delete(draft)
    db.session.commit()
    flash(_("The draft is thrown away."), "success")
    if message_id is None:
        return web.redirect_to(url_for(".create_message"))
    return web.redirect_to(url_for(".edit_message", message_id=message_id))


# ── Pictures ────────────────────────────────────────────────────────────────────────────────────────────────


class PictureForm(FlaskForm):
    picture = FileField(_l("Picture"), [FileRequired(_l("Choose a picture first."))])
    alt = StringField(_l("What the picture shows"))


@blueprint.route("/pictures", methods=["GET", "POST"])
@requires(Permission.OWN_THINGS)
@web.takes_files
def list_pictures() -> Response:
    """For the editor, which asks for JSON, the picture's address; for everybody else a page with what to copy."""
    form, picture = PictureForm(), None
    if form.validate_on_submit():
        try:
            picture = _kept(form.picture.data.stream, form.alt.data or "")
        except BadPicture as error:
            form.picture.errors = [str(error)]
    if request.method == "POST" and request.accept_mimetypes.best == "application/json":
        return _as_json(picture, form)
    if picture:
        return web.redirect_to(url_for(".list_pictures"))
    user = signed_in()
    page = paginate(
        pictures.of_letters_by(user), Picture.id, cursor=request.args.get("after"), descending=True, size=PICTURES_SHOWN
    )
    return web.render(
        "messages/pictures.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if form.is_submitted() else HTTPStatus.OK,
        form=form,
        page=page,
        path_of=path_in_letter,
        html_of=_html_of,
        taken_mb=weight_of(user) / 2**20,
        room_mb=_room_mb(),
        largest_mb=MOST_BYTES // 2**20,
    )


def _kept(file: IO[bytes], alt: str) -> Picture:
    picture = add_to_letters(signed_in(), file, alt, _room_mb())
    db.session.commit()
    return picture


def _room_mb() -> int:
    return int(current_app.config["SETTINGS"].pictures_max_mb)


def _as_json(picture: Picture | None, form: PictureForm) -> Response:
    if picture is None:
        answer = jsonify(error=" ".join(str(error) for errors in form.errors.values() for error in errors))
        answer.status_code = HTTPStatus.UNPROCESSABLE_ENTITY
        return answer
    answer = jsonify(src=_address_of(picture), alt=picture.alt, width=min(picture.width, WIDEST_SHOWN))
    answer.status_code = HTTPStatus.CREATED
    return answer


def _address_of(picture: Picture) -> str:
    """Whole, for it is asked for from a mail program."""
    return str(current_app.config["SETTINGS"].base_url) + path_in_letter(picture)


def _html_of(picture: Picture) -> str:
    """What is written into a letter by hand."""
    # The words are escaped with the page, and once more here: they stand in an attribute.
    alt = picture.alt.replace("&", "&amp;").replace('"', "&quot;")
    width = min(picture.width, WIDEST_SHOWN)
    return f'<img src="{_address_of(picture)}" width="{width}" alt="{alt}" style="max-width:100%;height:auto">'
