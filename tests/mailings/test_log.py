"""The service's log: one's own in full, others' without what tells whose they are."""

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from app import clock
from app.auth.models import User
from app.clients.models import Client
from app.delivery.models import Attempt, Delivery, DeliveryStatus, Run
from app.extensions import db
from app.mailings import addressed, jobs, log, log_views, service
from app.mailings.models import Mailing
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
    # Tokens are random letters, which spell a short name now and then.
    text = re.sub(r'"X-CSRFToken": "[^"]*|name="csrf_token" value="[^"]*', "", text)
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
    assert "<code>550</code> 5.1.1" in text  # once: the server says the enhanced code itself
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


NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
EACH = 60


@pytest.fixture
def ledger_of_two(app, owner, stranger):
    """Attempts of two owners, three mailings, six runs; each of the clients is called after one of a few words."""
    chance = Random(7)  # noqa: S311  nobody has to guess it
    with app.app_context():
        for person in (owner, stranger):
            user = db.session.get(User, person.id)
            clients = [make.client(user, f"{name}{n}@example.test") for n, name in enumerate(["anna", "boris", "Ann"])]
            for mailing in [make.mailing(user, name=f"Mailing {n}") for n in range(2)]:
                for _run in range(2):
                    run = ledger.run(mailing, scheduled_for=NOON + timedelta(minutes=chance.randrange(10**6)))
                    for client in [*clients, None]:
                        email = client.email if client else "anneke@example.test"
                        delivery = Delivery(
                            run_id=run.id, client_id=client.id if client else None, email=email, status="failed"
                        )
                        db.session.add(delivery)
                        db.session.flush()
                        for _try in range(EACH // 4):
                            outcome = chance.choice([DeliveryStatus.SENT, DeliveryStatus.SENT, *log_views.LOGGED])
                            code = 250 if outcome == "sent" else chance.choice([None, 421, 550])
                            at = NOON + timedelta(minutes=chance.randrange(120))
                            ledger.attempt(delivery, outcome, code=code, at=at)
        db.session.commit()


def all_pages(filters):
    found, cursor = [], None
    while True:
        page = log.newest(filters, cursor)
        found += [attempt.id for attempt in page]
        cursor = page.next_cursor
        if cursor is None:
            return found


def test_any_filters_give_exactly_what_they_say(app, ledger_of_two):
    chance = Random(8)  # noqa: S311  nobody has to guess it
    with app.app_context():
        everything = db.session.execute(
            select(Attempt, Delivery, Run, Client)
            .join(Delivery, Delivery.id == Attempt.delivery_id)
            .join(Run, Run.id == Attempt.run_id)
            .outerjoin(Client, Client.id == Delivery.client_id)
            .order_by(Attempt.at.desc(), Attempt.id.desc())
        ).all()
        users, mailings = db.session.scalars(select(User)).all(), db.session.scalars(select(Mailing)).all()
        several = 0
        for _round in range(150):
            some = {
                "owner": chance.choice(users),
                "mailing": chance.choice(mailings),
                "outcome": chance.choice(log_views.LOGGED),
                "code": chance.choice([250, 421, 550]),
                "since": NOON + timedelta(minutes=chance.randrange(120)),
                "until": NOON + timedelta(minutes=chance.randrange(120)),
                "address": chance.choice(["ann", "Ann", "bor", "anneke", "x"]),
            }
            filters = log.Filters(**{name: some[name] for name in some if chance.random() < 0.35})
            expected = [row[0].id for row in everything if fits(filters, *row)]
            assert all_pages(filters) == expected, filters
            several += len(expected) > 50
        assert several > 20


def fits(filters, attempt, delivery, run, client):
    key = filters.address.casefold()
    return all(
        (
            filters.owner is None or run.owner_id == filters.owner.id,
            filters.mailing is None or run.mailing_id == filters.mailing.id,
            filters.outcome in (None, attempt.outcome),
            filters.code in (None, attempt.code),
            filters.since is None or attempt.at >= filters.since,
            filters.until is None or attempt.at < filters.until,
            client.email_key.startswith(key) if client else delivery.email.startswith((filters.address, key)),
        )
    )


def test_it_is_filtered_by_time_on_the_readers_own_clocks(app, ledger_of_two, owner, owner_client):
    with app.app_context():
        owner = db.session.get(User, owner.id)
        owner.timezone = "Europe/Moscow"  # three hours ahead
        expected = all_pages(log.Filters(owner=owner, since=NOON, until=NOON + timedelta(minutes=10)))
        db.session.commit()
    text = owner_client.get("/log?since=2026-11-20T15:00&until=2026-11-20T15:10").text
    assert re.findall(r'id="attempt-(\d+)"', text) == [str(number) for number in expected]
    assert 0 < len(expected) < 50
    for nonsense in ("since=x", "since=2026-11-20T15:00Z", "until=9999-99-99T00:00", "within=century", "code=9"):
        assert owner_client.get(f"/log?{nonsense}").text.count('id="attempt-') == 50


def test_it_is_filtered_by_the_last_hours(app, sent, owner_client):
    assert owner_client.get("/log?within=hour").text.count('id="attempt-') == 1
    with app.app_context():
        db.session.execute(update(Attempt).values(at=clock.now() - timedelta(hours=2)))
        db.session.commit()
    assert owner_client.get("/log?within=hour").text.count('id="attempt-') == 0
    assert owner_client.get("/log?within=day").text.count('id="attempt-') == 1


def test_it_is_filtered_by_a_mailing_that_one_may_see(app, sent, owner_client, manager_client):
    with app.app_context():
        ids = {mailing.name: mailing.id for mailing in db.session.scalars(select(Mailing))}
    own, foreign = ids["News of owner@golub.test"], ids["News of stranger@golub.test"]
    text = owner_client.get(f"/log?mailing={own}").text
    assert text.count('id="attempt-') == 1
    assert "anna@example.test" in text
    assert owner_client.get(f"/log?mailing={foreign}").status_code == 404
    assert owner_client.get(f"/log?mailing={foreign}&of=all").status_code == 404
    assert "Smirnova@corporate-mail.test" in manager_client.get(f"/log?mailing={foreign}").text


def test_both_the_present_and_the_former_address_find_what_a_client_got(app, sent, owner_client):
    with app.app_context():
        client = db.session.scalars(select(Client).where(Client.email == "anna@example.test")).one()
        client_id = client.id
    form = {"last_name": "", "first_name": "", "patronymic": "", "tags": "", "status": "active"}
    for email in ("maria@example.test", "Maria2@example.test", "maria@example.test"):
        answer = owner_client.post(f"/clients/{client_id}/edit", data=form | {"email": email})
        assert answer.status_code == 303
    for search in ("Maria", "maria2", "anna", "Anna@example.test"):
        assert owner_client.get("/log", query_string={"q": search}).text.count('id="attempt-') == 1, search
    owner_client.post(f"/clients/{client_id}/delete")  # which can be undone
    assert owner_client.get("/log?q=maria").text.count('id="attempt-') == 1
    assert owner_client.get("/log?q=mariann").text.count('id="attempt-') == 0
    with app.app_context():
        db.session.execute(delete(Client))
        db.session.commit()
    assert "anna@example.test" in owner_client.get("/log?q=anna").text


def test_a_beginning_that_thousands_share_is_not_looked_for(app, owner, owner_client, monkeypatch):
    monkeypatch.setattr(addressed, "MOST_FOUND", 2)
    with app.app_context():
        make.clients(db.session.get(User, owner.id), 3)
        db.session.commit()
    for headers in ({}, HTMX):
        answer = owner_client.get("/log?q=client", headers=headers)
        assert answer.status_code == 200
        assert "Too many addresses begin like this." in answer.text
    assert "Too many" not in owner_client.get("/log?q=client1").text


def test_who_filters_for_nothing_is_told_to_ask_for_less(sent, owner_client):
    assert "No attempt matches" in owner_client.get("/log?code=421").text


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
