"""The form of a mailing: from local times and ids of a browser to a Draft of the service."""

import hashlib
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from flask import request
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import Select, func, select
from wtforms import RadioField, SelectField, SelectMultipleField, StringField, ValidationError
from wtforms.validators import DataRequired, InputRequired, Length

from app import clock
from app.addresses import BadAddress, parse_address
from app.auth.models import User
from app.clients.models import Client, Segment
from app.clients.queries import owned_by as clients_of
from app.clients.queries import segments_of
from app.extensions import db
from app.fields import YEARS
from app.mailings import choosing, queries, service
from app.mailings.models import Audience, Mailing, mailing_client
from app.mailings.schedule import Schedule
from app.mailings.schedule_form import ScheduleFields, moved_ahead, values_of_schedule
from app.mailings.sender import BadName, parse_name
from app.mailings.service import Draft
from app.mailings.words import word
from app.messages.models import Message
from app.messages.queries import for_list, usable_by

MOST_CHOSEN = 10_000  # whoever wants more wants a segment
NAME_LENGTH = 150
LARGEST_ID = 2**63 - 1
LONGEST_COUNT = 12  # digits
LOOK = "look"  # the name of the buttons that only look something up, for browsers without scripts


def _id(text: Any) -> int | None:
    """An id from a form: None for the empty choice, 0, which nothing has, for what can be no id."""
    if text in ("", None):
        return None
    try:
        number = int(text)
    except ValueError:
        return 0
    return number if 0 < number <= LARGEST_ID else 0


class IdsField(SelectMultipleField):
    """Ids, each in a value of its own, or several in one with commas between."""

    def __init__(self, label: Any, **options: Any) -> None:
        super().__init__(label, coerce=_id, choices=[], validate_choice=False, **options)

    def process_formdata(self, valuelist: list[Any]) -> None:
        self.data = list(dict.fromkeys(_id(text) for value in valuelist for text in str(value).split(",")))


class Count(NamedTuple):
    """How many clients an audience has now, before and after some are left out."""

    before: int
    after: int


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
        choices=[],
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
    client_ids = IdsField(_l("Clients"))
    exclude_segment_id = SelectField(
        _l("Except"),
        coerce=_id,
        validate_choice=False,
        description=_l("Whoever is in this segment when it is sent gets nothing."),
    )
    sender_name = StringField(
        _l("Sender's name"),
        filters=[lambda text: text or ""],
        description=_l("What people see as the sender of the letter."),
    )
    reply_to = StringField(
        _l("Answers go to"),
        filters=[lambda text: (text or "").strip()],
        description=_l("Leave it empty for your own address."),
    )
    message_search = StringField()
    client_search = StringField()
    counted = StringField()  # the audience that its last preview has counted, and its count

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

    @property
    def only_looks(self) -> bool:
        """Whether it was sent to look something up, and not to be saved."""
        return LOOK in request.form

    def offer_segments(self) -> None:
        """Have the fields show their segments. What only validates needs none of them."""
        query = segments_of(self.user).with_only_columns(Segment.id, Segment.name)
        own = db.session.execute(query.order_by(func.lower(Segment.name), Segment.id))
        choices: list[tuple[Any, str]] = [(segment_id, name) for segment_id, name in own]
        self.segment_id.choices = [("", _("Choose a segment…")), *choices]
        self.exclude_segment_id.choices = [("", _("Nobody")), *choices]
        self.has_segments = bool(choices)

    def offered_messages(self) -> choosing.Messages:
        return choosing.offered_messages(self.user, self.message_search.data or "", self.message_id.data)

    def offered_clients(self) -> choosing.Clients:
        return choosing.offered_clients(self.user, self.client_search.data or "", self._shown_ids())

    def chips(self) -> choosing.Chips:
        return choosing.chips(self.user, self._shown_ids())

    def forgive(self) -> None:
        """Show no errors: nobody has said that this is all."""
        for field in self:
            field.errors = []

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

    def validate_exclude_segment_id(self, field: SelectField) -> None:
        if field.data is not None and self.excluded() is None:
            raise ValidationError(_("There is no such segment."))

    def validate_sender_name(self, field: StringField) -> None:
        try:
            field.data = parse_name(field.data or "")
        except BadName as error:
            raise ValidationError(str(error)) from None

    def validate_reply_to(self, field: StringField) -> None:
        if not field.data:
            return
        try:
            field.data = parse_address(field.data).email
        except BadAddress as error:
            raise ValidationError(str(error)) from None
        if not field.data.rpartition("@")[0].isascii():  # not every server on an answer's way would take it (RFC 6531)
            raise ValidationError(_("Before the @ only Latin letters and digits: not every mail server knows others."))

    def upcoming_runs(self, count: int) -> list[datetime]:
        """The next `count` moments at which it would run; `asked_at` means: at once."""
        return self.upcoming(count, has_run=self.mailing is not None and service.has_run(self.mailing))

    def number_of_recipients(self) -> int | None:
        """How many clients it would go to now, or None for an audience with errors."""
        return None if self.count is None else self.count.after

    @cached_property
    def count(self) -> Count | None:
        """How many clients its audience has now, or None for one with errors; after `validate`.

        A form that is typed in brings the count of its last preview along, so that a large audience is counted again
        only when it has changed.
        """
        fields = (self.audience, self.segment_id, self.client_ids, self.exclude_segment_id)
        if any(field.errors for field in fields) or self.audience.data not in list(Audience):
            return None
        return self._count_before() or self._count_now()

    def _count_now(self) -> Count | None:
        audience, ids = Audience(self.audience.data), self._chosen_ids()
        segment, excluded = self.segment(), self.excluded()
        if (audience is Audience.SEGMENT and segment is None) or (audience is Audience.CHOSEN and not ids):
            return None
        found = queries.recipients(self.user.id, audience, segment, ids)
        before = _number_of(found)
        return Count(before, before if excluded is None else _number_of(queries.without(found, excluded)))

    def _count_before(self) -> Count | None:
        audience, _colon, numbers = (self.counted.data or "").partition(":")
        if audience != self._audience_key:
            return None
        before, _colon, after = numbers.partition(":")
        if not all(text.isascii() and text.isdigit() and len(text) < LONGEST_COUNT for text in (before, after)):
            return None
        return Count(int(before), int(after))

    @property
    def what_is_counted(self) -> str:
        """What the next preview brings along as `counted`."""
        return "" if self.count is None else f"{self._audience_key}:{self.count.before}:{self.count.after}"

    @property
    def _audience_key(self) -> str:
        what = (self.user.id, self.audience.data, self.segment_id.data, self.exclude_segment_id.data)
        return hashlib.sha256(repr((what, sorted(self._chosen_ids()))).encode()).hexdigest()[:16]

    def segment(self) -> Segment | None:
        return self._own_segment(self.segment_id.data) if self.audience.data == Audience.SEGMENT else None

    def excluded(self) -> Segment | None:
        return self._own_segment(self.exclude_segment_id.data)

    def _own_segment(self, segment_id: int | None) -> Segment | None:
        return (segment_id and db.session.scalar(segments_of(self.user).where(Segment.id == segment_id))) or None

    def message(self) -> Message | None:
        """The chosen one, with its bodies left aside."""
        chosen = usable_by(self.user).where(Message.id == self.message_id.data)
        return (self.message_id.data and db.session.scalar(for_list(chosen))) or None

    def number_chosen(self) -> int:
        return len(self._chosen_ids())

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
            exclude_segment_id=self.exclude_segment_id.data,
            sender_name=self.sender_name.data or "",
            reply_to=self.reply_to.data or "",
        )

    def _shown_ids(self) -> list[int]:
        """Of the chosen ones no more than may be chosen: no database takes a statement of any length."""
        return sorted(self._chosen_ids())[:MOST_CHOSEN]

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
        "client_ids": db.session.scalars(_chosen_of(mailing)).all(),
        "exclude_segment_id": mailing.exclude_segment_id,
        "sender_name": mailing.sender_name,
        "reply_to": mailing.reply_to,
        **values_of_schedule(mailing, schedule),
    }


def _values_of_copy(mailing: Mailing) -> dict[str, Any]:
    """The same under another name, and never with a start that is past: a copy must not leave at once by itself."""
    name = _("%(name)s (copy)", name=mailing.name[: NAME_LENGTH - 20])
    return _values_of(mailing, moved_ahead(mailing.schedule, clock.now())) | {"name": name}


def _chosen_of(mailing: Mailing) -> Select[int]:
    """The ids of the mailing's chosen clients that are still in the address book."""
    mine = mailing_client.c.mailing_id == mailing.id
    chosen = clients_of(mailing.owner).join(mailing_client, mailing_client.c.client_id == Client.id)
    return chosen.where(mine).with_only_columns(Client.id)


def _number_of(clients: Select[Client]) -> int:
    return db.session.scalar(queries.how_many(clients)) or 0
