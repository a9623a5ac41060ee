"""Form fields that several forms have."""

from typing import Any

from flask_babel import gettext as _
from flask_wtf import FlaskForm
from wtforms import IntegerField, ValidationError
from wtforms.fields import DateTimeLocalField
from wtforms.validators import Optional

MOST_DIGITS = 9  # what an integer column can hold
YEARS = range(2000, 2101)  # whatever lies outside is a slip of the fingers


class LocalTimeField(DateTimeLocalField):
    """A date and time on somebody's clock; seconds are shown only where there are some."""

    def __init__(self, label: Any, **options: Any) -> None:
        formats = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f"]
        super().__init__(label, [Optional(), _sensible_year], format=formats, **options)

    def process_formdata(self, valuelist: list[Any]) -> None:
        try:
            super().process_formdata(valuelist)
        except ValueError:
            raise ValueError(_("Write a date and a time, such as 2026-12-03T09:00.")) from None

    def _value(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        if self.data is None:
            return ""
        return self.data.isoformat(timespec="seconds" if self.data.second else "minutes")


def _sensible_year(_form: FlaskForm, field: LocalTimeField) -> None:
    if field.data is not None and field.data.year not in YEARS:
        raise ValidationError(_("Choose a year from %(first)s to %(last)s.", first=YEARS[0], last=YEARS[-1]))


class NumberField(IntegerField):
    """A whole number, or None where nothing was written."""

    def process_formdata(self, valuelist: list[Any]) -> None:
        if not valuelist:
            return
        text = str(valuelist[0]).strip()
        if text and not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
            raise ValueError(_("Write a whole number."))
        self.data = int(text) if text else None
