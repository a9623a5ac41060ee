"""A client's page: what was sent to them, and what became of it."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

from app import clock
from app.auth import roles
from app.auth.models import User
from app.auth.roles import PERMISSIONS, Permission, Role
from app.clients import service as clients
from app.clients.models import Client, ClientStatus
from app.delivery.models import Delivery, DeliveryStatus, SkipReason
from app.extensions import db
from app.mailings import client_history as history
from app.mailings.models import Audience, Mailing
from tests import make
from tests.mailings import ledger

HTMX = {"HX-Request": "true"}
ANSWER = "Mailbox anna@example.test unavailable"


def letters(owner: User, client: Client, *statuses: DeliveryStatus, name: str = "Spring news") -> Mailing:
    """A mailing with one run for each of these outcomes, an hour apart, the newest last."""
    mailing = make.mailing(owner, name=name)
    for number, status in enumerate(statuses):
        at = clock.now() - timedelta(hours=len(statuses) - number)
        run = make.run(mailing, scheduled_for=at, subject=f"Letter {number}")
        delivery = Delivery(run_id=run.id, client_id=client.id, email=client.email, status=status, finished_at=at)
        db.session.add(delivery)
        db.session.flush()
        if status is DeliveryStatus.SKIPPED:
            delivery.skip_reason = SkipReason.SUPPRESSED
        elif status is DeliveryStatus.FAILED:
            ledger.attempt(delivery, status, reply=ANSWER)
        else:
            ledger.attempt(delivery, status, code=250, enhanced_code=None, reply=f"accepted {number}")
    return mailing


@pytest.fixture
def anna(app: Flask, owner: User) -> int:
    """A client with one letter of each outcome, whose address bounced."""
    with app.app_context():
        client = make.client(owner, status=ClientStatus.BOUNCED, first_name="Anna")
        outcomes = (DeliveryStatus.SENT, DeliveryStatus.UNKNOWN, DeliveryStatus.SKIPPED, DeliveryStatus.FAILED)
        letters(owner, client, *outcomes)
        letters(owner, make.client(owner, "boris@example.test"), DeliveryStatus.SENT, name="Not Anna's")
        db.session.commit()
        return client.id


def plain(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


def test_the_page_has_the_history_load_by_itself_and_a_link_for_those_without_scripts(
    owner_client: FlaskClient, anna: int
) -> None:
    page = owner_client.get(f"/clients/{anna}").text
    url = f"/clients/{anna}/history"
    assert f'hx-get="{url}" hx-trigger="load"' in page
    assert f'href="{url}"' in page
    assert "<html" in owner_client.get(url).text
    assert owner_client.get(url, headers=HTMX).text.lstrip().startswith('<div id="history">')


def test_it_tells_every_letter_with_the_servers_answers_the_newest_first(owner_client: FlaskClient, anna: int) -> None:
    html = owner_client.get(f"/clients/{anna}/history", headers=HTMX).text
    assert re.findall(r"Letter \d", html) == ["Letter 3", "Letter 2", "Letter 1", "Letter 0"]
    text = plain(html)
    assert "accepted 0" in text
    assert "550 5.1.1" in text
    assert "Skipped: the client no longer takes letters." in text
    assert "Spring news" in text
    assert "Not Anna's" not in text
    assert "The address bounced" in text
    assert ANSWER in text
    for figure in ("Sent 1", "Failed 1", "Unknown 1", "Skipped 1"):
        assert figure in text


def test_figures_add_up_to_the_ledger(app: Flask, owner: User) -> None:
    with app.app_context():
        client = make.client(owner)
        letters(owner, client, *[*DeliveryStatus] * 2)
        figures = history.figures_of(client)
        assert (figures.sent, figures.failed, figures.unknown, figures.skipped, figures.waiting) == (2, 2, 2, 2, 4)
        assert figures.first_at < figures.last_at
        nobody = make.client(owner, "new@example.test")
        assert not history.figures_of(nobody)
        assert history.figures_of(nobody).last_at is None


def test_a_long_history_pages_and_each_page_takes_the_same_few_statements(
    app: Flask, owner: User, owner_client: FlaskClient
) -> None:
    with app.app_context():
        client = make.client(owner)
        letters(owner, client, *[DeliveryStatus.SENT] * 60)
        db.session.commit()
        first = url = f"/clients/{client.id}/history"
        engine = db.engine
    statements: list[Any] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    event.listen(engine, "before_cursor_execute", note)
    seen, counts = [], []
    while url:
        statements.clear()
        html = owner_client.get(url, headers=HTMX).text
        counts.append(len(statements))
        seen += re.findall(r"Letter (\d+)", html)
        more = re.search(r'hx-get="([^"]+history\?after=[^"]+)"', html)
        url = unescape(more[1]) if more else ""
    event.remove(engine, "before_cursor_execute", note)
    assert seen == [str(number) for number in reversed(range(60))]
    assert len(counts) == 3
    assert max(counts) < 15
    assert owner_client.get(f"{first}?after=forged").status_code == 404


def test_a_deleted_mailing_keeps_its_name_and_has_no_link(app: Flask, owner: User, owner_client: FlaskClient) -> None:
    with app.app_context():
        client = make.client(owner)
        mailing = letters(owner, client, DeliveryStatus.SENT)
        mailing.deleted_at = clock.now()
        db.session.commit()
        client_id = client.id
    html = owner_client.get(f"/clients/{client_id}/history").text
    assert "Spring news (deleted)" in plain(html)
    assert "/mailings/1/" not in html


def test_it_tells_segments_and_what_comes_next(app: Flask, owner: User, owner_client: FlaskClient) -> None:
    with app.app_context():
        client = make.client(owner, birth_year=1990)
        young = clients.create_segment(owner, "Young ones", {"born_from": 1980})
        old = clients.create_segment(owner, "Old ones", {"born_to": 1950})
        make.mailing(owner, name="To all")
        make.mailing(owner, name="To young", audience=Audience.SEGMENT, segment_id=young.id)
        make.mailing(owner, name="To old", audience=Audience.SEGMENT, segment_id=old.id)
        make.mailing(owner, name="To chosen", audience=Audience.CHOSEN, chosen_clients=[client])
        make.mailing(owner, name="To others", audience=Audience.CHOSEN)
        make.mailing(owner, name="Paused", paused_at=clock.now())
        db.session.commit()
        client_id = client.id
    text = plain(owner_client.get(f"/clients/{client_id}/history").text)
    for name in ("Young ones", "To all", "To young", "To chosen"):
        assert name in text
    for name in ("Old ones", "To old", "To others", "Paused"):
        assert name not in text
    with app.app_context():
        db.session.get_one(Client, client_id).status = ClientStatus.UNSUBSCRIBED
        db.session.commit()
    assert "To all" not in owner_client.get(f"/clients/{client_id}/history").text


class TestWalls:
    def test_a_stranger_finds_nothing(self, stranger_client: FlaskClient, anna: int) -> None:
        assert stranger_client.get(f"/clients/{anna}/history").status_code == 404

    def test_a_manager_sees_the_letters_and_no_segments(
        self, app: Flask, owner: User, manager_client: FlaskClient, anna: int
    ) -> None:
        with app.app_context():
            clients.create_segment(owner, "Private words", {})
            db.session.commit()
        html = manager_client.get(f"/clients/{anna}/history").text
        assert ANSWER in html
        assert "Private words" not in html

    def test_staff_who_may_see_no_addresses_see_masked_ones(
        self, manager_client: FlaskClient, anna: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        without = PERMISSIONS[Role.MANAGER] - {Permission.SEE_ADDRESSES}
        monkeypatch.setitem(roles.PERMISSIONS, Role.MANAGER, without)
        for url in (f"/clients/{anna}", f"/clients/{anna}/history"):
            html = manager_client.get(url).text
            assert "anna@example.test" not in html
            assert "Anna" in html
        assert "unavailable" in html
