"""The forms of the way in."""

from typing import Any

from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import BooleanField, Field, HiddenField, PasswordField, StringField, ValidationError
from wtforms.validators import DataRequired, Length

from app.addresses import BadAddress, parse_address
from app.auth import passwords
from app.auth.models import User
from app.auth.passwords import LONGEST_PASSWORD


def one_line(text: str | None) -> str:
    """Without control characters, and without needless blanks: a name has one line."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text or "").split())


class AddressForm(FlaskForm):
    """An e-mail address that a letter can be sent to."""

    email = StringField(_l("E-mail"), [DataRequired(_l("Write an e-mail address."))])

    def validate_email(self, field: Field) -> None:
        try:
            parse_address(field.data or "")
        except BadAddress as error:
            raise ValidationError(str(error)) from None


def new_password_field(label: Any) -> PasswordField:
    return PasswordField(label, [DataRequired(_l("Write a password."))])


def refuse_weak(field: Field, *personal: str) -> None:
    if why := passwords.weakness(field.data or "", *personal):
        raise ValidationError(why)


class RegisterForm(AddressForm):
    password = new_password_field(_l("Password"))
    name = StringField(
        _l("Your name"),
        [Length(max=150, message=_l("A name has at most %(max)d characters."))],
        filters=[one_line],
    )
    timezone = HiddenField()

    def validate_password(self, field: Field) -> None:
        refuse_weak(field, self.email.data or "", self.name.data or "")


class NewPasswordForm(FlaskForm):
    """For whoever forgot the old one."""

    password = new_password_field(_l("New password"))

    def __init__(self, user: User) -> None:
        super().__init__()
        self.user = user

    def validate_password(self, field: Field) -> None:
        refuse_weak(field, self.user.email, self.user.name)


class LoginForm(FlaskForm):
    email = StringField(_l("E-mail"), [DataRequired(_l("Write your e-mail address."))])
    password = PasswordField(
        _l("Password"),
        [
            DataRequired(_l("Write your password.")),
            Length(max=LONGEST_PASSWORD, message=_l("A password has at most %(max)d characters.")),
        ],
    )
    remember = BooleanField(_l("Stay logged in on this device"))


class SecondFactorForm(FlaskForm):
    code = StringField(
        _l("Code"),
        [
            DataRequired(_l("Write the code that your authenticator app shows.")),
            Length(max=40, message=_l("A code has at most %(max)d characters.")),
        ],
        filters=[lambda text: (text or "").strip()],
    )
