"""What the form says that will happen, in the words of both languages' source, and what it finds odd."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event
from werkzeug.datastructures import MultiDict

from app import clock
from app.auth.models import User
from app.clients import service as clients
from app.clients.models import ClientStatus
from app.extensions import db
from app.mailings import summary
from app.mailings.forms import MailingForm
from app.mailings.models import Mailing
from app.mailings.summary import Summary, Weight
from tests import make
from tests.mailings import ledger

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
Look = Callable[..., Summary]


@pytest.fixture
def person(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """Somebody with three clients, one of them in both segments, at noon of Friday, 20 November 2026 in UTC."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    with app.app_context():
        yield make.user("somebody@golub.test", timezone="Europe/Moscow")


@pytest.fixture
def segments(person: User) -> tuple[int, int]:
    for number in range(3):
        make.client(person, f"client{number}@example.test", birth_year=1990 + number)
    vip = clients.create_segment(person, "VIP", {"domain": "example.test"})
    return vip.id, clients.create_segment(person, "Complained", {"born_from": 1992}).id


@pytest.fixture
def look(app: Flask, person: User) -> Look:
    """The summary of the form with these values typed in."""
    message = make.message(person, subject="Autumn news")

    def summary_of(mailing: Mailing | None = None, **typed: Any) -> Summary:
        values = {
            "name": "News",
            "message_id": message.id,
            "audience": "all",
            "period": "once",
            "timezone": "Europe/Moscow",
            "start_at": "2026-11-23T09:00",
            "misfire": "late",
            "month_week": "1",
            "month_weekday": "0",
        } | typed
        with app.test_request_context(method="POST", data=MultiDict(values)):
            form = MailingForm(person, mailing)
            form.validate()
            return summary.of(form, form.upcoming_runs(5))

    return summary_of


def texts(found: Summary) -> list[str]:
    return [doubt.text for doubt in found.doubts]


def test_it_says_all_in_a_sentence_or_two(look: Look, segments: tuple[int, int]) -> None:
    found = look(
        audience="segment",
        segment_id=segments[0],
        exclude_segment_id=segments[1],
        sender_name="Anna of Golub",
        period="weekly",
        every="2",
        occurrences_max="5",
    )
    first, second = found.sentences
    assert first == (
        "On Monday, 23 November at 09:00 (Moscow), “Autumn news” goes to about 2 clients of “VIP”, "
        "without 1 of “Complained”, from “Anna of Golub”."
    )
    assert second == (
        "Then every 2 weeks on Monday, 5 times in all, the last one on Monday, 18 January 2027 at 09:00 (Moscow)."
    )
    assert found.doubts == []


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (
            {},
            "On Monday, 23 November at 09:00 (Moscow), “Autumn news” goes to all active clients",
        ),
        ({"start_at": ""}, "At once, “Autumn news” goes to all active clients, which are about 3 now."),
        ({"start_at": "2027-11-24T09:00:30"}, "On Wednesday, 24 November 2027 at 09:00:30 (Moscow)"),
        ({"timezone": "America/Argentina/Buenos_Aires"}, "On Monday, 23 November at 09:00 (Buenos Aires)"),
        ({"timezone": "UTC"}, "On Monday, 23 November at 09:00 (UTC)"),
    ],
)
@pytest.mark.usefixtures("segments")
def test_it_says_when(look: Look, typed: dict[str, str], sentence: str) -> None:
    assert look(**typed).sentences[0].startswith(sentence)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"period": "daily"}, "Then every day, without an end."),
        ({"period": "weekly", "weekdays": ["0", "3"]}, "Then every week on Monday and Thursday, without an end."),
        (
            {"period": "daily", "end_at": "2026-11-26T08:00"},
            "Then every day, the last one on Wednesday, 25 November at 09:00 (Moscow).",
        ),
        (
            {"period": "monthly", "occurrences_max": "10000", "every": "24"},
            "Then every 24 months, 10000 times in all, the last one on",
        ),
    ],
)
@pytest.mark.usefixtures("segments")
def test_it_says_how_it_goes_on(look: Look, typed: dict[str, Any], sentence: str) -> None:
    assert look(**typed).sentences[1].startswith(sentence)


def test_one_client_is_one_client(look: Look, person: User) -> None:
    only = make.client(person)
    assert "which is 1 now" in look().sentences[0]
    assert "goes to 1 chosen client." in look(audience="chosen", client_ids=only.id).sentences[0]


@pytest.mark.usefixtures("segments")
def test_an_exclusion_that_leaves_out_nobody_says_so(look: Look, person: User) -> None:
    nobody = clients.create_segment(person, "Nobody", {"born_from": 2020})
    assert "without those of “Nobody”, nobody now" in look(exclude_segment_id=nobody.id).sentences[0]


def test_nobody_in_the_audience(look: Look) -> None:
    found = look()
    assert found.sentences == []
    assert [doubt.weight for doubt in found.doubts] == [Weight.BAD]
    assert "no active client" in found.doubts[0].text


def test_an_exclusion_that_takes_them_all(look: Look, segments: tuple[int, int]) -> None:
    found = look(audience="segment", segment_id=segments[1], exclude_segment_id=segments[0])
    assert found.sentences == []
    assert texts(found) == ["As things are now, nobody gets it: all of them are in “VIP”."]


@pytest.mark.usefixtures("segments")
def test_a_letter_without_text(look: Look, person: User) -> None:
    picture = make.message(person, html='<p><img src="https://example.test/a.png" alt="A"> &nbsp;</p>')
    assert texts(look(message_id=picture.id)) == ["There is no text in the letter."]


@pytest.mark.usefixtures("segments")
def test_a_start_that_has_passed(look: Look, person: User) -> None:
    assert texts(look(start_at="2026-11-20T09:00")) == ["The start has passed already, so it begins at once."]
    has_run = make.mailing(person, start_at=NOW - timedelta(days=3))
    ledger.run(has_run, scheduled_for=NOW - timedelta(days=3))
    assert texts(look(has_run, start_at="2026-11-17T09:00", period="daily")) == []


def test_chosen_clients_who_take_no_letters(look: Look, person: User) -> None:
    ids = [make.client(person, f"{status}@example.test", status=status).id for status in ClientStatus]
    found = look(audience="chosen", client_ids=ids)
    assert texts(found) == ["3 chosen clients take no letters: unsubscribed, bounced, or complained."]
    assert "goes to 1 chosen client." in found.sentences[0]


@pytest.mark.usefixtures("segments")
def test_a_mailing_that_stands_still_says_so(look: Look, person: User) -> None:
    paused = make.mailing(person, paused_at=NOW)
    stopped = make.mailing(person, disabled_at=NOW, paused_at=NOW)
    assert "until you resume it" in texts(look(paused))[0]
    assert "until they allow it again" in texts(look(stopped))[0]


@pytest.mark.parametrize(
    "typed",
    [
        {"message_id": ""},
        {"message_id": "x"},
        {"audience": "nobody"},
        {"audience": "segment"},
        {"audience": "chosen"},
        {"timezone": "Mars/Olympus"},
        {"period": "hourly"},
        {"exclude_segment_id": "12345"},
    ],
)
@pytest.mark.usefixtures("segments")
def test_what_is_half_typed_is_no_fault(look: Look, typed: dict[str, str]) -> None:
    assert look(**typed).sentences == []


def test_an_audience_is_counted_again_only_when_it_has_changed(
    app: Flask, person: User, segments: tuple[int, int]
) -> None:
    counts: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "count(*)" in statement:
            counts.append(statement)

    def typed(**values: Any) -> MailingForm:
        data = MultiDict({"audience": "all", "timezone": "UTC", "exclude_segment_id": segments[1]} | values)
        with app.test_request_context(method="POST", data=data):
            form = MailingForm(person)
            form.validate()
            assert form.count is not None
            return form

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        first = typed(name="A")
        assert (first.count, len(counts)) == ((3, 2), 2)
        assert typed(name="Another", counted=first.what_is_counted).count == (3, 2)
        assert len(counts) == 2
        assert typed(counted=first.what_is_counted, exclude_segment_id="").count == (3, 3)
        assert len(counts) == 3
        assert typed(counted=first.what_is_counted.rpartition(":")[0] + ":many").count == (3, 2)
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
