"""The form of a mailing: from local times and ids of a browser to a Draft of the service."""

from datetime import datetime
from itertools import islice
from typing import Any

from flask import request
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import func, select
from sqlalchemy.orm import load_only
from wtforms import RadioField, SelectField, SelectMultipleField, StringField, ValidationError
from wtforms.validators import DataRequired, InputRequired, Length

from app import clock
from app.auth.models import User
from app.clients.models import Client, Segment
from app.clients.queries import owned_by as clients_of
from app.clients.queries import segments_of
from app.extensions import db
from app.fields import YEARS
from app.mailings import queries, service
from app.mailings.models import Audience, Mailing
from app.mailings.schedule import Schedule
from app.mailings.schedule_form import ScheduleFields, moved_ahead, values_of_schedule
from app.mailings.service import Draft
from app.mailings.words import word
from app.messages.models import Message
from app.messages.queries import usable_by

CLIENTS_SHOWN = 500
MOST_CHOSEN = 10_000  # whoever wants more wants a segment
NAME_LENGTH = 150
LARGEST_ID = 2**63 - 1


def _id(text: Any) -> int | None:
    """An id from a form: None for the empty choice, 0, which nothing has, for what can be no id."""
    if text in ("", None):
        return None
    try:
        number = int(text)
    except ValueError:
        return 0
    return number if 0 < number <= LARGEST_ID else 0


class MailingForm(ScheduleFields):
    """Create and edit alike. After `validate`, `draft` is what the service takes."""

    name = StringField(
        _l("Name"),
        [DataRequired(_l("Give the mailing a name.")), Length(max=NAME_LENGTH, message=_l("At most 150 characters."))],
        description=_l("Only you see it."),
        filters=[lambda text: (text or "").replace("\0", "").strip()],
    )
    message_id = SelectField(
        _l("Message"),
        [InputRequired(_l("Choose a message."))],
        coerce=_id,
        validate_choice=False,
    )
    audience = RadioField(
        _l("Who gets it"),
        [InputRequired(_l("Choose who gets it."))],
        default=Audience.ALL.value,
    )
    segment_id = SelectField(
        _l("Segment"),
        coerce=_id,
        validate_choice=False,
    )
    client_ids = SelectMultipleField(
        _l("Clients"),
        coerce=_id,
        validate_choice=False,
    )

    def __init__(self, user: User, mailing: Mailing | None = None, like: Mailing | None = None) -> None:
        """like: a mailing whose values a new one begins with."""
        if mailing is not None:
            values = _values_of(mailing, mailing.schedule)
        else:
            values = _values_of_copy(like) if like else {"timezone": user.timezone, "start_at": _start_asked_for()}
        super().__init__(data=values)
        self.user = user
        self.mailing = mailing
        self.asked_at = clock.now().replace(microsecond=0)
        self.audience.choices = [(kind.value, word(kind)) for kind in (Audience.ALL, Audience.SEGMENT, Audience.CHOSEN)]
        self.offer_choices(values["timezone"])
        self.message_id.choices = messages = self._messages()
        self.segment_id.choices = segments = self._segments()
        self.client_ids.choices = clients = self._clients()
        self.has_messages = len(messages) > 1
        self.has_segments = len(segments) > 1
        self.shows_all_clients = len(clients) < CLIENTS_SHOWN

    def _messages(self) -> list[tuple[Any, str]]:
        titles = load_only(Message.owner_id, Message.subject)  # a body may have half a megabyte
        usable = db.session.scalars(usable_by(self.user).options(titles).order_by(Message.id.desc()))
        return [("", _("Choose a message…")), *((message.id, self._title(message)) for message in usable)]

    def _title(self, message: Message) -> str:
        if message.owner_id == self.user.id:
            return message.subject
        return _("%(subject)s (from the library)", subject=message.subject)

    def _segments(self) -> list[tuple[Any, str]]:
        own = db.session.scalars(segments_of(self.user).order_by(func.lower(Segment.name), Segment.id))
        return [("", _("Choose a segment…")), *((segment.id, segment.name) for segment in own)]

    def _clients(self) -> list[tuple[int, str]]:
        chosen = islice(self._chosen_ids(), MOST_CHOSEN)
        shown = db.session.scalars(queries.clients_by_name(self.user, list(chosen), CLIENTS_SHOWN))
        return [(client.id, _name_and_address(client)) for client in shown]

    def validate_message_id(self, field: SelectField) -> None:
        usable = usable_by(self.user).with_only_columns(Message.id).where(Message.id == field.data)
        if db.session.scalar(usable) is None:
            raise ValidationError(_("There is no such message."))

    def validate_segment_id(self, field: SelectField) -> None:
        if self.audience.data != Audience.SEGMENT:
            field.errors = []
            return
        if field.data is None:
            raise ValidationError(_("Choose a segment."))
        if self.segment() is None:
            raise ValidationError(_("There is no such segment."))

    def validate_client_ids(self, field: SelectMultipleField) -> None:
        if self.audience.data != Audience.CHOSEN:
            field.errors = []
            return
        ids = self._chosen_ids()
        if not ids:
            raise ValidationError(_("Choose at least one client."))
        if len(ids) > MOST_CHOSEN:
            raise ValidationError(_("Choose at most %(most)s clients, or make a segment.", most=MOST_CHOSEN))
        found = select(func.count()).select_from(clients_of(self.user).where(Client.id.in_(ids)).subquery())
        if db.session.scalar(found) != len(ids):
            raise ValidationError(_("One of these clients is not in your address book."))

    def upcoming_runs(self, count: int) -> list[datetime]:
        """The next `count` moments at which it would run; `asked_at` means: at once."""
        return self.upcoming(count, has_run=self.mailing is not None and service.has_run(self.mailing))

    def number_of_recipients(self) -> int | None:
        """How many clients it would go to now, or None for an audience with errors."""
        if any(field.errors for field in (self.audience, self.segment_id, self.client_ids)):
            return None
        audience = Audience(self.audience.data)
        found = queries.recipients(self.user, audience, self.segment(), self._chosen_ids())
        return db.session.scalar(queries.how_many(found))

    def segment(self) -> Segment | None:
        own = segments_of(self.user).where(Segment.id == self.segment_id.data)
        return db.session.scalar(own) if self.audience.data == Audience.SEGMENT else None

    def draft(self) -> Draft:
        """What the service takes; only after `validate`."""
        audience = Audience(self.audience.data)
        return Draft(
            name=str(self.name.data),
            message_id=self.message_id.data,
            audience=audience,
            segment_id=self.segment_id.data if audience is Audience.SEGMENT else None,
            client_ids=tuple(sorted(self._chosen_ids())) if audience is Audience.CHOSEN else (),
            schedule=self.schedule(),
            rule=self.rule(),
        )

    def _chosen_ids(self) -> set[int]:
        return {number for number in self.client_ids.data or () if number}


def _start_asked_for() -> datetime | None:
    """The start that the address proposes, on the user's own clocks: a day of the calendar leads here."""
    try:
        moment = datetime.fromisoformat(request.args.get("start", ""))
    except ValueError:
        return None
    return moment.replace(microsecond=0) if moment.tzinfo is None and moment.year in YEARS else None


def _values_of(mailing: Mailing, schedule: Schedule) -> dict[str, Any]:
    return {
        "name": mailing.name,
        "message_id": mailing.message_id,
        "audience": mailing.audience.value,
        "segment_id": mailing.segment_id,
        "client_ids": [client.id for client in mailing.chosen_clients],
        **values_of_schedule(mailing, schedule),
    }


def _values_of_copy(mailing: Mailing) -> dict[str, Any]:
    """The same under another name, and never with a start that is past: a copy must not leave at once by itself."""
    name = _("%(name)s (copy)", name=mailing.name[: NAME_LENGTH - 20])
    return _values_of(mailing, moved_ahead(mailing.schedule, clock.now())) | {"name": name}


def _name_and_address(client: Client) -> str:
    return f"{client.full_name} · {client.email}" if client.full_name else client.email
