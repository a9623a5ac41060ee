"""The overview's figures against counts over the ledger, and what needs attention."""

import random
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from app import caching, clock
from app.auth.models import User
from app.clients.models import Client, Import, ImportStatus
from app.delivery.models import Delivery, DeliveryStatus, Missed, Run, RunStatus
from app.extensions import db
from app.mailings import overview
from app.mailings.models import Mailing
from app.mailings.schedule import local_to_utc
from tests import make
from tests.mailings import ledger

SENT, FAILED, UNKNOWN, SKIPPED, PENDING = (
    DeliveryStatus.SENT,
    DeliveryStatus.FAILED,
    DeliveryStatus.UNKNOWN,
    DeliveryStatus.SKIPPED,
    DeliveryStatus.PENDING,
)
DAY = timedelta(days=1)
TODAY = date(2026, 11, 20)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HTMX = {"HX-Request": "true"}


@pytest.fixture
def person(context: None) -> User:
    return make.user("somebody@golub.test")


@pytest.fixture
def mailing(person: User) -> Mailing:
    return make.mailing(person)


def run_at(mailing: Mailing, moment: datetime, *statuses: DeliveryStatus, **fields: Any) -> Run:
    return ledger.run(mailing, *statuses, **({"created_at": moment, "scheduled_for": moment} | fields))


def in_ledger(user: User, first: datetime, last: datetime, *statuses: DeliveryStatus) -> int:
    """How many deliveries are in these states, of the user's runs that began within these moments: counted."""
    found = select(func.count()).select_from(Delivery).join(Run, Run.id == Delivery.run_id)
    began = (Run.owner_id == user.id, Run.created_at >= first, Run.created_at < last)
    return db.session.scalar(found.where(*began, Delivery.status.in_(statuses))) or 0


def midnight_of(day: date, timezone: str) -> datetime:
    return local_to_utc(datetime.combine(day, time.min), timezone)


@pytest.mark.parametrize("timezone", ["UTC", "Pacific/Kiritimati", "America/New_York", "Asia/Kolkata"])
def test_every_days_figures_are_what_the_ledger_has(person: User, mailing: Mailing, timezone: str) -> None:
    chance = random.Random(7)  # noqa: S311  nothing secret
    midnight = midnight_of(TODAY, timezone)
    for number in range(40):
        moment = midnight + DAY - timedelta(minutes=chance.randrange(62 * 24 * 60), microseconds=number)
        run_at(mailing, moment, *chance.choices(list(DeliveryStatus), k=chance.randrange(6)))
    for edge in (timedelta(0), -timedelta(microseconds=1)):
        run_at(mailing, midnight + edge, SENT, FAILED)
    run_at(make.mailing(make.user("other@golub.test")), midnight, SENT)
    days = overview.days_of_runs(person, TODAY, timezone)
    starts = [midnight_of(TODAY - timedelta(days=59 - number), timezone) for number in range(61)]
    assert [day.sent for day in days] == [in_ledger(person, *one_day, SENT) for one_day in pairwise(starts)]
    figures = overview.figures(person, TODAY, timezone)
    assert figures.sent.value == sum(figures.sent.daily) == in_ledger(person, starts[30], starts[60], SENT)
    assert figures.sent.before == in_ledger(person, starts[0], starts[30], SENT)
    tried = in_ledger(person, starts[30], starts[60], SENT, FAILED, UNKNOWN)
    assert figures.delivered.value == figures.sent.value / tried
    assert len(figures.sent.daily) == len(figures.runs.daily) == len(figures.delivered.daily) == 30


def test_a_day_of_another_length_is_a_day(person: User, mailing: Mailing) -> None:
    """In New York 1 November 2026 has 25 hours."""
    for hour in (3, 4, 28, 29):  # of that day in UTC; it begins at 4 and ends at 29
        run_at(mailing, datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=hour), SENT)
    days = overview.days_of_runs(person, date(2026, 11, 2), "America/New_York")
    assert [day.runs for day in days[-3:]] == [1, 2, 1]


def test_what_was_not_begun_is_no_run(person: User, mailing: Mailing) -> None:
    run_at(mailing, NOON, missed=Missed.RULE)
    run_at(mailing, NOON - DAY, PENDING, SENT, status=RunStatus.SENDING)
    figures = overview.figures(person, TODAY, "UTC")
    assert (figures.runs.value, figures.sent.value) == (1, 1)


def test_clients_grow_as_they_were_added(person: User) -> None:
    for number, days_ago in enumerate((0, 0, 3, 29, 30, 400)):
        make.client(person, f"client{number}@example.test", added_at=NOON - days_ago * DAY)
    make.client(make.user("other@golub.test"), added_at=NOON)
    trend = overview.figures(person, TODAY, "UTC").clients
    assert (trend.value, trend.before) == (6, 2)
    assert [trend.daily[0], trend.daily[25], trend.daily[26], trend.daily[-1]] == [3, 3, 4, 6]
    assert trend.value == db.session.scalar(select(func.count(Client.id)).where(Client.owner_id == person.id))


def test_very_many_clients_are_counted_once_a_minute(person: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "LARGE_COUNT", 2)
    make.clients(person, 3)
    today = clock.now().date()
    assert overview.figures(person, today, "UTC").clients.value == 3
    make.client(person, "another@example.test")
    assert overview.figures(person, today, "UTC").clients.value == 3
    caching.forget(caching.FIGURES)
    assert overview.figures(person, today, "UTC").clients.value == 4


@pytest.mark.parametrize(
    ("before", "now", "sent", "delivered"),
    [
        ([], [], "as many as in the 30 days before", "nothing sent yet"),
        ([SENT], [], "100% less than in the 30 days before", "nothing sent in 30 days"),
        ([], [SENT], "none in the 30 days before", "none in the 30 days before"),
        ([SENT, FAILED], [SENT, SENT, SENT, UNKNOWN], "200% more than in the 30 days before", "25 points better"),
        ([SENT, SENT], [SENT, FAILED], "50% less than in the 30 days before", "50 points worse"),
        ([SENT, FAILED], [SENT, FAILED], "as many as", "the same as in the 30 days before"),
    ],
)
def test_a_change_is_said_in_words(
    app: Flask, person: User, mailing: Mailing, *, before: list[Any], now: list[Any], sent: str, delivered: str
) -> None:
    run_at(mailing, NOON - 40 * DAY, *before)
    run_at(mailing, NOON, *now)
    with app.test_request_context():
        cards = {card.label: card for card in overview.cards(person, TODAY, "UTC")}
    assert cards["Sent in 30 days"].change.startswith(sent)
    assert cards["Delivered in 30 days"].change.startswith(delivered)
    assert cards["Runs in 30 days"].value == "1"


def test_runs_need_attention_when_something_went_wrong_lately(person: User, mailing: Mailing) -> None:
    now = clock.now()
    failed = run_at(mailing, now - 3 * DAY, SENT, FAILED)
    doubtful = run_at(mailing, now - 2 * DAY, UNKNOWN)
    waiting = {"status": RunStatus.SENDING, "fault": "454 4.7.0 later"}
    run_at(mailing, now - DAY, PENDING, **waiting)
    run_at(mailing, now, PENDING, **waiting)
    run_at(mailing, now - 8 * DAY, FAILED)
    found = overview.attention(person, now)
    assert [run for run, _mailing in found.troubled] == [doubtful, failed]
    assert (found.fault, found.waiting) == ("454 4.7.0 later", 2)
    assert not overview.attention(make.user("other@golub.test"), now)


def test_imports_that_failed_and_mailings_that_a_manager_stopped_need_attention(person: User, mailing: Mailing) -> None:
    now = clock.now()
    for name, status, ended in (
        ("bad.csv", ImportStatus.FAILED, now - DAY),
        ("old.csv", ImportStatus.FAILED, now - 8 * DAY),
        ("good.csv", ImportStatus.DONE, now),
    ):
        db.session.add(Import(owner_id=person.id, status=status, file_name=name, size=1, finished_at=ended))
    mailing.disabled_at, mailing.disabled_reason = now, "Complaints"
    make.mailing(person, disabled_at=now, deleted_at=now)
    found = overview.attention(person, now)
    assert [made.file_name for made in found.imports] == ["bad.csv"]
    assert found.disabled == [mailing]


class TestPage:
    def test_all_of_it_stands_on_the_page(self, app: Flask, owner_client: FlaskClient, owner: User) -> None:
        with app.app_context():
            mailing = make.mailing(owner, name="Stopped", disabled_at=clock.now(), disabled_reason="Complaints")
            run_at(mailing, clock.now(), SENT, FAILED)
            run_at(mailing, clock.now() - DAY, PENDING, status=RunStatus.SENDING, fault="421 away")
            db.session.add(
                Import(
                    owner_id=owner.id,
                    status=ImportStatus.FAILED,
                    file_name="bad.csv",
                    size=1,
                    finished_at=clock.now(),
                    fault="It is no table.",
                )
            )
            db.session.commit()
        page = owner_client.get("/overview").text
        for words in ("Complaints", "421 away", "1 run waits for the mail server", "bad.csv", "It is no table."):
            assert words in page
        assert page.count('class="sparkline"') == 4

    def test_a_newcomer_sees_steps_and_no_noughts(self, owner_client: FlaskClient) -> None:
        page = owner_client.get("/overview").text
        assert "Three steps" in page
        assert 'id="figures"' not in page

    def test_the_live_part_counts_no_figures_and_the_figures_come_alone(self, owner_client: FlaskClient) -> None:
        live = owner_client.get("/overview", headers=HTMX).text
        assert 'id="live"' in live
        assert 'id="figures"' not in live
        figures = owner_client.get("/overview?figures=1", headers=HTMX).text
        assert 'id="figures"' in figures
        assert 'id="live"' not in figures
