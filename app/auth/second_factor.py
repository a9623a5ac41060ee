"""The second factor: codes by time (RFC 6238, by pyotp), and recovery codes for whoever lost the telephone."""

import base64
import hashlib
import secrets

import pyotp
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flask import current_app
from sqlalchemy import delete, func, select, update

from app import clock
from app.auth.models import RecoveryCode, User
from app.extensions import db

RECOVERY_CODES = 10
STEPS_OF_DRIFT = 1  # of 30 s, both ways: telephones' clocks are never quite right
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # without what looks alike on paper
ISSUER = "Golub"


def new_secret() -> str:
    """A secret for an authenticator app, in Base32 as they want it."""
    return pyotp.random_base32()


def address_of(user: User, secret: str) -> str:
    """The otpauth:// address that an authenticator app reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=ISSUER)


def switch_on(user: User, secret: str, code: str) -> list[str] | None:
    """From now on log-ins need a code. Returns the recovery codes, or None when `code` is not the secret's."""
    step = _step_of(secret, code, after=0)
    if step is None:
        return None
    user.totp_secret = _fernet().encrypt(secret.encode()).decode()
    user.totp_since, user.totp_last_step = clock.now(), step
    return new_recovery_codes(user)


def switch_off(user: User) -> None:
    user.totp_secret, user.totp_since, user.totp_last_step = "", None, 0
    _forget_recovery_codes(user)


def check(user: User, code: str) -> bool:
    """Whether this is the user's code of the moment. It works once: then it is spent, with all before it."""
    try:
        secret = _fernet().decrypt(user.totp_secret.encode()).decode()
    except InvalidToken:  # SECRET_KEY has changed: only a recovery code helps
        return False
    step = _step_of(secret, code, after=user.totp_last_step)
    if step is None:
        return False
    # The condition again: of two who show the same code at the same moment one gets in.
    spent = db.session.scalar(
        update(User)
        .where(User.id == user.id, User.totp_last_step < step)
        .values(totp_last_step=step)
        .returning(User.id)
        .execution_options(synchronize_session=False)
    )
    return spent is not None


def new_recovery_codes(user: User) -> list[str]:
    """Ten codes, each good for one log-in, in place of all there were. They are shown now and never again."""
    _forget_recovery_codes(user)
    codes = ["-".join(_letters(4) for _part in range(4)) for _code in range(RECOVERY_CODES)]
    db.session.add_all(RecoveryCode(user_id=user.id, code_hash=_hash(code)) for code in codes)
    return codes


def spend_recovery_code(user: User, code: str) -> bool:
    spent = db.session.scalar(
        delete(RecoveryCode)
        .where(RecoveryCode.user_id == user.id, RecoveryCode.code_hash == _hash(code))
        .returning(RecoveryCode.id)
        .execution_options(synchronize_session=False)
    )
    return spent is not None


def recovery_codes_left(user: User) -> int:
    return db.session.scalar(select(func.count()).where(RecoveryCode.user_id == user.id)) or 0


def _forget_recovery_codes(user: User) -> None:
    db.session.execute(
        delete(RecoveryCode).where(RecoveryCode.user_id == user.id).execution_options(synchronize_session=False)
    )


def _step_of(secret: str, code: str, *, after: int) -> int | None:
    """The 30-second step within the drift, later than `after`, whose code this is."""
    totp = pyotp.TOTP(secret)
    now = totp.timecode(clock.now())
    digits = "".join(code.split()).encode()
    steps = range(max(now - STEPS_OF_DRIFT, after + 1), now + STEPS_OF_DRIFT + 1)
    return next((step for step in steps if secrets.compare_digest(totp.generate_otp(step).encode(), digits)), None)


def _letters(count: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _letter in range(count))


def _hash(code: str) -> str:
    plain = "".join(sign for sign in code.casefold() if sign.isalnum())
    return hashlib.sha256(plain.encode()).hexdigest()


def _fernet() -> Fernet:
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"golub.auth.totp")
    return Fernet(base64.urlsafe_b64encode(key.derive(current_app.config["SECRET_KEY"].encode())))
