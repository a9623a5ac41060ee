"""What stands on which day, and the pages that show it."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import clock
from app.auth.models import User
from app.delivery.models import Missed, Run, RunStatus
from app.extensions import db
from app.mailings import calendar
from app.mailings.calendar import Entry
from app.mailings.models import Mailing
from app.mailings.schedule import Period
from tests import make
from tests.mailings.test_views import HTMX, counted_statements, is_page

NOW = datetime(2027, 3, 17, 12, 0, tzinfo=UTC)  # a Wednesday
NINE = datetime(2027, 3, 18, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def user(context: None) -> User:
    return make.user("owner@golub.test")


def daily(user: User, **fields: Any) -> Mailing:
    return make.mailing(user, **({"start_at": NINE, "period": Period.DAILY} | fields))


def found(user: User, first: datetime, last: datetime) -> list[tuple[datetime, bool]]:
    """When something is there, and whether it has a run."""
    return [(entry.at, entry.run is not None) for entry in calendar.entries(user, first, last, now=NOW).items]


def days_of(month: calendar.Month) -> dict[date, calendar.Day]:
    return {day.date: day for week in month.weeks for day in week}


def month_of(user: User, first: date = date(2027, 3, 1), **options: Any) -> calendar.Month:
    return calendar.month(user, first, **({"first_weekday": 0, "timezone": "UTC", "now": NOW} | options))


class TestEntries:
    def test_what_is_past_comes_from_the_ledger_and_what_is_ahead_from_the_plan(self, user):
        mailing = daily(user, start_at=NINE - 5 * DAY, next_run_at=NINE)
        make.run(mailing, scheduled_for=NINE - 2 * DAY)
        make.run(mailing, scheduled_for=NINE - DAY)
        assert found(user, NINE - 5 * DAY, NINE + 2 * DAY) == [
            (NINE - 2 * DAY, True),
            (NINE - DAY, True),
            (NINE, False),
            (NINE + DAY, False),
        ]

    def test_no_occurrence_is_there_twice(self, user):
        """Between the look at the plan and the one at the ledger a run may begin."""
        mailing = daily(user, start_at=NOW - timedelta(seconds=1))
        make.run(mailing, scheduled_for=mailing.next_run_at, status=RunStatus.SENDING)
        assert found(user, NOW - DAY, NOW + DAY) == [
            (NOW - timedelta(seconds=1), True),
            (NOW + DAY - timedelta(seconds=1), False),
        ]

    def test_what_is_due_right_now_is_still_planned(self, user):
        make.mailing(user, start_at=NOW - timedelta(seconds=3))
        assert found(user, NOW - DAY, NOW + DAY) == [(NOW - timedelta(seconds=3), False)]

    @pytest.mark.parametrize("stop", ["paused_at", "disabled_at"])
    def test_what_stands_still_is_shown_as_that_and_only_from_now_on(self, user, stop):
        daily(user, start_at=NINE - 3 * DAY, next_run_at=NINE - 3 * DAY, **{stop: NOW - 4 * DAY})
        items = calendar.entries(user, NINE - 4 * DAY, NINE + 2 * DAY, now=NOW).items
        assert [(entry.at, entry.stands_still) for entry in items] == [(NINE, True), (NINE + DAY, True)]

    def test_a_run_of_a_paused_mailing_does_not_stand_still(self, user):
        mailing = daily(user, paused_at=NOW)
        assert not Entry(NOW, mailing, make.run(mailing)).stands_still

    def test_nothing_is_planned_where_nothing_runs_any_more(self, user):
        daily(user, next_run_at=None)
        daily(user, deleted_at=NOW)
        daily(user, end_at=NINE + timedelta(hours=1))
        assert found(user, NOW, NOW + 9 * DAY) == [(NINE, False)]

    def test_missed_runs_are_there_and_deleted_mailings_are_not(self, user):
        make.run(daily(user, next_run_at=None), scheduled_for=NINE - DAY, missed=Missed.RULE)
        make.run(daily(user, deleted_at=NOW), scheduled_for=NINE - DAY)
        assert found(user, NINE - 2 * DAY, NINE) == [(NINE - DAY, True)]

    def test_a_stranger_sees_nothing_of_it(self, user):
        make.run(daily(user), scheduled_for=NINE - DAY)
        stranger = make.user("stranger@golub.test")
        assert found(stranger, NINE - 2 * DAY, NINE + 2 * DAY) == []

    def test_the_window_takes_its_beginning_and_not_its_end(self, user):
        make.run(daily(user), scheduled_for=NINE - DAY)
        assert found(user, NINE - DAY, NINE) == [(NINE - DAY, True)]
        assert found(user, NINE, NINE + DAY) == [(NINE, False)]

    def test_a_plan_far_ahead_is_reckoned_from_any_month(self, user):
        make.mailing(user, start_at=datetime(2027, 1, 31, 9, tzinfo=UTC), next_run_at=NINE, period=Period.MONTHLY)
        far = found(user, datetime(2040, 2, 1, tzinfo=UTC), datetime(2040, 3, 1, tzinfo=UTC))
        assert far == [(datetime(2040, 2, 29, 9, tzinfo=UTC), False)]

    def test_the_work_is_bounded_and_what_is_left_out_is_told(self, user, monkeypatch):
        for hours in range(3):
            daily(user, start_at=NINE + timedelta(hours=hours))
        assert not calendar.entries(user, NOW, NOW + 2 * DAY, now=NOW).is_cut
        monkeypatch.setattr(calendar, "MAILINGS_MAX", 2)
        cut = calendar.entries(user, NOW, NOW + 2 * DAY, now=NOW)
        assert cut.is_cut
        assert [entry.at.hour for entry in cut.items] == [9, 10, 9, 10]
        monkeypatch.setattr(calendar, "MAILINGS_MAX", 3)
        monkeypatch.setattr(calendar, "ENTRIES_MAX", 4)
        cut = calendar.entries(user, NOW, NOW + 2 * DAY, now=NOW)
        assert cut.is_cut
        assert [entry.at.hour for entry in cut.items] == [9, 10, 11, 9]

    def test_a_thousand_daily_mailings_are_no_burden(self, user, app):
        message = make.message(user)
        db.session.add_all(
            Mailing(
                owner_id=user.id,
                name=f"{number}",
                message=message,
                timezone="Europe/Berlin",
                period=Period.DAILY,
                start_at=NINE + timedelta(seconds=number),
                next_run_at=NINE + timedelta(seconds=number),
            )
            for number in range(1000)
        )
        db.session.flush()
        db.session.expire_all()
        with counted_statements(app) as statements:
            month = month_of(user, date(2027, 4, 1))
        assert month.is_cut
        assert len(statements) <= 4


class TestMonth:
    def test_it_has_whole_weeks_that_begin_as_the_language_has_it(self, user):
        monday, sunday = (month_of(user, first_weekday=weekday) for weekday in (0, 6))
        assert monday.weeks[0][0].date == date(2027, 3, 1)
        assert sunday.weeks[0][0].date == date(2027, 2, 28)
        assert all(len(week) == 7 for week in (*monday.weeks, *sunday.weeks))
        assert sunday.weeks[0][0].is_outside
        assert not sunday.weeks[0][1].is_outside

    def test_days_are_those_of_the_viewers_clocks(self, user):
        make.mailing(user, start_at=datetime(2027, 3, 20, 22, 30, tzinfo=UTC), timezone="UTC")
        for timezone, day in (("UTC", 20), ("Asia/Tokyo", 21)):
            days = days_of(month_of(user, timezone=timezone))
            assert [date.day for date, on in days.items() if on.entries] == [day]

    def test_a_day_of_25_hours_has_all_of_its_entries(self, user):
        """The clocks of Berlin change on 31 October 2027."""
        make.mailing(user, start_at=datetime(2027, 10, 30, 22, 0, tzinfo=UTC))
        make.mailing(user, start_at=datetime(2027, 10, 31, 22, 59, tzinfo=UTC))
        days = days_of(month_of(user, date(2027, 10, 1), timezone="Europe/Berlin"))
        assert len(days[date(2027, 10, 31)].entries) == 2

    def test_today_is_marked_and_days_ahead_can_be_planned_for(self, user):
        days = days_of(month_of(user, timezone="Asia/Tokyo"))  # there it is 21:00
        assert [day for day, on in days.items() if on.is_today] == [date(2027, 3, 17)]
        assert days[date(2027, 3, 16)].plan_at is None
        assert days[date(2027, 3, 17)].plan_at == datetime(2027, 3, 17, 22, 0)  # noqa: DTZ001  on the viewer's clocks
        assert days[date(2027, 3, 18)].plan_at == datetime(2027, 3, 18, 9, 0)  # noqa: DTZ001

    def test_in_the_last_hour_of_a_day_it_is_too_late_to_plan_for_it(self, user):
        days = days_of(month_of(user, now=datetime(2027, 3, 17, 23, 5, tzinfo=UTC)))
        assert days[date(2027, 3, 17)].plan_at is None


class TestAgenda:
    def test_it_has_thirty_days_and_says_where_it_goes_on(self, user):
        daily(user)
        agenda = calendar.agenda(user, NOW.date(), timezone="UTC", now=NOW)
        assert [day.date for day in agenda.days] == [NINE.date() + number * DAY for number in range(29)]
        assert agenda.next_day == NOW.date() + 30 * DAY

    def test_it_leaps_over_a_time_without_anything(self, user):
        make.mailing(user, start_at=NINE)
        make.mailing(user, start_at=NINE + 400 * DAY)
        agenda = calendar.agenda(user, NOW.date(), timezone="UTC", now=NOW)
        assert agenda.next_day == NINE.date() + 400 * DAY
        assert calendar.agenda(user, agenda.next_day, timezone="UTC", now=NOW).next_day is None

    def test_what_repeats_rarely_follows_too(self, user):
        make.mailing(user, start_at=NINE, period=Period.MONTHLY, every=12)
        agenda = calendar.agenda(user, NOW.date(), timezone="UTC", now=NOW)
        assert agenda.next_day == date(2028, 3, 18)

    def test_from_the_past_it_leads_to_the_next_run_then_to_today(self, user):
        mailing = daily(user, next_run_at=None)
        make.run(mailing, scheduled_for=NOW - 200 * DAY)
        make.run(mailing, scheduled_for=NOW - 100 * DAY)
        first = calendar.agenda(user, NOW.date() - 200 * DAY, timezone="UTC", now=NOW)
        assert first.next_day == NOW.date() - 100 * DAY
        assert calendar.agenda(user, first.next_day, timezone="UTC", now=NOW).next_day == NOW.date()

    def test_a_page_with_much_on_it_ends_with_a_day(self, user, monkeypatch):
        monkeypatch.setattr(calendar, "AGENDA_ENTRIES", 4)
        for hours in range(3):
            daily(user, start_at=NINE + timedelta(hours=hours))
        agenda = calendar.agenda(user, NOW.date(), timezone="UTC", now=NOW)
        assert [len(day.entries) for day in agenda.days] == [3, 3]
        assert agenda.next_day == NINE.date() + 2 * DAY

    def test_it_ends_with_the_years_that_mailings_know(self, user):
        daily(user)
        agenda = calendar.agenda(user, date(2100, 12, 20), timezone="UTC", now=NOW)
        assert [agenda.days[0].date, agenda.days[-1].date] == [date(2100, 12, 20), date(2100, 12, 31)]
        assert agenda.next_day is None


@pytest.fixture
def things(app: Flask, owner: User) -> dict[str, int]:
    """A daily mailing of Tokyo that runs at 20:00 UTC, with a run of yesterday and a missed one of the day before."""
    at = clock.now().replace(hour=20, minute=0, second=0, microsecond=0) + DAY
    with app.app_context():
        mailing = make.mailing(
            owner,
            name="<Morning> news",
            start_at=at - 9 * DAY,
            next_run_at=at,
            period=Period.DAILY,
            timezone="Asia/Tokyo",
        )
        run = make.run(mailing, scheduled_for=at - 2 * DAY, planned=14, sent=9, failed=3, unknown=1, skipped=1)
        make.run(mailing, scheduled_for=at - 3 * DAY, missed=Missed.TOO_LATE)
        db.session.commit()
        return {"mailing": mailing.id, "run": run.id}


def agenda_page(client: FlaskClient, days: int = -7, **options: Any) -> str:
    return client.get(f"/mailings/calendar?view=agenda&from={clock.now().date() + days * DAY}", **options).text


class TestPages:
    @pytest.mark.usefixtures("things")
    def test_page_and_fragment_show_the_same(self, owner_client):
        for view in ("month", "agenda"):
            page = owner_client.get(f"/mailings/calendar?view={view}")
            fragment = owner_client.get(f"/mailings/calendar?view={view}", headers=HTMX)
            assert page.status_code == fragment.status_code == 200
            assert is_page(page.text)
            assert not is_page(fragment.text)
            assert fragment.text.lstrip().startswith('<div id="calendar"')
            for answer in (page, fragment):
                assert "&lt;Morning&gt; news" in answer.text
                assert "HX-Request" in answer.headers["Vary"]

    def test_each_entry_tells_its_state_and_leads_to_its_run_or_mailing(self, owner_client, things):
        text = agenda_page(owner_client)
        assert f'href="/mailings/{things["mailing"]}/runs/{things["run"]}"' in text
        assert "9 sent, 3 failed, 1 unknown, 1 skipped" in text
        assert "it would have been later than this mailing allows" in text
        assert "Planned" in text
        missed = text.partition("it would have been later")[0].rpartition("<li")[2]
        assert f'href="/mailings/{things["mailing"]}"' in missed

    @pytest.mark.usefixtures("things")
    def test_the_time_in_the_mailings_zone_is_named_where_it_differs(self, app, owner_client, owner):
        text = agenda_page(owner_client)
        assert ">20:00</time>" in text
        assert re.search(r"\w{3} \d+ \w{3}, 05:00 Asia/Tokyo", text)
        with app.app_context():
            db.session.get_one(User, owner.id).timezone = "Asia/Tokyo"
            db.session.commit()
        text = agenda_page(owner_client)
        assert ">05:00</time>" in text
        assert "Asia/Tokyo" not in text

    def test_what_stands_still_says_why(self, app, owner_client, things):
        for field, sentence in (("paused_at", "This mailing is paused."), ("disabled_at", "A manager has stopped")):
            with app.app_context():
                mailing = db.session.get_one(Mailing, things["mailing"])
                mailing.paused_at = mailing.disabled_at = None
                setattr(mailing, field, clock.now())
                db.session.commit()
            text = agenda_page(owner_client, 0)
            assert "Stands still" in text
            assert sentence in text

    def test_a_run_under_way_says_how_far_it_is(self, app, owner_client, things):
        with app.app_context():
            run = db.session.get_one(Run, things["run"])
            run.status, run.sent, run.pending = RunStatus.SENDING, 4, 5
            db.session.commit()
        assert "9 of 14 done" in agenda_page(owner_client)

    def test_a_full_day_shows_some_and_leads_to_the_rest(self, app, owner_client, owner):
        day = clock.now().date() + DAY
        with app.app_context():
            for hour in range(5):
                make.mailing(owner, name=f"number {hour}", start_at=datetime.combine(day, time(hour), UTC))
            db.session.commit()
        text = owner_client.get(f"/mailings/calendar?month={day:%Y-%m}").text
        assert "number 1" in text
        assert "number 2" not in text
        assert "+3 more" in text
        agenda = f"/mailings/calendar?view=agenda&amp;from={day}"
        assert agenda in text
        assert "number 4" in owner_client.get(agenda.replace("&amp;", "&")).text

    def test_a_day_ahead_leads_to_a_new_mailing_that_starts_then(self, owner_client):
        month = owner_client.get("/mailings/calendar?month=2099-05").text
        assert 'href="/mailings/new?start=2099-05-04T09:00"' in month
        form = owner_client.get("/mailings/new?start=2099-05-04T09:00").text
        assert 'value="2099-05-04T09:00"' in form
        assert "Mon 4 May 2099, 09:00" in form
        assert "/mailings/new?start=" not in owner_client.get("/mailings/calendar?month=2020-05").text

    @pytest.mark.parametrize("start", ["", "x", "0001-01-01T00:00", "9999-12-31T23:59", "2099-05-04T09:00Z", "%00"])
    def test_a_start_that_is_none_is_left_out(self, owner_client, start):
        answer = owner_client.get("/mailings/new", query_string={"start": start})
        assert answer.status_code == 200
        assert re.search(r'<input[^>]*name="start_at"[^>]*value=""', answer.text)

    def test_it_turns_to_the_months_beside_and_stops_where_years_end(self, owner_client):
        text = owner_client.get("/mailings/calendar?month=2027-01").text
        assert "January 2027" in text
        for month in ("2026-12", "2027-02"):
            url = f"/mailings/calendar?month={month}"
            assert f'href="{url}" hx-get="{url}" hx-target="#calendar"' in text
        assert (
            'id="calendar-previous" class="btn btn-icon disabled"'
            in owner_client.get("/mailings/calendar?month=2000-01").text
        )
        assert (
            'id="calendar-following" class="btn btn-icon disabled"'
            in owner_client.get("/mailings/calendar?month=2100-12").text
        )

    @pytest.mark.parametrize(
        "query",
        ["month=", "month=2027-13", "month=1999-12", "month=2101-01", "month=%00", "view=agenda&from=2027-02-30",
         "view=agenda&from=x", "view=agenda&from=9999-12-31"],
    )  # fmt: skip
    def test_there_is_no_page_for_what_is_no_date(self, owner_client, query):
        assert owner_client.get(f"/mailings/calendar?{query}").status_code == 404

    @pytest.mark.usefixtures("things")
    def test_the_agenda_pages_on(self, owner_client):
        first = agenda_page(owner_client, 0)
        url = re.search(r'hx-get="([^"]*more=1)"', first)
        assert url is not None
        rest = owner_client.get(url[1].replace("&amp;", "&"), headers=HTMX).text
        assert rest.lstrip().startswith("<section")
        assert 'id="calendar"' not in rest
        assert is_page(owner_client.get(url[1].replace("&amp;", "&")).text)

    def test_an_empty_agenda_says_so(self, owner_client):
        assert "Nothing on these days" in owner_client.get("/mailings/calendar?view=agenda").text

    @pytest.mark.usefixtures("things")
    def test_the_number_of_statements_does_not_grow_with_the_mailings(self, app, owner_client, owner):
        def load(view: str) -> int:
            with counted_statements(app) as statements:
                assert owner_client.get(f"/mailings/calendar?view={view}").status_code == 200
            return len(statements)

        few = {view: load(view) for view in ("month", "agenda")}
        with app.app_context():
            for number in range(10):
                stopped = {"paused_at": clock.now()} if number % 2 else {}
                make.run(daily(owner, name=f"{number}", **stopped))
            db.session.commit()
        assert all(load(view) <= few[view] for view in few)
        assert max(few.values()) <= 6

    @pytest.mark.usefixtures("things")
    def test_letters_are_not_loaded_for_it(self, app, owner_client):
        with counted_statements(app) as statements:
            owner_client.get("/mailings/calendar")
        assert not any("run.html" in statement for statement in statements)

    @pytest.mark.usefixtures("things")
    def test_too_much_for_one_page_is_told(self, owner_client, monkeypatch):
        assert "more than fits on one page" not in owner_client.get("/mailings/calendar").text
        monkeypatch.setattr(calendar, "ENTRIES_MAX", 1)
        assert "more than fits on one page" in owner_client.get("/mailings/calendar").text

    def test_the_first_day_of_the_week_and_the_words_are_the_languages(self, owner_client):
        russian = owner_client.get("/mailings/calendar?month=2027-03", headers={"Accept-Language": "ru"}).text
        assert "Март 2027" in russian
        assert 'title="понедельник"' in russian
