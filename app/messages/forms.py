"""The form of a message."""

from collections.abc import Callable

from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import BooleanField, Field, HiddenField, StringField, TextAreaField, ValidationError
from wtforms.validators import DataRequired

from app.messages import content
from app.messages.models import Message
from app.messages.service import MessageData


class MessageForm(FlaskForm):
    subject = StringField(_l("Subject"), [DataRequired(_l("Write a subject."))])
    preheader = StringField(_l("Preview text"))
    html = TextAreaField(_l("Letter"), [DataRequired(_l("Write the letter."))])
    text = TextAreaField(_l("Text part"))
    version = HiddenField()  # of the message when the form was opened: see app.messages.drafts
    draft = HiddenField()  # the mark of what this window has autosaved
    is_shared = BooleanField(_l("Share it in the common library"))

    def validate_subject(self, field: Field) -> None:
        _check(field, content.parse_subject)

    def validate_preheader(self, field: Field) -> None:
        _check(field, content.parse_preheader)

    def validate_html(self, field: Field) -> None:
        _check(field, content.parse_html)

    def validate_text(self, field: Field) -> None:
        _check(field, content.parse_text)

    def parsed(self) -> MessageData:
        return MessageData(
            subject=self.subject.data or "",
            html=self.html.data or "",
            text=self.text.data or "",
            is_shared=bool(self.is_shared.data),
            preheader=self.preheader.data or "",
        )

    def typed(self) -> Message:
        """What stands in the fields, whatever it is, as a message that no session knows.

        Raises:
            BadContent: when it is larger than anybody could save.
        """
        typed = {field.name: field.data or "" for field in (self.subject, self.preheader, self.html, self.text)}
        for text in typed.values():
            content.check_size(text)
        return Message(**typed)


def _check(field: Field, parse: Callable[[str], str]) -> None:
    try:
        parse(field.data or "")
    except content.BadContent as error:
        raise ValidationError(str(error)) from None
