"""The signed texts in the links of letters."""

from dataclasses import astuple, dataclass, replace
from datetime import timedelta
from enum import StrEnum

from flask import current_app
from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from app.auth.models import User


class Purpose(StrEnum):
    """What a token is good for: it opens nothing else, for its signature depends on this."""

    VERIFY = "verify"
    RESET = "reset"
    CHANGE_EMAIL = "change_email"
    RESTORE = "restore"


LIFETIMES = {
    Purpose.VERIFY: timedelta(hours=24),
    Purpose.RESET: timedelta(hours=1),
    Purpose.CHANGE_EMAIL: timedelta(hours=24),
    Purpose.RESTORE: timedelta(days=7),
}


class TokenError(Exception):
    """We did not sign this, or it was cut on its way."""


class TokenTooOldError(TokenError):
    """It was good once."""


@dataclass(frozen=True)
class Claims:
    """Whom a token is about: an address or a password that has changed since makes it worthless."""

    user_id: int
    email_key: str
    fingerprint: str
    more: str = ""  # what the purpose needs besides


def claims_of(user: User, more: str = "") -> Claims:
    return Claims(user.id, user.email_key, user.fingerprint, more)


def make_token(purpose: Purpose, user: User, more: str = "", fingerprint: str = "") -> str:
    """Proves for LIFETIMES[purpose] that its bearer reads this user's letters.

    It is worthless once the user's fingerprint is another than `fingerprint`, or than it is now.
    """
    claims = claims_of(user, more)
    return _serializer(purpose).dumps(astuple(replace(claims, fingerprint=fingerprint or claims.fingerprint)))


def read_token(purpose: Purpose, token: str) -> Claims:
    """What `make_token` was told.

    Raises:
        TokenTooOldError, TokenError
    """
    try:
        return Claims(*_serializer(purpose).loads(token, max_age=int(LIFETIMES[purpose].total_seconds())))
    except SignatureExpired:
        raise TokenTooOldError from None
    except BadSignature:
        raise TokenError from None


def _serializer(purpose: Purpose) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.config["SECRET_KEY"], salt=f"golub.auth.{purpose}")
