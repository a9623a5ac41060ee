"""One's own account: profile, security, what one did, and leaving."""

from http import HTTPStatus

import segno
from flask import Blueprint, Response, flash, request, session, stream_with_context, url_for
from flask_babel import gettext as _
from flask_babel import ngettext
from flask_login import logout_user
from flask_wtf import FlaskForm
from sqlalchemy import or_, select

from app import clock, web
from app.account import export, service
from app.account.forms import (
    AvatarForm,
    ChangeEmailForm,
    ChangePasswordForm,
    CloseForm,
    FactorOnForm,
    PasswordAgain,
    ProfileForm,
)
from app.auth import audit, jobs, limits, logins, second_factor
from app.auth import service as auth
from app.auth.access import requires, signed_in
from app.auth.models import Action, AuditEntry, Avatar, Letter
from app.auth.roles import Permission
from app.auth.tokens import Purpose
from app.auth.words import ACTION_LABELS, device_name
from app.errors import NotFound, RuleBroken
from app.extensions import db
from app.images import BadPicture
from app.mailings.jobs import announce_all
from app.paging import paginate
from app.queue import enqueue

NEW_SECRET = "totp_secret"  # noqa: S105  in the session, until its code is confirmed

blueprint = Blueprint("account", __name__, url_prefix="/account")
blueprint.add_app_template_filter(device_name, "device_name")


# ── Profile ─────────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.route("/", methods=["GET", "POST"])
@requires()
def edit_profile() -> Response:
    user = signed_in()
    form = ProfileForm(user)
    if form.validate_on_submit():
        form.populate_obj(user)
        session["locale"] = user.locale
        db.session.commit()
        flash(_("Your profile is saved."), "success")
        return web.redirect_to(url_for(".edit_profile"))
    return _render("profile.html", form, user=user, avatar_form=AvatarForm())


@blueprint.post("/avatar")
@requires()
@web.takes_files
def set_avatar() -> Response:
    user = signed_in()
    form = AvatarForm()
    if form.validate_on_submit():
        try:
            service.set_avatar(user, form.picture.data)
        except BadPicture as error:
            form.picture.errors = [str(error)]
        else:
            db.session.commit()
            flash(_("Your picture is saved."), "success")
            return web.redirect_to(url_for(".edit_profile"))
    return _render("profile.html", form, form=ProfileForm(user), user=user, avatar_form=form)


@blueprint.post("/avatar/delete")
@requires()
def remove_avatar() -> Response:
    service.remove_avatar(signed_in())
    db.session.commit()
    flash(_("Your picture is taken away."), "success")
    return web.redirect_to(url_for(".edit_profile"))


@blueprint.get("/avatar/<int:user_id>")
@requires()
def show_avatar(user_id: int) -> Response:
    """One's own picture; the staff's pages show everybody's."""
    user = signed_in()
    if user.id != user_id and not user.may(Permission.BLOCK_USERS):
        raise NotFound(_("There is no such picture."))
    image = db.session.scalar(select(Avatar.image).where(Avatar.user_id == user_id))
    if image is None:
        raise NotFound(_("There is no such picture."))
    response = Response(image, mimetype="image/webp")
    response.headers["Cache-Control"] = "private, max-age=31536000, immutable"  # its address changes with it
    return response


# ── Security ────────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.get("/security")
@requires()
def security() -> Response:
    return _security()


def _security() -> Response:
    user = signed_in()
    return web.render(
        "account/security.html",
        block="logins",
        user=user,
        logins=db.session.scalars(logins.of(user)).all(),
        codes_left=second_factor.recovery_codes_left(user),
    )


@blueprint.route("/password", methods=["GET", "POST"])
@requires()
@limits.limit_tries(limits.own_account)
def change_password() -> Response:
    user = signed_in()
    form = ChangePasswordForm(user)
    if form.validate_on_submit():
        try:
            letter = auth.change_password(user, form.password.data or "", form.new.data or "")
        except auth.WrongCredentials as error:
            _wrong(form, error)
        else:
            _send(letter)
            flash(_("Your new password holds. All other devices are logged out."), "success")
            return web.redirect_to(url_for(".security"))
    return _render("password.html", form, user=user)


@blueprint.route("/email", methods=["GET", "POST"])
@requires()
@limits.limit_tries(limits.own_account)
@limits.limit_letters(limits.own_account)
@limits.limit_letters(limits.typed_new_account)
def change_email() -> Response:
    user = signed_in()
    form = ChangeEmailForm()
    if form.validate_on_submit():
        try:
            letter = auth.ask_for_email_change(user, form.new_email.data or "", form.password.data or "")
        except auth.WrongCredentials as error:
            _wrong(form, error)
        except RuleBroken as error:
            form.new_email.errors = [str(error)]
        else:
            _send(letter)
            flash(_("Open the link in the letter to %(email)s to finish.", email=form.new_email.data), "info")
            return web.redirect_to(url_for(".security"))
    return _render("email.html", form, user=user)


@blueprint.post("/logins/<int:login_id>/end")
@requires()
def end_login(login_id: int) -> Response:
    user = signed_in()
    is_this = user.login is not None and user.login.id == login_id
    auth.end_login(user, login_id)
    db.session.commit()
    if is_this:
        return _logged_out()
    flash(_("This device is logged out."), "success")
    return _security() if web.wants_fragment() else web.redirect_to(url_for(".security"))


@blueprint.post("/logins/end-others")
@requires()
def end_other_logins() -> Response:
    ended = auth.end_other_logins(signed_in())
    db.session.commit()
    flash(ngettext("%(num)s other device is logged out.", "%(num)s other devices are logged out.", ended), "success")
    return _security() if web.wants_fragment() else web.redirect_to(url_for(".security"))


@blueprint.post("/logins/end-all")
@requires()
def end_all_logins() -> Response:
    auth.end_all_logins(signed_in())
    db.session.commit()
    return _logged_out()


def _logged_out() -> Response:
    logout_user()
    session.clear()
    flash(_("You are logged out."), "success")
    return web.redirect_to(url_for("auth.login"))


# ── Second factor ───────────────────────────────────────────────────────────────────────────────────────────


@blueprint.route("/second-factor", methods=["GET", "POST"])
@requires()
@limits.limit_tries(limits.own_account)
def switch_factor_on() -> Response:
    user = signed_in()
    if user.totp_since:
        return web.redirect_to(url_for(".security"))
    secret = session.setdefault(NEW_SECRET, second_factor.new_secret())
    form = FactorOnForm()
    if form.validate_on_submit():
        try:
            auth.check_password(user, form.password.data or "")
            codes, letter = auth.switch_factor_on(user, secret, form.code.data or "")
        except auth.WrongPassword as error:
            _wrong(form, error)
        except auth.WrongCredentials as error:
            form.code.errors = [str(error)]
        else:
            _send(letter)
            session.pop(NEW_SECRET)
            return _show_codes(codes)
    address = second_factor.address_of(user, secret)
    picture = segno.make(address, error="m").svg_data_uri(scale=5, border=2, light="white")
    return _render("factor_on.html", form, secret=secret, address=address, picture=picture)


@blueprint.route("/second-factor/off", methods=["GET", "POST"])
@requires()
@limits.limit_tries(limits.own_account)
def switch_factor_off() -> Response:
    user = signed_in()
    form = PasswordAgain()
    if form.validate_on_submit():
        try:
            auth.check_password(user, form.password.data or "")
        except auth.WrongCredentials as error:
            _wrong(form, error)
        else:
            _send(auth.switch_factor_off(user))
            flash(_("The password alone opens your account now."), "success")
            return web.redirect_to(url_for(".security"))
    return _render("factor_off.html", form)


@blueprint.route("/second-factor/codes", methods=["GET", "POST"])
@requires()
@limits.limit_tries(limits.own_account)
def new_recovery_codes() -> Response:
    user = signed_in()
    if user.totp_since is None:
        return web.redirect_to(url_for(".security"))
    form = PasswordAgain()
    if form.validate_on_submit():
        try:
            auth.check_password(user, form.password.data or "")
        except auth.WrongCredentials as error:
            _wrong(form, error)
        else:
            codes, letter = auth.new_recovery_codes(user)
            _send(letter)
            return _show_codes(codes)
    return _render("new_codes.html", form)


def _show_codes(codes: list[str]) -> Response:
    """Once: from now on there are only their hashes."""
    return web.render("account/codes.html", block="form", codes=codes)


# ── What one did ────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.get("/activity")
@requires()
def list_activity() -> Response:
    user = signed_in()
    mine = select(AuditEntry).where(or_(AuditEntry.owner_id == user.id, AuditEntry.actor_id == user.id))
    page = paginate(mine, AuditEntry.id, cursor=request.args.get("after"), descending=True)
    return web.render("account/activity.html", block="rows", page=page, user=user, actions=ACTION_LABELS)


# ── One's data, and leaving ─────────────────────────────────────────────────────────────────────────────────


@blueprint.get("/data")
@requires()
def data() -> Response:
    return web.render("account/data.html", user=signed_in())


@blueprint.post("/export")
@requires()
@limits.limit_exports
def export_data() -> Response:
    user = signed_in()
    audit.record(Action.EXPORTED, owner_id=user.id)
    db.session.commit()
    name = f"golub-{clock.now():%Y-%m-%d}.zip"
    return Response(
        stream_with_context(export.zip_of(user.id)),
        mimetype="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@blueprint.route("/close", methods=["GET", "POST"])
@requires()
@limits.limit_tries(limits.own_account)
def close() -> Response:
    user = signed_in()
    form = CloseForm()
    if form.validate_on_submit():
        try:
            auth.check_password(user, form.password.data or "")
            if user.totp_since:
                auth.check_second_factor(user, form.code.data or "")
            letter = service.close(user)
        except auth.WrongPassword as error:
            _wrong(form, error)
        except auth.WrongCredentials as error:
            form.code.errors = [str(error)]
        else:
            _send(letter)
            logout_user()
            session.clear()
            flash(_("Your account is closed. A letter with a link to open it again is on its way."), "success")
            return web.redirect_to(url_for("auth.login"))
    return _render("close.html", form, user=user)


@blueprint.route("/restore/<token>", methods=["GET", "POST"])
def restore(token: str) -> Response:
    """The link in the letter to whoever closed their account."""
    try:
        user, _more = auth.user_of_link(Purpose.RESTORE, token)
        service.restore(user)
    except RuleBroken as error:
        return web.render("account/bad_link.html", status=HTTPStatus.GONE, why=str(error))
    if request.method != "POST":
        db.session.rollback()  # a look at the page changes nothing
        return web.render("account/restore.html", user=user)
    db.session.commit()
    announce_all()
    flash(_("Your account is open again. Please log in."), "success")
    return web.redirect_to(url_for("auth.login"))


# ── Shared ──────────────────────────────────────────────────────────────────────────────────────────────────


def _render(template: str, sent: FlaskForm, **context: object) -> Response:
    """A page with the form that may have been sent: 422 when it was, for then something is wrong with it.

    What went wrong may be on record: it is committed.
    """
    db.session.commit()
    status = HTTPStatus.UNPROCESSABLE_ENTITY if sent.is_submitted() else HTTPStatus.OK
    return web.render(f"account/{template}", block="form", status=status, **{"form": sent} | context)


def _wrong(form: PasswordAgain, error: auth.WrongCredentials) -> None:
    form.password.errors = [str(error)]


def _send(letter: Letter) -> None:
    """Commit, and have the letter sent."""
    db.session.commit()
    enqueue(jobs.send_letter, letter.id)
