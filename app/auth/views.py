"""The way in: registration, the letter's link, log-in, log-out."""

from datetime import timedelta
from http import HTTPStatus
from urllib.parse import urlsplit

from flask import Blueprint, Response, flash, request, session, url_for
from flask.sansio.blueprints import BlueprintSetupState
from flask_babel import gettext as _
from flask_login import current_user, login_user, logout_user
from sqlalchemy.exc import IntegrityError

from app import web
from app.auth import jobs, service
from app.auth.access import signed_in
from app.auth.forms import AddressForm, LoginForm, RegisterForm
from app.auth.models import Letter, User
from app.extensions import db, login_manager
from app.queue import enqueue

REMEMBERED_FOR = timedelta(days=30)  # since the last visit

blueprint = Blueprint("auth", __name__, url_prefix="/auth")


@blueprint.record_once
def _set_session_lifetime(state: BlueprintSetupState) -> None:
    state.app.permanent_session_lifetime = REMEMBERED_FOR


# ── Registration ────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.route("/register", methods=["GET", "POST"])
def register() -> Response:
    if current_user.is_authenticated:
        return web.redirect_to(_home(signed_in()))
    form = RegisterForm()
    if not form.validate_on_submit():
        return web.render("auth/register.html", block="form", status=_status_of(form), form=form)
    letter_id = _register(form).id
    enqueue(jobs.send_letter, letter_id)
    return _say_where_to_look(form.email.data or "")


def _register(form: RegisterForm) -> Letter:
    try:
        return _register_once(form)
    except IntegrityError:
        # The same address was registered in this very moment: now it is a known one.
        db.session.rollback()
        return _register_once(form)


def _register_once(form: RegisterForm) -> Letter:
    letter = service.register(
        email=form.email.data or "",
        password=form.password.data or "",
        name=form.name.data or "",
        timezone=form.timezone.data or "",
        locale=web.locale(),
    )
    db.session.commit()
    return letter


@blueprint.post("/resend")
def resend() -> Response:
    """The letter once more. The answer tells nobody who has an account."""
    form = AddressForm()
    if not form.validate_on_submit():
        return web.render("auth/resend.html", block="form", status=_status_of(form), form=form)
    letter = service.send_again(form.email.data or "")
    db.session.commit()
    if letter:
        enqueue(jobs.send_letter, letter.id)
    return _say_where_to_look(form.email.data or "")


@blueprint.get("/inbox")
def look_into_inbox() -> Response:
    form = AddressForm(email=session.get("letter_to"))
    return web.render("auth/look_into_inbox.html", form=form)


def _say_where_to_look(address: str) -> Response:
    session["letter_to"] = address.strip()
    return web.redirect_to(url_for("auth.look_into_inbox"))


@blueprint.route("/verify/<token>", methods=["GET", "POST"])
def verify(token: str) -> Response:
    """GET only shows a button: programs that scan letters fetch their links, and must confirm nothing."""
    try:
        user = service.user_of_link(token)
    except service.AlreadyVerified:
        if current_user.is_authenticated:
            return web.redirect_to(_home(signed_in()))
        return web.render("auth/already_verified.html")
    except service.BadLink as error:
        return web.render("auth/resend.html", status=HTTPStatus.GONE, form=AddressForm(), why=str(error))
    if request.method != "POST":
        return web.render("auth/verify.html", user=user)
    service.verify(user)
    db.session.commit()
    if not user.is_active:
        return web.redirect_to(url_for("auth.login"))
    _begin_session(user)
    flash(_("Welcome! Your e-mail address is confirmed."), "success")
    return web.redirect_to(_home(user))


# ── Log-in and log-out ──────────────────────────────────────────────────────────────────────────────────────


@blueprint.route("/login", methods=["GET", "POST"])
def login() -> Response:
    next_page = web.local_path(request.args.get("next"))
    if current_user.is_authenticated and request.method == "GET":
        return web.redirect_to(next_page or _home(signed_in()))
    form = LoginForm()
    unverified = False
    if form.validate_on_submit():
        try:
            user = service.authenticate(form.email.data or "", form.password.data or "")
        except (service.WrongCredentials, service.NotVerified, service.Blocked) as error:
            form.form_errors.append(str(error))
            unverified = isinstance(error, service.NotVerified)
        else:
            db.session.commit()  # the password may have been hashed anew
            _begin_session(user, remember=form.remember.data)
            return web.redirect_to(next_page or _home(user))
    status = _status_of(form)
    return web.render("auth/login.html", block="form", status=status, form=form, next=next_page, unverified=unverified)


@blueprint.post("/logout")
def logout() -> Response:
    logout_user()
    _clear_session()
    flash(_("You are logged out."), "success")
    return web.redirect_to(url_for("auth.login"))


def _begin_session(user: User, *, remember: bool = False) -> None:
    """A new session: what was planted into the old one does not survive."""
    _clear_session()
    session.permanent = remember
    login_user(user)


def _clear_session() -> None:
    """Forget everything but the language that was chosen."""
    locale = session.get("locale")
    session.clear()
    if locale:
        session["locale"] = locale


def _home(user: User) -> str:
    """Where somebody begins who wanted nothing in particular."""
    if user.owns_things:
        return url_for("mailings.overview")
    return url_for("manager.dashboard" if user.is_staff else "blog.home")


def _status_of(form: AddressForm | LoginForm) -> int:
    return HTTPStatus.UNPROCESSABLE_ENTITY if form.is_submitted() else HTTPStatus.OK


# ── What Flask-Login asks us ────────────────────────────────────────────────────────────────────────────────


@login_manager.user_loader  # type: ignore[untyped-decorator]
def _load_user(session_id: str) -> User | None:
    """Nobody, once they are blocked or their password has changed since the session began."""
    user_id, _colon, _fingerprint = session_id.partition(":")
    user = db.session.get(User, int(user_id)) if user_id.isdecimal() else None
    return user if user and user.is_active and user.get_id() == session_id else None


@login_manager.unauthorized_handler  # type: ignore[untyped-decorator]
def _ask_to_log_in() -> Response:
    flash(_("Please log in first."), "info")
    url = url_for("auth.login", next=_page_left())
    if web.wants_fragment():
        return Response(status=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": url})
    return web.redirect_to(url)


def _page_left() -> str | None:
    """The page to come back to after the log-in. A form that was sent is lost, and a fragment is no page."""
    if web.wants_fragment():
        page = urlsplit(request.headers.get("HX-Current-URL", ""))
        return web.local_path(page.path + (f"?{page.query}" if page.query else ""))
    return request.full_path.rstrip("?") if request.method == "GET" else None
