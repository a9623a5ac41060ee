"""The forms of the address book."""

from collections.abc import Callable
from typing import Any, Self

from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import SelectField, StringField, ValidationError
from wtforms.fields.choices import SelectChoice  # type: ignore[attr-defined]  # types-WTForms is behind
from wtforms.widgets import TextArea

from app.addresses import parse_address
from app.clients import fields
from app.clients.fields import one_line
from app.clients.models import Client, ClientStatus
from app.clients.service import ClientData
from app.clients.words import STATUS_LABELS
from app.errors import GolubError


class Parsed(StringField):
    """A text that `parse` reads into `parsed`, or refuses with a sentence. What was typed stays in the field."""

    def __init__(self, label: Any, parse: Callable[[str], Any], *, required: bool = False, **kwargs: Any) -> None:
        super().__init__(label, **kwargs)
        self.parse = parse
        self.parsed: Any = None
        self.flags.required = required

    def process_formdata(self, valuelist: list[Any]) -> None:
        self.data = valuelist[0] if valuelist else ""

    def pre_validate(self, _form: Any) -> None:
        try:
            self.parsed = self.parse(self.data or "")
        except GolubError as error:
            raise ValidationError(str(error)) from None


class ParsedArea(Parsed):
    """The same with several lines."""

    widget: Any = TextArea()


class ClientForm(FlaskForm):
    email = Parsed(_l("E-mail"), parse_address, required=True)
    last_name = Parsed(_l("Last name"), one_line)
    first_name = Parsed(_l("First name"), one_line)
    patronymic = Parsed(_l("Patronymic"), one_line)
    birth_year = Parsed(_l("Birth year"), fields.parse_birth_year)
    status = SelectField(
        _l("Status"),
        choices=[SelectChoice(status.value, label) for status, label in STATUS_LABELS.items()],
        default=ClientStatus.ACTIVE.value,
        description=_l("Letters go to active clients only."),
    )
    tags = Parsed(_l("Tags"), fields.parse_tags, description=_l("Between commas, such as “regular, wholesale”."))
    attributes = ParsedArea(
        _l("Attributes"),
        fields.parse_attributes,
        description=_l("Whatever else you want to know, one “name: value” a line, such as “city: Tver”."),
    )
    comment = ParsedArea(_l("Comment"), fields.many_lines, description=_l("Only you see it."))

    @classmethod
    def of(cls, client: Client) -> Self:
        """The form with what is known about the client, or with what was sent."""
        return cls(
            data={
                "email": client.email,
                "last_name": client.last_name,
                "first_name": client.first_name,
                "patronymic": client.patronymic,
                "birth_year": str(client.birth_year or ""),
                "status": client.status,
                "tags": ", ".join(tag.name for tag in client.tags),
                "attributes": fields.attributes_as_text(client.attributes),
                "comment": client.comment,
            }
        )

    def client_data(self) -> ClientData:
        """What was sent, when it is valid."""
        return ClientData(
            address=self.email.parsed,
            last_name=self.last_name.parsed,
            first_name=self.first_name.parsed,
            patronymic=self.patronymic.parsed,
            birth_year=self.birth_year.parsed,
            comment=self.comment.parsed,
            tags=self.tags.parsed,
            attributes=self.attributes.parsed,
            status=ClientStatus(self.status.data),
        )


class ClientRowForm(FlaskForm):
    """What can be changed right in the list."""

    last_name = Parsed(_l("Last name"), one_line)
    first_name = Parsed(_l("First name"), one_line)
    patronymic = Parsed(_l("Patronymic"), one_line)
    email = Parsed(_l("E-mail"), parse_address, required=True)
    tags = Parsed(_l("Tags"), fields.parse_tags)
    status = SelectField(
        _l("Status"), choices=[SelectChoice(status.value, label) for status, label in STATUS_LABELS.items()]
    )

    def __init__(self, client: Client) -> None:
        known = {name: getattr(client, name) for name in ("last_name", "first_name", "patronymic", "email", "status")}
        super().__init__(data=known | {"tags": ", ".join(tag.name for tag in client.tags)})
        self.client = client
        for field in self:
            field.id = f"{field.id}-{client.id}"  # several rows may be open

    def client_data(self) -> ClientData:
        """What was sent, when it is valid, and what the row does not show as it is."""
        return ClientData(
            address=self.email.parsed,
            last_name=self.last_name.parsed,
            first_name=self.first_name.parsed,
            patronymic=self.patronymic.parsed,
            birth_year=self.client.birth_year,
            comment=self.client.comment,
            tags=self.tags.parsed,
            attributes=self.client.attributes,
            status=ClientStatus(self.status.data),
        )
