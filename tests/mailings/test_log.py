"""The service's log: one's own in full, others' without what tells whose they are."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import clock
from app.auth.models import User
from app.delivery.models import Attempt
from app.extensions import db
from app.mailings import jobs, log, service
from app.paging import paginate
from tests import make

HTMX = {"HX-Request": "true"}
ALL = "/log?of=all"


@pytest.fixture
def sent(app, owner, stranger, smtp, run_jobs):
    """A message of the owner's that went out, and one of the stranger's that was refused."""
    smtp.answer_rcpt = lambda address: (
        f"550 5.1.1 <{address}>: zoe.smirnova is unknown at corporate-mail.test" if "zoe" in address.lower() else ""
    )
    for person, email in ((owner, "anna@example.test"), (stranger, "Zoe.Smirnova@corporate-mail.test")):
        with app.app_context():
            user = db.session.get(User, person.id)
            make.client(user, email)
            run = service.start_now(make.mailing(user, name=f"News of {user.email}"))
            db.session.commit()
            jobs.prepare_run(run.id)
    run_jobs()


def shows_stranger(text):
    return re.search("zoe|smirnova|corporate|stranger", text, re.IGNORECASE)


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_user_sees_their_own_first(sent, owner_client, headers):
    text = owner_client.get("/log", headers=headers).text
    assert "anna@example.test" in text
    assert "News of owner@golub.test" in text
    assert text.count('id="attempt-') == 1


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_of_others_a_user_sees_the_answer_and_nobody(sent, owner_client, headers):
    text = owner_client.get(ALL, headers=headers).text
    assert text.count('id="attempt-') == 2
    assert "550 5.1.1" in text
    assert "Z•••@c•••.test" in text
    assert not shows_stranger(text)


@pytest.mark.parametrize("search", ["zoe", "Zoe.Smirnova@corporate-mail.test", "z"])
def test_what_is_masked_is_not_found_either(sent, owner_client, search):
    text = owner_client.get("/log", query_string={"of": "all", "q": search}).text
    assert text.count('id="attempt-') == 0


@pytest.mark.parametrize("who", ["manager", "admin"])
def test_the_staff_sees_everything(sent, request, who):
    client = request.getfixturevalue(f"{who}_client")
    text = client.get("/log").text
    for words in ("anna@example.test", "Zoe.Smirnova@corporate-mail.test", "News of stranger@golub.test"):
        assert words in text
    assert client.get("/log?q=zoe").text.count('id="attempt-') == 1


def test_an_editor_and_a_guest_see_nothing(editor_client, client):
    assert editor_client.get("/log").status_code == 403
    assert client.get("/log").status_code == 302
    assert 'href="/log"' not in editor_client.get("/blog/").text


def test_it_is_filtered_by_outcome_and_code(sent, manager_client):
    for query, count in (
        ("outcome=failed", 1),
        ("outcome=sent", 1),
        ("outcome=unknown", 0),
        ("code=550", 1),
        ("code=250&outcome=failed", 0),
        ("code=x&outcome=y&q=%00", 2),
    ):
        assert manager_client.get(f"/log?{query}").text.count('id="attempt-') == count, query


def test_it_pages(app, sent, manager_client, owner):
    with app.app_context():
        [first, *_rest] = paginate(log.attempts(), Attempt.id).items
        fields = {
            "delivery_id": first.delivery_id,
            "run_id": first.run_id,
            "stage": first.stage,
            "outcome": first.outcome,
        }
        db.session.add_all(Attempt(at=clock.now(), **fields) for _number in range(60))
        db.session.commit()
    page = manager_client.get("/log").text
    further = re.search(r'data-pager.*?hx-get="([^"]+)"', page, re.DOTALL)[1].replace("&amp;", "&")
    rest = manager_client.get(further, headers=HTMX).text
    assert page.count('id="attempt-') + rest.count('id="attempt-') == 62
    assert manager_client.get("/log?after=nonsense").status_code == 404


def test_an_empty_log_says_what_belongs_there(owner_client):
    assert "No attempts here" in owner_client.get("/log").text


LOCAL = st.from_regex(r"[a-z]{3,10}([._+-][a-z]{3,10})?", fullmatch=True)
DOMAIN = st.from_regex(r"[a-z]{4,12}(-[a-z]{3,6})?\.(com|ru|example)", fullmatch=True)
AROUND = st.sampled_from(["<{}>", "({})", "'{}'", " {} ", "user={};", '"{}"', "[{}]", "{}:", "x{}y", "rcpt:{},"])
CASE = st.sampled_from([str, str.upper, str.title, str.swapcase])


@given(LOCAL, DOMAIN, AROUND, CASE, st.sampled_from(["whole", "local", "domain"]))
def test_no_reply_gives_an_address_away(local, domain, around, case, part):
    email = f"{local}@{domain}"
    said = case({"whole": email, "local": local, "domain": domain}[part])
    reply = "5.1.1 " + around.format(said) + " no such mailbox, id=4bX9kQ1z7 see https://x.example/u/7731"
    text = log.masked_reply(reply, email).casefold()
    assert local.casefold() not in text
    assert domain.casefold() not in text
    assert "4bx9" not in text
    assert "7731" not in text


@given(LOCAL, DOMAIN)
def test_a_masked_address_keeps_two_letters_and_the_last_label(local, domain):
    assert log.masked(f"{local}@{domain}") == f"{local[0]}•••@{domain[0]}•••.{domain.rpartition('.')[2]}"
