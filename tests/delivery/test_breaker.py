"""The breaker and the rates of an account, and the engine between them."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import current_app
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import func, select

from app import clock
from app.config import Settings
from app.delivery import pace, rates
from app.delivery.breaker import Breaker, Opened
from app.delivery.models import Attempt, Run
from app.extensions import db
from app.queue import connection
from dev.servers import free_port
from tests.delivery.conftest import assert_reconciles
from tests.delivery.test_engine import deliver
from tests.smtp import RecordingSmtp

PlannedRun = Callable[..., Run]


@pytest.fixture
def redis(context: None) -> Redis:
    connection().flushdb()
    return connection()


@pytest.fixture
def account(redis: Redis) -> Breaker:
    """The breaker that the engine looks at."""
    settings: Settings = current_app.config["SETTINGS"]
    return Breaker(redis, settings.mail_account)


def come(monkeypatch: pytest.MonkeyPatch, later: timedelta) -> None:
    """The time to come is there."""
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: real() + later)


def test_it_is_closed_until_somebody_opens_it(account: Breaker) -> None:
    assert account.state() is None
    opened = account.open("421 go away")
    state = account.state()
    assert state is not None
    assert (state.fault, state.until) == ("421 go away", opened.until)
    account.close()
    assert account.state() is None


def test_each_failed_probe_doubles_the_wait_up_to_its_limit(account: Breaker) -> None:
    waits = []
    for _ in range(8):
        waits.append(round((account.open("away").until - clock.now()).total_seconds()))
        assert account.may_probe()
    assert waits == [15, 30, 60, 120, 240, 300, 300, 300]


def test_those_who_were_on_their_way_do_not_make_it_longer(account: Breaker) -> None:
    waits = {round((account.open("away").until - clock.now()).total_seconds()) for _ in range(5)}
    assert waits == {15}


def test_one_at_a_time_may_try(account: Breaker) -> None:
    account.open("away")
    assert account.may_probe()
    assert not account.may_probe()


def test_who_has_nothing_to_try_with_lets_the_next_one(
    planned_run: PlannedRun, account: Breaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.open("down")
    come(monkeypatch, timedelta(minutes=1))
    planned_run(1, held_at=clock.now())
    deliver()
    assert account.may_probe()


def test_while_somebody_tries_nobody_makes_the_others_wait_longer(
    planned_run: PlannedRun, account: Breaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.open("down")
    run = planned_run(1)
    deliver()
    waits_until = assert_reconciles(run.id).resume_at
    come(monkeypatch, timedelta(minutes=1))
    assert account.may_probe()
    deliver()
    assert assert_reconciles(run.id).resume_at == waits_until


def test_without_redis_it_is_closed() -> None:
    away = Breaker(Redis(port=free_port(), retry=Retry(NoBackoff(), 0)), "x")
    assert away.state() is None
    assert away.may_probe()
    assert away.open("away").until > clock.now()
    away.close()


def test_an_hour_without_a_mail_server_costs_a_handful_of_tries_and_no_recipient_any(
    planned_run: PlannedRun, account: Breaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, nobody = planned_run(20), free_port()
    tries: list[str] = []
    opening = Breaker.open

    def counted(breaker: Breaker, fault: str) -> Opened:
        tries.append(fault)
        return opening(breaker, fault)

    monkeypatch.setattr(Breaker, "open", counted)
    at, ends = clock.now(), clock.now() + timedelta(hours=1)
    monkeypatch.setattr(clock, "now", lambda: at)
    while at < ends:
        go_on_at = deliver(mail_port=nobody, mail_timeout_seconds=1.0)
        connection().delete(*connection().keys("golub:breaker:*:probe") or ["none"])
        assert go_on_at is not None
        at = max(go_on_at, at + timedelta(seconds=1))
    assert len(tries) < 25
    run = assert_reconciles(run.id)
    assert (run.pending, run.fault != "") == (20, True)
    assert db.session.scalar(select(func.count()).select_from(Attempt)) == 0


def test_relaying_denied_stops_all_and_charges_nobody(
    planned_run: PlannedRun, account: Breaker, smtp: RecordingSmtp
) -> None:
    run = planned_run(10)
    smtp.answer_rcpt = lambda _address: "554 5.7.1 relay access denied"
    go_on_at = deliver(claim_size=5)
    run = assert_reconciles(run.id)
    assert (run.pending, run.resume_at) == (10, go_on_at)
    assert "relay access denied" in run.fault
    assert db.session.scalar(select(func.count()).select_from(Attempt)) == 1


def test_the_first_success_after_a_fault_lets_everybody_go_on(
    planned_run: PlannedRun, account: Breaker, smtp: RecordingSmtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = planned_run(3), planned_run(2)
    deliver(mail_port=free_port())
    assert assert_reconciles(second.id).fault != ""
    # Another port is another account; its breaker is what the fault above did not open.
    Breaker(connection(), current_app.config["SETTINGS"].mail_account).open("down")
    come(monkeypatch, timedelta(minutes=10))
    deliver()
    for run in (first, second):
        found = assert_reconciles(run.id)
        assert (found.pending, found.fault, found.resume_at) == (0, "", None)
    assert len(smtp.letters) == 5
    assert account.state() is None


def test_three_closings_in_a_row_open_it(planned_run: PlannedRun, account: Breaker, smtp: RecordingSmtp) -> None:
    run = planned_run(10)
    smtp.answer_rcpt = lambda _address: "421 4.7.0 try again later"
    deliver()
    assert account.state() is not None
    assert db.session.scalar(select(func.count()).select_from(Attempt)) == 3
    assert assert_reconciles(run.id).pending == 10


def test_a_server_that_swallows_bodies_makes_few_unknown(
    planned_run: PlannedRun, account: Breaker, smtp: RecordingSmtp
) -> None:
    run = planned_run(10)
    smtp.answer_data = lambda _letter: "what?"
    deliver()
    run = assert_reconciles(run.id)
    assert (run.unknown, run.pending) == (3, 7)
    assert account.state() is not None


# ── Rates ──


def limited(**changes: int) -> Settings:
    settings: Settings = current_app.config["SETTINGS"]
    return settings.model_copy(update=changes)


def test_without_a_limit_everything_may_leave(redis: Redis) -> None:
    assert rates.allowance(limited(), 1000) == (1000, None)


def test_a_rate_is_shared_and_says_when_to_ask_again(redis: Redis) -> None:
    settings = limited(mail_per_hour=100)
    granted = [rates.allowance(settings, 60)[0] for _ in range(8)]
    assert sum(granted) == 100
    assert granted[-1] == 0
    _none, again_at = rates.allowance(settings, 60)
    assert again_at is not None
    assert clock.now() < again_at <= clock.now() + rates.LONGEST_PAUSE


def test_a_run_under_a_rate_is_put_back_with_a_time(planned_run: PlannedRun, redis: Redis, smtp: RecordingSmtp) -> None:
    run = planned_run(30)
    go_on_at = deliver(mail_per_hour=10)
    assert go_on_at is not None
    assert go_on_at > clock.now()
    assert len(smtp.letters) == assert_reconciles(run.id).sent == 10


def test_without_redis_no_rate_holds_anything_back() -> None:
    settings = Settings.model_construct(
        redis_url=f"redis://127.0.0.1:{free_port()}/0",
        mail_per_second=1,
        mail_per_hour=0,
        mail_username=None,
        mail_server="x",
        mail_port=25,
        send_api_url="",
    )
    assert rates.allowance(settings, 5) == (5, None)


# ── Pace ──


def test_a_pace_is_what_was_sent_in_the_last_half_minute(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pace.of_run(redis, 1) is None
    pace.note(redis, {1: 100}, 0.5)
    come(monkeypatch, timedelta(seconds=pace.BUCKET_SECONDS))
    pace.note(redis, {1: 100}, 0.5)
    found = pace.of_run(redis, 1)
    assert found is not None
    assert 200 / (2 * pace.BUCKET_SECONDS) <= found.per_second <= 200 / pace.BUCKET_SECONDS
    assert found.answer_seconds == pytest.approx(0.005)
    assert pace.of_run(redis, 2) is None


def test_an_old_pace_is_forgotten(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    pace.note(redis, {1: 100}, 0.5)
    come(monkeypatch, timedelta(minutes=5))
    assert pace.of_run(redis, 1) is None
