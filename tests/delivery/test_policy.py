"""What answers mean."""

from datetime import timedelta

import pytest

from app.config import Settings
from app.delivery import policy
from app.delivery.models import DeliveryStatus, Stage
from app.delivery.smtp import kind_of
from app.delivery.transport import Answer, Reply

pytestmark = pytest.mark.one_database

PENDING, SENT, FAILED, UNKNOWN = (
    DeliveryStatus.PENDING,
    DeliveryStatus.SENT,
    DeliveryStatus.FAILED,
    DeliveryStatus.UNKNOWN,
)


@pytest.mark.parametrize(
    ("kind", "stage", "outcome", "is_charged", "suppresses", "strain"),
    [
        (Reply.ACCEPTED, Stage.BODY, SENT, True, False, 0),
        (Reply.LATER, Stage.MAIL, PENDING, True, False, 0),
        (Reply.LATER, Stage.BODY, PENDING, True, False, 0),
        (Reply.REFUSED, Stage.RCPT, FAILED, True, False, 0),
        (Reply.REFUSED, Stage.BODY, FAILED, True, False, 0),
        (Reply.NO_SUCH_ADDRESS, Stage.RCPT, FAILED, True, True, 0),
        (Reply.NO_SUCH_ADDRESS, Stage.BODY, FAILED, True, True, 0),
        (Reply.OUR_FAULT, Stage.MAIL, PENDING, False, False, 3),
        (Reply.OUR_FAULT, Stage.BODY, PENDING, False, False, 3),
        (Reply.CLOSING, Stage.RCPT, PENDING, False, False, 1),
        (Reply.CLOSING, Stage.BODY, PENDING, False, False, 1),
        (Reply.NONE, Stage.DATA, PENDING, False, False, 1),
        (Reply.NONE, Stage.BODY, UNKNOWN, True, False, 1),
    ],
)
def test_each_kind_of_answer_has_one_meaning(
    kind: Reply, stage: Stage, outcome: DeliveryStatus, *, is_charged: bool, suppresses: bool, strain: int
) -> None:
    verdict = policy.verdict_on(Answer(1, stage, kind, None, ""))
    assert verdict == policy.Verdict(outcome, is_charged, suppresses, strain)


def test_every_kind_of_answer_is_in_the_table() -> None:
    missing = {(kind, begun) for kind in Reply for begun in (True, False)} - policy.POLICY.keys()
    assert missing == {(Reply.ACCEPTED, False)}  # which nobody can say


@pytest.mark.parametrize(
    ("stage", "code", "enhanced", "kind"),
    [
        (Stage.BODY, 250, "2.0.0", Reply.ACCEPTED),
        (Stage.BODY, 200, None, Reply.ACCEPTED),
        (Stage.RCPT, 450, "4.2.1", Reply.LATER),
        (Stage.MAIL, 452, None, Reply.LATER),
        (Stage.BODY, 451, "4.7.1", Reply.LATER),
        (Stage.RCPT, 550, "5.1.1", Reply.NO_SUCH_ADDRESS),
        (Stage.RCPT, 550, "5.1.10", Reply.NO_SUCH_ADDRESS),
        (Stage.BODY, 550, "5.1.1", Reply.NO_SUCH_ADDRESS),
        (Stage.RCPT, 550, "5.2.2", Reply.REFUSED),
        (Stage.RCPT, 550, None, Reply.REFUSED),
        (Stage.BODY, 554, None, Reply.REFUSED),
        (Stage.RCPT, 554, "5.7.1", Reply.OUR_FAULT),
        (Stage.RCPT, 553, "5.1.8", Reply.OUR_FAULT),
        (Stage.MAIL, 550, None, Reply.OUR_FAULT),
        (Stage.MAIL, 530, "5.7.0", Reply.OUR_FAULT),
        (Stage.RCPT, 535, None, Reply.OUR_FAULT),
        (Stage.MAIL, 552, None, Reply.REFUSED),
        (Stage.MAIL, 552, "5.3.4", Reply.REFUSED),
        (Stage.MAIL, 553, "5.6.7", Reply.REFUSED),
        (Stage.MAIL, 421, "4.7.0", Reply.CLOSING),
        (Stage.BODY, 421, None, Reply.CLOSING),
        (Stage.RCPT, 250, None, Reply.NONE),
        (Stage.BODY, 354, None, Reply.NONE),
        (Stage.DATA, 250, None, Reply.NONE),
    ],
)
def test_what_a_mail_server_says_is_of_one_kind(stage: Stage, code: int, enhanced: str | None, kind: Reply) -> None:
    assert kind_of(stage, code, enhanced) is kind


@pytest.mark.parametrize(("attempt", "minutes"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (1000, 60)])
def test_waiting_doubles_up_to_an_hour(settings: Settings, attempt: int, minutes: int) -> None:
    assert policy.retry_delay(attempt, settings) == timedelta(minutes=minutes)


def test_waiting_is_a_little_longer_for_some() -> None:
    delays = [policy.with_jitter(timedelta(minutes=10)) for _ in range(200)]
    assert timedelta(minutes=10) <= min(delays) < max(delays) <= timedelta(minutes=12)


def test_a_day_of_waiting_is_enough(settings: Settings) -> None:
    last = next(attempt for attempt in range(1, 1000) if policy.is_last(attempt, settings))
    waited = sum((policy.retry_delay(attempt, settings) for attempt in range(1, last)), timedelta())
    assert timedelta(hours=23) < waited <= timedelta(hours=24)


def test_an_operator_may_allow_fewer_tries(settings: Settings) -> None:
    few = settings.model_copy(update={"attempts_max": 3})
    assert [policy.is_last(attempt, few) for attempt in (1, 2, 3)] == [False, False, True]
