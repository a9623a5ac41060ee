"""Who may open which view. One decorator is enough: `owner_required` and its kin ask for a log-in first."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, cast

from flask import make_response
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user

from app.auth.models import Role, User
from app.errors import NotAllowed
from app.extensions import login_manager

P = ParamSpec("P")
View = Callable[P, ResponseReturnValue]


def signed_in() -> User:
    """Whoever is logged in. Only for views that require it."""
    return cast("User", current_user._get_current_object())


def login_required(view: View[P]) -> View[P]:
    """Everybody who is logged in; whoever is not is sent to the log-in page."""
    return _required(lambda _user: True)(view)


def owner_required(view: View[P]) -> View[P]:
    """Those who have clients, messages and mailings; else NotAllowed."""
    return _required(lambda user: user.owns_things)(view)


def staff_required(view: View[P]) -> View[P]:
    """Managers and administrators; else NotAllowed."""
    return _required(lambda user: user.is_staff)(view)


def editor_required(view: View[P]) -> View[P]:
    """Content managers and administrators; else NotAllowed."""
    return _required(lambda user: user.is_editor)(view)


def admin_required(view: View[P]) -> View[P]:
    """Administrators; else NotAllowed."""
    return _required(lambda user: user.role is Role.ADMIN)(view)


def _required(allows: Callable[[User], bool]) -> Callable[[View[P]], View[P]]:
    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
            if not current_user.is_authenticated:
                return make_response(login_manager.unauthorized())
            if not allows(signed_in()):
                raise NotAllowed(_("Your account has no access to this area."))
            return view(*args, **kwargs)

        return guarded

    return decorate
