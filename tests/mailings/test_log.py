"""The service's log: one's own in full, others' without what tells whose they are."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import clock
from app.auth.models import User
from app.delivery.models import Attempt, Delivery, DeliveryStatus
from app.extensions import db
from app.mailings import jobs, log, service
from app.paging import paginate
from tests import make
from tests.mailings import ledger

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
            service.start_now(make.mailing(user, name=f"News of {user.email}"))
            db.session.commit()
            jobs.prepare_runs()
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


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_no_spelling_of_a_foreign_address_is_on_the_page(app, stranger, owner_client, headers):
    patterns = ["<{}> gone", "to={};", "({}", "{}: full", "x{}y", "smtp:{}?", '"{}"', "see http://help.test/{}"]
    with app.app_context():
        run = ledger.run(make.mailing(stranger, name="Corporate news"))
        for pattern in patterns:
            for said in ("ZOE.Smirnova@Corporate-MAIL.test", "zoe.SMIRNOVA", "corporate-mail.TEST", "Smirnova, Zoe"):
                delivery = Delivery(run_id=run.id, email="Zoe.Smirnova@corporate-mail.test", status="failed")
                db.session.add(delivery)
                db.session.flush()
                ledger.attempt(delivery, DeliveryStatus.FAILED, reply=pattern.format(said))
        db.session.commit()
    text = owner_client.get(ALL, headers=headers).text
    assert text.count('id="attempt-') == 32
    assert not shows_stranger(text)


@pytest.mark.parametrize("search", ["zoe", "Zoe.Smirnova@corporate-mail.test", "z"])
def test_what_is_masked_is_not_found_either(sent, owner_client, search):
    text = owner_client.get("/log", query_string={"of": "all", "q": search}).text
    assert text.count('id="attempt-') == 0


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_search_says_that_it_looks_among_ones_own(sent, owner_client, manager_client, headers):
    assert "My messages: anna…" in owner_client.get("/log?of=all&q=anna", headers=headers).text
    assert "My messages" not in manager_client.get("/log?q=anna", headers=headers).text


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
        [first, *_rest] = log.newest(log.Filters()).items
        fields = {
            "delivery_id": first.delivery_id,
            "run_id": first.run_id,
            "stage": first.stage,
            "outcome": first.outcome,
        }
        db.session.add_all(Attempt(at=clock.now(), owner_id=first.owner_id, **fields) for _number in range(60))
        db.session.commit()
    page = manager_client.get("/log").text
    further = re.search(r'data-pager.*?hx-get="([^"]+)"', page, re.DOTALL)[1].replace("&amp;", "&")
    rest = manager_client.get(further, headers=HTMX).text
    assert page.count('id="attempt-') + rest.count('id="attempt-') == 62
    assert manager_client.get("/log?after=nonsense").status_code == 404


def test_an_empty_log_says_what_belongs_there(owner_client):
    assert "No attempts here" in owner_client.get("/log").text


LOCAL = st.from_regex(r"[a-zà-ö]{3,10}([._+-][a-z]{3,10})?", fullmatch=True)
SHORT = st.from_regex(r"[b-z]{1,2}([.+-][b-z]{1,2})?", fullmatch=True)
DOMAIN = st.from_regex(r"[a-z]{4,12}(-[a-z]{3,6})?\.(com|ru|example)", fullmatch=True)
AROUND = st.sampled_from(["<{}>", "({})", "'{}'", " {} ", "user={};", '"{}"', "[{}]", "{}:", "x{}y", "rcpt:{},"])
CASE = st.sampled_from([str, str.upper, str.title, str.swapcase])
SPELLING = st.builds(
    lambda case, form: lambda text: unicodedata.normalize(form, case(text)), CASE, st.sampled_from(["NFC", "NFD"])
)


def bare(text):
    return unicodedata.normalize("NFC", text).casefold()


@given(LOCAL, DOMAIN, AROUND, SPELLING, st.sampled_from(["whole", "local", "domain"]))
def test_no_reply_gives_an_address_away(local, domain, around, spelled, part):
    email = f"{local}@{domain}"
    said = {"whole": email, "local": local, "domain": domain}[part]
    reply = "5.1.1 " + around.format(spelled(said)) + " no such mailbox, id=4bX9kQ1z7 see https://x.example/u/7731"
    text = bare(log.masked_reply(reply, email))
    assert bare(local) not in text
    assert bare(domain) not in text
    assert "4bx9" not in text
    assert "7731" not in text


@given(SHORT, DOMAIN, st.sampled_from(["{} unknown", "user={};", "({})", '"{}"', "<{}>", "{}: full"]), CASE)
def test_nor_a_short_one(local, domain, around, case):
    text = log.masked_reply(around.format(case(local)), f"{local}@{domain}")
    assert re.search(rf"(?<!\w){re.escape(local)}(?!\w)", text, re.IGNORECASE) is None


@pytest.mark.parametrize(
    ("email", "reply", "shown"),
    [
        ("annasmith@corp.test", "Mailbox of Anna Smith is full", "Mailbox of ••• ••• is full"),
        ("zoe@mail.test", "mailbox unavailable", "••• unavailable"),
        ("strasse@q.test", "STRAßE unknown", "••• unknown"),
        ("zoe@q.test", "z\u200boe unknown", "••• unknown"),
        ("zoe@q.test", "ｚｏｅ unknown", "••• unknown"),
        ("zoe@почта.рф", "ПОЧТА, xn--80a1acny", "•••, •••"),
        ("zoe@q.test", "from 10.2.3.4 [2001:db8::1] 5.7.1", "from ••• [•••] 5.7.1"),
    ],
)
def test_nor_in_another_spelling(email, reply, shown):
    assert log.masked_reply(reply, email) == shown


@given(st.text(max_size=200), LOCAL, DOMAIN)
def test_any_reply_can_be_masked(reply, local, domain):
    assert "@" not in log.masked_reply(reply, f"{local}@{domain}")


def test_an_answer_without_secrets_stays_as_it_is():
    answer = "5.1.1 The email account that you tried to reach does not exist."
    assert log.masked_reply(answer, "zoe@corporate.test") == answer


@given(LOCAL, DOMAIN)
def test_a_masked_address_keeps_two_letters_and_the_last_label(local, domain):
    assert log.masked(f"{local}@{domain}") == f"{local[0]}•••@{domain[0]}•••.{domain.rpartition('.')[2]}"
