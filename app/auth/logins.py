"""Log-ins: a row for each, asked for in the query that loads the user, so that ending one holds at once."""

import hashlib
import secrets
from datetime import timedelta

from sqlalchemy import ColumnElement, Select, delete, select, update
from sqlalchemy.orm import contains_eager

from app import clock
from app.auth import audit
from app.auth.models import Action, Login, User
from app.extensions import db

SEEN_EVERY = timedelta(minutes=5)  # a visit is noted no more often than this


def begin(user: User, *, is_remembered: bool) -> None:
    """Note a log-in of this user from where the request comes, under a new secret key."""
    user.login_key = secrets.token_urlsafe(32)
    by = audit.origin.get()()
    login = Login(
        user=user,
        key_hash=_hash(user.login_key),
        is_remembered=is_remembered,
        device=by.device[:300],
        address=by.address[:45],
        good_until=clock.now(),
    )
    login.good_until += login.lifetime
    db.session.add(login)
    user.login = login
    audit.record(Action.LOGGED_IN, owner_id=user.id, actor_id=user.id)


def find_user(key: str) -> User | None:
    """Whoever holds this key, with `User.login`: one query. Nobody once it has ended, or they may not come in."""
    login = db.session.scalar(
        select(Login)
        .join(Login.user)
        .options(contains_eager(Login.user))
        .where(Login.key_hash == _hash(key), *_holds())
        .where(User.verified_at.is_not(None), ~User.is_stopped)
    )
    if login is None:
        return None
    login.user.login_key, login.user.login = key, login
    return login.user


def is_news(login: Login) -> bool:
    """Whether a visit now is worth writing down."""
    return login.last_seen_at < clock.now() - SEEN_EVERY


def touch(login_id: int, lifetime: timedelta, address: str) -> None:
    """The log-in was used just now, from there."""
    now = clock.now()
    db.session.execute(
        update(Login)
        .where(Login.id == login_id)
        .values(last_seen_at=now, good_until=now + lifetime, address=address[:45])
        .execution_options(synchronize_session=False)
    )


def of(user: User) -> Select[Login]:
    """The user's log-ins that hold, the one last used first."""
    return select(Login).where(Login.user_id == user.id, *_holds()).order_by(Login.last_seen_at.desc(), Login.id)


def end(user: User, *, only: int | None = None, but: int | None = None) -> int:
    """End all of the user's log-ins: or the one with the id `only`, or all `but` one. Returns how many ended."""
    ending = delete(Login).where(Login.user_id == user.id).returning(Login.id)
    if only is not None:
        ending = ending.where(Login.id == only)
    if but is not None:
        ending = ending.where(Login.id != but)
    return len(db.session.scalars(ending.execution_options(synchronize_session=False)).all())


def forget_old() -> None:
    db.session.execute(
        delete(Login).where(Login.good_until <= clock.now()).execution_options(synchronize_session=False)
    )


def _holds() -> tuple[ColumnElement[bool], ...]:
    return (Login.good_until > clock.now(),)


def _hash(key: str) -> str:
    # The key is random: nothing to guess, so nothing to slow down.
    return hashlib.sha256(key.encode()).hexdigest()
