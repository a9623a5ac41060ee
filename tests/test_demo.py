"""The demo: what a new user sees first."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from email.message import EmailMessage
from typing import cast
from zoneinfo import ZoneInfo

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from rq_scheduler import Scheduler
from sqlalchemy import func, select

from app import clock, create_app, demo, logs, queue
from app.addresses import parse_address
from app.auth.models import User
from app.auth.roles import Role
from app.blog.html import article_html
from app.blog.models import Post
from app.clients import segments
from app.clients.models import Client, ClientStatus, Segment
from app.config import Settings
from app.delivery.models import Attempt, Delivery, DeliveryStatus, Run, RunStatus
from app.demo import people
from app.extensions import db
from app.mailings.models import Mailing, MailingStatus
from app.mailings.schedule import Period
from app.messages import content
from app.messages.models import Message
from tests import make
from tests.smtp import RecordingSmtp

RunJobs = Callable[[], None]


def load(runner: FlaskCliRunner, *options: str) -> str:
    result: Result = runner.invoke(args=["load-demo", *options])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def counts(app: Flask) -> dict[str, int]:
    with app.app_context():
        tables = db.metadata.sorted_tables
        return {table.name: db.session.scalar(select(func.count()).select_from(table)) or 0 for table in tables}


# ── Loading ──


def test_the_credentials_are_printed_and_open_the_door(runner: FlaskCliRunner, app: Flask) -> None:
    text = load(runner)
    assert "http://golub.test/auth/login" in text
    for person in demo.PEOPLE:
        assert f"{person.email}  " in text
        answer = app.test_client().post("/auth/login", data={"email": person.email, "password": demo.DEMO_PASSWORD})
        assert answer.status_code == 303
    assert {person.role for person in demo.PEOPLE} == set(Role)


def test_a_second_time_changes_nothing(runner: FlaskCliRunner, app: Flask) -> None:
    load(runner)
    before = counts(app)
    assert "there already" in load(runner)
    assert counts(app) == before


def test_what_is_missing_is_added(runner: FlaskCliRunner, app: Flask) -> None:
    load(runner)
    before = counts(app)
    with app.app_context():
        for email in ("editor@golub.example", "admin@golub.example"):
            db.session.delete(db.session.scalars(select(User).where(User.email == email)).one())
        db.session.delete(db.session.scalars(select(Post).limit(1)).one())
        db.session.commit()
    load(runner)
    assert counts(app) == before


def test_a_password_that_was_changed_is_not_told_wrongly(runner: FlaskCliRunner, app: Flask) -> None:
    load(runner)
    with app.app_context():
        other = make.user("somebody@golub.test")
        admin = db.session.scalars(select(User).where(User.email == "admin@golub.example")).one()
        admin.password_hash = other.password_hash
        db.session.commit()
    line = next(line for line in load(runner).splitlines() if "admin@" in line)
    assert "(changed)" in line
    assert demo.DEMO_PASSWORD not in line


def test_if_empty_leaves_whoever_is_there_alone(runner: FlaskCliRunner, app: Flask, owner: User) -> None:
    assert "no demo data" in load(runner, "--if-empty")
    assert counts(app)["user"] == 1


def test_if_empty_loads_into_what_is_empty(runner: FlaskCliRunner, app: Flask) -> None:
    load(runner, "--if-empty")
    assert counts(app)["user"] == len(demo.PEOPLE)


@pytest.fixture
def production(settings: Settings, app: Flask) -> Iterator[FlaskCliRunner]:
    """The same application in production."""
    production = create_app(settings.model_copy(update={"app_env": "production"}))
    yield production.test_cli_runner()
    with production.app_context():
        db.engine.dispose()
    logs.configure_logs(settings)


def test_production_gets_it_by_force_alone(production: FlaskCliRunner, app: Flask) -> None:
    result = production.invoke(args=["load-demo"])
    assert result.exit_code == 1
    assert "--force" in result.stderr
    assert counts(app)["user"] == 0
    assert "The demo is loaded" in load(production, "--force")


# ── What is in it ──


@pytest.fixture
def loaded(runner: FlaskCliRunner, app: Flask) -> None:
    load(runner)


def test_the_address_book_is_varied_and_the_same_at_every_time() -> None:
    contacts = people.invent()
    assert contacts == people.invent()
    assert len(contacts) == 300
    assert len({parse_address(contact.email).key for contact in contacts}) == 300
    assert {contact.email.rpartition("@")[2] for contact in contacts} == {"example.com", "example.org", "example.net"}
    russian = [contact for contact in contacts if not contact.last_name.isascii()]
    assert 100 < len(russian) < 250
    assert all(contact.first_name and contact.last_name for contact in contacts)
    assert sum(bool(contact.patronymic) for contact in russian) > 80
    assert [contact.added_ago for contact in contacts] == sorted((c.added_ago for c in contacts), reverse=True)


def test_the_address_book_has_all_that_a_client_can_have(loaded: None, app: Flask) -> None:
    with app.app_context():
        clients = db.session.scalars(select(Client)).all()
        owner = db.session.scalars(select(User).where(User.email == "user@golub.example")).one()
        assert {client.owner_id for client in clients} == {owner.id}
        assert (owner.locale, owner.role) == (None, Role.USER)
        assert {client.status for client in clients} >= {
            ClientStatus.ACTIVE,
            ClientStatus.UNSUBSCRIBED,
            ClientStatus.BOUNCED,
        }
        assert any(client.tags for client in clients)
        assert any(client.attributes for client in clients)
        assert any(client.comment for client in clients)
        assert any(client.birth_year for client in clients)
        assert max(client.added_at for client in clients) <= clock.now()


def test_the_segments_find_people(loaded: None, app: Flask) -> None:
    with app.app_context():
        sizes = {
            segment.name: len(db.session.scalars(segments.audience(segment)).all())
            for segment in db.session.scalars(select(Segment))
        }
    assert len(sizes) == 5
    assert sizes["Club, without the fresh coffees yet"] == sizes["Coffee club"]  # nothing is sent yet
    assert 30 <= sizes["Coffee club"] <= 50
    assert min(sizes.values()) >= 10


def test_the_messages_are_whole_letters_in_two_languages(loaded: None, app: Flask) -> None:
    with app.app_context():
        messages = db.session.scalars(select(Message)).all()
    assert len(messages) == 4
    assert [message.is_shared for message in messages].count(True) == 1
    assert {message.subject.isascii() for message in messages} == {True, False}
    for message in messages:
        assert content.sanitise(message.html) == message.html
        assert 'style="' in message.html
        assert "$" not in message.html
        assert "class=" not in message.html
        assert len(content.text_of(message.html)) > 200


def test_the_articles_are_published_and_nothing_of_them_is_lost(loaded: None, client: FlaskClient, app: Flask) -> None:
    with app.app_context():
        posts = db.session.scalars(select(Post)).all()
    assert [post.locale for post in posts].count("ru") == 1
    assert len(posts) == 3
    listed = "".join(client.get(f"/blog/?lang={language}").text for language in ("en", "ru"))
    for post in posts:
        assert article_html(post.html) == post.html
        assert len(post.html) > 1500
        assert len(post.summary) <= 500
        assert f"/blog/{post.slug}" in listed
        assert client.get(f"/blog/{post.slug}").status_code == 200


# ── What happens then ──


def test_nothing_pretends_to_have_been_sent(loaded: None, app: Flask, smtp: RecordingSmtp) -> None:
    rows = counts(app)
    assert {rows["run"], rows["delivery"], rows["attempt"]} == {0}
    assert not smtp.letters
    with app.app_context():
        assert set(db.session.scalars(select(Mailing.status))) == {MailingStatus.CREATED}


def test_one_mailing_starts_within_seconds_and_one_daily_at_nine(loaded: None, app: Flask) -> None:
    with app.app_context():
        once, daily = db.session.scalars(select(Mailing).order_by(Mailing.id)).all()
        alarms = {due for _, due in Scheduler(connection=queue.connection()).get_jobs(with_times=True)}
    assert once.next_run_at
    assert daily.next_run_at
    assert timedelta(0) < once.next_run_at - once.created_at <= timedelta(seconds=20)
    assert (daily.period, daily.timezone) == (Period.DAILY, "Europe/Moscow")
    local = daily.next_run_at.astimezone(ZoneInfo("Europe/Moscow"))
    assert (local.hour, local.minute, local.second) == (9, 0, 0)
    assert timedelta(0) < daily.next_run_at - daily.created_at <= timedelta(days=1)
    wanted = {clock.whole_second_after(mailing.next_run_at) for mailing in (once, daily) if mailing.next_run_at}
    assert {due.replace(tzinfo=clock.UTC) for due in alarms} == wanted


def test_the_first_mailing_is_really_sent(
    runner: FlaskCliRunner,
    app: Flask,
    run_jobs: RunJobs,
    smtp: RecordingSmtp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo, "FIRST_MAILING_IN", timedelta(0))
    load(runner)
    run_jobs()
    with app.app_context():
        run = db.session.scalars(select(Run)).one()
        assert (run.status, run.sent) == (RunStatus.DONE, run.planned)
        assert make.delivery_counts(run.id)[DeliveryStatus.SENT] == run.sent
        assert db.session.scalar(select(func.count(Attempt.id))) == run.sent
        addresses = set(db.session.scalars(select(Delivery.email)))
    assert {letter.recipients[0] for letter in smtp.letters} == addresses
    assert len(smtp.letters) == run.sent > 30
    letter = smtp.letters[0].message
    assert letter["Subject"] == "Three fresh coffees for this week"
    text, html = (cast("EmailMessage", letter.get_body([kind])).get_content() for kind in ("plain", "html"))
    assert "Choose your bag (https://example.com/coffee)" in text
    assert "Yirgacheffe" in html


def test_when_its_moment_comes_dispatch_begins_it(
    runner: FlaskCliRunner, app: Flask, run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "FIRST_MAILING_IN", timedelta(minutes=1))
    load(runner)
    assert "Runs begun: 0" in runner.invoke(args=["dispatch"]).stdout
    with app.app_context():
        first, _daily = db.session.scalars(select(Mailing).order_by(Mailing.id)).all()
        first.start_at = first.next_run_at = clock.now()
        db.session.commit()
    assert "Runs begun: 1" in runner.invoke(args=["dispatch"]).stdout
    run_jobs()
    with app.app_context():
        first, _daily = db.session.scalars(select(Mailing).order_by(Mailing.id)).all()
        assert first.status is MailingStatus.COMPLETED
