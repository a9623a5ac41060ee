"""The form of a mailing: from local times and ids of a browser to a Draft of the service."""

from datetime import datetime
from itertools import chain, islice
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from sqlalchemy import func, select
from sqlalchemy.orm import load_only
from wtforms import Field, RadioField, SelectField, SelectMultipleField, StringField, ValidationError
from wtforms.fields import DateTimeLocalField
from wtforms.validators import DataRequired, InputRequired, Length, Optional

from app import clock
from app.auth.models import User
from app.clients.models import Client, Segment
from app.clients.queries import owned_by as clients_of
from app.clients.queries import segments_of
from app.extensions import db
from app.mailings import queries
from app.mailings.models import Audience, Mailing, Period
from app.mailings.schedule import local_to_utc, occurrences
from app.mailings.service import Draft
from app.mailings.words import word
from app.messages.models import Message
from app.messages.queries import usable_by

CLIENTS_SHOWN = 500
MOST_CHOSEN = 10_000  # whoever wants more wants a segment
YEARS = range(2000, 2101)  # whatever lies outside is a slip of the fingers
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


class MailingForm(FlaskForm):
    """Create and edit alike. After `validate`, `draft` is what the service takes."""

    name = StringField(
        _l("Name"),
        [DataRequired(_l("Give the mailing a name.")), Length(max=150, message=_l("At most 150 characters."))],
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
    start_at = LocalTimeField(_l("Start"), description=_l("Leave it empty to start at once."))
    end_at = LocalTimeField(
        _l("End"),
        description=_l("Leave it empty for no end. What is not sent by then is skipped."),
    )
    period = SelectField(_l("Repeat"), default=Period.ONCE.value)
    timezone = SelectField(
        _l("Time zone"),
        description=_l("Start and end are on the clocks of this zone, also when they change to summer time."),
    )

    def __init__(self, user: User, mailing: Mailing | None = None) -> None:
        super().__init__(data=_values_of(mailing) if mailing else {"timezone": user.timezone})
        self.user = user
        self.mailing = mailing
        self.asked_at = clock.now().replace(microsecond=0)
        self.audience.choices = [(kind.value, word(kind)) for kind in (Audience.ALL, Audience.SEGMENT, Audience.CHOSEN)]
        self.period.choices = [(period.value, word(period)) for period in Period]
        self.timezone.choices = _zones(also=mailing.timezone if mailing else user.timezone)
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

    def validate(self, extra_validators: Any = None) -> bool:
        fields_are_fine = super().validate(extra_validators)
        if self._schedule_is_readable():
            self._check_window()
        return bool(fields_are_fine and not self.errors)

    def _schedule_is_readable(self) -> bool:
        return not any(field.errors for field in (self.start_at, self.end_at, self.period, self.timezone))

    def _check_window(self) -> None:
        start_at, end_at, period, timezone = self.window()
        if end_at is None:
            return
        if end_at <= start_at:
            _complain(self.end_at, _("The end must come after the start."))
        elif end_at <= self.asked_at:
            _complain(self.end_at, _("This end is over already, so nothing would be sent."))
        elif period is not Period.ONCE:
            second = next(occurrences(start_at, end_at, period, timezone, after=start_at), None)
            if second is None:
                _complain(self.period, _("It would end before its second run. Choose “Once”, or a later end."))

    def window(self) -> tuple[datetime, datetime | None, Period, str]:
        """Start, end, period and zone as moments in UTC; only for a schedule without errors."""
        start_at = self._moment(self.start_at, self.mailing.start_at if self.mailing else None) or self.asked_at
        end_at = self._moment(self.end_at, self.mailing.end_at if self.mailing else None)
        return start_at, end_at, Period(self.period.data), str(self.timezone.data)

    def _moment(self, field: LocalTimeField, before: datetime | None) -> datetime | None:
        if field.data is None:
            return None
        # What was not touched stays exactly as it was, even where the browser shows less than we keep.
        timezone = str(self.timezone.data)
        if (
            before
            and self.mailing
            and self.mailing.timezone == timezone
            and _on_the_clock(before, timezone) == field.data
        ):
            return before
        return local_to_utc(field.data, timezone)

    def upcoming(self, count: int) -> list[datetime]:
        """The next `count` moments at which it would run, or none for a schedule with errors."""
        if not self._schedule_is_readable():
            return []
        start_at, end_at, period, timezone = self.window()
        later = occurrences(start_at, end_at, period, timezone, after=self.asked_at)
        at_once = [self.asked_at] if start_at <= self.asked_at and not self._has_run() else []
        return list(islice(chain(at_once, later), count))

    def _has_run(self) -> bool:
        return self.mailing is not None and db.session.scalar(queries.runs_of(self.mailing).limit(1)) is not None

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
        start_at, end_at, period, timezone = self.window()
        audience = Audience(self.audience.data)
        return Draft(
            name=str(self.name.data),
            message_id=self.message_id.data,
            audience=audience,
            segment_id=self.segment_id.data if audience is Audience.SEGMENT else None,
            client_ids=tuple(sorted(self._chosen_ids())) if audience is Audience.CHOSEN else (),
            start_at=start_at,
            end_at=end_at,
            period=period,
            timezone=timezone,
        )

    def _chosen_ids(self) -> set[int]:
        return {number for number in self.client_ids.data or () if number}


def _values_of(mailing: Mailing) -> dict[str, Any]:
    return {
        "name": mailing.name,
        "message_id": mailing.message_id,
        "audience": mailing.audience.value,
        "segment_id": mailing.segment_id,
        "client_ids": [client.id for client in mailing.chosen_clients],
        "start_at": _on_the_clock(mailing.start_at, mailing.timezone),
        "end_at": mailing.end_at and _on_the_clock(mailing.end_at, mailing.timezone),
        "period": mailing.period.value,
        "timezone": mailing.timezone,
    }


def _on_the_clock(moment: datetime, timezone: str) -> datetime:
    return moment.astimezone(clock.zone(timezone)).replace(tzinfo=None, microsecond=0)


def _zones(also: str) -> list[tuple[str, str]]:
    """All zones, with the one in use even when it is an old alias."""
    return [(name, name.replace("_", " ")) for name in sorted({*clock.time_zone_names(), also})]


def _name_and_address(client: Client) -> str:
    return f"{client.full_name} · {client.email}" if client.full_name else client.email


def _complain(field: Field, sentence: str) -> None:
    field.errors = [*field.errors, sentence]
