"""HTTP details that every view shares: pages and fragments, redirects, errors, HTMX, languages."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from http import HTTPStatus
from math import ceil
from typing import Any, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from babel import negotiate_locale
from flask import (
    Flask,
    Response,
    abort,
    current_app,
    flash,
    g,
    get_template_attribute,
    has_request_context,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask_babel import format_datetime, format_number, get_locale
from flask_babel import gettext as _
from flask_login import current_user
from flask_wtf.csrf import CSRFError
from jinja2_fragments.flask import render_block
from secure import (
    ContentSecurityPolicy,
    CrossOriginOpenerPolicy,
    PermissionsPolicy,
    ReferrerPolicy,
    Secure,
    StrictTransportSecurity,
    XContentTypeOptions,
)
from werkzeug.exceptions import HTTPException, SecurityError
from werkzeug.routing import IntegerConverter
from werkzeug.urls import iri_to_uri

from app import clock
from app.compression import compressed_for_own_request
from app.config import Settings
from app.database import only_reads
from app.errors import GolubError, NotAllowed, NotFound, RuleBroken
from app.extensions import db, limiter, login_manager

View = TypeVar("View", bound=Callable[..., Any])
LANGUAGES = {"en": "English", "ru": "Русский"}
STATUS_OF: dict[type[GolubError], HTTPStatus] = {
    RuleBroken: HTTPStatus.CONFLICT,
    NotAllowed: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
}
LARGEST_ID = 2**63 - 1  # what a column can hold
HSTS_SECONDS = 365 * 24 * 3600


def wants_fragment() -> bool:
    """HTMX asks for a part of a page. A boosted link and a history restore replace the whole page."""
    headers = request.headers
    return "HX-Request" in headers and not ("HX-Boosted" in headers or "HX-History-Restore-Request" in headers)


def render(template: str, *, block: str | None = None, status: int = 200, **context: Any) -> Response:
    """The page; or for HTMX its `block` alone, with new flashes riding along out of band.

    Without a `block`, HTMX gets the whole page too.
    """
    if block and wants_fragment():
        html = render_block(template, block, **context) + render_block("base.html", "flashes", oob=True)
    else:
        html = render_template(template, **context)
    response = make_response(html, status)
    response.vary.add("HX-Request")
    return response


def render_list(template: str, url: str, *, is_further: bool, **context: Any) -> Response:
    """A list: for HTMX its block `list`, or `rows` for a further page.

    url: of the list with what is asked for, and without the fields that are empty; it goes into the address bar.
    """
    response = render(template, block="rows" if is_further else "list", **context)
    if not is_further:
        response.headers["HX-Replace-Url"] = iri_to_uri(url)
    return response


def url_with(endpoint: str, **given: Any) -> str:
    """The page's address with those of the arguments that are set."""
    return url_for(endpoint, **{name: value for name, value in given.items() if value})


def render_count(count: int, counted: int) -> Response:
    """How many rows match; more than `counted` of them are not counted."""
    return render("shell/count.html", block="count", count=count, counted=counted)


def redirect_to(url: str) -> Response:
    """Go to another page: 303, or for HTMX `HX-Redirect`, for it would put a followed redirect into the target."""
    if wants_fragment():
        # A header holds ASCII only, and a search may be in any script.
        return Response(status=HTTPStatus.NO_CONTENT, headers={"HX-Redirect": iri_to_uri(url)})
    return make_response(redirect(url, HTTPStatus.SEE_OTHER))


def flash_undoable(sentence: str, url: str, **fields: str) -> None:
    """Say it with a button that takes it back: it posts the fields to `url`."""
    flash(get_template_attribute("macros.html", "with_undo")(sentence, url, fields), "undo")


def local_path(url: str | None) -> str | None:
    """`url` when it leads to a page of this host, else None: nobody is sent elsewhere by a crafted `next`."""
    if not url or not url.startswith("/") or url.startswith("//") or "\\" in url:
        return None
    parts = urlsplit(url)
    if parts.scheme or parts.netloc or any(character < " " for character in url):
        return None
    return url


def local_part(url: str) -> str | None:
    """Path and query of `url`, whatever its host, or None when there is no such thing."""
    try:
        page = urlsplit(url)
    except ValueError:
        return None
    return local_path(page.path + (f"?{page.query}" if page.query else ""))


def takes_files(view: View) -> View:
    """For the few views that take multipart/form-data: `_only_forms` refuses it elsewhere."""
    view.takes_files = True  # type: ignore[attr-defined]
    return view


def _only_forms() -> None:
    """A body is a form: JSON, or a file in the place of a text, is what no limit and no field expects."""
    if request.mimetype in ("", "application/x-www-form-urlencoded"):
        return
    view = current_app.view_functions.get(request.endpoint or "")
    if request.mimetype != "multipart/form-data" or not getattr(view, "takes_files", False):
        abort(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


def locale() -> str:
    """The reader's language: their own choice, else the session's, else the browser's, else English."""
    if not has_request_context():  # a job or a command: whoever writes to somebody says in which language
        return "en"
    chosen = getattr(current_user, "locale", None) or session.get("locale")
    if chosen in LANGUAGES:
        return str(chosen)
    # Not best_match(): to it a plain `ru` in the last place is better than `en-GB` in the first.
    wanted = [tag for tag, quality in request.accept_languages if quality > 0]
    return negotiate_locale(wanted, LANGUAGES, sep="-") or "en"


def time_zone() -> str:
    """The reader's time zone, as an IANA name."""
    return getattr(current_user, "timezone", None) or current_app.config["SETTINGS"].timezone


def local_time(moment: datetime, zone: str | None = None, style: str = "medium") -> str:
    """A moment in the reader's zone (or `zone`) and language; `style` is Babel's short, medium, long or a pattern."""
    return format_datetime(moment.astimezone(ZoneInfo(zone or time_zone())), style, rebase=False)


class IdConverter(IntegerConverter):
    """The `int` of every rule: an id that no column can hold is an unknown address, not an error of the database."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"max": 2**63 - 1} | options)


def init_app(app: Flask, settings: Settings) -> None:
    app.url_map.converters["int"] = IdConverter
    app.before_request(_only_forms)
    app.before_request(_know_whether_we_write)
    app.teardown_request(_forget_whether_we_write)
    app.after_request(partial(_add_headers, security_headers(settings)))
    app.register_error_handler(GolubError, _golub_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _fault)
    app.jinja_env.filters.update(local_time=local_time, number=format_number)
    app.jinja_env.globals.update(get_locale=get_locale, languages=LANGUAGES, time_zone=time_zone)


def _know_whether_we_write() -> None:
    g.only_reads = only_reads.set(request.method in ("GET", "HEAD", "OPTIONS"))


def _forget_whether_we_write(_error: BaseException | None) -> None:
    if token := g.pop("only_reads", None):
        only_reads.reset(token)


def security_headers(settings: Settings) -> dict[str, str]:
    """What every answer says to browsers, unless its view says it otherwise: no script or style of a page's own."""
    policy = ContentSecurityPolicy().default_src("'self'").img_src("'self'", "data:").object_src("'none'")
    return dict(
        Secure(
            csp=policy.base_uri("'none'").form_action("'self'").frame_ancestors("'none'"),
            hsts=StrictTransportSecurity().max_age(HSTS_SECONDS) if settings.is_https else None,
            xcto=XContentTypeOptions().nosniff(),
            referrer=ReferrerPolicy().same_origin(),
            permissions=PermissionsPolicy().camera().geolocation().microphone(),
            coop=CrossOriginOpenerPolicy().same_origin(),
        ).headers
    )


def _add_headers(usual: dict[str, str], response: Response) -> Response:
    headers = response.headers
    for name, value in usual.items():
        headers.setdefault(name, value)
    # Who asks for a static file does not matter: to know it would cost a query.
    if request.endpoint != "static" and current_user.is_authenticated:
        # What one person sees, no shared cache may keep, and the back button after a log-out may not show.
        headers.setdefault("Cache-Control", "private, no-store")
        return compressed_for_own_request(response)
    return response


def _golub_error(error: GolubError) -> Response:
    fits = (status for kind, status in STATUS_OF.items() if isinstance(error, kind))
    status = next(fits, HTTPStatus.BAD_REQUEST)
    return _error_response(status, str(error))


def _http_error(error: HTTPException) -> Response:
    if error.response is not None or error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return make_response(error.get_response())
    if isinstance(error, SecurityError):  # a Host that is not ours: no page can be made, for its links would lead there
        return Response("This is not the name of this server.\n", error.code, mimetype="text/plain")
    texts = {
        HTTPStatus.BAD_REQUEST: _("The request could not be understood."),
        HTTPStatus.FORBIDDEN: _("You may not see or do this."),
        HTTPStatus.NOT_FOUND: _("There is nothing at this address, or it is not yours."),
        HTTPStatus.METHOD_NOT_ALLOWED: _("This address does not take such a request."),
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: _("That is too much at once. Send a smaller file."),
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE: _("This address takes forms only."),
        HTTPStatus.TOO_MANY_REQUESTS: _("Too many tries. Wait a little and try again."),
    }
    text = texts.get(HTTPStatus(error.code), error.description or "")
    if isinstance(error, CSRFError):
        if wants_fragment() and not current_user.is_authenticated:
            # The session is gone, and the token with it: what this page needs is a new log-in.
            return make_response(login_manager.unauthorized())
        text = _("This form is too old: your session has changed since. Load the page again and repeat.")
    response = _error_response(HTTPStatus(error.code), text)
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    if error.code == HTTPStatus.TOO_MANY_REQUESTS and limiter.current_limit:
        seconds = limiter.current_limit.reset_at - clock.now().timestamp()
        response.headers["Retry-After"] = str(max(1, ceil(seconds)))
    return response


def _fault(error: Exception) -> Response:
    """Our own fault: the details go to the log, the reader gets a page that admits it."""
    db.session.rollback()
    current_app.logger.error("fault", exc_info=error)
    if current_app.config["PROPAGATE_EXCEPTIONS"] or current_app.testing:
        raise error
    # The database may be what is broken: nobody shall ask it for the reader's language or name.
    g._login_user = login_manager.anonymous_user()
    return _error_response(HTTPStatus.INTERNAL_SERVER_ERROR, _("Something went wrong on our side. It has been noted."))


def _error_response(status: HTTPStatus, text: str) -> Response:
    db.session.rollback()
    if wants_fragment():
        # The page stays as it is; the sentence comes as a flash.
        flash(text, "danger")
        response = make_response(render_block("base.html", "flashes", oob=True), status)
        response.headers["HX-Reswap"] = "none"
    else:
        response = make_response(render_template("errors/error.html", code=status.value, text=text), status)
    response.vary.add("HX-Request")
    return response
