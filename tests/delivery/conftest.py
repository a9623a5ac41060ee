from collections.abc import Callable

import pytest
from sqlalchemy import select

from app.auth.models import User
from app.auth.roles import Role
from app.clients.models import Client
from app.delivery import service
from app.delivery.models import DeliveryStatus, Run
from app.extensions import db
from app.mailings import dispatch
from tests import make


def assert_reconciles(run_id: int) -> Run:
    """The counters agree with the rows, and their sum with what was planned."""
    run = db.session.get_one(Run, run_id, populate_existing=True)
    rows = make.delivery_counts(run_id)
    assert {status: getattr(run, status.value) for status in DeliveryStatus} == rows
    assert run.planned == sum(rows.values())
    return run


@pytest.fixture
def user(context: None) -> User:
    return make.user("owner@golub.test", Role.USER)


@pytest.fixture
def planned_run(user: User) -> Callable[..., Run]:
    """A function that makes a run of a new mailing whose audience of so many clients is frozen, committed."""

    def plan(count: int = 3, **fields: object) -> Run:
        emails = [f"client{n}@example.test" for n in range(count)]
        known = set(db.session.scalars(select(Client.email)))
        for email in emails:
            if email not in known:
                make.client(user, email, first_name="Anna")
        mailing = make.mailing(user)
        run = dispatch.begin_by_hand(mailing, "golub@golub.test")
        for name, value in fields.items():
            setattr(run, name, value)
        run.text = "Hello!"
        db.session.flush()
        service.plan(run, select(Client).where(Client.email.in_(emails)))
        db.session.commit()
        db.session.refresh(run)
        return run

    return plan
