"""Letters survive a dead mail server, a killed worker, and a job that runs twice."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from app import clock
from app.auth import jobs, letters, outbox, service
from app.auth.models import Letter, LetterKind
from app.extensions import db
from tests import make
from tests.auth.links import text_of

pytestmark = pytest.mark.usefixtures("context")


@pytest.fixture
def letter(context):
    made = service.register("anna@example.test", "ten letters", locale="en")
    db.session.commit()
    return made


def fresh(letter):
    db.session.expire_all()
    return db.session.get(Letter, letter.id)


def make_due(letter):
    fresh(letter).not_before = clock.now()
    db.session.commit()


def test_a_letter_leaves_with_text_and_html(letter, smtp):
    jobs.send_letter(letter.id)
    [received] = smtp.to("anna@example.test")
    assert received.message["Subject"] == "Confirm your e-mail address"
    assert received.message["Auto-Submitted"] == "auto-generated"
    for kind in ("plain", "html"):
        assert "http://golub.test/auth/verify/" in text_of(received, kind)
        assert "Golub" in text_of(received, kind)
    assert fresh(letter).sent_at
    assert fresh(letter).attempts == 1


@pytest.mark.parametrize("kind", [kind for kind in LetterKind if kind is not LetterKind.TEST_MESSAGE])
def test_every_kind_can_be_composed(kind):
    user = make.user("anna@example.test", locale="ru")
    letter = Letter(kind=kind, user=user)
    composed = letters.compose(letter, user)
    assert composed.to == user.email
    assert composed.subject
    assert "http://golub.test" in composed.text
    assert "http://golub.test" in composed.html


@pytest.mark.parametrize(
    ("address", "mailbox"),
    [("anna@straße.test", "anna@xn--strae-oqa.test"), ("Anna@пример.рф", "Anna@xn--e1afmkfd.xn--p1ai")],
)
def test_a_letter_goes_to_the_domain_that_was_registered_and_no_look_alike(smtp, address, mailbox):
    letter = service.register(address, "ten letters")
    db.session.commit()
    jobs.send_letter(letter.id)
    assert smtp.letters[0].recipients == [mailbox]


def test_a_job_that_runs_twice_sends_once(letter, smtp):
    jobs.send_letter(letter.id)
    jobs.send_letter(letter.id)
    jobs.send_letter(letter.id + 1000)
    assert len(smtp.letters) == 1


def test_while_a_letter_is_being_sent_it_is_nobody_elses(app, letter, smtp):
    """And no transaction is open meanwhile: on SQLite the other worker would have to wait for it."""
    letter_id, taken = letter.id, []
    db.session.commit()

    def look_from_elsewhere(_letter):
        with app.app_context():
            taken.append(outbox.take(letter_id))
            db.session.rollback()
        return "250 2.0.0 accepted"

    smtp.answer_data = look_from_elsewhere
    jobs.send_letter(letter_id)
    assert taken == [None]
    assert fresh(letter).sent_at


def test_a_letter_that_a_dead_worker_held_is_due_again_when_the_lease_is_over(letter, smtp, monkeypatch):
    assert outbox.take(letter.id)
    db.session.commit()
    assert outbox.waiting() == []
    moment = clock.now() + outbox.LEASE
    monkeypatch.setattr(clock, "now", lambda: moment)
    assert outbox.waiting() == [letter.id]
    jobs.send_letter(letter.id)
    assert len(smtp.letters) == 1


def test_a_letter_put_off_by_the_mail_server_leaves_later(letter, smtp):
    smtp.answer_data = lambda _letter: "451 4.3.0 try again later"
    before = clock.now()
    jobs.send_letter(letter.id)
    waiting = fresh(letter)
    assert waiting.sent_at is None
    assert waiting.error == "451 4.3.0 try again later"
    assert waiting.attempts == 1
    assert timedelta(seconds=60) <= waiting.not_before - before < timedelta(seconds=70)
    assert outbox.waiting() == []

    smtp.answer_data = lambda _letter: "250 2.0.0 accepted"
    jobs.send_letter(letter.id)
    assert smtp.letters == [], "not before its time"
    make_due(letter)
    jobs.send_letter(letter.id)
    assert len(smtp.letters) == 1
    assert (fresh(letter).attempts, fresh(letter).error) == (2, "")


def test_a_mail_server_that_is_away_only_puts_letters_off(app, letter, smtp, monkeypatch):
    closed = app.config["SETTINGS"].model_copy(update={"mail_port": 1})
    monkeypatch.setitem(app.config, "SETTINGS", closed)
    jobs.send_letter(letter.id)
    assert "ConnectionRefusedError" in fresh(letter).error
    monkeypatch.undo()
    make_due(letter)
    jobs.send_letter(letter.id)
    assert len(smtp.letters) == 1


def test_after_8_attempts_a_letter_is_given_up(letter, smtp):
    smtp.answer_data = lambda _letter: "451 4.3.0 try again later"
    for attempt in range(1, 9):
        assert fresh(letter).gave_up_at is None
        make_due(letter)
        jobs.send_letter(letter.id)
        assert fresh(letter).attempts == attempt
    assert fresh(letter).gave_up_at
    make_due(letter)
    jobs.send_letter(letter.id)
    assert fresh(letter).attempts == 8


def test_a_recipient_refused_for_good_is_given_up_at_once(letter, smtp):
    smtp.answer_rcpt = lambda _address: "550 5.1.1 no such mailbox"
    jobs.send_letter(letter.id)
    assert fresh(letter).gave_up_at
    assert fresh(letter).error == "550 5.1.1 no such mailbox"


def test_a_recipient_refused_for_now_waits(letter, smtp):
    smtp.answer_rcpt = lambda _address: "450 4.2.1 greylisted"
    jobs.send_letter(letter.id)
    assert fresh(letter).gave_up_at is None
    assert fresh(letter).error == "450 4.2.1 greylisted"


def test_an_address_that_would_break_a_header_is_given_up_at_once(letter, smtp, monkeypatch):
    monkeypatch.setattr(letters, "_mailbox", lambda _email: "anna\r\nBcc: eve@example.test")
    db.session.commit()
    jobs.send_letter(letter.id)
    assert smtp.letters == []
    assert fresh(letter).gave_up_at


def test_the_wait_doubles_up_to_an_hour():
    minutes = [outbox.retry_delay(attempt).total_seconds() / 60 for attempt in range(1, 9)]
    assert minutes == [1, 2, 4, 8, 16, 32, 60, 60]


def test_the_sweep_enqueues_what_is_due(context, smtp, run_jobs):
    for n in range(3):
        service.register(f"anna{n}@example.test", "ten letters")
    db.session.commit()
    assert len(outbox.waiting()) == 3
    jobs.send_due_letters()  # and leaves no transaction open: the jobs' workers write
    run_jobs()
    assert len(smtp.letters) == 3
    assert outbox.waiting() == []
    assert all(db.session.scalars(select(Letter.sent_at)))
