"""The forms of one's own account."""

import re
from typing import Any

from flask_babel import get_locale
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from flask_wtf.file import FileField, FileRequired
from wtforms import Field, PasswordField, SelectField, StringField, ValidationError
from wtforms.fields.choices import SelectChoice  # type: ignore[attr-defined]  # types-WTForms is behind
from wtforms.validators import DataRequired, Length

from app import clock, web
from app.addresses import BadAddress, parse_address
from app.auth.forms import new_password_field, one_line, refuse_weak
from app.auth.models import User
from app.auth.passwords import LONGEST_PASSWORD

PHONE = re.compile(r"\+?[0-9][0-9 ().-]{4,28}")
NO_COUNTRIES = {"EU", "EZ", "UN", "QO", "XA", "XB", "ZZ"}  # CLDR's own regions


def _countries() -> list[SelectChoice]:
    names = get_locale().territories
    codes = [code for code in names if len(code) == 2 and code.isalpha() and code not in NO_COUNTRIES]
    return [SelectChoice("", "–"), *(SelectChoice(code, names[code]) for code in sorted(codes, key=names.get))]


class ProfileForm(FlaskForm):
    name = StringField(
        _l("Your name"),
        [Length(max=150, message=_l("A name has at most %(max)d characters."))],
        filters=[one_line],
        description=_l("Messages that you share show it."),
    )
    phone = StringField(_l("Telephone"), filters=[one_line], description=_l("Such as +7 912 345-67-89."))
    country = SelectField(_l("Country"))
    timezone = SelectField(_l("Time zone"), description=_l("New mailings are planned on its clocks."))
    locale = SelectField(
        _l("Language"),
        choices=[SelectChoice(code, name) for code, name in web.LANGUAGES.items()],
        description=_l("Of pages and letters."),
    )

    def __init__(self, user: User) -> None:
        super().__init__(obj=user)
        self.country.choices = _countries()
        self.timezone.choices = [SelectChoice(name, name.replace("_", " ")) for name in sorted(clock.time_zone_names())]
        if not self.is_submitted():
            self.locale.data = user.locale or web.locale()

    def validate_phone(self, field: Field) -> None:
        if field.data and not PHONE.fullmatch(field.data):
            raise ValidationError(_l("A telephone number has digits, and a + before the country."))


class AvatarForm(FlaskForm):
    picture = FileField(_l("Picture"), [FileRequired(_l("Choose a picture first."))])


class PasswordAgain(FlaskForm):
    """What a borrowed browser shall not do asks for the password once more."""

    password = PasswordField(
        _l("Your password"),
        [
            DataRequired(_l("Write your password.")),
            Length(max=LONGEST_PASSWORD, message=_l("A password has at most %(max)d characters.")),
        ],
    )


class ChangePasswordForm(PasswordAgain):
    new = new_password_field(_l("New password"))

    def __init__(self, user: User) -> None:
        super().__init__()
        self.user = user

    def validate_new(self, field: Field) -> None:
        refuse_weak(field, self.user.email, self.user.name)


class ChangeEmailForm(PasswordAgain):
    new_email = StringField(_l("New e-mail address"), [DataRequired(_l("Write an e-mail address."))])

    def validate_new_email(self, field: Field) -> None:
        try:
            parse_address(field.data or "")
        except BadAddress as error:
            raise ValidationError(str(error)) from None


def code_field(label: Any) -> StringField:
    return StringField(
        label,
        [DataRequired(_l("Write the code that your authenticator app shows.")), Length(max=40)],
        filters=[lambda text: (text or "").strip()],
    )


class FactorOnForm(PasswordAgain):
    code = code_field(_l("Code in the app"))


class CloseForm(PasswordAgain):
    code = StringField(_l("Code of your second factor"), [Length(max=40)])
