"""The forms of the way in."""

from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import BooleanField, Field, HiddenField, PasswordField, StringField, ValidationError
from wtforms.validators import DataRequired, Length

from app.addresses import BadAddress, parse_address
from app.auth.passwords import LONGEST_PASSWORD, SHORTEST_PASSWORD


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


class RegisterForm(AddressForm):
    password = PasswordField(
        _l("Password"),
        [
            DataRequired(_l("Write a password.")),
            Length(min=SHORTEST_PASSWORD, message=_l("A password has at least %(min)d characters.")),
            Length(max=LONGEST_PASSWORD, message=_l("A password has at most %(max)d characters.")),
        ],
    )
    name = StringField(
        _l("Your name"),
        [Length(max=150, message=_l("A name has at most %(max)d characters."))],
        filters=[one_line],
    )
    timezone = HiddenField()


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
