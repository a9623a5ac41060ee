"""What can happen to an account. Whatever matters to whoever watches over it goes into the audit log, too."""

from datetime import timedelta
from functools import cache

from flask import current_app
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import select

from app import clock
from app.addresses import Address, BadAddress, parse_address
from app.auth import audit, logins, outbox, passwords, queries, second_factor, tokens
from app.auth.models import Action, Letter, LetterKind, User
from app.auth.roles import Permission, Role
from app.auth.tokens import Purpose
from app.errors import NotAllowed, NotFound, RuleBroken
from app.extensions import db

ERASED_AFTER = tokens.LIFETIMES[Purpose.RESTORE]  # since the account was closed


class WrongCredentials(RuleBroken):
    """No account has this address and this password. Which of the two is wrong, nobody is told."""


class WrongPassword(WrongCredentials):
    """Whoever is logged in does not know the password of this account."""


class NotVerified(RuleBroken):
    """The password is right, the address not confirmed yet."""


class Blocked(RuleBroken):
    """The password is right, the account blocked."""


class Closed(RuleBroken):
    """The password is right, the account closed by its owner."""


class BadLink(RuleBroken):
    """The link of a letter opens nothing, or nothing any more."""


class AlreadyVerified(RuleBroken):
    """The link did its work before."""


class WeakPassword(RuleBroken):
    """It would be guessed."""


# ── Registration ────────────────────────────────────────────────────────────────────────────────────────────


def register(
    email: str, password: str, name: str = "", *, timezone: str = "", locale: str | None = None, browser: str = ""
) -> Letter:
    """Make an account that waits for its address to be confirmed, and the letter that asks for it.

    Whoever has the address already gets a letter that says so. While nobody has confirmed it, the newest
    registration counts, and the links of earlier letters are dead: who registers the address of somebody else
    has no hold on it.

    The letter's link remembers the `browser` that asked for it, and the password as it is now: nobody confirms an
    account for somebody who came later.

    An unknown `timezone` (IANA) becomes the service's own.

    Raises:
        BadAddress: for what is no e-mail address.
        WeakPassword
        sqlalchemy.exc.IntegrityError: when the same address registers at this very moment; call again.
    """
    address = parse_address(email)
    # Before the look-up, so that a known address takes as long as an unknown one.
    password_hash = _hash_of_new(password, address.email, name)
    # Locked: else it could be confirmed between the look and the change of its password.
    known = queries.user_by_email(address.key).with_for_update().execution_options(populate_existing=True)
    user = db.session.scalar(known)
    if user and user.verified_at:
        audit.record(Action.REGISTERED, owner_id=user.id, why="known already")
        return outbox.write(LetterKind.ALREADY_REGISTERED, user)
    if user is None:
        user = User(email_key=address.key)
        db.session.add(user)
    user.email = address.email
    user.password_hash = password_hash
    user.name = name
    user.timezone = known_time_zone(timezone)
    user.locale = locale
    db.session.flush()
    audit.record(Action.REGISTERED, owner_id=user.id)
    return outbox.write(LetterKind.VERIFY, user, fingerprint=user.fingerprint, browser=browser)


def send_again(email: str) -> Letter:
    """The letter with the link once more; whoever needs none is told so; for an unknown address one to nobody.

    Raises:
        BadAddress
    """
    user = db.session.scalar(queries.user_by_email(parse_address(email).key))
    if user is None or not user.verified_at:
        return outbox.write(LetterKind.VERIFY, user, fingerprint=user.fingerprint if user else "")
    return outbox.write(LetterKind.ACCOUNT_CLOSED if user.closed_at else LetterKind.ALREADY_REGISTERED, user)


def user_of_link(purpose: Purpose, token: str) -> tuple[User, str]:
    """The account that the link of a letter was made for, and what else the link holds.

    Raises:
        BadLink: when it is too old, not ours, did its work, or a newer one has taken its place.
        AlreadyVerified
    """
    try:
        claims = tokens.read_token(purpose, token)
    except tokens.TokenTooOldError:
        hours = tokens.LIFETIMES[purpose] // timedelta(hours=1)
        raise BadLink(
            ngettext("This link was good for %(num)s hour.", "This link was good for %(num)s hours.", hours)
        ) from None
    except tokens.TokenError:
        raise BadLink(_("This link is not complete. Perhaps the letter broke it in two.")) from None
    # Locked: what the link is compared with must not change before it has done its work.
    user = db.session.get(User, claims.user_id, with_for_update=True, populate_existing=True)
    if purpose is Purpose.VERIFY and user and user.email_key == claims.email_key and user.verified_at:
        raise AlreadyVerified(_("This e-mail address is confirmed already."))
    if user is None or claims != tokens.claims_of(user, claims.more):
        raise BadLink(_("This link has done its work, or there is a newer letter with a newer link."))
    return user, claims.more


def verify(user: User) -> None:
    """The address is the user's own."""
    if user.verified_at is None:
        user.verified_at = clock.now()
        audit.record(Action.VERIFIED, owner_id=user.id, actor_id=user.id)


# ── The way in ──────────────────────────────────────────────────────────────────────────────────────────────


def authenticate(email: str, password: str) -> User:
    """The account of whoever knows this address and its password. Commit after a failure, too: it is on record.

    Raises:
        WrongCredentials, NotVerified, Blocked, Closed
    """
    user = _user_by_address(email)
    # An unknown address takes as long as a known one: time must not tell who has an account.
    right = passwords.verify_password(user.password_hash if user else _hash_of_nobody(), password)
    if user is None or not right:
        audit.record(Action.LOGIN_FAILED, owner_id=user.id if user else None, why="password")
        raise WrongCredentials(_("The e-mail address or the password is wrong."))
    refusal = _refusal_of(user)
    if refusal:
        audit.record(Action.LOGIN_FAILED, owner_id=user.id, why=type(refusal).__name__)
        raise refusal
    if passwords.needs_rehash(user.password_hash):
        user.password_hash = passwords.hash_password(password)
    return user


def _refusal_of(user: User) -> RuleBroken | None:
    """Why somebody with the right password does not get in."""
    if user.blocked_at:
        return Blocked(_("This account is blocked. Please write to the administrator."))
    if not user.verified_at:
        return NotVerified(_("Confirm your e-mail address first: open the link in the letter we sent you."))
    if user.closed_at:
        return Closed(_("This account is closed and will be erased. The letter we sent you has a link to keep it."))
    return None


def check_second_factor(user: User, code: str) -> None:
    """Raises: WrongCredentials. Commit after it, too: it is on record."""
    if second_factor.check(user, code):
        return
    if second_factor.spend_recovery_code(user, code):
        audit.record(Action.CODE_USED, owner_id=user.id, actor_id=user.id)
        return
    audit.record(Action.LOGIN_FAILED, owner_id=user.id, why="second factor")
    raise WrongCredentials(_("This code is wrong, or was used already. Take the one that is shown now."))


def check_password(user: User, password: str) -> None:
    """Ask for the password once more before something that a borrowed browser shall not do.

    Raises:
        WrongPassword
    """
    if not passwords.verify_password(user.password_hash, password):
        audit.record(Action.LOGIN_FAILED, owner_id=user.id, why="password")
        raise WrongPassword(_("This is not your password."))


def log_out(user: User) -> None:
    if user.login:
        logins.end(user, only=user.login.id)
    audit.record(Action.LOGGED_OUT, owner_id=user.id)


def end_login(user: User, login_id: int) -> None:
    """Raises: NotFound, when the user has no such log-in, or no longer."""
    if not logins.end(user, only=login_id):
        raise NotFound(_("This device is logged out already."))
    audit.record(Action.LOGINS_ENDED, owner_id=user.id, subject=f"login {login_id}")


def end_other_logins(user: User) -> int:
    """End all but this one, and return how many those were."""
    ended = logins.end(user, but=user.login.id if user.login else None)
    audit.record(Action.LOGINS_ENDED, owner_id=user.id, why=f"{ended}")
    return ended


def end_all_logins(user: User) -> None:
    """End every log-in, this one too."""
    audit.record(Action.LOGINS_ENDED, owner_id=user.id, why=f"{logins.end(user)}")


# ── Passwords ───────────────────────────────────────────────────────────────────────────────────────────────


def ask_for_reset(email: str) -> Letter:
    """The letter with the link to a new password; for an unknown address one to nobody.

    Raises:
        BadAddress
    """
    return outbox.write(LetterKind.RESET_PASSWORD, db.session.scalar(queries.user_by_email(parse_address(email).key)))


def reset_password(user: User, password: str) -> Letter:
    """A new password for whoever followed the letter's link: every log-in ends, and the address is confirmed.

    So does the calendar's secret address, which whoever was logged in may know.

    Raises:
        WeakPassword
    """
    user.password_hash = _hash_of_new(password, user.email, user.name)
    user.calendar_salt = None
    logins.end(user)
    verify(user)
    audit.record(Action.PASSWORD_RESET, owner_id=user.id, actor_id=user.id)
    return outbox.write(LetterKind.PASSWORD_CHANGED, user)


def change_password(user: User, old: str, new: str) -> Letter:
    """A new password: all other log-ins end.

    Raises:
        WrongPassword, WeakPassword
    """
    check_password(user, old)
    user.password_hash = _hash_of_new(new, user.email, user.name)
    logins.end(user, but=user.login.id if user.login else None)
    audit.record(Action.PASSWORD_CHANGED, owner_id=user.id)
    return outbox.write(LetterKind.PASSWORD_CHANGED, user)


# ── One's own account ───────────────────────────────────────────────────────────────────────────────────────


def ask_for_email_change(user: User, email: str, password: str) -> Letter:
    """The letter to the new address that asks for its confirmation; to one that is taken, a letter that says so.

    Raises:
        BadAddress, WrongPassword
        RuleBroken: when it is the present one.
    """
    address = parse_address(email)
    check_password(user, password)
    if address.key == user.email_key:
        raise RuleBroken(_("This is your address already."))
    other = db.session.scalar(queries.user_by_email(address.key))
    if other and other.verified_at:
        return outbox.write(LetterKind.ALREADY_REGISTERED, other)
    return outbox.write(LetterKind.CONFIRM_EMAIL, user, email=address.email)


def change_email(user: User, email: str) -> Letter:
    """The user reads letters at `email`: it is their address now. The letter tells the old one.

    Raises:
        RuleBroken: when somebody else has it meanwhile.
    """
    address = parse_address(email)
    other = db.session.scalar(queries.user_by_email(address.key))
    if other and other.id != user.id:
        if other.verified_at:
            raise RuleBroken(_("%(email)s has an account already.", email=address.email))
        db.session.delete(other)  # nobody ever confirmed it, and whoever did not can't have it
        db.session.flush()
    old = user.email
    user.email, user.email_key = address.email, address.key
    user.epoch += 1
    audit.record(Action.EMAIL_CHANGED, owner_id=user.id, actor_id=user.id)
    return outbox.write(LetterKind.EMAIL_CHANGED, user, email=old)


def switch_factor_on(user: User, secret: str, code: str) -> tuple[list[str], Letter]:
    """Log-ins need a code from now on. Returns the recovery codes, which nobody sees again, and the letter.

    Raises:
        WrongCredentials: when `code` is not the secret's.
    """
    codes = second_factor.switch_on(user, secret, code)
    if codes is None:
        raise WrongCredentials(_("This code is wrong, or was used already. Take the one that is shown now."))
    logins.end(user, but=user.login.id if user.login else None)
    audit.record(Action.FACTOR_ON, owner_id=user.id)
    return codes, outbox.write(LetterKind.FACTOR_ON, user)


def switch_factor_off(user: User) -> Letter:
    second_factor.switch_off(user)
    audit.record(Action.FACTOR_OFF, owner_id=user.id)
    return outbox.write(LetterKind.FACTOR_OFF, user)


def new_recovery_codes(user: User) -> tuple[list[str], Letter]:
    """Ten new codes in place of all there were, which nobody sees again, and the letter that tells of it."""
    audit.record(Action.CODES_RENEWED, owner_id=user.id)
    return second_factor.new_recovery_codes(user), outbox.write(LetterKind.CODES_RENEWED, user)


def close(user: User) -> Letter:
    """Its owner leaves: nobody gets in any more, and after ERASED_AFTER all of it is erased.

    Raises:
        RuleBroken: for the last administrator.
    """
    if user.role is Role.ADMIN and _is_last_admin(user):
        raise _last_admin(user)
    user.closed_at = clock.now()
    user.epoch += 1
    logins.end(user)
    audit.record(Action.ACCOUNT_CLOSED, owner_id=user.id)
    return outbox.write(LetterKind.ACCOUNT_CLOSED, user)


def restore(user: User) -> None:
    """Its owner stays after all.

    Raises:
        RuleBroken: when it is open, or is being erased already.
    """
    db.session.refresh(user, with_for_update=True)
    if user.closed_at is None or user.closed_at <= clock.now() - ERASED_AFTER:
        raise RuleBroken(_("This account is open, or is being erased already: there is nothing to restore."))
    user.closed_at = None
    user.epoch += 1
    audit.record(Action.ACCOUNT_RESTORED, owner_id=user.id, actor_id=user.id)


def set_locale(user: User, locale: str) -> None:
    """`locale` is a key of `app.web.LANGUAGES`: the language of this user's pages and letters."""
    user.locale = locale


# ── The staff's part ────────────────────────────────────────────────────────────────────────────────────────


def create_admin(email: str, password: str, name: str = "") -> User:
    """An administrator whose address needs no confirmation.

    Raises:
        BadAddress: for what is no e-mail address.
        RuleBroken: when the address is taken.
        WeakPassword
    """
    address = parse_address(email)
    if db.session.scalar(queries.user_by_email(address.key)):
        raise RuleBroken(_("%(email)s has an account already.", email=address.email))
    user = _new_admin(address, _hash_of_new(password, address.email, name), name)
    db.session.add(user)
    db.session.flush()
    audit.record(Action.ROLE_CHANGED, owner_id=user.id, subject=f"user {user.id}", why=f"→ {Role.ADMIN}")
    return user


def _new_admin(address: Address, password_hash: str, name: str) -> User:
    return User(
        email=address.email,
        email_key=address.key,
        password_hash=password_hash,
        name=name,
        role=Role.ADMIN,
        timezone=known_time_zone(""),
        verified_at=clock.now(),
    )


def set_role(user: User, role: Role) -> None:
    """Raises: RuleBroken, when the last administrator would lose the role."""
    if user.role is role:
        return
    if user.role is Role.ADMIN and _is_last_admin(user):
        raise _last_admin(user)
    audit.record(Action.ROLE_CHANGED, owner_id=user.id, subject=f"user {user.id}", why=f"{user.role} → {role}")
    user.role = role


def may_block(by: User, user: User) -> bool:
    """Whether this could be somebody for `by` to block: not oneself, and no administrator for a manager."""
    return by.id != user.id and (user.role is not Role.ADMIN or by.may(Permission.ASSIGN_ROLES))


def block(user: User, by: User, reason: str) -> Letter:
    """Nobody gets in with this account any more. Hold its mailings in the same transaction.

    Raises:
        RuleBroken: for oneself, the last administrator, or an account that is blocked.
        NotAllowed: when a manager blocks an administrator.
    """
    if user.id == by.id:
        raise RuleBroken(_("You can't block yourself."))
    if not may_block(by, user):
        raise NotAllowed(_("Only an administrator can block an administrator."))
    if user.role is Role.ADMIN and _is_last_admin(user):
        raise _last_admin(user)
    if user.blocked_at:
        raise RuleBroken(_("This account is blocked already."))
    user.blocked_at, user.blocked_by, user.blocked_reason = clock.now(), by, reason
    logins.end(user)
    audit.record(Action.BLOCKED, owner_id=user.id, subject=f"user {user.id}", why=reason)
    return outbox.write(LetterKind.BLOCKED, user, reason=reason)


def unblock(user: User, by: User) -> Letter:
    """Raises: RuleBroken, when it is not blocked; NotAllowed, as for `block`."""
    if user.role is Role.ADMIN and not by.may(Permission.ASSIGN_ROLES):
        raise NotAllowed(_("Only an administrator can unblock an administrator."))
    if not user.blocked_at:
        raise RuleBroken(_("This account is not blocked."))
    user.blocked_at, user.blocked_by, user.blocked_reason = None, None, ""
    audit.record(Action.UNBLOCKED, owner_id=user.id, subject=f"user {user.id}")
    return outbox.write(LetterKind.UNBLOCKED, user)


def _is_last_admin(user: User) -> bool:
    # Locked: else two administrators could take each other's role away at the same moment.
    query = select(User).where(User.role == Role.ADMIN).order_by(User.id).with_for_update(key_share=True)
    admins = db.session.scalars(query.execution_options(populate_existing=True))
    return not any(admin.is_active and admin.id != user.id for admin in admins.all())


def _last_admin(user: User) -> RuleBroken:
    return RuleBroken(_("%(email)s is the last administrator. Make somebody else one first.", email=user.email))


# ── Shared ──────────────────────────────────────────────────────────────────────────────────────────────────


def known_time_zone(name: str) -> str:
    """`name`, or the service's own zone when nobody knows that name."""
    return name if name in clock.time_zone_names() else current_app.config["SETTINGS"].timezone


def _hash_of_new(password: str, *personal: str) -> str:
    if why := passwords.weakness(password, *personal):
        raise WeakPassword(why)
    return passwords.hash_password(password)


def _user_by_address(email: str) -> User | None:
    try:
        address = parse_address(email)
    except BadAddress:
        return None
    return db.session.scalar(queries.user_by_email(address.key))


@cache
def _hash_of_nobody() -> str:
    return passwords.hash_password("nobody's password")
