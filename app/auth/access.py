"""Who may open which view. One decorator is enough: `requires` asks for a log-in first."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, cast

from flask import make_response
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user

from app.auth.models import User
from app.auth.roles import Permission
from app.errors import NotAllowed
from app.extensions import login_manager

P = ParamSpec("P")
View = Callable[P, ResponseReturnValue]


def signed_in() -> User:
    """Whoever is logged in. Only for views that require it."""
    return cast("User", current_user._get_current_object())


def requires(*permissions: Permission) -> Callable[[View[P]], View[P]]:
    """For those who have one of these permissions, else NotAllowed; without any, for everybody who is logged in.

    Whoever is not is sent to the log-in page.
    """

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
            if not current_user.is_authenticated:
                return make_response(login_manager.unauthorized())
            if permissions and not any(signed_in().may(permission) for permission in permissions):
                raise NotAllowed(_("Your account has no access to this area."))
            return view(*args, **kwargs)

        return guarded

    return decorate
