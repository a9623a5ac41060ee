"""The form of a segment."""

from collections.abc import Iterable
from typing import Any, Self

from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import SelectField
from wtforms.fields.choices import SelectChoice  # type: ignore[attr-defined]  # types-WTForms is behind
from wtforms.widgets import DateInput

from app.clients import fields
from app.clients.fields import BadField, one_line
from app.clients.forms import Parsed
from app.clients.models import Segment
from app.clients.segments import Conditions


class ConditionsForm(FlaskForm):
    """Who belongs to a segment. Without a name it can be counted already."""

    tag = SelectField(_l("Tag"), default="")
    born_from = Parsed(_l("Born in or after"), fields.parse_birth_year)
    born_to = Parsed(_l("Born in or before"), fields.parse_birth_year)
    domain = Parsed(_l("E-mail domain"), fields.parse_domain, description=_l("Such as example.com."))
    added_after = Parsed(_l("Added on or after"), fields.parse_day, widget=DateInput())

    def offer_tags(self, names: Iterable[str], present: str | None = None) -> None:
        """The tags to choose from. The present one stays a choice when no client bears it any more."""
        known = dict.fromkeys(filter(None, [*names, present]))
        self.tag.choices = [SelectChoice("", _l("any")), *map(SelectChoice, known)]

    def validate(self, extra_validators: Any = None) -> bool:
        if not super().validate(extra_validators):
            return False
        if self.born_from.parsed and self.born_to.parsed and self.born_from.parsed > self.born_to.parsed:
            self.born_to.errors = [_l("This year is before the first one.")]
            return False
        return True

    def conditions(self) -> Conditions:
        """What was sent, when it is valid."""
        day = self.added_after.parsed
        return {
            "tag": self.tag.data or None,
            "born_from": self.born_from.parsed,
            "born_to": self.born_to.parsed,
            "domain": self.domain.parsed,
            "added_after": day.isoformat() if day else None,
        }


def _name(text: str) -> str:
    if not (name := one_line(text)):
        raise BadField(_l("Give the segment a name."))
    return name


class SegmentForm(ConditionsForm):
    name = Parsed(_l("Name"), _name, required=True)

    @classmethod
    def of(cls, segment: Segment) -> Self:
        """The form with what the segment asks for, or with what was sent."""
        return cls(data={**segment.conditions, "name": segment.name})

    def validate(self, extra_validators: Any = None) -> bool:
        if not super().validate(extra_validators):
            return False
        if not any(self.conditions().values()):
            self.form_errors.append(
                _l("Set at least one condition. A mailing can go to all clients without a segment.")
            )
            return False
        return True
