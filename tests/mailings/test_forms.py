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
from app.mailings import forms
from app.mailings.forms import MailingForm
from app.mailings.models import Audience, Mailing
from app.mailings.schedule import Period
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
    ],
)
def test_what_is_wrong_is_said_at_its_field(submit, field, values):
    form = submit(**values)
    assert list(form.errors) == [field]


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
    assert dict(form.message_id.choices)[shared.id] == "Shared (from the library)"


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


def test_clients_beyond_the_first_stay_when_they_are_chosen(submit, person, monkeypatch):
    monkeypatch.setattr(forms, "CLIENTS_SHOWN", 2)
    clients = make.clients(person, 4)
    form = submit(audience="chosen", client_ids=clients[3].id)
    assert [value for value, _label in form.client_ids.choices] == [clients[0].id, clients[1].id, clients[3].id]
    assert not form.shows_all_clients


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
