from datetime import timedelta

import pytest

from app.delivery import policy
from app.delivery.models import DeliveryStatus, Stage
from app.delivery.transport import Answer


@pytest.mark.parametrize(
    ("stage", "code", "attempts_left", "outcome"),
    [
        (Stage.BODY, 250, 9, DeliveryStatus.SENT),
        (Stage.BODY, 451, 9, DeliveryStatus.PENDING),
        (Stage.BODY, 451, 0, DeliveryStatus.FAILED),
        (Stage.BODY, 554, 9, DeliveryStatus.FAILED),
        (Stage.BODY, None, 9, DeliveryStatus.UNKNOWN),
        (Stage.BODY, None, 0, DeliveryStatus.UNKNOWN),
        (Stage.RCPT, 450, 9, DeliveryStatus.PENDING),
        (Stage.RCPT, 550, 9, DeliveryStatus.FAILED),
        (Stage.MAIL, None, 9, DeliveryStatus.PENDING),
        (Stage.MAIL, None, 0, DeliveryStatus.PENDING),
        (Stage.DATA, 250, 9, DeliveryStatus.FAILED),
        (Stage.DATA, 554, 9, DeliveryStatus.FAILED),
    ],
)
def test_each_answer_has_one_meaning(
    stage: Stage, code: int | None, attempts_left: int, outcome: DeliveryStatus
) -> None:
    assert policy.outcome_of(Answer(1, stage, code, ""), attempts_left) is outcome


def test_only_an_answer_counts_against_the_recipient() -> None:
    assert policy.is_charged(Answer(1, Stage.RCPT, 450, ""))
    assert not policy.is_charged(Answer(1, Stage.MAIL, None, "connection reset"))


@pytest.mark.parametrize(("attempt", "minutes"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (1000, 60)])
def test_waiting_doubles_up_to_an_hour(attempt: int, minutes: int) -> None:
    assert policy.retry_delay(attempt) == timedelta(minutes=minutes)
