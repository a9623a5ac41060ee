"""The calendar for other programs: what stands in it, and who gets it."""

from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import pytest
from flask import Flask
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from icalendar import Calendar, Event
from sqlalchemy import select
from werkzeug.test import TestResponse

from app import clock
from app.auth.models import Action, AuditEntry, User
from app.auth.roles import Role
from app.delivery.models import Missed, RunStatus
from app.extensions import db
from app.mailings import calendar_views, feed
from app.mailings.models import Mailing
from app.mailings.schedule import Period
from tests import make
from tests.mailings.test_views import HTMX, counted_statements, is_page

DAY = timedelta(days=1)
BASE = "http://golub.test"


@pytest.fixture
def path(app: Flask, owner: User) -> str:
    """The address of the owner's calendar, which is on."""
    return new_path(app, owner)


def new_path(app: Flask, user: User) -> str:
    with app.app_context():
        same = db.session.get_one(User, user.id)
        feed.renew(same)
        db.session.commit()
        return path_of(app, same)


def path_of(app: Flask, user: User) -> str:
    address = feed.address_of(user, app.config["SETTINGS"])
    assert address is not None
    return address.removeprefix(BASE)


def in_database(app: Flask, factory: Any, *arguments: Any, **fields: Any) -> int:
    with app.app_context():
        made = factory(*arguments, **fields)
        db.session.commit()
        return made.id


def change(app: Flask, user: User, **fields: Any) -> None:
    with app.app_context():
        for name, value in fields.items():
            setattr(db.session.get_one(User, user.id), name, value)
        db.session.commit()


def events_of(answer: TestResponse) -> list[Event]:
    assert answer.status_code == 200, answer.status
    return Calendar.from_ical(answer.data).events


class TestAddress:
    def test_it_is_under_base_url_and_holds_a_signature(self, owner, path):
        assert feed.TOKEN.fullmatch(path.removeprefix("/calendar/").removesuffix(".ics"))
        assert path.startswith(f"/calendar/{owner.id}-")

    def test_no_log_in_is_needed(self, client, path):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "Set-Cookie" not in answer.headers

    def test_nothing_tells_a_wrong_address_from_an_old_one_or_one_of_somebody_stopped(
        self, app, client, owner, stranger, path
    ):
        """Each is 404 with the same page."""
        signature = path.rpartition("-")[2]
        asked = [
            f"/calendar/{owner.id}-{'A' * 32}.ics",  # forged
            f"/calendar/{stranger.id}-{'A' * 32}.ics",  # of somebody whose calendar is off
            f"/calendar/{owner.id + 1000}-{'A' * 32}.ics",  # of nobody
            f"/calendar/9999999999-{'A' * 32}.ics",
            "/calendar/forged.ics",
            f"/calendar/0{path.removeprefix('/calendar/')}",
            path.replace(f"/{owner.id}-", f"/{stranger.id}-"),
            path.replace(".ics", "A.ics"),
            path.replace(signature, signature.swapcase()),
            path.replace(".ics", ""),
        ]
        answers = [client.get(address) for address in asked]
        for field in ("blocked_at", "closed_at"):
            change(app, owner, **{field: clock.now()})
            answers.append(client.get(path))
            change(app, owner, **{field: None})
        change(app, owner, role=Role.EDITOR)
        answers.append(client.get(path))
        change(app, owner, role=Role.USER, verified_at=None)
        answers.append(client.get(path))
        change(app, owner, verified_at=clock.now())
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.text.partition("<main")[2].partition("</main>")[0] for answer in answers}) == 1
        assert client.get(path).status_code == 200

    def test_a_new_address_ends_the_old_one_and_off_ends_all(self, app, client, owner, path):
        newer = new_path(app, owner)
        assert newer != path
        assert client.get(path).status_code == 404
        assert client.get(newer).status_code == 200
        with app.app_context():
            feed.switch_off(db.session.get_one(User, owner.id))
            db.session.commit()
            assert feed.address_of(db.session.get_one(User, owner.id), app.config["SETTINGS"]) is None
        assert client.get(newer).status_code == 404

    def test_an_address_of_another_secret_opens_nothing(self, app, owner):
        new_path(app, owner)
        with app.app_context():
            user = db.session.get_one(User, owner.id)
            other = app.config["SETTINGS"].model_copy(update={"secret_key": "another secret"})
            address = feed.address_of(user, other)
            assert address is not None
            token = address.rpartition("/")[2].removesuffix(".ics")
            assert feed.user_of(token, other) == user
            assert feed.user_of(token, app.config["SETTINGS"]) is None

    def test_whoever_asks_too_often_waits(self, client, path, monkeypatch):
        monkeypatch.setattr(calendar_views.feed, "calendar_of", lambda *_: b"")
        answers = [client.get(path).status_code for _time in range(121)]
        assert answers == [200] * 120 + [429]

    def test_whoever_guesses_waits(self, client):
        answers = [client.get(f"/calendar/1-{number:032}.ics").status_code for number in range(301)]
        assert answers == [404] * 300 + [429]


class TestContent:
    def test_it_is_a_calendar_that_programs_ask_for_again(self, client, path):
        answer = client.get(path)
        assert answer.headers["Content-Type"] == "text/calendar; charset=utf-8"
        assert answer.headers["Cache-Control"] == "private, no-cache"
        made = Calendar.from_ical(answer.data)
        assert made["version"] == "2.0"
        assert made["name"] == made["x-wr-calname"] == "Mailings of Golub"
        assert b"REFRESH-INTERVAL;VALUE=DURATION:PT1H\r\n" in answer.data
        assert b"X-PUBLISHED-TTL:PT1H\r\n" in answer.data
        assert all(len(line) <= 75 for line in answer.data.split(b"\r\n"))

    def test_each_occurrence_is_an_event_of_its_own(self, app, owner):
        start = datetime(2030, 1, 31, 9, tzinfo=UTC)
        mailing_id = in_database(app, make.mailing, owner, name="News", start_at=start, timezone="Europe/Berlin")
        with app.app_context():
            user = db.session.get_one(User, owner.id)
            db.session.get_one(Mailing, mailing_id).period = Period.MONTHLY
            text = feed.calendar_of(user, app.config["SETTINGS"], start - DAY)
        events = Calendar.from_ical(text).events
        # Nine o'clock UTC is ten o'clock there, and eight o'clock UTC in summer: as the mailing itself counts.
        assert [event.start for event in events[:4]] == [
            start,
            datetime(2030, 2, 28, 9, tzinfo=UTC),
            datetime(2030, 3, 31, 8, tzinfo=UTC),
            datetime(2030, 4, 30, 8, tzinfo=UTC),
        ]
        assert len(events) == 12
        first = events[0]
        assert first.end - first.start == timedelta(minutes=15)
        assert first["summary"] == "News"
        assert first["status"] == "CONFIRMED"
        assert first["transp"] == "TRANSPARENT"
        assert first["url"] == f"{BASE}/mailings/{mailing_id}"
        assert str(first["description"]).split("\n") == [
            "Planned",
            "Every month",
            "Thu 31 Jan 2030, 10:00 (Europe/Berlin)",
        ]
        assert b"DTSTART:20300131T090000Z" in text

    def test_what_was_sent_says_how_it_went_and_keeps_its_uid(self, app, client, owner, path):
        at = clock.now().replace(microsecond=0) + DAY
        mailing_id = in_database(app, make.mailing, owner, start_at=at)
        [planned] = events_of(client.get(path))
        with app.app_context():
            mailing = db.session.get_one(Mailing, mailing_id)
            mailing.next_run_at = None
            run = make.run(mailing, scheduled_for=at, planned=10, sent=7, failed=3)
            db.session.commit()
            run_id = run.id
        [sent] = events_of(client.get(path))
        assert sent["uid"] == planned["uid"]
        assert sent["url"] == f"{BASE}/mailings/{mailing_id}/runs/{run_id}"
        assert str(sent["description"]).startswith("Done: 7 sent, 3 failed\n")

    def test_missed_and_stopped_ones_say_why(self, app, client, owner, path):
        with app.app_context():
            paused = make.mailing(owner, name="Paused", paused_at=clock.now())
            make.run(paused, missed=Missed.RULE)
            db.session.commit()
        missed, planned = events_of(client.get(path))
        assert "this mailing is never sent late" in missed["description"]
        assert missed["status"] == "CONFIRMED"
        assert planned["status"] == "TENTATIVE"
        assert str(planned["description"]).startswith("Stands still: This mailing is paused.")

    def test_it_speaks_the_owners_language_whoever_asks(self, app, client, owner, path):
        in_database(app, make.mailing, owner, start_at=datetime(2027, 6, 1, 9, tzinfo=UTC))
        change(app, owner, locale="ru")
        text = client.get(path, headers={"Accept-Language": "en"}).text
        assert "1 июн" in text

    def test_it_holds_ninety_days_back_and_a_year_ahead_and_nothing_of_others(
        self, app, client, owner, path, *, stranger
    ):
        now = clock.now()
        with app.app_context():
            old = make.mailing(owner, next_run_at=None)
            for days in (91, 89, 1):
                make.run(old, scheduled_for=now - days * DAY)
            make.mailing(owner, start_at=now + 365 * DAY)
            make.mailing(owner, start_at=now + 367 * DAY)
            make.mailing(owner, deleted_at=now)
            make.run(make.mailing(stranger), scheduled_for=now - DAY)
            db.session.commit()
        days = [round((event.start - now) / DAY) for event in events_of(client.get(path))]
        assert days == [-89, -1, 365]

    def test_of_too_many_events_it_holds_the_nearest(self, app, client, owner, path, *, monkeypatch):
        monkeypatch.setattr(feed, "EVENTS_MAX", 5)
        monkeypatch.setattr(feed, "PAST_EVENTS_MAX", 2)
        now = clock.now()
        with app.app_context():
            mailing = make.mailing(owner, start_at=now + DAY / 2, period=Period.DAILY)
            for days in (4, 3, 2, 1):
                make.run(mailing, scheduled_for=now - days * DAY)
            db.session.commit()
        starts = [event.start for event in events_of(client.get(path))]
        assert starts == sorted(starts)
        assert [round((start - now) / (DAY / 2)) for start in starts] == [-4, -2, 1, 3, 5]

    def test_years_of_daily_mailings_are_a_few_statements(self, app, client, owner, path):
        with app.app_context():
            for number in range(10):
                make.run(make.mailing(owner, name=f"{number}", period=Period.DAILY))
            db.session.commit()
        with counted_statements(app) as statements:
            answer = client.get(path)
        events = events_of(answer)
        assert len(events) == feed.EVENTS_MAX
        assert len({event["uid"] for event in events}) == feed.EVENTS_MAX
        assert len(statements) <= 4
        assert not any("run.html" in statement for statement in statements)

    def test_asked_again_with_nothing_new_it_is_304(self, app, client, owner, path):
        mailing_id = in_database(app, make.mailing, owner, period=Period.DAILY)
        first = client.get(path)
        assert client.get(path).data == first.data
        again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert again.status_code == 304
        assert again.data == b""
        assert again.headers["Cache-Control"] == "private, no-cache"
        with app.app_context():
            db.session.get_one(Mailing, mailing_id).name = "Another name"
            db.session.commit()
        newer = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert newer.status_code == 200
        assert newer.headers["ETag"] != first.headers["ETag"]

    def test_a_run_under_way_is_told(self, app, client, owner, path):
        mailing_id = in_database(app, make.mailing, owner, next_run_at=None)
        with app.app_context():
            mailing = db.session.get_one(Mailing, mailing_id)
            make.run(mailing, status=RunStatus.SENDING, planned=10, sent=4, pending=6)
            db.session.commit()
        [event] = events_of(client.get(path))
        assert str(event["description"]).startswith("Sending: 4 of 10 done")


@pytest.mark.one_database
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(name="a;b,c\\;d\r\nSTATUS:CANCELLED\nEND:VEVENT")
@example(name="a\n\rb")
@example(name="x" * 150)
@example(name="👩‍👩‍👧" * 40)
@example(name='"quoted": \x00\x07\x85\u2028 end')
@given(name=st.text(st.characters(codec="utf-8", exclude_characters="\\"), max_size=150))
def test_a_name_of_whatever_comes_back_as_it_was_on_one_line(app: Flask, name: str) -> None:
    with app.test_request_context():
        at = datetime(2030, 1, 1, 9, tzinfo=UTC)
        mailing = Mailing(id=7, name=name, period=Period.ONCE, start_at=at, timezone="UTC", updated_at=at, every=1)
        made = Calendar()
        made.add_component(feed._event(feed.Entry(at, mailing), app.config["SETTINGS"]))
        [event] = Calendar.from_ical(made.to_ical()).events
    if "\\" not in name:
        assert str(event["summary"]) == feed.one_line(name)
    assert event["status"] == "CONFIRMED"
    assert event["uid"] == "mailing-7-20300101T090000000000@golub.test"


class TestSwitch:
    def test_it_is_off_at_first_then_on_then_elsewhere_then_off(self, app, owner_client, client, owner):
        assert "webcal:" not in owner_client.get("/mailings/calendar").text
        assert owner_client.post("/mailings/calendar/address").location == "/mailings/calendar"
        first = self.path(app, owner)
        text = owner_client.get("/mailings/calendar").text
        assert f'value="{BASE}{first}"' in text
        assert f'data-copy="{BASE}{first}"' in text
        assert f'href="webcal://golub.test{first}"' in text
        assert client.get(first).status_code == 200

        answer = owner_client.post("/mailings/calendar/address", headers=HTMX)
        second = self.path(app, owner)
        assert not is_page(answer.text)
        assert f'value="{BASE}{second}"' in answer.text
        assert "The old one opens nothing any more" in answer.text
        assert client.get(first).status_code == 404

        answer = owner_client.post("/mailings/calendar/address/off", headers=HTMX)
        assert "webcal:" not in answer.text
        assert client.get(second).status_code == 404

    def path(self, app: Flask, owner: User) -> str:
        with app.app_context():
            return path_of(app, db.session.get_one(User, owner.id))

    def test_the_audit_log_knows_of_it_and_not_of_the_address(self, app, owner_client, owner):
        owner_client.post("/mailings/calendar/address")
        owner_client.post("/mailings/calendar/address/off")
        with app.app_context():
            entries = db.session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(2)).all()
            assert [entry.action for entry in entries] == [Action.CALENDAR_OFF, Action.CALENDAR_ADDRESS]
            assert {(entry.owner_id, entry.subject, entry.why) for entry in entries} == {(owner.id, "", "")}
        assert "Gave the calendar a new address" in owner_client.get("/account/activity").text

    def test_neither_salt_nor_address_is_exported(self, app, owner_client, owner, path):
        with app.app_context():
            salt = db.session.get_one(User, owner.id).calendar_salt
        exported = ZipFile(BytesIO(owner_client.post("/account/export").data))
        text = "".join(exported.read(name).decode() for name in exported.namelist())
        assert owner.email in text
        assert "calendar_salt" not in text
        assert salt not in text
        assert path not in text
