"""The letter of a mailing, and of a run as it was frozen, alone in a sandboxed frame; and whose mailing it is."""

import re

import pytest
from sqlalchemy import select

from app.auth.models import User
from app.delivery.models import Delivery, DeliveryStatus
from app.extensions import db
from app.mailings.models import Mailing
from tests import make
from tests.mailings import ledger

HTMX = {"HX-Request": "true"}


@pytest.fixture
def pages(app, owner) -> dict[str, str]:
    """The owner's mailing, whose message changed after its run began."""
    with app.app_context():
        message = make.message(db.session.get_one(User, owner.id), subject="Next", html="<p>What comes next</p>")
        mailing = make.mailing(owner, message=message, name="Spring")
        run = ledger.run(mailing, DeliveryStatus.SENT)
        run.subject, run.html = "Frozen", "<p>As it was<script>alert(1)</script></p>"
        db.session.commit()
        delivery = db.session.scalar(select(Delivery.id).where(Delivery.run_id == run.id))
        show, of_run = f"/mailings/{mailing.id}", f"/mailings/{mailing.id}/runs/{run.id}"
    return {
        "show": show,
        "run": of_run,
        "delivery": f"{of_run}/deliveries/{delivery}",
        "letter": f"{show}/letter",
        "sent letter": f"{of_run}/letter",
    }


@pytest.mark.parametrize("who", ["owner", "manager", "admin"])
def test_the_owner_and_the_staff_see_the_letters(request, pages, who):
    client = request.getfixturevalue(f"{who}_client")
    planned, sent = client.get(pages["letter"]), client.get(pages["sent letter"])
    assert "What comes next" in planned.text
    assert "As it was" in sent.text
    assert "alert" not in sent.text
    for answer in (planned, sent):
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "sandbox" in policy


def test_nobody_else_sees_them(pages, stranger_client, editor_client, client):
    for path in (pages["letter"], pages["sent letter"]):
        assert stranger_client.get(path).status_code == 404
        assert editor_client.get(path).status_code == 403
        assert client.get(path).status_code == 302


def test_a_run_of_another_mailing_has_no_letter_here(app, owner, pages, owner_client):
    with app.app_context():
        other = make.mailing(db.session.get_one(User, owner.id)).id
        db.session.commit()
    assert owner_client.get(pages["sent letter"].replace(pages["show"], f"/mailings/{other}")).status_code == 404


def test_the_runs_page_frames_the_letter_that_was_frozen(pages, owner_client):
    text = owner_client.get(pages["run"]).text
    assert "Frozen" in text
    [frame] = re.findall(r"<iframe[^>]*>", text)
    for words in (" sandbox ", 'loading="lazy"', f'src="{pages["sent letter"]}"'):
        assert words in frame


def test_the_staff_reads_the_letter_on_the_mailings_page_and_is_not_sent_to_a_message_it_may_not_open(
    pages, owner_client, manager_client
):
    assert f'src="{pages["letter"]}"' in manager_client.get(pages["show"]).text
    assert 'href="/messages/' not in manager_client.get(pages["show"]).text.partition("<main")[2]
    assert "<iframe" not in owner_client.get(pages["show"]).text
    assert 'href="/messages/' in owner_client.get(pages["show"]).text.partition("<main")[2]


@pytest.mark.parametrize("page", ["show", "run", "delivery"])
def test_the_staff_sees_whose_it_is_and_goes_back_to_everybodys(pages, owner, owner_client, manager_client, page):
    text = manager_client.get(pages[page]).text
    assert f'href="/manager/users/{owner.id}"' in text
    assert "owner@golub.test" in text
    assert 'href="/manager/mailings"' in text
    assert 'href="/mailings/"' not in text
    own = owner_client.get(pages[page]).text
    assert own.count('href="/mailings/"') == 2  # in the sidebar, and on the way back
    assert "/manager/" not in own


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_manager_gets_no_button_that_changes_it(app, pages, manager_client, headers):
    text = manager_client.get(pages["show"], headers=headers).text
    for verb in ("start", "pause", "resume", "delete", "edit"):
        assert f"{pages['show']}/{verb}" not in text
    assert f"/manager{pages['show']}/disable" in text
    with app.app_context():
        assert db.session.scalar(select(Mailing.deleted_at)) is None


def test_fields_are_shown_filled_in_for_a_sample_client(app, owner, owner_client):
    with app.app_context():
        message = make.message(
            db.session.get_one(User, owner.id), subject="For {{ email }}", html="<p>{{ first_name }}!</p>"
        )
        mailing = make.mailing(owner, message=message)
        db.session.commit()
        path = f"/mailings/{mailing.id}/letter"
    page = owner_client.get(path).text
    assert "<p>Anna!</p>" in page
    assert "<title>For anna@example.com</title>" in page
