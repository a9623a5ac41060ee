"""The staff's dashboard: what there is, whose it is, how the engine does; and the brakes: block, disable."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, flash, request, url_for
from flask_babel import gettext as _
from redis import RedisError
from sqlalchemy import Select, select

from app import caching, clock, queue, web
from app.auth import service as auth
from app.auth.access import requires, signed_in
from app.auth.jobs import send_letter
from app.auth.models import AuditEntry, Letter, User
from app.auth.roles import Permission, Role
from app.auth.words import ACTION_LABELS, ROLE_LABELS
from app.clients.models import Client
from app.clients.words import STATUS_LABELS
from app.errors import NotFound
from app.extensions import db
from app.mailings import jobs as mailing_jobs
from app.mailings import queries as mailing_queries
from app.mailings import service as mailings
from app.mailings.models import Mailing, MailingStatus
from app.mailings.words import word
from app.manager import queries, service
from app.manager.forms import ReasonForm, RoleForm
from app.paging import Order, Page, paginate, sorting
from app.queue import enqueue

blueprint = Blueprint("manager", __name__, url_prefix="/manager")
blueprint.add_app_template_global(queries.state_of, "account_state")
blueprint.add_app_template_global(auth.may_block, "may_block")

# By what has an index: these are the lists of everybody's things.
MAILING_ORDERS = {"added": Order((Mailing.id,), descending=True)}
CLIENT_ORDERS = {"added": Order((Client.id,), descending=True)}
USER_ORDERS = {"since": Order((User.id,), descending=True), "email": Order((User.email_key,))}
SHOWN_ON_DASHBOARD = 10
CAUSES_SHOWN = 8
TROUBLE_OF = timedelta(days=7)
MANY_TROUBLED = 500  # attempts; fewer are looked at in no time
TROUBLED_ATTEMPTS = 5000  # of which the causes are counted
ACTIVITY_OF = timedelta(days=30)
SHOWN_OF_A_USER = 20
MAILING = "/mailings/<int(max=2147483647):mailing_id>"
USER = "/users/<int(max=2147483647):user_id>"


@dataclass(frozen=True)
class Engine:
    """How the sending engine does; None when Redis does not answer."""

    queued: int | None = None
    workers: int | None = None


# ── Dashboard ───────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.get("/")
@requires(Permission.SEE_OTHERS)
def dashboard() -> Response:
    now = clock.now()
    return web.render(
        "manager/dashboard.html",
        block="live",
        figures=queries.figures(),
        engine=_engine(),
        running=db.session.execute(queries.running().limit(SHOWN_ON_DASHBOARD)).all(),
        now=now,
        # Every few seconds the page looks again at what runs, and at nothing else.
        **({} if web.wants_fragment() else _lately(now)),
    )


def _lately(now: datetime) -> dict[str, Any]:
    """What failed, and who sent much."""
    active = db.session.execute(queries.most_active(now - ACTIVITY_OF).limit(SHOWN_ON_DASHBOARD)).all()
    return {
        "causes": caching.remembered(caching.CAUSES, _causes, worth=_are_many)[:CAUSES_SHOWN],
        "active": active,
        "last_seen": queries.last_seen([user.id for user, _sent in active]),
    }


def _causes() -> list[queries.Cause]:
    return queries.causes(clock.now() - TROUBLE_OF, TROUBLED_ATTEMPTS)


def _are_many(causes: list[queries.Cause]) -> bool:
    return sum(cause.count for cause in causes) >= MANY_TROUBLED


def _engine() -> Engine:
    try:
        return Engine(queue.queue_depth(), queue.workers_alive())
    except RedisError:
        return Engine()


# ── Mailings ────────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.get("/mailings")
@requires(Permission.SEE_OTHERS)
def list_mailings() -> Response:
    words, state = _word("q"), _word("status")
    query = mailing_queries.in_state(queries.all_mailings(), state)
    if words:
        query = queries.mailings_like(query, words)
    return _mailing_rows(_page(query, MAILING_ORDERS), words, state)


def _mailing_rows(page: Page[Mailing], words: str = "", state: str = "", *, is_part: bool = False) -> Response:
    states = [*((kind.value, word(kind)) for kind in MailingStatus), (mailing_queries.DISABLED, _("Disabled"))]
    filters = _given(q=words, status=state)
    return _list("manager/mailings.html", MAILING_ORDERS, filters, is_part=is_part, page=page, states=states)


def _page(query: Select[Any], orders: Mapping[str, Order]) -> Page[Any]:
    order = sorting(_word("sort"), orders)
    return paginate(query, *order.keys, cursor=request.args.get("cursor"), descending=order.descending)


def _list(
    template: str, orders: Mapping[str, Order], filters: dict[str, object], *, is_part: bool = False, **context: Any
) -> Response:
    """is_part: rows of it alone, as the answer to what was done to them."""
    order = sorting(_word("sort"), orders)
    url = web.url_with(request.endpoint or "", **(request.view_args or {}), **filters, sort=order.word)
    is_further = is_part or bool(request.args.get("cursor"))
    return web.render_list(template, url, is_further=is_further, filters=filters, sorting=order, **context)


@blueprint.route(MAILING + "/disable", methods=["GET", "POST"])
@requires(Permission.DISABLE_MAILINGS)
def disable_mailing(mailing_id: int) -> Response:
    mailing = _mailing(mailing_id)
    form = ReasonForm()
    if not form.validate_on_submit():
        return _reason_page("manager/disable.html", form, mailing=mailing)
    _send(mailings.disable(mailing, signed_in(), form.reason.data or ""))
    flash(_("“%(name)s” is disabled.", name=mailing.name), "success")
    return _changed(mailing)


@blueprint.post(MAILING + "/enable")
@requires(Permission.DISABLE_MAILINGS)
def enable_mailing(mailing_id: int) -> Response:
    mailing = _mailing(mailing_id)
    _send(mailings.enable(mailing))
    mailing_jobs.announce(mailing)
    flash(_("“%(name)s” may be sent again.", name=mailing.name), "success")
    return _changed(mailing)


def _changed(mailing: Mailing) -> Response:
    if web.wants_fragment():
        return _mailing_rows(Page([mailing], None), is_part=True)
    return web.redirect_to(url_for("mailings.show_mailing", mailing_id=mailing.id))


def _mailing(mailing_id: int) -> Mailing:
    mailing = db.session.scalar(queries.all_mailings().where(Mailing.id == mailing_id))
    if mailing is None:
        raise NotFound(_("There is no such mailing."))
    return mailing


# ── Clients ─────────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.get("/clients")
@requires(Permission.SEE_OTHERS)
def list_clients() -> Response:
    words, status, owner_id = _word("q"), _word("status"), _number("owner")
    query = queries.clients_like(queries.all_clients(), words, status, owner_id)
    page = _page(query, CLIENT_ORDERS)
    return _list(
        "manager/clients.html",
        CLIENT_ORDERS,
        _given(q=words, status=status, owner=owner_id),
        page=page,
        owners=queries.owners_of(page.items),
        owner=db.session.get(User, owner_id) if owner_id else None,
        status_labels=STATUS_LABELS,
    )


# ── Users ───────────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.get("/users")
@requires(Permission.BLOCK_USERS)
def list_users() -> Response:
    words, role, state = _word("q"), _word("role"), _word("state")
    query = queries.users_like(queries.all_users(), words, role, state)
    return _user_rows(_page(query, USER_ORDERS), words, role, state)


def _user_rows(
    page: Page[User], words: str = "", role: str = "", state: str = "", *, is_part: bool = False
) -> Response:
    return _list(
        "manager/users.html",
        USER_ORDERS,
        _given(q=words, role=role, state=state),
        is_part=is_part,
        page=page,
        last_seen=queries.last_seen([user.id for user in page]),
        roles=ROLE_LABELS,
        states=_states(),
        user=signed_in(),
    )


@blueprint.get(USER)
@requires(Permission.BLOCK_USERS)
def show_user(user_id: int) -> Response:
    person = _user(user_id)
    theirs = queries.all_mailings().where(Mailing.owner_id == person.id).order_by(Mailing.id.desc())
    entries = queries.audit_entries(user_id=person.id).order_by(AuditEntry.id.desc()).limit(SHOWN_OF_A_USER)
    entries_shown = db.session.scalars(entries).all()
    return web.render(
        "manager/user.html",
        person=person,
        figures=queries.figures_of(person),
        last_seen=queries.last_seen([person.id]),
        mailings=db.session.scalars(theirs.limit(SHOWN_OF_A_USER)).all(),
        entries=entries_shown,
        people=queries.people_of(entries_shown),
        role_form=RoleForm(role=person.role),
        roles=ROLE_LABELS,
        states=_states(),
        actions=ACTION_LABELS,
        user=signed_in(),
    )


@blueprint.route(USER + "/block", methods=["GET", "POST"])
@requires(Permission.BLOCK_USERS)
def block_user(user_id: int) -> Response:
    person = _user(user_id)
    form = ReasonForm()
    if not form.validate_on_submit():
        return _reason_page("manager/block.html", form, person=person)
    _send(service.block(person, signed_in(), form.reason.data or ""))
    flash(_("%(email)s is blocked.", email=person.email), "success")
    return _changed_user(person)


@blueprint.post(USER + "/unblock")
@requires(Permission.BLOCK_USERS)
def unblock_user(user_id: int) -> Response:
    person = _user(user_id)
    _send(service.unblock(person, signed_in()))
    mailing_jobs.announce_all()
    flash(_("%(email)s may log in again.", email=person.email), "success")
    return _changed_user(person)


@blueprint.post(USER + "/role")
@requires(Permission.ASSIGN_ROLES)
def set_role(user_id: int) -> Response:
    person = _user(user_id)
    form = RoleForm()
    if form.validate_on_submit():
        auth.set_role(person, Role(form.role.data))
        db.session.commit()
        flash(_("%(email)s has a new role.", email=person.email), "success")
    else:
        flash(_("There is no such role."), "danger")
    return web.redirect_to(url_for(".show_user", user_id=person.id))


def _changed_user(person: User) -> Response:
    if web.wants_fragment():
        return _user_rows(Page([person], None), is_part=True)
    return web.redirect_to(url_for(".show_user", user_id=person.id))


def _user(user_id: int) -> User:
    user = db.session.scalar(select(User).where(User.id == user_id))
    if user is None:
        raise NotFound(_("There is no such user."))
    return user


def _states() -> dict[queries.AccountState, str]:
    return {
        queries.AccountState.ACTIVE: _("Active"),
        queries.AccountState.UNVERIFIED: _("Not verified"),
        queries.AccountState.BLOCKED: _("Blocked"),
        queries.AccountState.CLOSED: _("Closed"),
    }


# ── Audit log ───────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.get("/audit")
@requires(Permission.SEE_AUDIT)
def list_audit() -> Response:
    action, user_id = _word("action"), _number("user")
    page = paginate(
        queries.audit_entries(action, user_id), AuditEntry.id, cursor=request.args.get("cursor"), descending=True
    )
    return web.render(
        "manager/audit.html",
        block="rows",
        page=page,
        people=queries.people_of(page.items),
        filters=_given(action=action, user=user_id),
        actions=ACTION_LABELS,
        about=db.session.get(User, user_id) if user_id else None,
    )


# ── Shared ──────────────────────────────────────────────────────────────────────────────────────────────────


def _reason_page(template: str, form: ReasonForm, **context: object) -> Response:
    """The form: on a page of its own, or in the dialog of a list. One that came back stays in the dialog."""
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.is_submitted() else HTTPStatus.OK
    response = web.render(template, block="form", status=status, form=form, **context)
    if form.is_submitted() and web.wants_fragment():
        response.headers["HX-Retarget"], response.headers["HX-Reswap"] = "#dialog", "innerHTML"
    return response


def _send(letter: Letter) -> None:
    """Commit, and have the letter sent."""
    db.session.commit()
    enqueue(send_letter, letter.id)


def _word(name: str) -> str:
    """A text in the address, without the NUL that PostgreSQL refuses."""
    return request.args.get(name, "").replace("\0", "").strip()


def _number(name: str) -> int | None:
    """An id in the address, or None where there is none that a column could hold."""
    text = request.args.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _given(**filters: object) -> dict[str, object]:
    """Those that are set, for an address."""
    return {name: value for name, value in filters.items() if value}
