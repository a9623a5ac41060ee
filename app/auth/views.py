"""The way in: registration, verification, log-in, log-out."""

from http import HTTPStatus

from flask import Blueprint, Response, request, session
from flask_login import login_user

from app import web
from app.auth import service
from app.auth.forms import LoginForm
from app.auth.models import User
from app.errors import RuleBroken
from app.extensions import db, login_manager

blueprint = Blueprint("auth", __name__, url_prefix="/auth")


@blueprint.route("/login", methods=["GET", "POST"])
def login() -> Response:
    form = LoginForm()
    if not form.validate_on_submit():
        status = HTTPStatus.UNPROCESSABLE_ENTITY if form.is_submitted() else HTTPStatus.OK
        return web.render("auth/login.html", block="form", status=status, form=form)
    try:
        user = service.authenticate(form.email.data or "", form.password.data or "")
    except RuleBroken as error:
        form.form_errors.append(str(error))
        return web.render("auth/login.html", block="form", status=HTTPStatus.UNPROCESSABLE_ENTITY, form=form)
    db.session.commit()
    _begin_session(user, remember=form.remember.data)
    return web.redirect_to(web.local_path(request.args.get("next")) or "/")


def _begin_session(user: User, *, remember: bool = False) -> None:
    """A new session: nothing that was planted into the old one survives, but the language that was chosen."""
    locale = session.get("locale")
    session.clear()
    if locale:
        session["locale"] = locale
    session.permanent = remember
    login_user(user)


@login_manager.user_loader  # type: ignore[untyped-decorator]
def _load_user(user_id: str) -> User | None:
    user = db.session.get(User, int(user_id))
    return user if user and user.is_active else None
