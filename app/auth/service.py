"""What can happen to an account."""

from functools import cache

from flask_babel import gettext as _

from app.addresses import BadAddress, parse_address
from app.auth import passwords, queries
from app.auth.models import User
from app.errors import RuleBroken
from app.extensions import db


class WrongCredentials(RuleBroken):
    """No account has this address and this password. Which of the two is wrong, nobody is told."""


class NotVerified(RuleBroken):
    """The password is right, the address not confirmed yet."""


class Blocked(RuleBroken):
    """The password is right, the account blocked."""


def authenticate(email: str, password: str) -> User:
    """The account of whoever knows this address and its password.

    Raises:
        WrongCredentials, NotVerified, Blocked
    """
    user = _user_by_address(email)
    # An unknown address takes as long as a known one: time must not tell who has an account.
    right = passwords.verify_password(user.password_hash if user else _hash_of_nobody(), password)
    if user is None or not right:
        raise WrongCredentials(_("The e-mail address or the password is wrong."))
    if user.blocked_at:
        raise Blocked(_("This account is blocked. Please write to the administrator."))
    if not user.verified_at:
        raise NotVerified(_("Confirm your e-mail address first: open the link in the letter we sent you."))
    if passwords.needs_rehash(user.password_hash):
        user.password_hash = passwords.hash_password(password)
    return user


def _user_by_address(email: str) -> User | None:
    try:
        address = parse_address(email)
    except BadAddress:
        return None
    return db.session.scalar(queries.user_by_email(address.key))


@cache
def _hash_of_nobody() -> str:
    return passwords.hash_password("nobody's password")
