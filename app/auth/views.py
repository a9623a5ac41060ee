"""The way in: registration, the letters' links, log-in with its second factor, log-out."""

import hashlib
from http import HTTPStatus
from secrets import token_urlsafe

import structlog
from flask import Blueprint, Response, flash, g, request, session, url_for
from flask.sansio.blueprints import BlueprintSetupState
from flask_babel import gettext as _
from flask_login import current_user, login_user, logout_user
from flask_wtf import FlaskForm
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm.exc import ObjectDeletedError

from app import clock, web
from app.auth import audit, jobs, limits, logins, service
from app.auth.access import signed_in
from app.auth.forms import AddressForm, LoginForm, NewPasswordForm, RegisterForm, SecondFactorForm
from app.auth.models import REMEMBERED_FOR, Letter, User
from app.auth.roles import Permission
from app.auth.tokens import Purpose, make_token
from app.database import only_reads
from app.errors import RuleBroken
from app.extensions import db, login_manager
from app.queue import enqueue

log = structlog.get_logger(__name__)

BROWSER = "browser"  # in the session of whoever registered: the letter's link knows it again
SECONDS_FOR_THE_CODE = 600  # between password and second factor

blueprint = Blueprint("auth", __name__, url_prefix="/auth")
blueprint.add_app_template_global(Permission, "Permission")


@blueprint.record_once
def _set_session_lifetime(state: BlueprintSetupState) -> None:
    state.app.permanent_session_lifetime = REMEMBERED_FOR


# ── Registration ────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.route("/register", methods=["GET", "POST"])
@limits.limit_letters(limits.typed_account)
def register() -> Response:
    if current_user.is_authenticated:
        return web.redirect_to(_home(signed_in()))
    form = RegisterForm()
    if not form.validate_on_submit():
        return web.render("auth/register.html", block="form", status=_status_of(form), form=form)
    enqueue(jobs.send_letter, _register(form).id)
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
        browser=_hash(session.setdefault(BROWSER, token_urlsafe(16))),
    )
    db.session.commit()
    return letter


@blueprint.post("/resend")
@limits.limit_letters(limits.typed_account)
def resend() -> Response:
    """The letter once more. The answer tells nobody who has an account."""
    form = AddressForm()
    if not form.validate_on_submit():
        return web.render("auth/resend.html", block="form", status=_status_of(form), form=form)
    _send(service.send_again(form.email.data or ""))
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
        user, browser = service.user_of_link(Purpose.VERIFY, token)
    except service.AlreadyVerified:
        if current_user.is_authenticated:
            return web.redirect_to(_home(signed_in()))
        return web.render("auth/already_verified.html")
    except service.BadLink as error:
        return web.render("auth/resend.html", status=HTTPStatus.GONE, form=AddressForm(), why=str(error))
    if request.method != "POST":
        return web.render("auth/verify.html", user=user)
    if browser and browser == _hash(session.get(BROWSER, "")):
        return _welcome(user)
    # Whoever reads this letter chooses the password: the one there is may be of somebody who registered with their
    # address, before them or after them.
    flash(_("Please choose your password here: it was another browser that registered with your address."), "info")
    return web.redirect_to(url_for("auth.reset_password", token=make_token(Purpose.RESET, user)))


def _welcome(user: User) -> Response:
    service.verify(user)
    db.session.commit()
    flash(_("Welcome! Your e-mail address is confirmed."), "success")
    if not user.is_active:
        return web.redirect_to(url_for("auth.login"))
    _begin_session(user, user.fingerprint)
    return web.redirect_to(_home(user))


# ── Forgotten passwords, changed addresses ──────────────────────────────────────────────────────────────────


@blueprint.route("/forgot", methods=["GET", "POST"])
@limits.limit_letters(limits.typed_account)
def forgot_password() -> Response:
    """The answer tells nobody who has an account."""
    form = AddressForm()
    if not form.validate_on_submit():
        return web.render("auth/forgot_password.html", block="form", status=_status_of(form), form=form)
    _send(service.ask_for_reset(form.email.data or ""))
    session["letter_to"] = (form.email.data or "").strip()
    return web.redirect_to(url_for("auth.reset_sent"))


@blueprint.get("/forgot/sent")
def reset_sent() -> Response:
    return web.render("auth/reset_sent.html", email=session.get("letter_to"))


@blueprint.route("/reset/<token>", methods=["GET", "POST"])
def reset_password(token: str) -> Response:
    try:
        user, _more = service.user_of_link(Purpose.RESET, token)
    except service.BadLink as error:
        return web.render("auth/forgot_password.html", status=HTTPStatus.GONE, form=AddressForm(), why=str(error))
    form = NewPasswordForm(user)
    if not form.validate_on_submit():
        return web.render("auth/reset_password.html", block="form", status=_status_of(form), form=form, user=user)
    _send(service.reset_password(user, form.password.data or ""))
    _leave_old_session()
    db.session.commit()
    flash(_("Your new password holds. Please log in with it."), "success")
    return web.redirect_to(url_for("auth.login"))


@blueprint.route("/email/<token>", methods=["GET", "POST"])
def confirm_email(token: str) -> Response:
    """The link in the letter to a new address."""
    try:
        user, email = service.user_of_link(Purpose.CHANGE_EMAIL, token)
    except service.BadLink as error:
        return web.render("auth/bad_link.html", status=HTTPStatus.GONE, why=str(error))
    if request.method != "POST":
        return web.render("auth/confirm_email.html", user=user, email=email)
    try:
        _send(service.change_email(user, email))
    except IntegrityError:
        db.session.rollback()
        raise RuleBroken(_("%(email)s has an account already.", email=email)) from None
    flash(_("%(email)s is your e-mail address now.", email=email), "success")
    return web.redirect_to(_home(signed_in()) if current_user.is_authenticated else url_for("auth.login"))


def _send(letter: Letter) -> None:
    """Commit, and have the letter sent."""
    db.session.commit()
    enqueue(jobs.send_letter, letter.id)


# ── Log-in and log-out ──────────────────────────────────────────────────────────────────────────────────────


@blueprint.route("/login", methods=["GET", "POST"])
@limits.limit_tries(limits.typed_account)
def login() -> Response:
    next_page = web.local_path(request.args.get("next"))
    if current_user.is_authenticated and request.method == "GET":
        return web.redirect_to(next_page or _home(signed_in()))
    form = LoginForm()
    offers_letter = False
    if form.validate_on_submit():
        try:
            user = service.authenticate(form.email.data or "", form.password.data or "")
        except RuleBroken as error:
            form.form_errors.append(str(error))
            offers_letter = isinstance(error, service.NotVerified | service.Closed)
            db.session.commit()
        else:
            fingerprint = user.fingerprint
            db.session.commit()  # the password may have been hashed anew
            return _go_on(user, fingerprint, bool(form.remember.data), next_page)
    return web.render(
        "auth/login.html",
        block="form",
        status=_status_of(form),
        form=form,
        next=next_page,
        offers_letter=offers_letter,
    )


def _go_on(user: User, fingerprint: str, is_remembered: bool, next_page: str | None) -> Response:
    """After the right password: into the house, or to the second factor."""
    if user.totp_since is None:
        _begin_session(user, fingerprint, is_remembered=is_remembered)
        return web.redirect_to(next_page or _home(user))
    _leave_old_session()
    db.session.commit()
    # Signed, not secret: it says no more than the browser knows, and a new password makes it worthless.
    now = int(clock.now().timestamp())
    session[limits.SECOND_FACTOR] = [user.id, fingerprint, is_remembered, next_page, now]
    return web.redirect_to(url_for("auth.second_factor"))


@blueprint.route("/second-factor", methods=["GET", "POST"])
@limits.limit_tries(limits.own_account)
def second_factor() -> Response:
    user, is_remembered, next_page = _waiting_for_code()
    if user is None:
        flash(_("Please log in first."), "info")
        return web.redirect_to(url_for("auth.login"))
    form = SecondFactorForm()
    if form.validate_on_submit():
        try:
            service.check_second_factor(user, form.code.data or "")
        except service.WrongCredentials as error:
            form.code.errors = [str(error)]
            db.session.commit()
        else:
            fingerprint = user.fingerprint
            db.session.commit()
            _begin_session(user, fingerprint, is_remembered=is_remembered)
            return web.redirect_to(next_page or _home(user))
    return web.render("auth/second_factor.html", block="form", status=_status_of(form), form=form)


def _waiting_for_code() -> tuple[User | None, bool, str | None]:
    """Who has shown the password a moment ago, and how they want to go on."""
    try:
        user_id, fingerprint, is_remembered, next_page, since = session[limits.SECOND_FACTOR]
    except (KeyError, TypeError, ValueError):
        return None, False, None
    user = db.session.get(User, user_id)
    is_late = clock.now().timestamp() - since > SECONDS_FOR_THE_CODE
    if user is None or is_late or not user.is_active or user.fingerprint != fingerprint or user.totp_since is None:
        return None, False, None
    return user, is_remembered, next_page


@blueprint.post("/logout")
def logout() -> Response:
    _leave_old_session()
    db.session.commit()
    flash(_("You are logged out."), "success")
    return web.redirect_to(url_for("auth.login"))


def _begin_session(user: User, fingerprint: str, *, is_remembered: bool = False) -> None:
    """A new session, unless password or account have changed since the user had this `fingerprint`.

    Raises:
        RuleBroken: they have.
    """
    _leave_old_session()
    db.session.refresh(user, with_for_update=True)
    if not user.is_active or user.fingerprint != fingerprint:
        raise RuleBroken(_("Your account has changed a moment ago. Please log in again."))
    session.permanent = is_remembered
    logins.begin(user, is_remembered=is_remembered)
    login_user(user)
    db.session.commit()


def _leave_old_session() -> None:
    """Whoever was logged in is not any more, and what was planted into the session does not survive."""
    if current_user.is_authenticated:
        service.log_out(signed_in())
    logout_user()
    _clear_session()


def _hash(browser: str) -> str:
    return hashlib.sha256(browser.encode()).hexdigest()[:32]


def _clear_session() -> None:
    """Forget everything but the language that was chosen."""
    locale = session.get("locale")
    session.clear()
    if locale:
        session["locale"] = locale


def _home(user: User) -> str:
    """Where somebody begins who wanted nothing in particular."""
    if user.may(Permission.OWN_THINGS):
        return url_for("mailings.overview")
    return url_for("manager.dashboard" if user.may(Permission.SEE_OTHERS) else "blog.home")


def _status_of(form: FlaskForm) -> int:
    return HTTPStatus.UNPROCESSABLE_ENTITY if form.is_submitted() else HTTPStatus.OK


# ── Every request ───────────────────────────────────────────────────────────────────────────────────────────


@blueprint.before_app_request
def _say_who_acts() -> None:
    g.origin = audit.origin.set(_origin)


@blueprint.teardown_app_request
def _forget_who_acts(_error: BaseException | None) -> None:
    if token := g.pop("origin", None):
        audit.origin.reset(token)


def _origin() -> audit.Origin:
    user_id = current_user.id if current_user.is_authenticated else None
    return audit.Origin(user_id, request.remote_addr or "", request.user_agent.string)


@blueprint.after_app_request
def _note_the_visit(response: Response) -> Response:
    """Every few minutes, by a transaction of its own: a page that only reads would otherwise wait for a writer."""
    login = getattr(g.get("_login_user"), "login", None)
    try:
        if login is None or response.status_code >= HTTPStatus.BAD_REQUEST or not logins.is_news(login):
            return response
        login_id, lifetime = login.id, login.lifetime
    except ObjectDeletedError:  # ended by this very request, or by another one meanwhile
        return response
    db.session.rollback()
    writing = only_reads.set(False)
    try:
        logins.touch(login_id, lifetime, request.remote_addr or "")
        db.session.commit()
    except OperationalError as error:  # too busy a moment for something so small
        db.session.rollback()
        log.warning("login.not_noted", login=login_id, error=str(error.orig))
    finally:
        only_reads.reset(writing)
    return response


# ── What Flask-Login asks us ────────────────────────────────────────────────────────────────────────────────


@login_manager.user_loader  # type: ignore[untyped-decorator]
def _load_user(session_id: str) -> User | None:
    """Nobody, once they are blocked or the log-in was ended."""
    return logins.find_user(session_id)


@login_manager.unauthorized_handler  # type: ignore[untyped-decorator]
def _ask_to_log_in() -> Response:
    flash(_("Please log in first."), "info")
    url = url_for("auth.login", next=_page_left())
    if web.wants_fragment():
        return Response(status=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": url})
    return Response(status=HTTPStatus.FOUND, headers={"Location": url})


def _page_left() -> str | None:
    """The page to come back to after the log-in. A form that was sent is lost, and a fragment is no page."""
    if web.wants_fragment():
        return web.local_part(request.headers.get("HX-Current-URL", ""))
    return request.full_path.rstrip("?") if request.method == "GET" else None
