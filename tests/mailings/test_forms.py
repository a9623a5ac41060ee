"""The form alone, without HTTP answers: what it refuses at which field, and the draft it gives."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from werkzeug.datastructures import MultiDict

from app import clock
from app.auth.models import User
from app.clients.models import Client, Segment
from app.extensions import db
from app.mailings import choosing, service
from app.mailings.forms import MailingForm
from app.mailings.misfires import Rule
from app.mailings.models import Audience, Mailing, Misfire
from app.mailings.schedule import LAST, Period
from app.messages.models import Message
from tests import make
from tests.mailings import ledger

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def person(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """Somebody in Berlin with a message, at noon of 20 November 2026 in UTC."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    with app.app_context():
        yield make.user("somebody@golub.test", timezone="Europe/Berlin")


@pytest.fixture
def other(person: User) -> User:
    return make.user("other@golub.test")


@pytest.fixture
def message(person: User) -> Message:
    return make.message(person)


@pytest.fixture
def submit(app: Flask, person: User, message: Message):
    """Fill the form as a browser does, with good values but for those given, and validate it."""

    def fill(mailing: Mailing | None = None, **values) -> MailingForm:
        values = {
            "name": "News",
            "message_id": message.id,
            "audience": "all",
            "period": "once",
            "timezone": "Europe/Berlin",
            "start_at": "",
            "end_at": "",
            "misfire": "late",
            "month_week": "1",
            "month_weekday": "0",
        } | values
        with app.test_request_context(method="POST", data=MultiDict(values)):
            form = MailingForm(person, mailing)
            form.was_valid = form.validate()
            assert form.was_valid == (not form.errors)
            return form

    return fill


def test_an_empty_start_means_now(submit):
    form = submit()
    assert form.was_valid
    assert form.draft().schedule.start_at == NOW
    assert form.draft().schedule.end_at is None


def test_times_are_on_the_clocks_of_the_chosen_zone(submit):
    draft = submit(start_at="2026-12-03T09:00", end_at="2026-12-24T18:30:15", period="weekly").draft().schedule
    assert draft.start_at == datetime(2026, 12, 3, 8, 0, tzinfo=UTC)
    assert draft.end_at == datetime(2026, 12, 24, 17, 30, 15, tzinfo=UTC)
    assert draft.period is Period.WEEKLY
    assert draft.timezone == "Europe/Berlin"


def test_a_start_in_the_spring_gap_moves_to_its_end(submit):
    draft = submit(start_at="2027-03-28T02:30").draft().schedule
    assert draft.start_at == datetime(2027, 3, 28, 1, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", {"name": "   "}),
        ("name", {"name": "x" * 151}),
        ("message_id", {"message_id": ""}),
        ("message_id", {"message_id": "abc"}),
        ("message_id", {"message_id": "999999999999999999999999"}),
        ("audience", {"audience": ""}),
        ("audience", {"audience": "everybody"}),
        ("segment_id", {"audience": "segment"}),
        ("segment_id", {"audience": "segment", "segment_id": "12345"}),
        ("client_ids", {"audience": "chosen"}),
        ("client_ids", {"audience": "chosen", "client_ids": "12345"}),
        ("client_ids", {"audience": "chosen", "client_ids": "-1"}),
        ("period", {"period": "hourly"}),
        ("timezone", {"timezone": "Mars/Olympus"}),
        ("timezone", {"timezone": ""}),
        ("start_at", {"start_at": "tomorrow"}),
        ("start_at", {"start_at": "9999-12-31T23:59"}),
        ("start_at", {"start_at": "0001-01-01T00:00"}),
        ("end_at", {"end_at": "2026-12-03"}),
        ("end_at", {"start_at": "2026-12-03T09:00", "end_at": "2026-12-03T09:00"}),
        ("end_at", {"start_at": "2026-12-03T09:00", "end_at": "2026-12-02T09:00"}),
        ("end_at", {"start_at": "2026-11-01T09:00", "end_at": "2026-11-20T13:00"}),
        ("period", {"start_at": "2026-12-03T09:00", "end_at": "2026-12-04T09:00", "period": "daily"}),
        ("period", {"start_at": "2026-12-03T09:00", "end_at": "2026-12-31T09:00", "period": "monthly"}),
        ("period", {"start_at": "2026-12-03T09:00", "end_at": "2026-12-04T09:01", "period": "daily", "every": "2"}),
        ("period", {"start_at": "2026-12-03T09:00", "end_at": "2026-12-06T09:00", "period": "weekly", "weekdays": "6"}),
        ("every", {"period": "daily", "every": "0"}),
        ("every", {"period": "daily", "every": "366"}),
        ("every", {"period": "weekly", "every": "53"}),
        ("every", {"period": "monthly", "every": "25"}),
        ("every", {"period": "daily", "every": "-1"}),
        ("every", {"period": "daily", "every": "1.5"}),
        ("every", {"period": "daily", "every": "often"}),
        ("every", {"period": "daily", "every": "9" * 30}),
        ("weekdays", {"period": "weekly", "weekdays": "7"}),
        ("weekdays", {"period": "weekly", "weekdays": "Monday"}),
        ("month_on", {"period": "monthly", "month_on": "32"}),
        ("month_on", {"period": "monthly", "month_on": "0"}),
        ("month_week", {"period": "monthly", "month_on": "weekday", "month_week": "5"}),
        ("month_weekday", {"period": "monthly", "month_on": "weekday", "month_weekday": "7"}),
        ("occurrences_max", {"period": "daily", "occurrences_max": "0"}),
        ("occurrences_max", {"period": "daily", "occurrences_max": "1"}),
        ("occurrences_max", {"period": "daily", "occurrences_max": "10001"}),
        ("occurrences_max", {"period": "daily", "occurrences_max": "several"}),
        ("misfire", {"misfire": "never"}),
        ("late_max", {"late_max": "61"}),
    ],
)
def test_what_is_wrong_is_said_at_its_field(submit, field, values):
    form = submit(**values)
    assert list(form.errors) == [field]


@pytest.mark.parametrize(
    ("values", "field", "most"),
    [
        ({"period": "daily", "every": "365"}, "every", 365),
        ({"period": "weekly", "every": "52"}, "every", 52),
        ({"period": "monthly", "every": "24"}, "every", 24),
        ({"period": "daily", "occurrences_max": "2"}, "occurrences_max", 2),
        ({"period": "daily", "occurrences_max": "10000"}, "occurrences_max", 10_000),
    ],
)
def test_the_limits_themselves_are_allowed(submit, values, field, most):
    form = submit(**values)
    assert form.was_valid
    assert getattr(form.draft().schedule, field) == most


PERIODIC_FIELDS = {
    "every": "3",
    "weekdays": ["0", "3"],
    "month_on": "weekday",
    "month_week": str(LAST),
    "month_weekday": "4",
    "occurrences_max": "5",
}


@pytest.mark.parametrize(
    ("period", "kept"),
    [
        ("once", {}),
        ("daily", {"every": 3, "occurrences_max": 5}),
        ("weekly", {"every": 3, "occurrences_max": 5, "weekdays": frozenset({0, 3})}),
        ("monthly", {"every": 3, "occurrences_max": 5, "month_week": LAST, "month_weekday": 4}),
    ],
)
def test_only_what_goes_with_the_period_counts(submit, period, kept):
    schedule = submit(period=period, **PERIODIC_FIELDS).draft().schedule
    nothing = {"every": 1, "weekdays": frozenset(), "month_day": None, "month_week": None, "month_weekday": None}
    for name, value in (nothing | {"occurrences_max": None} | kept).items():
        assert getattr(schedule, name) == value, name


def test_numbers_that_do_not_go_with_the_period_may_be_wrong(submit):
    assert submit(period="once", every="0", occurrences_max="1").was_valid
    assert submit(period="once", every="often", occurrences_max="x").was_valid


def test_a_day_of_the_month_takes_the_place_of_the_weekday(submit):
    schedule = submit(period="monthly", **(PERIODIC_FIELDS | {"month_on": "31"})).draft().schedule
    assert (schedule.month_day, schedule.month_week, schedule.month_weekday) == (31, None, None)


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"misfire": "late", "late_max": ""}, Rule(Misfire.LATE)),
        ({"misfire": "late", "late_max": "3600"}, Rule(Misfire.LATE, timedelta(hours=1))),
        ({"misfire": "skip", "late_max": "3600"}, Rule(Misfire.SKIP)),
        ({"misfire": "ask", "late_max": ""}, Rule(Misfire.ASK)),
    ],
)
def test_what_becomes_of_a_missed_run(submit, values, rule):
    assert submit(**values).draft().rule == rule


SAVED = [
    {"period": "once", "start_at": "2026-12-03T09:00", "end_at": "2026-12-24T18:30"},
    {"period": "daily", "start_at": "2026-12-03T09:00:30", "every": "10", "misfire": "skip"},
    {"period": "weekly", "start_at": "2026-12-03T09:00", "every": "2", "weekdays": ["6", "0"], "misfire": "ask"},
    {"period": "weekly", "start_at": "2026-12-03T09:00", "timezone": "Asia/Kathmandu", "occurrences_max": "12"},
    {"period": "monthly", "start_at": "2026-12-03T09:00", "month_on": "31", "late_max": "900"},
    {"period": "monthly", "start_at": "2026-12-03T09:00", "month_on": "weekday", "month_week": "-1"},
    {
        "period": "monthly",
        "start_at": "2026-12-03T09:00",
        "month_on": "weekday",
        "month_week": "4",
        "month_weekday": "6",
    },
]


@pytest.mark.parametrize("values", SAVED)
def test_a_saved_mailing_shows_the_same_again_and_saving_it_changes_nothing(app, submit, person, values):
    draft = submit(**values).draft()
    mailing = service.create(person, draft)
    with app.test_request_context():
        shown = {name: field.data for name, field in MailingForm(person, mailing)._fields.items()}
    for name, value in values.items():
        at = shown[name]
        typed = at.isoformat(timespec="seconds" if at.second else "minutes") if isinstance(at, datetime) else at
        assert sorted(map(str, typed)) == sorted(value) if name == "weekdays" else str(typed) == value, name
    browser = {
        name: on_page(value) for name, value in shown.items() if name not in ("csrf_token", "segment_id", "client_ids")
    }
    again = submit(mailing, **browser)
    assert again.was_valid
    assert again.draft() == draft


def on_page(value):
    """As a browser sends back what it was shown."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds" if value.second else "minutes")
    return value if isinstance(value, list) else "" if value is None else str(value)


def copy_of(app: Flask, person: User, mailing: Mailing) -> MailingForm:
    with app.test_request_context():
        return MailingForm(person, like=mailing)


class TestCopy:
    def test_it_begins_with_everything_but_the_name(self, app, person):
        client = make.client(person)
        mailing = make.mailing(
            person,
            name="Weekly",
            audience=Audience.CHOSEN,
            chosen_clients=[client],
            start_at=NOW + timedelta(days=3),
            end_at=NOW + timedelta(days=300),
            period=Period.WEEKLY,
            every=2,
            weekdays=frozenset({1, 4}),
            occurrences_max=9,
            misfire=Misfire.SKIP,
            timezone="Europe/Moscow",
        )
        form = copy_of(app, person, mailing)
        assert form.mailing is None
        assert form.name.data == "Weekly (copy)"
        assert (form.message_id.data, form.audience.data) == (mailing.message_id, "chosen")
        assert form.client_ids.data == [client.id]
        assert form.start_at.data.isoformat() == "2026-11-23T15:00:00"
        assert form.timezone.data == "Europe/Moscow"
        assert (form.period.data, form.every.data, form.weekdays.data) == ("weekly", 2, [1, 4])
        assert (form.occurrences_max.data, form.misfire.data) == (9, "skip")
        assert form.end_at.data is not None

    @pytest.mark.parametrize(
        ("period", "fields", "start"),
        [
            (Period.ONCE, {}, "2026-11-21T09:00:00"),
            (Period.DAILY, {"every": 7}, "2026-11-22T09:00:00"),
            (Period.WEEKLY, {}, "2026-11-22T09:00:00"),
            (Period.MONTHLY, {}, "2026-12-01T09:00:00"),
            (Period.DAILY, {"occurrences_max": 2}, "2026-11-21T09:00:00"),
        ],
    )
    def test_a_start_that_is_past_moves_ahead(self, app, person, *, period, fields, start):
        first = datetime(2026, 11, 1, 8, 0, tzinfo=UTC)  # nine in Berlin, a Sunday
        mailing = make.mailing(person, start_at=first, period=period, timezone="Europe/Berlin", **fields)
        form = copy_of(app, person, mailing)
        assert form.start_at.data.isoformat() == start
        assert form.end_at.data is None

    def test_an_end_that_is_over_by_then_is_left_out(self, app, person):
        first = datetime(2026, 11, 1, 8, 0, tzinfo=UTC)
        mailing = make.mailing(person, start_at=first, end_at=first + timedelta(days=5), period=Period.DAILY)
        assert copy_of(app, person, mailing).end_at.data is None

    def test_a_long_name_still_fits(self, app, person):
        form = copy_of(app, person, make.mailing(person, name="x" * 150))
        assert len(form.name.data) <= 150
        assert form.name.data.endswith("(copy)")


def test_without_an_audience_nobody_is_taken_for_everybody(app, person, message):
    values = {"name": "News", "message_id": message.id, "period": "once", "timezone": "UTC"}
    with app.test_request_context(method="POST", data=values):
        form = MailingForm(person)
        assert not form.validate()
    assert "audience" in form.errors


def test_an_end_that_is_over_on_the_zones_clocks_only_just_is_refused(submit):
    """13:00 in Berlin is 12:00 UTC: the end is exclusive, so it is over at that very moment."""
    assert not submit(end_at="2026-11-20T13:00").was_valid
    assert submit(end_at="2026-11-20T13:01").was_valid


def test_what_is_somebody_elses_is_refused_at_its_field(submit, other):
    foreign = Segment(owner_id=other.id, name="Theirs", conditions={})
    db.session.add(foreign)
    db.session.flush()
    client = make.client(other)
    assert "message_id" in submit(message_id=make.message(other).id).errors
    assert "segment_id" in submit(audience="segment", segment_id=foreign.id).errors
    assert "client_ids" in submit(audience="chosen", client_ids=client.id).errors


def test_a_message_of_the_library_can_be_sent(submit, other):
    shared = make.message(other, subject="Shared", is_shared=True)
    form = submit(message_id=shared.id)
    assert form.draft().message_id == shared.id
    assert shared in form.offered_messages().offered


def test_only_the_ids_of_the_chosen_audience_count(submit, person):
    segment = Segment(owner_id=person.id, name="Some", conditions={})
    db.session.add(segment)
    db.session.flush()
    client = make.client(person)
    both = {"segment_id": segment.id, "client_ids": client.id}
    everybody, some, chosen = (submit(audience=audience, **both).draft() for audience in ("all", "segment", "chosen"))
    assert (everybody.segment_id, everybody.client_ids) == (None, ())
    assert (some.segment_id, some.client_ids) == (segment.id, ())
    assert (chosen.segment_id, chosen.client_ids) == (None, (client.id,))


def test_rubbish_in_a_part_that_does_not_count_does_no_harm(submit):
    assert submit(segment_id="x", client_ids="y").was_valid


def test_a_time_that_was_not_touched_stays_exactly_as_it_was(submit, person):
    start = datetime(2026, 11, 1, 8, 0, 12, 345678, tzinfo=UTC)
    mailing = make.mailing(person, start_at=start, timezone="Europe/Berlin")
    assert submit(mailing, start_at="2026-11-01T09:00:12").draft().schedule.start_at == start
    assert submit(mailing, start_at="2026-11-01T09:00:13").draft().schedule.start_at != start
    assert submit(mailing, start_at="2026-11-01T09:00:12", timezone="UTC").draft().schedule.start_at.hour == 9


def test_the_form_of_a_mailing_shows_what_it_has(app, person):
    client = make.client(person)
    mailing = make.mailing(
        person,
        audience=Audience.CHOSEN,
        chosen_clients=[client],
        start_at=datetime(2026, 12, 3, 8, 0, tzinfo=UTC),
        end_at=datetime(2026, 12, 9, 8, 0, 30, tzinfo=UTC),
        period=Period.DAILY,
        timezone="Europe/Berlin",
    )
    with app.test_request_context():
        form = MailingForm(person, mailing)
        assert 'value="2026-12-03T09:00"' in form.start_at()
        assert 'value="2026-12-09T09:00:30"' in form.end_at()
        assert form.client_ids.data == [client.id]
        assert form.audience.data == "chosen"


def test_an_old_alias_of_a_zone_stays_choosable_for_whom_it_is_in_use(submit, person):
    mailing = make.mailing(person, timezone="US/Pacific")
    assert submit(mailing, timezone="US/Pacific").was_valid
    assert not submit(timezone="US/Pacific").was_valid


def test_chosen_clients_beyond_the_first_are_kept_though_they_are_not_shown(submit, person, monkeypatch):
    monkeypatch.setattr(choosing, "CHIPS_SHOWN", 2)
    clients = make.clients(person, 4)
    ids = [client.id for client in clients]
    form = submit(audience="chosen", client_ids=[ids[0], f"{ids[2]},{ids[3]}"])
    assert form.draft().client_ids == (ids[0], ids[2], ids[3])
    chips = form.chips()
    assert [client.id for client in chips.shown] == [ids[0], ids[2]]
    assert chips.others == [ids[3]]
    assert [client.id for client in form.offered_clients().offered] == [ids[1]]


class TestUpcoming:
    def test_before_its_start_it_begins_there(self, submit):
        form = submit(start_at="2026-12-03T09:00", end_at="2026-12-06T09:00", period="daily")
        days = [moment.day for moment in form.upcoming_runs(5)]
        assert days == [3, 4, 5]

    def test_inside_its_window_it_begins_at_once(self, submit):
        form = submit(start_at="2026-11-10T09:00", period="daily")
        assert form.upcoming_runs(3) == [
            NOW,
            datetime(2026, 11, 21, 8, 0, tzinfo=UTC),
            datetime(2026, 11, 22, 8, 0, tzinfo=UTC),
        ]

    def test_nine_oclock_stays_nine_oclock_when_the_clocks_change(self, submit):
        form = submit(start_at="2027-03-27T09:00", period="daily")
        assert [moment.hour for moment in form.upcoming_runs(2)] == [8, 7]

    def test_a_mailing_that_has_run_does_not_run_at_once_again(self, submit, person):
        mailing = make.mailing(person, start_at=NOW - timedelta(days=1), timezone="UTC")
        ledger.run(mailing, scheduled_for=mailing.start_at)
        assert submit(mailing, start_at="2026-11-19T12:00", timezone="UTC").upcoming_runs(5) == []

    def test_a_schedule_with_errors_has_none(self, submit):
        assert submit(timezone="Mars/Olympus").upcoming_runs(5) == []
        assert submit(start_at="9999-12-31T23:59").upcoming_runs(5) == []


class TestRecipients:
    @pytest.fixture(autouse=True)
    def clients(self, person: User) -> list[Client]:
        return make.clients(person, 3)

    def test_all_active_clients(self, submit):
        assert submit().number_of_recipients() == 3

    def test_the_chosen_ones(self, submit, clients):
        assert submit(audience="chosen", client_ids=clients[0].id).number_of_recipients() == 1

    def test_unknown_while_nobody_is_chosen(self, submit):
        assert submit(audience="chosen").number_of_recipients() is None
