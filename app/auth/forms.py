"""The forms of the way in."""

from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import BooleanField, PasswordField, StringField
from wtforms.validators import DataRequired, Length

LONGEST_PASSWORD = 128


class LoginForm(FlaskForm):
    email = StringField(_l("E-mail"), [DataRequired(_l("Write your e-mail address."))])
    password = PasswordField(
        _l("Password"),
        [DataRequired(_l("Write your password.")), Length(max=LONGEST_PASSWORD)],
    )
    remember = BooleanField(_l("Stay logged in on this device"))
