"""What can happen to an account, and to the letters that go to its owner."""

from datetime import timedelta
from functools import cache

from flask import current_app
from flask_babel import gettext as _
from sqlalchemy import select, update

from app import clock
from app.addresses import BadAddress, parse_address
from app.auth import passwords, queries, tokens
from app.auth.models import Letter, LetterKind, Role, User
from app.errors import RuleBroken
from app.extensions import db

LETTER_ATTEMPTS_MAX = 8
# Longer than any talk with a mail server. A worker that dies meanwhile delays the letter by this, no more.
LETTER_LEASE = timedelta(minutes=5)
LETTERS_AT_ONCE = 100


class WrongCredentials(RuleBroken):
    """No account has this address and this password. Which of the two is wrong, nobody is told."""


class NotVerified(RuleBroken):
    """The password is right, the address not confirmed yet."""


class Blocked(RuleBroken):
    """The password is right, the account blocked."""


class BadLink(RuleBroken):
    """The link of a letter opens nothing, or nothing any more."""


class AlreadyVerified(RuleBroken):
    """The link did its work before."""


# ── The way in ──────────────────────────────────────────────────────────────────────────────────────────────


def register(email: str, password: str, name: str = "", timezone: str = "", locale: str | None = None) -> Letter:
    """Make an account that waits for its address to be confirmed, and the letter that asks for it.

    Whoever has the address already gets a letter that says so. While nobody has confirmed it, the newest
    registration counts, and the links of earlier letters are dead: who registers the address of somebody else
    has no hold on it.

    An unknown `timezone` (IANA) becomes the service's own.

    Raises:
        BadAddress: for what is no e-mail address.
        RuleBroken: for a password that is too short or too long.
        sqlalchemy.exc.IntegrityError: when the same address registers at this very moment; call again.
    """
    address = parse_address(email)
    # Before the look-up, so that a known address takes as long as an unknown one.
    password_hash = _hash_of_new(password)
    user = db.session.scalar(queries.user_by_email(address.key))
    if user and user.verified_at:
        return _write_letter(user, LetterKind.ALREADY_REGISTERED)
    if user is None:
        user = User(email_key=address.key)
        db.session.add(user)
    user.email = address.email
    user.password_hash = password_hash
    user.name = name
    user.timezone = _known_time_zone(timezone)
    user.locale = locale
    return _write_letter(user, LetterKind.VERIFY)


def send_again(email: str) -> Letter | None:
    """The letter with the link once more; for a confirmed address one that says so; for an unknown one None.

    Raises:
        BadAddress
    """
    user = db.session.scalar(queries.user_by_email(parse_address(email).key))
    if user is None:
        return None
    return _write_letter(user, LetterKind.ALREADY_REGISTERED if user.verified_at else LetterKind.VERIFY)


def user_of_link(token: str) -> User:
    """The account that the link of a verification letter was made for.

    Raises:
        BadLink: when it is too old, not ours, or a newer registration has taken its place.
        AlreadyVerified
    """
    try:
        claims = tokens.read_token(tokens.Purpose.VERIFY, token)
    except tokens.TokenTooOldError:
        raise BadLink(_("This link was good for 24 hours, and they are over.")) from None
    except tokens.TokenError:
        raise BadLink(_("This link is not complete. Perhaps the letter broke it in two.")) from None
    user = db.session.get(User, claims.user_id)
    if user and user.email_key == claims.email_key and user.verified_at:
        raise AlreadyVerified(_("This e-mail address is confirmed already."))
    if user is None or claims != tokens.claims_of(user):
        raise BadLink(_("There is a newer letter with a newer link. Please use that one."))
    return user


def verify(user: User) -> None:
    """The address is the user's own."""
    user.verified_at = user.verified_at or clock.now()


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


# ── Accounts ────────────────────────────────────────────────────────────────────────────────────────────────


def create_admin(email: str, password: str, name: str = "") -> User:
    """An administrator whose address needs no confirmation.

    Raises:
        BadAddress: for what is no e-mail address.
        RuleBroken: when the address is taken, or the password too short or too long.
    """
    address = parse_address(email)
    if db.session.scalar(queries.user_by_email(address.key)):
        raise RuleBroken(_("%(email)s has an account already.", email=address.email))
    user = User(
        email=address.email,
        email_key=address.key,
        password_hash=_hash_of_new(password),
        name=name,
        role=Role.ADMIN,
        timezone=_known_time_zone(""),
        verified_at=clock.now(),
    )
    db.session.add(user)
    db.session.flush()
    return user


def set_role(user: User, role: Role) -> None:
    """Raises: RuleBroken, when the last administrator would lose the role."""
    if user.role is Role.ADMIN and role is not Role.ADMIN and _is_last_admin(user):
        raise RuleBroken(_("%(email)s is the last administrator. Make somebody else one first.", email=user.email))
    user.role = role


def _is_last_admin(user: User) -> bool:
    # Locked: else two administrators could take each other's role away at the same moment.
    admins = db.session.scalars(select(User).where(User.role == Role.ADMIN).order_by(User.id).with_for_update())
    return not any(admin.is_active and admin.id != user.id for admin in admins.all())


def set_locale(user: User, locale: str) -> None:
    """`locale` is a key of `app.web.LANGUAGES`: the language of this user's pages and letters."""
    user.locale = locale


# ── Letters ─────────────────────────────────────────────────────────────────────────────────────────────────


def letters_waiting() -> list[int]:
    """The ids of letters that are due now, the longest waiting first, at most LETTERS_AT_ONCE."""
    due = queries.letters_due(clock.now()).with_only_columns(Letter.id).limit(LETTERS_AT_ONCE)
    return list(db.session.scalars(due))


def take_letter(letter_id: int) -> Letter | None:
    """The letter, if it is due and nobody else has it; it is the caller's for LETTER_LEASE."""
    now = clock.now()
    taken = db.session.execute(
        update(Letter)
        .where(Letter.id == letter_id, *queries.is_due(now))
        .values(not_before=now + LETTER_LEASE, attempts=Letter.attempts + 1)
        .returning(Letter.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    if taken is None:
        return None
    return db.session.get(Letter, letter_id, populate_existing=True)


def letter_sent(letter: Letter) -> None:
    letter.sent_at = clock.now()
    letter.error = ""


def letter_failed(letter: Letter, error: str, *, for_good: bool = False) -> None:
    """It goes again later, unless the fault is `for_good` or this was the last attempt."""
    letter.error = error
    if for_good or letter.attempts >= LETTER_ATTEMPTS_MAX:
        letter.gave_up_at = clock.now()
    else:
        letter.not_before = clock.now() + retry_delay(letter.attempts)


def retry_delay(attempt: int) -> timedelta:
    """Wait after failed attempt number `attempt` (from 1): 1 min, doubling, at most 1 h."""
    return min(timedelta(minutes=2 ** (attempt - 1)), timedelta(hours=1))


def _write_letter(user: User, kind: LetterKind) -> Letter:
    letter = Letter(kind=kind, user=user)
    db.session.add(letter)
    db.session.flush()
    return letter


# ── Passwords and addresses ─────────────────────────────────────────────────────────────────────────────────


def _hash_of_new(password: str) -> str:
    if not passwords.SHORTEST_PASSWORD <= len(password) <= passwords.LONGEST_PASSWORD:
        raise RuleBroken(
            _(
                "A password has %(least)s to %(most)s characters.",
                least=passwords.SHORTEST_PASSWORD,
                most=passwords.LONGEST_PASSWORD,
            )
        )
    return passwords.hash_password(password)


def _user_by_address(email: str) -> User | None:
    try:
        address = parse_address(email)
    except BadAddress:
        return None
    return db.session.scalar(queries.user_by_email(address.key))


def _known_time_zone(name: str) -> str:
    return name if name in clock.time_zone_names() else current_app.config["SETTINGS"].timezone


@cache
def _hash_of_nobody() -> str:
    return passwords.hash_password("nobody's password")
