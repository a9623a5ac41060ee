"""Reports of runs: every figure on every page is what the ledger's rows say, after a real engine and random answers."""

import csv
import html
import io
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest
from flask import Flask
from flask.testing import FlaskClient
from python_calamine import CalamineWorkbook
from sqlalchemy import func, select, update

from app import clock
from app.auth.models import User
from app.clients.models import Client, ClientStatus
from app.delivery import reports
from app.delivery.models import Attempt, Delivery, DeliveryStatus, Run, RunReport, RunStatus, SkipReason
from app.extensions import db
from app.mailings import jobs, service
from app.mailings.models import Mailing
from app.mailings.schedule import Period
from tests import make
from tests.mailings import ledger
from tests.smtp import Received, RecordingSmtp

RunJobs = Callable[[], None]
HTMX = {"HX-Request": "true"}
SENT, FAILED, UNKNOWN, SKIPPED = (
    DeliveryStatus.SENT,
    DeliveryStatus.FAILED,
    DeliveryStatus.UNKNOWN,
    DeliveryStatus.SKIPPED,
)
CLIENTS = 60
LEFT = 4  # clients who unsubscribe while it is being sent


def misbehave(smtp: RecordingSmtp) -> None:
    """A mail server that takes some, refuses some, puts some off once, and is not heard of some.

    The same ones each time, in whatever order the couriers come.
    """
    put_off: set[str] = set()

    def lot_of(address: str, stage: str) -> float:
        return random.Random(f"{stage} {address}").random()  # noqa: S311  no secret

    def answer_rcpt(address: str) -> str | None:
        if address in put_off:
            return None
        lot = lot_of(address, "rcpt")
        if lot < 0.1:
            return f"550 5.1.1 <{address}>: User unknown"
        if lot < 0.2:
            return f"552 5.2.2 The mailbox of {address} is full ({int(lot * 10**7)} bytes)"
        if lot < 0.35:
            put_off.add(address)
            return "451 4.7.1 Greylisted, come back in 300 seconds"
        return None

    def answer_data(letter: Received) -> str:
        # What is no SMTP is no answer: nobody knows what became of the letter.
        lot = lot_of(letter.recipients[0], "data")
        return "what?" if lot < 0.08 else f"250 2.0.0 Ok: queued as {int(lot * 16**10):X}"

    smtp.answer_rcpt, smtp.answer_data = answer_rcpt, answer_data


@pytest.fixture
def addresses(app: Flask, owner: User, smtp: RecordingSmtp, run_jobs: RunJobs) -> tuple[str, str]:
    """Those of a mailing, and of its run that was sent by the real engine and ended in every way there is."""
    misbehave(smtp)
    with app.app_context():
        make.clients(owner, CLIENTS)
        mailing = make.mailing(owner, start_at=clock.now() - timedelta(minutes=1), period=Period.DAILY)
        run = service.start_now(mailing)
        db.session.commit()
        mailing_id, run_id = mailing.id, run.id
        jobs.prepare_runs()
        leaving = select(Client.id).order_by(Client.id.desc()).limit(LEFT)
        db.session.execute(update(Client).where(Client.id.in_(leaving)).values(status=ClientStatus.UNSUBSCRIBED))
        db.session.commit()
    for _try in range(8):
        run_jobs()
        with app.app_context():
            if db.session.get_one(Run, run_id).is_finished:
                break
            db.session.execute(update(Delivery).values(not_before=None))
            db.session.execute(update(Run).values(resume_at=None, fault=""))
            db.session.commit()
            jobs.enqueue(jobs.deliver)
    return f"/mailings/{mailing_id}", f"/mailings/{mailing_id}/runs/{run_id}"


def rows_by_status(app: Flask, address: str) -> Counter[DeliveryStatus]:
    run_id = int(address.rpartition("/")[2])
    with app.app_context():
        assert db.session.get_one(Run, run_id).is_finished
        counted = Counter(make.delivery_counts(run_id))
    assert all(counted[status] for status in (SENT, FAILED, UNKNOWN, SKIPPED)), "the dice have to show every end"
    return counted


def number_of_tries(app: Flask, address: str) -> int:
    with app.app_context():
        of_run = Attempt.run_id == int(address.rpartition("/")[2])
        return db.session.scalar(select(func.count(Attempt.id)).where(of_run)) or 0


def table_after(text: str, words: str) -> list[list[str]]:
    """The cells of the first table after these words, without its headings."""
    rows = re.findall(r"<tr[ >].*?</tr>", text[text.index(words) :].partition("</table>")[0], re.DOTALL)
    found = [[re.sub(r"<[^>]+>", "", cell).strip() for cell in re.split(r"</t[dh]>", row)[:-1]] for row in rows]
    return [cells for cells, row in zip(found, rows, strict=True) if "<td" in row]


def charts(text: str) -> dict[str, dict[str, object]]:
    return {
        name: json.loads(html.unescape(chart))
        for name, chart in re.findall(r'<div id="([\w-]+)-chart"[^>]*data-chart=\'([^\']*)\'', text)
    }


def test_ring_and_table_are_what_the_rows_say(
    app: Flask, owner_client: FlaskClient, addresses: tuple[str, str]
) -> None:
    _mailing, address = addresses
    counted = rows_by_status(app, address)
    for page in (address, f"{address}/report"):
        text = owner_client.get(page).text
        shown = {
            cells[0]: int(cells[1]) for cells in table_after(text, "What became of the planned messages</caption>")
        }
        assert shown == {
            "Sent": counted[SENT],
            "Failed": counted[FAILED],
            "Unknown": counted[UNKNOWN],
            "Skipped": counted[SKIPPED],
            "Being sent": 0,
            "Waiting": 0,
            "Planned": CLIENTS,
        }
        label = re.search(r'class="donut"[^>]*aria-label="([^"]*)"', text)
        assert label is not None
        assert [int(number) for number in re.findall(r"\d+", label[1])] == [
            counted[status] for status in (SENT, FAILED, UNKNOWN, SKIPPED)
        ]


def test_the_ring_is_whole(app: Flask, owner_client: FlaskClient, addresses: tuple[str, str]) -> None:
    text = owner_client.get(addresses[1]).text.partition('class="donut"')[2].partition("</svg>")[0]
    begins = [-float(number) for number in re.findall(r'stroke-dashoffset="([-\d.]+)"', text)]
    counted = rows_by_status(app, addresses[1])
    lengths = [after - before for before, after in pairwise([*begins, 100.0])]
    expected = [100 * counted[status] / CLIENTS for status in (SENT, FAILED, UNKNOWN, SKIPPED)]
    assert lengths == pytest.approx(expected, abs=0.02)


def test_sends_over_time_add_up(app: Flask, owner_client: FlaskClient, addresses: tuple[str, str]) -> None:
    counted = rows_by_status(app, addresses[1])
    text = owner_client.get(addresses[1]).text
    rows = table_after(text, 'class="figures-table"')
    ends = (SENT, FAILED, UNKNOWN, SKIPPED)
    assert [sum(int(cells[place]) for cells in rows) for place in range(1, 5)] == [counted[end] for end in ends]
    chart = charts(text)["sends"]
    assert [sum(one["values"]) for one in chart["series"]] == [counted[end] for end in ends[:3]]  # type: ignore[index, attr-defined]


def test_answers_add_up_and_lead_to_who_got_them(
    app: Flask, owner_client: FlaskClient, addresses: tuple[str, str]
) -> None:
    _mailing, address = addresses
    text = owner_client.get(address).text
    rows = table_after(text, "What the mail server answered")
    shown = {(cells[0], cells[1]): int(cells[2]) for cells in rows}
    assert shown.pop(("", "All tries")) == number_of_tries(app, address) == sum(shown.values())
    assert {code for code, _words in shown} >= {"250 2.0.0", "550 5.1.1", "552 5.2.2", "451 4.7.1"}
    assert len(shown) <= 6, "answers that differ in addresses and numbers only are the same"
    links = re.findall(rf'href="{address}\?answer=(\w+)#messages"', text)
    assert len(links) == len(shown)
    for key, ((codes, _words), tries) in zip(links, shown.items(), strict=True):
        found = owner_client.get(f"{address}?answer={key}", headers=HTMX).text
        # Nobody got the same of these answers twice.
        assert found.count('id="delivery-') == min(tries, 50), codes
    assert 'id="delivery-' not in owner_client.get(f"{address}?answer=gone", headers=HTMX).text


@pytest.mark.parametrize("code", ["250", "550", "451", "none"])
def test_a_code_shows_whom_it_was_given_to(
    app: Flask, owner_client: FlaskClient, addresses: tuple[str, str], code: str
) -> None:
    _mailing, address = addresses
    with app.app_context():
        is_it = Attempt.code.is_(None) if code == "none" else Attempt.code == int(code)
        given = select(Delivery.email).join(Attempt, Attempt.delivery_id == Delivery.id).where(is_it).distinct()
        expected = set(db.session.scalars(given))
    assert expected
    found, page = set(), f"{address}?code={code}"
    while page:
        text = owner_client.get(page, headers=HTMX).text
        found |= set(re.findall(r"[\w.]+@example\.test", text))
        following = re.search(r'hx-get="([^"]*after=[^"]*)"', text)
        page = html.unescape(following[1]) if following else ""
    assert found == expected


def test_the_export_is_every_row(app: Flask, owner_client: FlaskClient, addresses: tuple[str, str]) -> None:
    _mailing, address = addresses
    counted = rows_by_status(app, address)
    answer = owner_client.get(f"{address}/report.csv")
    assert answer.mimetype == "text/csv"
    heading, *rows = csv.reader(io.StringIO(answer.data.decode("utf-8-sig"), newline=""))
    assert heading[:2] == ["E-mail", "Outcome"]
    words = {"Sent": SENT, "Failed": FAILED, "Unknown": UNKNOWN, "Skipped": SKIPPED}
    assert Counter(words[row[1]] for row in rows) == +counted
    assert sum(int(row[4]) for row in rows) == number_of_tries(app, address)
    assert {row[2] for row in rows if row[1] == "Skipped"} == {"the client no longer takes letters"}
    assert {row[6] for row in rows if row[1] == "Sent"} == {"250"}
    book = CalamineWorkbook.from_filelike(io.BytesIO(owner_client.get(f"{address}/report.xlsx").data))
    same = [
        [str(int(cell) if isinstance(cell, float) else cell) for cell in row]
        for row in book.get_sheet_by_index(0).to_python()
    ]
    assert same == [heading, *rows]


def test_what_a_server_says_is_no_formula(app: Flask, owner: User, owner_client: FlaskClient) -> None:
    with app.app_context():
        run = ledger.run(make.mailing(owner), FAILED)
        delivery = db.session.scalars(select(Delivery)).one()
        ledger.attempt(delivery, FAILED, reply="=HYPERLINK(1)")
        db.session.commit()
        address = f"/mailings/{run.mailing_id}/runs/{run.id}/report.csv"
    assert "'=HYPERLINK(1)" in owner_client.get(address).text


def test_compared_runs_are_what_their_rows_say(
    app: Flask, owner_client: FlaskClient, addresses: tuple[str, str], run_jobs: RunJobs
) -> None:
    mailing, address = addresses
    first = rows_by_status(app, address)
    with app.app_context():
        service.start_now(db.session.get_one(Mailing, int(mailing.rpartition("/")[2])))
        db.session.commit()
        jobs.prepare_runs()
    run_jobs()
    text = owner_client.get(f"{mailing}/runs").text
    newest, oldest = table_after(text, "All runs, the newest first")
    ends = (SENT, FAILED, UNKNOWN, SKIPPED)
    assert [int(cell) for cell in oldest[2:7]] == [CLIENTS, *(first[end] for end in ends)]
    chart = charts(text)["outcomes"]
    drawn = [one["values"] for one in chart["series"]]  # type: ignore[attr-defined, index]
    assert drawn == [[first[end], int(newest[3 + place])] for place, end in enumerate(ends)]
    with app.app_context():
        run = db.session.scalars(select(Run).order_by(Run.id.desc()).limit(1)).one()
        counted = make.delivery_counts(run.id)
        assert [int(cell) for cell in newest[2:7]] == [run.planned, *(counted[end] for end in ends)]


def test_many_runs_page(app: Flask, owner: User, owner_client: FlaskClient) -> None:
    with app.app_context():
        mailing = make.mailing(owner)
        for number in range(53):
            make.run(mailing, scheduled_for=clock.now() - timedelta(days=number))
        db.session.commit()
        address = f"/mailings/{mailing.id}/runs"
    text = owner_client.get(address).text
    assert text.count('<tr id="run-') == 50
    following = re.search(r'hx-get="([^"]*after=[^"]*)"', text)
    assert following is not None
    assert owner_client.get(html.unescape(following[1]), headers=HTMX).text.count('<tr id="run-') == 3


# ── Big runs are counted by a job ──


def test_a_big_run_is_counted_by_a_job_and_shows_the_same(
    app: Flask,
    owner_client: FlaskClient,
    addresses: tuple[str, str],
    run_jobs: RunJobs,
    *,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _mailing, address = addresses
    small = owner_client.get(f"{address}?report=1", headers=HTMX).text
    monkeypatch.setattr(reports, "SMALL", 10)
    waiting = owner_client.get(f"{address}?report=1", headers=HTMX).text
    assert "is being counted" in waiting
    assert "every 3s" in waiting
    run_jobs()
    assert owner_client.get(f"{address}?report=1", headers=HTMX).text == small
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(RunReport)) == 1


def test_a_big_run_is_counted_anew_when_it_was_sent_again(
    app: Flask,
    owner_client: FlaskClient,
    addresses: tuple[str, str],
    run_jobs: RunJobs,
    *,
    smtp: RecordingSmtp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _mailing, address = addresses
    monkeypatch.setattr(reports, "SMALL", 10)
    owner_client.get(address)
    run_jobs()
    smtp.answer_data = lambda _letter: "250 2.0.0 at last"
    smtp.answer_rcpt = lambda _address: None
    # Which of the two there are is the mail server's chance.
    both = [owner_client.post(f"{address}/resend", data={"status": status}) for status in ("unknown", "failed")]
    assert 303 in [answer.status_code for answer in both]
    run_jobs()
    owner_client.get(address)
    run_jobs()
    text = owner_client.get(address).text
    tries = {cells[1]: int(cells[2]) for cells in table_after(text, "What the mail server answered")}
    assert tries["All tries"] == number_of_tries(app, address)
    assert tries["at last"] > 0


@pytest.mark.parametrize(
    ("length", "step", "title"),
    [
        (timedelta(minutes=2), 1, "Per second"),
        (timedelta(hours=2), 60, "Per minute"),
        (timedelta(days=5), 3600, "Per hour"),
        (timedelta(days=30), 3600, "Per day"),
    ],
)
def test_time_is_divided_by_the_length_of_the_run(
    app: Flask, owner: User, owner_client: FlaskClient, *, length: timedelta, step: int, title: str
) -> None:
    begin = clock.now().replace(microsecond=0) - length
    with app.app_context():
        run = ledger.run(make.mailing(owner), *[SENT] * 7, started_at=begin, finished_at=begin + length)
        deliveries = db.session.scalars(select(Delivery).order_by(Delivery.id)).all()
        for number, delivery in enumerate(deliveries):
            delivery.finished_at = begin + number * length / 6
        db.session.commit()
        assert reports.count(run).step == step
        address = f"/mailings/{run.mailing_id}/runs/{run.id}"
    text = owner_client.get(address).text
    assert title in text
    rows = table_after(text, 'class="figures-table"')
    assert sum(int(cells[1]) for cells in rows) == 7
    chart = charts(text)["sends"]
    assert sum(chart["series"][0]["values"]) == 7  # type: ignore[index]
    assert len(chart["x"]) == len(chart["series"][0]["values"])  # type: ignore[arg-type, index]


def test_two_jobs_may_count_the_same_run(app: Flask, owner: User) -> None:
    with app.app_context():
        run_id = ledger.run(make.mailing(owner), SENT).id
        db.session.commit()
        for _ in range(2):
            jobs.count_run(run_id)
        jobs.count_run(run_id + 1)
        assert db.session.scalars(select(RunReport.run_id)).all() == [run_id]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("values", "line"),
    [([], None), ([0], "0,22.0 100,22.0"), ([0, 5, 10], "0.0,22.0 50.0,12.0 100.0,2.0")],
)
def test_a_sparkline_goes_from_its_first_value_to_its_last(app: Flask, values: list[int], line: str | None) -> None:
    drawn = app.jinja_env.get_template("macros.html").module.sparkline(values, "Sent <daily>")
    assert 'aria-label="Sent &lt;daily&gt;"' in drawn
    assert (f'<polyline points="{line}"/>' in drawn) if line else ("polyline" not in drawn)


# ── Ending a run ──


@pytest.fixture
def being_sent(app: Flask, owner: User, smtp: RecordingSmtp) -> tuple[str, str]:
    """Addresses of a mailing and of its run to forty clients, which is prepared."""
    with app.app_context():
        make.clients(owner, 40)
        mailing = make.mailing(owner)
        run = service.start_now(mailing)
        db.session.commit()
        jobs.prepare_runs()
        return f"/mailings/{mailing.id}", f"/mailings/{mailing.id}/runs/{run.id}"


def test_a_run_is_ended_while_workers_send_it(
    app: Flask, owner_client: FlaskClient, being_sent: tuple[str, str], run_jobs: RunJobs, *, smtp: RecordingSmtp
) -> None:
    _mailing, address = being_sent
    app.config["SETTINGS"], usual = app.config["SETTINGS"].model_copy(update={"claim_size": 5}), app.config["SETTINGS"]
    statuses: list[int] = []

    def end_it_at_the_third(_letter: object) -> str:
        if len(smtp.letters) == 2 and not statuses:
            statuses.append(owner_client.post(f"{address}/cancel").status_code)
        return "250 2.0.0 accepted"

    smtp.answer_data = end_it_at_the_third
    try:
        run_jobs()
    finally:
        app.config["SETTINGS"] = usual
    assert statuses == [303]
    with app.app_context():
        run = db.session.scalars(select(Run)).one()
        rows = make.delivery_counts(run.id)
        assert {status: getattr(run, status.value) for status in DeliveryStatus} == rows
        assert run.status is RunStatus.DONE
        assert run.cancelled_at is not None
        assert rows[SENT] == len(smtp.letters)
        assert 3 <= rows[SENT] < 40, "what is in flight finishes, and no more"
        assert rows[SENT] + rows[SKIPPED] == 40
        assert set(db.session.scalars(select(Delivery.skip_reason).where(Delivery.status == SKIPPED))) == {
            SkipReason.CANCELLED
        }
    assert "Cancelled" in owner_client.get(address).text


def test_what_comes_back_to_an_ended_run_is_cancelled_too(
    app: Flask, owner_client: FlaskClient, being_sent: tuple[str, str], run_jobs: RunJobs, *, smtp: RecordingSmtp
) -> None:
    """It was in flight, and the mail server said «later»."""
    _mailing, address = being_sent
    ended: list[int] = []

    def put_off(_letter: object) -> str:
        if not ended:
            ended.append(owner_client.post(f"{address}/cancel").status_code)
        return "451 4.3.0 later"

    smtp.answer_data = put_off
    run_jobs()
    with app.app_context():
        jobs.sweep()
    with app.app_context():
        run = db.session.scalars(select(Run)).one()
        assert (run.status, run.skipped) == (RunStatus.DONE, 40)
        assert set(db.session.scalars(select(Delivery.skip_reason))) == {SkipReason.CANCELLED}
    assert smtp.letters == []


def test_ending_is_offered_on_both_pages_asks_first_and_answers_there(
    app: Flask, owner_client: FlaskClient, being_sent: tuple[str, str]
) -> None:
    mailing, address = being_sent
    for page in being_sent:
        form = owner_client.get(page).text.partition(f'action="{address}/cancel')[2].partition("</form>")[0]
        assert "40 messages that wait are skipped." in form
        assert 'hx-confirm="End this run?"' in form
    text = owner_client.post(f"{address}/cancel?since=0", headers=HTMX).text
    assert text.lstrip().startswith('<div id="live"')
    assert f"{address}/cancel" not in text
    assert "Cancelled" in text
    assert owner_client.post(f"{address}/cancel").status_code == 409
    assert owner_client.get(mailing).status_code == 200


def test_the_run_after_an_ended_one_comes(app: Flask, owner: User) -> None:
    with app.app_context():
        make.clients(owner, 2)
        mailing = make.mailing(owner, period=Period.DAILY)
        following = mailing.next_run_at
        run = service.start_now(mailing)
        service.cancel(mailing, run)
        db.session.commit()
        assert (run.status, run.planned) == (RunStatus.DONE, 0)
        assert mailing.next_run_at == following


def test_what_failed_is_sent_again_from_the_mailings_page(
    app: Flask, owner_client: FlaskClient, addresses: tuple[str, str]
) -> None:
    mailing, address = addresses
    text = owner_client.get(mailing).text
    forms = [form for form in text.split("<form")[1:] if f'action="{address}/resend?since=' in form]
    assert [re.search(r'name="status" value="(\w+)"', form)[1] for form in forms] == ["unknown", "failed"]  # type: ignore[index]
    answer = owner_client.post(f"{address}/resend?since=0", data={"status": "unknown"}, headers=HTMX)
    assert answer.text.lstrip().startswith('<div id="live"')
    assert "The plan" not in answer.text
    assert "run-" in answer.text
    assert f'href="/mailings/new?like={mailing.rpartition("/")[2]}"' in text


# ── One message ──


def test_a_message_opens_in_the_drawer_and_as_a_page_between_its_neighbours(
    app: Flask, owner: User, owner_client: FlaskClient
) -> None:
    with app.app_context():
        run = ledger.run(make.mailing(owner), SENT, FAILED, SENT)
        first, middle, last = db.session.scalars(select(Delivery.id).order_by(Delivery.id)).all()
        db.session.commit()
        address = f"/mailings/{run.mailing_id}/runs/{run.id}/deliveries"
    drawer = owner_client.get(f"{address}/{middle}?drawer=1", headers=HTMX).text
    assert 'id="drawer-title"' in drawer
    assert "client1@example.test" in drawer
    page = owner_client.get(f"{address}/{middle}").text
    assert f'rel="prev" href="{address}/{first}"' in page
    assert f'rel="next" href="{address}/{last}"' in page
    assert 'rel="prev"' not in owner_client.get(f"{address}/{first}").text
    assert 'rel="next"' not in owner_client.get(f"{address}/{last}").text
