"""Pages and fragments of mailings, runs and deliveries."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from rq import Queue
from rq_scheduler import Scheduler
from sqlalchemy import event, select

from app import clock, queue
from app.auth.models import User
from app.clients.models import ClientStatus
from app.delivery import pace
from app.delivery.models import Delivery, DeliveryStatus, Missed, Run, RunStatus
from app.extensions import db
from app.mailings import jobs, views
from app.mailings.models import Audience, Mailing, MailingStatus, Misfire
from app.mailings.schedule import Period
from tests import make
from tests.mailings import ledger

HTMX = {"HX-Request": "true"}
SENT, FAILED, UNKNOWN = DeliveryStatus.SENT, DeliveryStatus.FAILED, DeliveryStatus.UNKNOWN
PENDING, SENDING = DeliveryStatus.PENDING, DeliveryStatus.SENDING
DAY = timedelta(days=1)


@pytest.fixture
def made(app: Flask):
    """Make something in the database and give its id: `made(make.mailing, owner)`."""

    def make_and_commit(factory, *arguments, **fields) -> int:
        with app.app_context():
            thing = factory(*arguments, **fields)
            db.session.commit()
            return thing.id

    return make_and_commit


@pytest.fixture
def mailing_id(made, owner: User) -> int:
    return made(make.mailing, owner)


@pytest.fixture
def run_of(app: Flask):
    """Make a run of the mailing with that id, and give its id."""

    def make_run(mailing_id: int, *statuses: DeliveryStatus, **fields: Any) -> int:
        with app.app_context():
            run = ledger.run(db.session.get_one(Mailing, mailing_id), *statuses, **fields)
            db.session.commit()
            return run.id

    return make_run


@pytest.fixture
def look(app: Flask):
    """Read something of the mailing with that id, in a context of its own."""

    def read(mailing_id: int, what):
        with app.app_context():
            return what(db.session.get_one(Mailing, mailing_id))

    return read


def queued_jobs(app: Flask) -> list[str]:
    with app.app_context():
        jobs = Queue(queue.QUEUE_NAME, connection=queue.connection()).jobs
        return [job.func_name.rpartition(".")[2] for job in jobs]


def alarms(app: Flask) -> list[datetime]:
    """When dispatch_due is going to be rung for."""
    with app.app_context():
        names = queue.connection().zrange(Scheduler.scheduled_jobs_key, 0, -1)
    return [datetime.fromtimestamp(int(name.rpartition(b"-")[2]), UTC) for name in names]


@contextmanager
def counted_statements(app: Flask) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection, _cursor, statement, *_more):
        statements.append(statement)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


def is_page(text: str) -> bool:
    return "<!doctype html>" in text


class TestList:
    def test_page_and_fragment_show_the_same_rows(self, owner_client, mailing_id):
        page = owner_client.get("/mailings/")
        fragment = owner_client.get("/mailings/", headers=HTMX)
        assert is_page(page.text)
        assert not is_page(fragment.text)
        for answer in (page, fragment):
            assert f'href="/mailings/{mailing_id}"' in answer.text
            assert "HX-Request" in answer.headers["Vary"]

    def test_a_newcomer_is_led_to_clients_then_to_a_message_then_to_a_mailing(self, owner_client, made, owner):
        assert "/clients/new" in owner_client.get("/mailings/").text
        made(make.client, owner)
        assert "/messages/new" in owner_client.get("/mailings/").text
        made(make.message, owner)
        assert 'href="/mailings/new"' in owner_client.get("/mailings/").text

    def test_it_filters_by_status_and_name(self, owner_client, made, owner):
        made(make.mailing, owner, name="Осень", status=MailingStatus.PAUSED)
        made(make.mailing, owner, name="Winter")
        assert "Winter" not in owner_client.get("/mailings/?status=paused").text
        answer = owner_client.get("/mailings/?q=осень", headers=HTMX).text
        assert "Осень" in answer
        assert "Winter" not in answer
        assert "No mailing matches" in owner_client.get("/mailings/?q=nothing").text
        assert owner_client.get("/mailings/?q=%00&status=%00").status_code == 200

    def test_a_disabled_mailing_shows_so_whatever_its_status(self, owner_client, made, owner):
        made(make.mailing, owner, disabled_at=clock.now())
        text = owner_client.get("/mailings/?status=disabled", headers=HTMX).text
        assert '<span class="state tone-bad">Disabled</span>' in text

    def test_the_next_run_is_on_the_clocks_of_the_mailings_zone(self, owner_client, made, owner):
        start = datetime(2030, 7, 1, 6, 0, tzinfo=UTC)
        made(make.mailing, owner, start_at=start, timezone="Europe/Moscow")
        text = owner_client.get("/mailings/").text
        assert "Mon 1 Jul 2030, 09:00" in text
        assert "Europe/Moscow" in text

    def test_it_pages_the_newest_first(self, owner_client, app, owner):
        with app.app_context():
            message = make.message(owner)
            for number in range(60):
                make.mailing(owner, name=f"number {number} end", message=message)
            db.session.commit()
        first = owner_client.get("/mailings/").text
        assert "number 59 end" in first
        assert "number 9 end" not in first
        address = first.partition('hx-get="/mailings/?after=')[2].partition('"')[0]
        rest = owner_client.get(f"/mailings/?after={address}", headers=HTMX).text
        assert rest.lstrip().startswith("<tr")
        assert "number 9 end" in rest
        assert "number 59 end" not in rest
        assert owner_client.get("/mailings/?after=forged").status_code == 404

    def test_its_number_of_statements_does_not_grow_with_its_rows(self, owner_client, app, made, owner, run_of):
        def load() -> int:
            with counted_statements(app) as statements:
                assert owner_client.get("/mailings/").status_code == 200
            return len(statements)

        run_of(made(make.mailing, owner), SENT)
        few = load()
        for _number in range(5):
            run_of(made(make.mailing, owner), SENT, FAILED)
        assert load() == few


class TestCreate:
    @pytest.fixture
    def values(self, made, owner) -> dict[str, Any]:
        return {
            "name": "Autumn",
            "message_id": made(make.message, owner),
            "audience": "all",
            "period": "once",
            "timezone": "UTC",
            "start_at": "",
            "end_at": "",
        }

    def only_mailing(self, app: Flask) -> Mailing:
        with app.app_context():
            return db.session.scalars(select(Mailing)).one()

    def test_the_form_begins_with_the_users_zone_and_everybody(self, owner_client, app, owner):
        with app.app_context():
            db.session.get_one(User, owner.id).timezone = "Asia/Tokyo"
            db.session.commit()
        text = owner_client.get("/mailings/new").text
        assert '<option selected value="Asia/Tokyo">' in text
        assert 'checked class="form-check-input" id="audience-0"' in text
        assert "Write a message" in text

    def test_a_mailing_without_a_start_is_due_at_once(self, owner_client, app, values):
        answer = owner_client.post("/mailings/new", data=values)
        mailing = self.only_mailing(app)
        assert answer.status_code == 303
        assert answer.location == f"/mailings/{mailing.id}"
        assert mailing.next_run_at <= clock.now()
        assert queued_jobs(app) == ["dispatch_due"]

    def test_a_mailing_of_the_future_waits_for_its_alarm(self, owner_client, app, values):
        answer = owner_client.post("/mailings/new", data=values | {"start_at": "2050-01-01T09:00"}, headers=HTMX)
        assert answer.status_code == 204
        assert answer.headers["HX-Redirect"].startswith("/mailings/")
        assert self.only_mailing(app).next_run_at == datetime(2050, 1, 1, 9, tzinfo=UTC)
        assert queued_jobs(app) == []

    def test_chosen_clients_become_the_audience(self, owner_client, app, values, *, made, owner, look):
        chosen = made(make.client, owner)
        owner_client.post("/mailings/new", data=values | {"audience": "chosen", "client_ids": [chosen]})
        mailing = self.only_mailing(app)
        assert mailing.audience is Audience.CHOSEN
        assert look(mailing.id, lambda found: [client.id for client in found.chosen_clients]) == [chosen]

    @pytest.mark.parametrize("headers", [{}, HTMX])
    def test_bad_input_keeps_what_was_typed(self, owner_client, app, values, headers):
        bad = values | {"start_at": "2050-01-02T09:00", "end_at": "2050-01-01T09:00", "name": "<Typed>"}
        answer = owner_client.post("/mailings/new", data=bad, headers=headers)
        assert answer.status_code == 422
        assert is_page(answer.text) != bool(headers)
        assert "The end must come after the start." in answer.text
        assert 'value="&lt;Typed&gt;"' in answer.text
        assert 'value="2050-01-02T09:00"' in answer.text
        with app.app_context():
            assert db.session.scalar(select(Mailing)) is None

    @pytest.mark.parametrize("headers", [{}, HTMX])
    def test_a_bad_schedule_is_said_at_its_fields_and_kept(self, owner_client, app, values, headers):
        bad = {
            "period": "weekly",
            "every": "99",
            "weekdays": ["2", "4"],
            "occurrences_max": "some",
            "misfire": "ask",
            "late_max": "3600",
        }
        answer = owner_client.post("/mailings/new", data=values | bad, headers=headers)
        assert answer.status_code == 422
        assert "Write a number from 1 to 52." in answer.text
        assert "Write a whole number." in answer.text
        for field in ("every", "occurrences_max"):
            assert 'aria-invalid="true"' in self.tag(answer.text, f'id="{field}"')
        assert 'value="99"' in self.tag(answer.text, 'id="every"')
        assert 'value="some"' in self.tag(answer.text, 'id="occurrences_max"')
        chosen = [day for day in range(7) if "checked" in self.tag(answer.text, f'id="weekdays-{day}"')]
        assert chosen == [2, 4]
        assert '<option selected value="weekly">' in answer.text
        assert '<option selected value="3600">' in answer.text
        with app.app_context():
            assert db.session.scalar(select(Mailing)) is None

    def tag(self, text: str, attribute: str) -> str:
        """The element with this attribute."""
        before, _, after = text.partition(attribute)
        return before.rpartition("<")[2] + attribute + after.partition(">")[0]

    def test_a_schedule_with_everything_is_saved_and_shown_again(self, owner_client, app, values):
        fields = {
            "start_at": "2050-01-03T09:00",
            "period": "weekly",
            "every": "2",
            "weekdays": ["0", "3"],
            "occurrences_max": "7",
            "misfire": "late",
            "late_max": "21600",
        }
        answer = owner_client.post("/mailings/new", data=values | fields)
        mailing = self.only_mailing(app)
        schedule = mailing.schedule
        assert (schedule.period, schedule.every, schedule.weekdays) == (Period.WEEKLY, 2, frozenset({0, 3}))
        assert (schedule.occurrences_max, mailing.misfire, mailing.late_seconds_max) == (7, Misfire.LATE, 21_600)
        text = owner_client.get(f"{answer.location}/edit").text
        assert 'value="2"' in self.tag(text, 'id="every"')
        assert 'value="7"' in self.tag(text, 'id="occurrences_max"')
        assert [day for day in range(7) if "checked" in self.tag(text, f'id="weekdays-{day}"')] == [0, 3]
        assert '<option selected value="21600">' in text

    def test_somebody_elses_message_is_refused(self, owner_client, values, made, stranger):
        foreign = made(make.message, stranger)
        assert owner_client.post("/mailings/new", data=values | {"message_id": foreign}).status_code == 422

    def test_the_preview_says_when_it_runs_and_whom_it_reaches(self, owner_client, values, made, owner):
        made(make.client, owner)
        answer = owner_client.post(
            "/mailings/new/preview",
            data=values | {"name": "", "start_at": "2050-01-31T09:00", "period": "monthly"},
            headers=HTMX,
        )
        assert answer.status_code == 200
        assert not is_page(answer.text)
        assert (
            "On Monday, 31 January 2050 at 09:00 (UTC), “News” goes to all active clients, which is 1 now."
            in answer.text
        )
        assert "Then every month, without an end." in answer.text
        for day in ("31 Jan", "28 Feb", "31 Mar", "30 Apr", "31 May"):
            assert day in answer.text
        assert "30 Jun" not in answer.text

    def test_the_preview_of_a_bad_schedule_is_no_error(self, owner_client, values):
        answer = owner_client.post("/mailings/new/preview", data=values | {"timezone": "Mars/Olympus"}, headers=HTMX)
        assert answer.status_code == 200
        assert "It will run" not in answer.text

    def test_the_preview_warns_when_nobody_would_get_it(self, owner_client, values):
        text = owner_client.post("/mailings/new/preview", data=values, headers=HTMX).text
        assert "nobody gets it" in text

    def test_the_preview_shows_at_once_for_an_empty_start(self, owner_client, values):
        assert "at once" in owner_client.post("/mailings/new/preview", data=values, headers=HTMX).text


class TestDuplicate:
    @pytest.fixture
    def original(self, made, owner) -> int:
        start = datetime(2020, 5, 4, 9, 0, tzinfo=UTC)
        fields = {"period": Period.WEEKLY, "weekdays": frozenset({0, 4}), "misfire": Misfire.SKIP}
        return made(make.mailing, owner, name="Weekly news", start_at=start, every=2, **fields)

    def test_the_form_begins_as_the_original_with_a_start_ahead(self, owner_client, original):
        assert f'href="/mailings/new?like={original}"' in owner_client.get(f"/mailings/{original}").text
        text = owner_client.get(f"/mailings/new?like={original}").text
        assert 'value="Weekly news (copy)"' in text
        assert '<option selected value="weekly">' in text
        start = text.partition('id="start_at"')[2].partition('value="')[2].partition('"')[0]
        assert datetime.fromisoformat(start).replace(tzinfo=UTC) > clock.now()
        assert start.endswith("T09:00")

    def test_saving_it_makes_another_and_leaves_the_original_alone(self, owner_client, app, original, look):
        before = look(original, lambda mailing: (mailing.name, mailing.next_run_at, mailing.updated_at))
        values = look(
            original,
            lambda mailing: {
                "name": "Weekly news (copy)",
                "message_id": mailing.message_id,
                "audience": "all",
                "period": "weekly",
                "every": "2",
                "weekdays": ["0", "4"],
                "misfire": "skip",
                "start_at": "2050-01-03T09:00",
                "timezone": "UTC",
            },
        )
        answer = owner_client.post(f"/mailings/new?like={original}", data=values)
        assert answer.status_code == 303
        copy = int(answer.location.rpartition("/")[2])
        assert copy != original
        assert look(original, lambda mailing: (mailing.name, mailing.next_run_at, mailing.updated_at)) == before
        assert look(copy, lambda mailing: mailing.misfire) is Misfire.SKIP
        assert alarms(app) == [datetime(2050, 1, 3, 9, tzinfo=UTC)]

    def test_only_ones_own_can_be_duplicated(self, owner_client, admin_client, made, stranger, *, original):
        foreign = made(make.mailing, stranger)
        deleted = made(make.mailing, stranger, deleted_at=clock.now())
        for like in (foreign, deleted, 2**31 - 1, 2**40):
            assert owner_client.get(f"/mailings/new?like={like}").status_code == 404
        assert admin_client.get(f"/mailings/new?like={original}").status_code == 404

    def test_what_is_no_number_is_a_plain_new_mailing(self, owner_client):
        assert owner_client.get("/mailings/new?like=that").status_code == 200


class TestMissed:
    @pytest.fixture
    def asked(self, made, owner, run_of) -> tuple[int, int]:
        """A daily mailing and its run that waits for a decision."""
        mailing = made(make.mailing, owner, name="Daily news", period=Period.DAILY, misfire=Misfire.ASK)
        at = clock.now() - timedelta(hours=2)
        return mailing, run_of(mailing, missed=Missed.ASKED, scheduled_for=at)

    def test_the_question_stands_on_its_page_and_on_the_overview(self, owner_client, asked):
        mailing, run = asked
        for address in (f"/mailings/{mailing}", "/overview"):
            text = owner_client.get(address).text
            assert f'action="/mailings/{mailing}/runs/{run}/send"' in text
            assert f'action="/mailings/{mailing}/runs/{run}/decline"' in text
        assert "Waits for you" in owner_client.get(f"/mailings/{mailing}").text

    @pytest.mark.parametrize("headers", [{}, HTMX])
    def test_send_it_now(self, owner_client, app, asked, headers, *, made, owner, run_jobs, smtp):
        made(make.client, owner, "anna@example.test")
        mailing, run = asked
        answer = owner_client.post(f"/mailings/{mailing}/runs/{run}/send", headers=headers)
        assert answer.status_code == (200 if headers else 303)
        assert queued_jobs(app) == ["prepare_runs"]
        assert owner_client.post(f"/mailings/{mailing}/runs/{run}/send").status_code == 409
        run_jobs()
        assert len(smtp.to("anna@example.test")) == 1
        text = owner_client.get(f"/mailings/{mailing}").text
        assert "Began 2 hours late." in text
        assert "/send" not in text
        assert owner_client.post(f"/mailings/{mailing}/runs/{run}/send").status_code == 409

    @pytest.mark.parametrize("headers", [{}, HTMX])
    def test_dont_send_it(self, owner_client, asked, headers, *, run_jobs, smtp):
        mailing, run = asked
        answer = owner_client.post(f"/mailings/{mailing}/runs/{run}/decline", headers=headers)
        assert answer.status_code == (200 if headers else 303)
        assert owner_client.post(f"/mailings/{mailing}/runs/{run}/decline").status_code == 409
        run_jobs()
        assert smtp.letters == []
        assert "Not sent: you decided so." in owner_client.get(f"/mailings/{mailing}").text
        assert f"/runs/{run}/decline" not in owner_client.get("/overview").text

    def test_each_missed_run_says_why(self, owner_client, made, owner, run_of):
        mailing = made(make.mailing, owner, period=Period.DAILY)
        words = {
            Missed.RULE: "never sent late",
            Missed.TOO_LATE: "later than this mailing allows",
            Missed.NEXT_NEARER: "the next one was nearer",
            Missed.COLLAPSED: "stands for it",
            Missed.UNANSWERED: "nobody decided",
            Missed.ENDED: "the end of the mailing came first",
        }
        runs = {why: run_of(mailing, missed=why, scheduled_for=clock.now() - n * DAY) for n, why in enumerate(words)}
        for why, run in runs.items():
            text = owner_client.get(f"/mailings/{mailing}?since={run}", headers=HTMX).text
            assert words[why] in text.partition(f'id="run-{run}"')[2]
            can_be_sent = f"/runs/{run}/send" in text
            assert can_be_sent == (why not in (Missed.COLLAPSED, Missed.ENDED))

    def test_from_the_downtime_to_the_letter(self, owner_client, made, owner, *, run_jobs, smtp, app):
        made(make.client, owner, "anna@example.test")
        start = clock.now() - 3 * DAY - timedelta(hours=2)
        mailing = made(make.mailing, owner, start_at=start, period=Period.DAILY, misfire=Misfire.ASK)
        with app.app_context():
            jobs.sweep()
        run_jobs()
        assert [letter.recipients for letter in smtp.letters] == [[owner.email]], "the question goes by mail, too"
        text = owner_client.get("/overview").text
        address = text.partition(f'action="/mailings/{mailing}/runs/')[2].partition("/")[0]
        owner_client.post(f"/mailings/{mailing}/runs/{address}/send")
        run_jobs()
        assert len(smtp.to("anna@example.test")) == 1


class TestEdit:
    def values(self, mailing: Mailing) -> dict[str, Any]:
        return {
            "name": "New name",
            "message_id": mailing.message_id,
            "audience": "all",
            "period": mailing.period.value,
            "timezone": mailing.timezone,
            "start_at": mailing.start_at.strftime("%Y-%m-%dT%H:%M:%S"),
            "end_at": "",
        }

    def test_it_saves(self, owner_client, mailing_id, look):
        values = look(mailing_id, self.values)
        start = look(mailing_id, lambda mailing: mailing.start_at)
        assert owner_client.get(f"/mailings/{mailing_id}/edit").status_code == 200
        assert owner_client.post(f"/mailings/{mailing_id}/edit", data=values).status_code == 303
        assert look(mailing_id, lambda mailing: (mailing.name, mailing.start_at)) == ("New name", start)

    def test_it_says_what_holds_from_the_next_run_on(self, owner_client, mailing_id, run_of):
        run_of(mailing_id, PENDING, status=RunStatus.SENDING)
        assert "from the next run on" in owner_client.get(f"/mailings/{mailing_id}/edit").text

    def test_it_refuses_while_an_audience_is_being_frozen(self, owner_client, mailing_id, run_of, look):
        run_of(mailing_id, status=RunStatus.PREPARING)
        values = look(mailing_id, self.values)
        page = owner_client.post(f"/mailings/{mailing_id}/edit", data=values)
        fragment = owner_client.post(f"/mailings/{mailing_id}/edit", data=values, headers=HTMX)
        assert page.status_code == fragment.status_code == 409
        assert fragment.headers["HX-Reswap"] == "none"
        for answer in (page, fragment):
            assert "just being prepared" in answer.text
        assert look(mailing_id, lambda mailing: mailing.name) == "A mailing"

    def test_a_moved_start_moves_the_next_run_and_its_alarm(self, owner_client, app, mailing_id, look):
        values = look(mailing_id, self.values)
        owner_client.post(f"/mailings/{mailing_id}/edit", data=values | {"start_at": "2050-01-01T09:00"})
        moved = datetime(2050, 1, 1, 9, tzinfo=UTC)
        assert look(mailing_id, lambda mailing: mailing.next_run_at) == moved
        assert alarms(app) == [moved]

    def test_a_start_moved_into_the_past_begins_at_once(self, owner_client, app, mailing_id, look):
        values = look(mailing_id, self.values)
        owner_client.post(f"/mailings/{mailing_id}/edit", data=values | {"start_at": "2020-01-01T09:00"})
        assert queued_jobs(app) == ["dispatch_due"]

    def test_a_bad_edit_changes_nothing(self, owner_client, mailing_id, look):
        values = look(mailing_id, self.values) | {"period": "daily", "every": "0"}
        answer = owner_client.post(f"/mailings/{mailing_id}/edit", data=values)
        assert answer.status_code == 422
        assert "Write a number from 1 to 365." in answer.text
        assert look(mailing_id, lambda mailing: (mailing.name, mailing.period)) == ("A mailing", Period.ONCE)

    def test_its_preview_knows_the_mailing(self, owner_client, mailing_id, look):
        values = look(mailing_id, self.values)
        answer = owner_client.post(f"/mailings/{mailing_id}/edit/preview", data=values, headers=HTMX)
        assert "It will run" in answer.text
        assert f'hx-post="/mailings/{mailing_id}/edit/preview"' in answer.text


class TestActions:
    def test_start_begins_a_run_now(self, owner_client, app, mailing_id):
        answer = owner_client.post(f"/mailings/{mailing_id}/start")
        assert answer.status_code == 303
        assert queued_jobs(app) == ["prepare_runs"]
        assert "Running" in owner_client.get(f"/mailings/{mailing_id}").text

    def test_pause_and_resume_answer_with_the_live_part(self, owner_client, mailing_id, look):
        paused = owner_client.post(f"/mailings/{mailing_id}/pause", headers=HTMX)
        assert paused.status_code == 200
        assert paused.text.lstrip().startswith('<div id="live"')
        assert f"/mailings/{mailing_id}/resume" in paused.text
        assert "The mailing is paused." in paused.text
        resumed = owner_client.post(f"/mailings/{mailing_id}/resume", headers=HTMX)
        assert f"/mailings/{mailing_id}/pause" in resumed.text
        assert look(mailing_id, lambda mailing: mailing.paused_at) is None

    def test_a_mailing_resumed_after_its_moment_is_due_at_once(self, owner_client, app, made, owner):
        mailing = made(make.mailing, owner, start_at=clock.now() - timedelta(hours=1), paused_at=clock.now())
        owner_client.post(f"/mailings/{mailing}/resume")
        assert queued_jobs(app) == ["dispatch_due"]
        assert alarms(app) == []

    def test_a_mailing_resumed_before_its_moment_gets_its_alarm(self, owner_client, app, made, owner):
        start = datetime(2050, 1, 1, 9, tzinfo=UTC)
        mailing = made(make.mailing, owner, start_at=start, paused_at=clock.now())
        owner_client.post(f"/mailings/{mailing}/resume")
        assert alarms(app) == [start]

    def test_start_now_leaves_the_schedule_as_it_is(self, owner_client, made, owner, look):
        start = datetime(2050, 1, 1, 9, tzinfo=UTC)
        mailing = made(make.mailing, owner, start_at=start, period=Period.DAILY)
        assert owner_client.post(f"/mailings/{mailing}/start").status_code == 303
        assert look(mailing, lambda found: found.next_run_at) == start
        assert owner_client.post(f"/mailings/{mailing}/start").status_code == 409

    def test_what_makes_no_sense_is_refused_with_a_sentence(self, owner_client, mailing_id):
        answer = owner_client.post(f"/mailings/{mailing_id}/resume", headers=HTMX)
        assert answer.status_code == 409
        assert "This mailing is not paused." in answer.text

    def test_delete_leads_back_to_the_list(self, owner_client, mailing_id):
        answer = owner_client.post(f"/mailings/{mailing_id}/delete")
        assert answer.location == "/mailings/"
        assert "is deleted" in owner_client.get("/mailings/").text
        assert owner_client.get(f"/mailings/{mailing_id}").status_code == 404


class TestPage:
    def test_it_says_in_words_what_comes_next(self, owner_client, made, owner):
        start = datetime(2050, 1, 3, 9, 0, tzinfo=UTC)
        once = made(make.mailing, owner, start_at=start)
        daily = made(make.mailing, owner, start_at=start, period=Period.DAILY, end_at=start + timedelta(days=9))
        assert "Starts on Mon 3 Jan 2050, 09:00." in owner_client.get(f"/mailings/{once}").text
        text = owner_client.get(f"/mailings/{daily}").text
        assert "Starts on Mon 3 Jan 2050, 09:00, then every day until Wed 12 Jan 2050, 09:00." in text

    def test_it_says_which_run_is_the_last(self, owner_client, made, owner):
        start = datetime(2020, 1, 1, 9, 0, tzinfo=UTC)
        last = datetime(2050, 1, 5, 9, 0, tzinfo=UTC)
        fields = {"period": Period.WEEKLY, "end_at": last + timedelta(days=1), "status": MailingStatus.SENT}
        mailing = made(make.mailing, owner, start_at=start, next_run_at=last, **fields)
        assert "The last run is on Wed 5 Jan 2050, 09:00." in owner_client.get(f"/mailings/{mailing}").text

    def test_only_the_buttons_that_make_sense_are_there(self, owner_client, made, owner):
        def buttons(**fields: Any) -> set[str]:
            mailing = made(make.mailing, owner, **fields)
            text = owner_client.get(f"/mailings/{mailing}").text
            return {name for name in ("start", "pause", "resume", "edit") if f"/mailings/{mailing}/{name}" in text}

        assert buttons() == {"start", "pause", "edit"}
        assert buttons(status=MailingStatus.PAUSED, paused_at=clock.now()) == {"resume", "edit"}
        assert buttons(status=MailingStatus.COMPLETED, next_run_at=None) == {"start", "edit"}

    def test_a_disabled_mailing_says_who_stopped_it_and_why(self, owner_client, made, owner):
        mailing = made(make.mailing, owner, disabled_at=clock.now(), disabled_reason="Looks like <spam>")
        text = owner_client.get(f"/mailings/{mailing}").text
        assert "A manager has stopped this mailing." in text
        assert "Looks like &lt;spam&gt;" in text
        assert f"/mailings/{mailing}/start" not in text

    def test_a_run_shows_its_figures_and_what_the_mail_server_says(self, owner_client, mailing_id, run_of):
        run_of(
            mailing_id,
            SENT,
            SENT,
            PENDING,
            status=RunStatus.SENDING,
            fault="454 4.7.0 TLS not available",
            resume_at=clock.now() + timedelta(minutes=5),
        )
        text = owner_client.get(f"/mailings/{mailing_id}", headers=HTMX).text
        assert 'aria-valuenow="2"' in text
        assert "Waiting for the mail server: 454 4.7.0 TLS not available" in text
        assert "Next try: " in text

    def test_a_run_that_is_being_sent_says_how_fast_and_until_when(self, owner_client, app, mailing_id, run_of):
        run_id = run_of(mailing_id, SENT, *[PENDING] * 9, SENDING, status=RunStatus.SENDING, started_at=clock.now())
        with app.app_context():
            pace.note(queue.connection(), {run_id: 5}, 100)
        for address in (f"/mailings/{mailing_id}", f"/mailings/{mailing_id}/runs/{run_id}?live=1"):
            text = owner_client.get(address, headers=HTMX).text
            assert "<strong>3 messages a minute</strong>" in text
            assert "About 3 minutes left, done at " in text
            assert "What limits it: the mail server, which takes 20 s a message." in text

    def test_a_run_that_waits_for_the_mail_server_does_not_look_as_if_it_moved(
        self, owner_client, app, made, owner, run_of
    ):
        mailing_id = made(make.mailing, owner, status=MailingStatus.RUNNING, next_run_at=None)
        fields = {"status": RunStatus.SENDING, "fault": "Connection refused"}
        run_id = run_of(mailing_id, SENT, PENDING, resume_at=clock.now() + timedelta(seconds=30), **fields)
        with app.app_context():
            pace.note(queue.connection(), {run_id: 5}, 1)
        text = owner_client.get(f"/mailings/{mailing_id}", headers=HTMX).text
        assert "Waiting for the mail server: Connection refused" in text
        assert "It is waiting, its run says for what." in text
        assert "state-live" not in text
        assert "a minute</strong>" not in text

    def test_what_waits_for_a_later_try_says_until_when(self, owner_client, mailing_id, run_of):
        fields = {"status": RunStatus.SENDING, "resume_at": clock.now() + timedelta(hours=1)}
        run_id = run_of(mailing_id, SENT, PENDING, PENDING, **fields)
        for address in (f"/mailings/{mailing_id}", f"/mailings/{mailing_id}/runs/{run_id}?live=1", "/overview"):
            text = owner_client.get(address, headers=HTMX).text
            assert "2 messages wait: the mail server said to try them later. Next try: " in text
            assert "Waiting</span>" in text

    def test_without_a_worker_it_says_so(self, owner_client, mailing_id, run_of):
        run_of(mailing_id, PENDING, status=RunStatus.SENDING)
        assert "No worker is alive, so nothing is sent." in owner_client.get(f"/mailings/{mailing_id}").text

    def test_without_redis_the_page_is_there(self, owner_client, mailing_id, run_of, monkeypatch):
        run_of(mailing_id, PENDING, status=RunStatus.SENDING)
        nowhere = Redis.from_url("redis://127.0.0.1:1")
        with monkeypatch.context() as away:
            away.setattr(queue, "connection", lambda: nowhere)
            away.setattr(views, "connection", lambda: nowhere)
            text = owner_client.get(f"/mailings/{mailing_id}", headers=HTMX).text
        assert 'aria-valuenow="0"' in text
        assert "No worker is alive" not in text

    def test_what_came_while_somebody_watches_stays_in_the_live_part(self, owner_client, mailing_id, run_of):
        first = run_of(mailing_id, SENT, scheduled_for=clock.now() - timedelta(days=1))
        page = owner_client.get(f"/mailings/{mailing_id}").text
        assert f'id="run-{first}"' in page
        second = run_of(mailing_id, PENDING, status=RunStatus.SENDING)
        live = owner_client.get(f"/mailings/{mailing_id}?since={first}", headers=HTMX).text
        assert f'id="run-{first}"' in live
        assert f'id="run-{second}"' in live
        assert owner_client.get(f"/mailings/{mailing_id}?since={'9' * 30}").status_code == 200

    def test_earlier_runs_page(self, owner_client, mailing_id, run_of):
        hour = timedelta(hours=1)
        runs = [run_of(mailing_id, scheduled_for=clock.now() - n * hour) for n in range(55)]
        page = owner_client.get(f"/mailings/{mailing_id}").text
        assert page.count('id="run-') == 51
        address = page.partition("&amp;after=")[2].partition('"')[0]
        rest = owner_client.get(f"/mailings/{mailing_id}?since={runs[-1]}&after={address}", headers=HTMX).text
        assert rest.count('id="run-') == 4
        assert "Show more" not in rest


class TestPolling:
    def poll(self, owner_client: FlaskClient, mailing_id: int) -> str:
        """What makes the live part of the mailing's page look again, or nothing."""
        text = owner_client.get(f"/mailings/{mailing_id}", headers=HTMX).text
        return text.partition('hx-trigger="every ')[2].partition('"')[0]

    def test_it_is_quick_while_something_is_being_sent(self, owner_client, mailing_id, run_of):
        run_of(mailing_id, SENT, SENDING, status=RunStatus.SENDING)
        assert self.poll(owner_client, mailing_id) == f"{views.SENDING_POLL_SECONDS}s"

    def test_it_is_slower_while_waiting_for_the_start(self, owner_client, made, owner):
        soon = made(make.mailing, owner, start_at=clock.now() + timedelta(seconds=30))
        assert self.poll(owner_client, soon) == f"{views.WAITING_POLL_SECONDS}s"

    def test_it_goes_on_after_a_pause_until_what_is_in_flight_is_down(self, owner_client, mailing_id, run_of):
        run_of(mailing_id, PENDING, SENDING, status=RunStatus.SENDING, held_at=clock.now())
        assert self.poll(owner_client, mailing_id)

    def test_it_is_slow_while_the_run_rests_for_long(self, owner_client, mailing_id, run_of):
        run_of(mailing_id, PENDING, status=RunStatus.SENDING, resume_at=clock.now() + timedelta(hours=1))
        assert self.poll(owner_client, mailing_id) == f"{views.RESTING_POLL_SECONDS}s"

    def test_it_stops_when_nothing_will_happen(self, owner_client, made, owner, mailing_id, run_of):
        run_of(mailing_id, SENT)
        assert not self.poll(owner_client, mailing_id)
        held = made(make.mailing, owner)
        run_of(held, PENDING, status=RunStatus.SENDING, held_at=clock.now())
        assert not self.poll(owner_client, held)
        paused = made(make.mailing, owner, start_at=clock.now(), paused_at=clock.now())
        assert not self.poll(owner_client, paused)


class TestRun:
    @pytest.fixture
    def run_id(self, mailing_id, run_of) -> int:
        return run_of(mailing_id, SENT, FAILED, FAILED, UNKNOWN)

    @pytest.fixture
    def delivery_id(self, app, run_id) -> int:
        """A failed delivery with two tries."""
        with app.app_context():
            failed = select(Delivery).where(Delivery.run_id == run_id, Delivery.status == FAILED)
            delivery = db.session.scalars(failed.order_by(Delivery.id)).first()
            ledger.attempt(delivery, PENDING, code=451, enhanced_code="4.7.1", reply="Try <later>")
            ledger.attempt(delivery, FAILED)
            db.session.commit()
            return delivery.id

    def test_its_counters_are_a_table_that_reconciles(self, owner_client, mailing_id, run_id):
        text = owner_client.get(f"/mailings/{mailing_id}/runs/{run_id}").text
        cells = [part.partition("<")[0] for part in text.split('<td class="number">')[1:]]
        assert sum(map(int, cells)) == 4
        assert '<td class="number fw-bold">4</td>' in text

    def test_its_messages_are_found_by_status_and_address(self, owner_client, mailing_id, run_id):
        address = f"/mailings/{mailing_id}/runs/{run_id}"
        failed = owner_client.get(f"{address}?status=failed", headers=HTMX).text
        assert not is_page(failed)
        assert "client1@example.test" in failed
        assert "client0@example.test" not in failed
        assert "client3@example.test" in owner_client.get(f"{address}?q=CLIENT3").text
        assert "No message matches" in owner_client.get(f"{address}?q=nobody%00").text

    def test_its_live_part_is_a_fragment_of_its_own(self, owner_client, mailing_id, run_id):
        text = owner_client.get(f"/mailings/{mailing_id}/runs/{run_id}?live=1", headers=HTMX).text
        assert text.lstrip().startswith('<div id="live"')
        assert "hx-trigger" not in text
        assert "client0@example.test" not in text

    def test_its_messages_page(self, owner_client, mailing_id, run_of):
        run_id = run_of(mailing_id, *[SENT] * 55)
        address = f"/mailings/{mailing_id}/runs/{run_id}"
        page = owner_client.get(address).text
        assert page.count('id="delivery-') == 50
        cursor = page.partition(f"{address}?after=")[2].partition('"')[0]
        rest = owner_client.get(f"{address}?after={cursor}", headers=HTMX).text
        assert rest.count('id="delivery-') == 5
        assert rest.lstrip().startswith('<div class="list-group-item')

    @pytest.mark.parametrize("headers", [{}, HTMX])
    def test_a_message_shows_every_try_in_the_servers_own_words(
        self, owner_client, mailing_id, run_id, delivery_id, headers
    ):
        address = f"/mailings/{mailing_id}/runs/{run_id}/deliveries/{delivery_id}"
        answer = owner_client.get(address, headers=headers)
        assert is_page(answer.text) != bool(headers)
        for words in ("451", "4.7.1", "Try &lt;later&gt;", "Try again", "550", "5.1.1", "No such user", "Failed"):
            assert words in answer.text
        assert answer.text.index("Try again") < answer.text.index("No such user")

    def test_a_run_must_be_of_its_mailing_and_a_message_of_its_run(
        self, owner_client, mailing_id, run_id, delivery_id, *, made, owner, run_of
    ):
        other_mailing = made(make.mailing, owner)
        other_run = run_of(other_mailing, SENT)
        assert owner_client.get(f"/mailings/{other_mailing}/runs/{run_id}").status_code == 404
        for mailing, run in ((other_mailing, other_run), (other_mailing, run_id), (mailing_id, other_run)):
            address = f"/mailings/{mailing}/runs/{run}/deliveries/{delivery_id}"
            assert owner_client.get(address).status_code == 404


class TestResend:
    @pytest.fixture
    def run_id(self, app, owner, mailing_id, run_of) -> int:
        """A run with two messages failed and one unknown, and one failed whose client has bounced since."""
        run_id = run_of(mailing_id, FAILED, FAILED, UNKNOWN, SENT, FAILED)
        with app.app_context():
            found = db.session.scalars(select(Delivery).where(Delivery.run_id == run_id).order_by(Delivery.id)).all()
            for delivery, client in zip(found, make.clients(owner, 5), strict=True):
                delivery.client_id = client.id
            client.status = ClientStatus.BOUNCED
            db.session.commit()
        return run_id

    def send_again(self, browser: FlaskClient, mailing_id: int, run_id: int, status: str = "failed", **more: Any):
        return browser.post(f"/mailings/{mailing_id}/runs/{run_id}/resend", data={"status": status}, **more)

    def counts(self, app: Flask, run_id: int) -> tuple[int, ...]:
        with app.app_context():
            run = db.session.get_one(Run, run_id)
            return run.pending, run.sent, run.failed, run.unknown

    def test_the_buttons_say_how_many_and_what_may_happen(self, owner_client, mailing_id, run_id, run_of):
        text = owner_client.get(f"/mailings/{mailing_id}/runs/{run_id}").text
        assert "Send the 3 failed again" in text
        assert "Send the 1 unknown again" in text
        assert "whoever got the letter may get it twice" in text
        assert "The letter may have arrived" in text
        fine = run_of(mailing_id, SENT)
        assert "/resend" not in owner_client.get(f"/mailings/{mailing_id}/runs/{fine}").text

    @pytest.mark.parametrize("headers", [{}, HTMX])
    @pytest.mark.parametrize(("status", "after"), [("failed", (2, 1, 1, 1)), ("unknown", (1, 1, 3, 0))])
    def test_just_those_are_sent_again(self, owner_client, app, mailing_id, run_id, *, status, after, headers, look):
        answer = self.send_again(owner_client, mailing_id, run_id, status, headers=headers)
        assert self.counts(app, run_id) == after
        assert queued_jobs(app) == ["deliver"]
        assert look(mailing_id, lambda mailing: mailing.status) is MailingStatus.RUNNING
        if headers:
            assert answer.status_code == 200
            assert answer.text.lstrip().startswith('<div id="live"')
            assert "hx-trigger" in answer.text
        else:
            assert (answer.status_code, answer.location) == (303, f"/mailings/{mailing_id}/runs/{run_id}")
            answer = owner_client.get(answer.location)
        words = "1 message is sent again." if status == "unknown" else "2 messages are sent again."
        assert words in answer.text

    def test_they_arrive(self, owner_client, app, mailing_id, run_id, *, run_jobs, smtp, look):
        self.send_again(owner_client, mailing_id, run_id, "unknown")
        run_jobs()
        assert [letter.recipients for letter in smtp.letters] == [["client2@example.test"]]
        assert self.counts(app, run_id) == (0, 2, 3, 0)
        assert look(mailing_id, lambda mailing: mailing.status) is not MailingStatus.RUNNING

    def test_a_paused_mailing_keeps_them_until_it_is_resumed(
        self, owner_client, mailing_id, run_id, *, run_jobs, smtp, look
    ):
        owner_client.post(f"/mailings/{mailing_id}/pause")
        answer = self.send_again(owner_client, mailing_id, run_id, headers=HTMX)
        assert "2 messages are sent again once the mailing is resumed." in answer.text
        run_jobs()
        assert not smtp.letters
        assert look(mailing_id, lambda mailing: mailing.status) is MailingStatus.PAUSED
        owner_client.post(f"/mailings/{mailing_id}/resume")
        run_jobs()
        assert len(smtp.letters) == 2

    @pytest.mark.parametrize("headers", [{}, HTMX])
    def test_a_disabled_mailing_refuses(self, owner_client, app, mailing_id, run_id, headers):
        with app.app_context():
            db.session.get_one(Mailing, mailing_id).disabled_at = clock.now()
            db.session.commit()
        assert "/resend" not in owner_client.get(f"/mailings/{mailing_id}/runs/{run_id}").text
        answer = self.send_again(owner_client, mailing_id, run_id, headers=headers)
        assert answer.status_code == 409
        assert "A manager has disabled this mailing." in answer.text
        assert self.counts(app, run_id) == (0, 1, 3, 1)

    def test_the_mailing_of_a_blocked_owner_refuses(self, admin_client, app, mailing_id, run_id, owner):
        with app.app_context():
            db.session.get_one(User, owner.id).blocked_at = clock.now()
            db.session.commit()
        answer = self.send_again(admin_client, mailing_id, run_id)
        assert answer.status_code == 409
        assert "blocked" in answer.text

    def test_the_second_click_finds_nothing_left(self, owner_client, mailing_id, run_id):
        assert self.send_again(owner_client, mailing_id, run_id, "unknown").status_code == 303
        assert self.send_again(owner_client, mailing_id, run_id, "unknown").status_code == 409

    @pytest.mark.parametrize("status", ["sent", "skipped", "", "\0"])
    def test_nothing_else_can_be_sent_again(self, owner_client, app, mailing_id, run_id, status):
        assert self.send_again(owner_client, mailing_id, run_id, status).status_code == 400
        assert self.counts(app, run_id) == (0, 1, 3, 1)

    def test_it_must_be_a_run_of_that_mailing(self, owner_client, app, run_id, *, made, owner):
        assert self.send_again(owner_client, made(make.mailing, owner), run_id).status_code == 404
        assert self.counts(app, run_id) == (0, 1, 3, 1)


class TestOverview:
    @pytest.mark.usefixtures("mailing_id")
    def test_a_newcomer_sees_the_first_steps(self, owner_client, made, owner):
        assert "Three steps" in owner_client.get("/overview").text
        made(make.client, owner)
        assert "Three steps" not in owner_client.get("/overview").text

    def test_it_shows_what_runs_what_is_planned_and_what_went_wrong(self, owner_client, made, owner, run_of):
        broken = made(make.mailing, owner, name="Broken one", next_run_at=None)
        running = made(make.mailing, owner, name="Running one", next_run_at=None)
        made(make.mailing, owner, name="Planned one")
        run_of(broken, SENT, FAILED, UNKNOWN)
        run_of(running, PENDING, SENT, status=RunStatus.SENDING)
        page, fragment = owner_client.get("/overview").text, owner_client.get("/overview", headers=HTMX).text
        assert is_page(page)
        assert not is_page(fragment)
        for text in (page, fragment):
            for words in ("Broken one", "1 failed", "1 unknown", "Running one", "Planned one", "every 3s"):
                assert words in text

    @pytest.mark.usefixtures("mailing_id")
    def test_it_rests_when_nothing_runs(self, owner_client):
        assert 'hx-trigger="every' not in owner_client.get("/overview").text


class TestAccess:
    GETS = ("", "/edit", "/runs/{run}", "/runs/{run}/deliveries/{delivery}")
    POSTS = (
        "/edit",
        "/edit/preview",
        "/start",
        "/pause",
        "/resume",
        "/delete",
        "/runs/{run}/resend",
        "/runs/{run}/send",
        "/runs/{run}/decline",
    )

    @pytest.fixture
    def addresses(self, app, mailing_id, run_of) -> dict[str, list[str]]:
        run = run_of(mailing_id, SENT)
        with app.app_context():
            delivery = db.session.scalar(select(Delivery.id).where(Delivery.run_id == run))

        def full(parts: tuple[str, ...]) -> list[str]:
            return [f"/mailings/{mailing_id}{part}".format(run=run, delivery=delivery) for part in parts]

        return {"GET": full(self.GETS), "POST": full(self.POSTS)}

    @pytest.mark.parametrize("headers", [{}, HTMX])
    def test_a_stranger_finds_nothing(self, stranger_client, addresses, look, mailing_id, headers):
        for method, paths in addresses.items():
            for path in paths:
                answer = stranger_client.open(path, method=method, headers=headers)
                assert answer.status_code == 404, (method, path)
        assert look(mailing_id, lambda mailing: (mailing.deleted_at, mailing.paused_at)) == (None, None)
        assert f"/mailings/{mailing_id}" not in stranger_client.get("/mailings/").text

    def test_an_editor_is_refused(self, editor_client, addresses):
        for path in ("/overview", "/mailings/", "/mailings/new", *addresses["GET"]):
            assert editor_client.get(path).status_code == 403

    def test_a_manager_looks_and_changes_nothing(self, manager_client, addresses, mailing_id, look):
        for path in ("/overview", "/mailings/", "/mailings/new"):
            assert manager_client.get(path).status_code == 403
        for path in addresses["GET"]:
            assert manager_client.get(path).status_code == (403 if path.endswith("/edit") else 200)
        for path in addresses["POST"]:
            assert manager_client.post(path).status_code == 403
        page = manager_client.get(f"/mailings/{mailing_id}").text
        assert f'action="/mailings/{mailing_id}/' not in page
        assert f"/mailings/{mailing_id}/edit" not in page
        assert look(mailing_id, lambda mailing: (mailing.deleted_at, mailing.paused_at)) == (None, None)

    def test_an_administrator_may_change_what_is_others(self, admin_client, addresses, mailing_id, look):
        assert f'href="/mailings/{mailing_id}"' not in admin_client.get("/mailings/").text
        for path in addresses["GET"]:
            assert admin_client.get(path).status_code == 200
        assert admin_client.post(f"/mailings/{mailing_id}/delete").status_code == 303
        assert look(mailing_id, lambda mailing: mailing.deleted_at)

    def test_guests_are_sent_to_the_log_in_page(self, client, addresses):
        for path in ("/overview", "/mailings/", *addresses["GET"]):
            assert "/auth/login" in client.get(path).location

    def test_numbers_that_no_database_knows_are_no_pages(self, owner_client, mailing_id):
        assert owner_client.get(f"/mailings/{2**31}").status_code == 404
        assert owner_client.get(f"/mailings/{mailing_id}/runs/{2**63 - 1}").status_code == 404
        assert owner_client.get(f"/mailings/{mailing_id}/runs/{2**63}").status_code == 404


def test_a_planned_mailing_is_sent_and_its_page_tells_so(owner_client, run_jobs, smtp, *, made, owner, app):
    """From the form to the server's answer, through the real jobs."""
    made(make.client, owner, "anna@example.test")
    values = {
        "name": "All the way",
        "message_id": made(make.message, owner),
        "audience": "all",
        "period": "once",
        "timezone": "UTC",
    }
    mailing = owner_client.post("/mailings/new", data=values).location
    run_jobs()
    assert len(smtp.to("anna@example.test")) == 1
    assert "Completed" in owner_client.get(mailing).text
    with app.app_context():
        run = db.session.scalars(select(Run)).one()
        delivery = db.session.scalars(select(Delivery)).one()
        address = f"{mailing}/runs/{run.id}/deliveries/{delivery.id}"
    assert "250" in owner_client.get(address).text
