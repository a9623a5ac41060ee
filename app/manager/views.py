"""The staff's dashboard: what there is, whose it is, and how the engine does."""

from dataclasses import dataclass

from flask import Blueprint, Response, request
from flask_babel import pgettext
from redis import RedisError

from app import queue, web
from app.auth.access import requires
from app.auth.models import User
from app.auth.roles import Permission, Role
from app.mailings.models import Mailing
from app.mailings.words import state_of_mailing
from app.manager import queries
from app.paging import paginate

blueprint = Blueprint("manager", __name__, url_prefix="/manager")

NEWEST_ON_DASHBOARD = 10


@dataclass(frozen=True)
class Engine:
    """How the sending engine does; None when Redis does not answer."""

    queued: int | None = None
    workers: int | None = None


@blueprint.get("/")
@requires(Permission.SEE_OTHERS)
def dashboard() -> Response:
    newest = paginate(queries.all_mailings(), Mailing.id, descending=True, size=NEWEST_ON_DASHBOARD)
    return web.render(
        "manager/dashboard.html",
        block="figures",
        figures=queries.figures(),
        engine=_engine(),
        mailings=newest,
        state_of_mailing=state_of_mailing,
    )


@blueprint.get("/mailings")
@requires(Permission.SEE_OTHERS)
def list_mailings() -> Response:
    mailings = paginate(queries.all_mailings(), Mailing.id, cursor=request.args.get("cursor"), descending=True)
    return web.render("manager/mailings.html", block="rows", mailings=mailings, state_of_mailing=state_of_mailing)


@blueprint.get("/users")
@requires(Permission.SEE_OTHERS)
def list_users() -> Response:
    users = paginate(queries.all_users(), User.id, cursor=request.args.get("cursor"), descending=True)
    return web.render("manager/users.html", block="rows", users=users, role_names=_role_names())


def _engine() -> Engine:
    try:
        return Engine(queue.queue_depth(), queue.workers_alive())
    except RedisError:
        return Engine()


def _role_names() -> dict[Role, str]:
    return {
        Role.USER: pgettext("role", "User"),
        Role.MANAGER: pgettext("role", "Manager"),
        Role.EDITOR: pgettext("role", "Content manager"),
        Role.ADMIN: pgettext("role", "Administrator"),
    }
