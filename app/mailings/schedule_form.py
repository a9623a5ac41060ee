"""The part of a mailing's form that says when: from local times of a browser to a Schedule."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import Field, RadioField, SelectField, SelectMultipleField, ValidationError
from wtforms.widgets import CheckboxInput, ListWidget

from app import clock
from app.fields import LocalTimeField, NumberField
from app.mailings.misfires import Rule
from app.mailings.models import Mailing, Misfire
from app.mailings.schedule import INSTANT, LAST, Period, Schedule, local_to_utc, occurrences
from app.mailings.service import first_run
from app.mailings.words import LONGEST_MONTH, lateness_allowed, weekday_names, weeks_of_month, word

LONGEST_STEP = {Period.DAILY: 365, Period.WEEKLY: 52, Period.MONTHLY: 24}
MOST_OCCURRENCES = 10_000
WEEKDAY = "weekday"  # as a choice of `month_on`
MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LATE_SECONDS = [15 * MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY]


class ScheduleFields(FlaskForm):
    """After `validate`, `schedule` is what the fields say. Fields that don't go with the period are ignored."""

    start_at = LocalTimeField(_l("Start"), description=_l("Leave it empty to start at once."))
    end_at = LocalTimeField(
        _l("End"),
        description=_l("Leave it empty for no end. What is not sent by then is skipped."),
    )
    period = SelectField(_l("Repeat"), default=Period.ONCE.value)
    every = NumberField(_l("Interval"), default=1, description=_l("2 means every second one."))
    weekdays = SelectMultipleField(
        _l("On these days"),
        coerce=int,
        description=_l("None chosen: the weekday of the start."),
        widget=ListWidget(prefix_label=False),
        option_widget=CheckboxInput(),
    )
    month_on = SelectField(_l("On"), default="")
    month_week = SelectField(_l("Which one"), default="1")
    month_weekday = SelectField(_l("Weekday"), default="0")
    occurrences_max = NumberField(_l("Runs in all"), description=_l("Leave it empty for no limit."))
    timezone = SelectField(
        _l("Time zone"),
        description=_l("Start and end are on the clocks of this zone, also when they change to summer time."),
    )
    misfire = RadioField(_l("If a run is missed"), default=Misfire.LATE.value)
    late_max = SelectField(_l("How late at the most"), default="")

    mailing: Mailing | None
    asked_at: datetime

    def offer_choices(self, timezone: str) -> None:
        """timezone: the one in use, which is offered even when it is an old alias."""
        self.period.choices = [(period.value, word(period)) for period in Period]
        self.timezone.choices = [
            (name, name.replace("_", " ")) for name in sorted({*clock.time_zone_names(), timezone})
        ]
        self.weekdays.choices = weekday_names("abbreviated")
        self.month_on.choices = [
            ("", _("The day of the start")),
            *((str(day), _("Day %(number)s", number=day)) for day in range(1, LONGEST_MONTH)),
            (str(LONGEST_MONTH), _("The last day")),
            (WEEKDAY, _("A weekday")),
        ]
        self.month_week.choices = [
            *((str(week), nth) for week, nth in weeks_of_month().items()),
            (str(LAST), _("Last")),
        ]
        self.month_weekday.choices = [(str(day), name) for day, name in weekday_names()]
        self.misfire.choices = [(kind.value, word(kind)) for kind in Misfire]
        self.late_max.choices = [
            ("", _("However late")),
            *((str(seconds), lateness_allowed(seconds)) for seconds in LATE_SECONDS),
        ]

    def validate_every(self, field: NumberField) -> None:
        period = self._period()
        if period in (None, Period.ONCE):
            field.errors = []
        elif field.data is not None and not 1 <= field.data <= LONGEST_STEP[period]:
            raise ValidationError(_("Write a number from 1 to %(most)s.", most=LONGEST_STEP[period]))

    def validate_occurrences_max(self, field: NumberField) -> None:
        if self._period() is Period.ONCE:
            field.errors = []
        elif field.data is not None and not 2 <= field.data <= MOST_OCCURRENCES:
            raise ValidationError(_("Write a number from 2 to %(most)s, or nothing.", most=MOST_OCCURRENCES))

    def validate(self, extra_validators: Any = None) -> bool:
        fields_are_fine = super().validate(extra_validators)
        if self.has_readable_schedule:
            self._check_window()
        return bool(fields_are_fine and not self.errors)

    @property
    def has_readable_schedule(self) -> bool:
        """Whether the fields can be read; they may still contradict each other."""
        when = (self.start_at, self.end_at, self.timezone, self.period, self.every, self.occurrences_max)
        which = (self.weekdays, self.month_on, self.month_week, self.month_weekday)
        return not any(field.errors for field in (*when, *which))

    def _check_window(self) -> None:
        schedule = self.schedule()
        if self.mailing is not None and schedule == self.mailing.schedule:
            return  # whoever renames a mailing that is over need not bring it back to life
        if schedule.end_at is not None and schedule.end_at <= schedule.start_at:
            _complain(self.end_at, _("The end must come after the start."))
        elif schedule.end_at is not None and schedule.end_at <= self.asked_at:
            _complain(self.end_at, _("This end is over already, so nothing would be sent."))
        elif schedule.period is not Period.ONCE:
            runs = list(islice(occurrences(schedule, after=schedule.start_at - INSTANT), 2))
            if not runs:
                _complain(self.period, _("It would never run between this start and this end."))
            elif len(runs) == 1:
                _complain(self.period, _("It would end before its second run. Choose “Once”, or a later end."))

    def schedule(self) -> Schedule:
        """What the fields say, with moments in UTC; only when they can be read."""
        period = Period(self.period.data)
        plain = Schedule(
            start_at=self._moment(self.start_at, self.mailing.start_at if self.mailing else None) or self.asked_at,
            end_at=self._moment(self.end_at, self.mailing.end_at if self.mailing else None),
            period=period,
            timezone=str(self.timezone.data),
        )
        if period is Period.ONCE:
            return plain
        plain = replace(plain, every=self.every.data or 1, occurrences_max=self.occurrences_max.data)
        if period is Period.WEEKLY:
            return replace(plain, weekdays=frozenset(self.weekdays.data or ()))
        if period is not Period.MONTHLY or not self.month_on.data:
            return plain
        if self.month_on.data == WEEKDAY:
            return replace(plain, month_week=int(self.month_week.data), month_weekday=int(self.month_weekday.data))
        return replace(plain, month_day=int(self.month_on.data))

    def _period(self) -> Period | None:
        return Period(self.period.data) if self.period.data in list(Period) else None

    def _moment(self, field: LocalTimeField, before: datetime | None) -> datetime | None:
        if field.data is None:
            return None
        # What was not touched stays exactly as it was, even where the browser shows less than we keep.
        timezone = str(self.timezone.data)
        if (
            before
            and self.mailing
            and self.mailing.timezone == timezone
            and on_the_clock(before, timezone) == field.data
        ):
            return before
        return local_to_utc(field.data, timezone)

    def upcoming(self, count: int, *, has_run: bool) -> list[datetime]:
        """The next `count` moments at which it would run; `asked_at` means: at once. None for a broken schedule."""
        if not self.has_readable_schedule:
            return []
        schedule = self.schedule()
        first = first_run(schedule, now=self.asked_at, has_run=has_run)
        if first is None:
            return []
        return list(islice(chain([first], occurrences(schedule, after=first)), count))

    def rule(self) -> Rule:
        """What becomes of runs that are missed."""
        misfire = Misfire(self.misfire.data)
        if misfire is not Misfire.LATE or not self.late_max.data:
            return Rule(misfire)
        return Rule(misfire, timedelta(seconds=int(self.late_max.data)))


def values_of_schedule(mailing: Mailing, schedule: Schedule) -> dict[str, Any]:
    """What the fields show for that schedule, with the mailing's other rules."""
    month_on = WEEKDAY if schedule.month_week is not None else str(schedule.month_day or "")
    return {
        "start_at": on_the_clock(schedule.start_at, schedule.timezone),
        "end_at": schedule.end_at and on_the_clock(schedule.end_at, schedule.timezone),
        "period": schedule.period.value,
        "timezone": schedule.timezone,
        "every": schedule.every,
        "weekdays": sorted(schedule.weekdays),
        "month_on": month_on,
        "month_week": str(schedule.month_week or 1),
        "month_weekday": str(schedule.month_weekday or 0),
        "occurrences_max": schedule.occurrences_max,
        "misfire": mailing.misfire.value,
        "late_max": str(mailing.late_seconds_max or ""),
    }


def moved_ahead(schedule: Schedule, now: datetime) -> Schedule:
    """The same with a start that lies ahead, at the same time of the day; its end is dropped where it is over by then.

    Once becomes the next day on which that time has not passed.
    """
    if schedule.start_at > now:
        return schedule
    start = on_the_clock(schedule.start_at, schedule.timezone)
    if schedule.period is Period.MONTHLY and schedule.month_day is None and schedule.month_week is None:
        schedule = replace(schedule, month_day=start.day)  # the new start may lie on a shorter month's last day
    endless = replace(schedule, end_at=None, occurrences_max=None)
    if schedule.period is Period.ONCE:
        endless = replace(endless, period=Period.DAILY)
    ahead = occurrences(endless, after=now)
    # Not one that a change of the clocks has moved: what comes after it would follow.
    start_at = next(moment for moment in ahead if on_the_clock(moment, schedule.timezone).time() == start.time())
    end_at = schedule.end_at if schedule.end_at and schedule.end_at > start_at else None
    return replace(schedule, start_at=start_at, end_at=end_at)


def on_the_clock(moment: datetime, timezone: str) -> datetime:
    return moment.astimezone(clock.zone(timezone)).replace(tzinfo=None, microsecond=0)


def _complain(field: Field, sentence: str) -> None:
    field.errors = [*field.errors, sentence]
