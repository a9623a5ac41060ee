"""The forms of the staff."""

from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import SelectField, TextAreaField
from wtforms.fields.choices import SelectChoice  # type: ignore[attr-defined]  # types-WTForms is behind
from wtforms.validators import DataRequired, Length

from app.auth.roles import Role
from app.auth.words import ROLE_LABELS

LONGEST_REASON = 500


class ReasonForm(FlaskForm):
    """Why somebody is stopped. They read it."""

    reason = TextAreaField(
        _l("Reason"),
        [
            DataRequired(_l("Write why: the owner gets it by letter.")),
            Length(max=LONGEST_REASON, message=_l("A reason has at most %(max)d characters.")),
        ],
        filters=[lambda text: (text or "").replace("\0", "").strip()],
        description=_l("The owner gets it by letter."),
    )


class RoleForm(FlaskForm):
    role = SelectField(_l("Role"), choices=[SelectChoice(role, ROLE_LABELS[role]) for role in Role])
