"""Makes runs with what became of their messages, in the open session: the caller commits."""

from collections import Counter
from typing import Any

from app import clock
from app.delivery.models import Attempt, Delivery, DeliveryStatus, Run, RunStatus, Stage
from app.extensions import db
from app.mailings.models import Mailing

FROZEN = {"subject": "News", "html": "<p>Hello!</p>", "text": "Hello!", "sender": "golub@golub.test"}


def run(mailing: Mailing, *statuses: DeliveryStatus, **fields: Any) -> Run:
    """A run with one delivery in each of these states, to client0@example.test and so on. It is done unless told."""
    counted = {status.value: count for status, count in Counter(statuses).items()}
    fields = {"scheduled_for": clock.now(), "status": RunStatus.DONE} | fields
    made = Run(mailing_id=mailing.id, owner_id=mailing.owner_id, planned=len(statuses), **FROZEN, **counted, **fields)
    db.session.add(made)
    db.session.flush()
    for number, status in enumerate(statuses):
        db.session.add(Delivery(run_id=made.id, email=f"client{number}@example.test", status=status))
    db.session.flush()
    return made


def attempt(delivery: Delivery, outcome: DeliveryStatus, **fields: Any) -> Attempt:
    fields = {"stage": Stage.RCPT, "code": 550, "enhanced_code": "5.1.1", "reply": "No such user"} | fields
    fields |= {"owner_id": db.session.get_one(Run, delivery.run_id).owner_id}
    made = Attempt(delivery_id=delivery.id, run_id=delivery.run_id, outcome=outcome, **fields)
    delivery.attempts += 1
    db.session.add(made)
    db.session.flush()
    return made
