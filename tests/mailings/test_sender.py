"""Whom a letter is from, and where answers go."""

from collections.abc import Callable
from datetime import timedelta
from email import message_from_bytes
from email.header import decode_header, make_header
from email.policy import compat32
from email.utils import parseaddr

import pytest
from sqlalchemy import select

from app import clock
from app.auth.models import User
from app.delivery.models import Missed, Run, RunStatus
from app.extensions import db
from app.mailings import dispatch, jobs, service
from app.mailings.sender import LONGEST_NAME, BadName, parse_name
from tests import make
from tests.smtp import RecordingSmtp

NAMES = [
    "Anna of Golub",
    'ООО "Ромашка"',
    "Smith, Anna (Golub) <b>; x: y",
    "a\\b",
    '"',
    "Пекарня «Зерно» 🥐",
    "=?utf-8?q?no?=",
    "名" * LONGEST_NAME,
]


@pytest.fixture
def user(context: None) -> User:
    return make.user("owner@golub.test")


@pytest.mark.parametrize(
    "text",
    ["Anna\r\nBcc: all@example.test", "Anna\n", "\tAnna", "Anna\0", "Anna\x85", "Anna\u2028", "\ud800", "\u202eannA"],
)
def test_a_name_that_could_end_a_header_or_turn_it_around_is_refused(text: str) -> None:
    with pytest.raises(BadName):
        parse_name(text)


@pytest.mark.parametrize("text", ["anna@bank.example", "x" * (LONGEST_NAME + 1)])
def test_a_name_is_no_address_and_no_novel(text: str) -> None:
    with pytest.raises(BadName):
        parse_name(text)


def test_blanks_around_a_name_do_not_count() -> None:
    assert parse_name("  Anna  ") == "Anna"
    assert parse_name("   ") == ""


@pytest.mark.parametrize("name", NAMES)
def test_letters_bear_the_name_beside_the_services_own_address(
    name: str, user: User, run_jobs: Callable[[], None], smtp: RecordingSmtp
) -> None:
    make.client(user, "anna@example.test")
    assert parse_name(name) == name
    make.mailing(user, start_at=clock.now() - timedelta(seconds=1), sender_name=name, reply_to="answers@example.test")
    db.session.commit()
    jobs.begin_due_runs()
    run_jobs()
    [letter] = smtp.to("anna@example.test")
    # Not by the modern policy: it leaves blanks between encoded words that belong together (RFC 2047, 6.2).
    headers = message_from_bytes(letter.content, policy=compat32)
    written, address = parseaddr(headers["From"])
    assert (str(make_header(decode_header(written))), address) == (name, "golub@golub.test")
    assert headers["Reply-To"] == "answers@example.test"
    assert letter.sender == "golub@golub.test", "the envelope is the service's"


def test_without_a_name_the_address_stands_alone_and_answers_go_to_the_owner(user: User) -> None:
    run = service.start_now(make.mailing(user))
    assert (run.sender, run.reply_to) == ("golub@golub.test", user.email)


def test_a_missed_run_that_is_sent_late_is_from_the_same(user: User) -> None:
    mailing = make.mailing(user, sender_name='Anna "A"', reply_to="answers@example.test", next_run_at=None)
    missed = make.run(mailing, missed=Missed.ASKED, sender="")
    service.send_missed(mailing, missed)
    assert (missed.sender, missed.reply_to) == ('"Anna \\"A\\"" <golub@golub.test>', "answers@example.test")
    assert missed.status is RunStatus.PREPARING


def test_a_run_keeps_the_sender_that_it_began_with(user: User) -> None:
    mailing = make.mailing(user, sender_name="Anna")
    run_id = service.start_now(mailing).id
    mailing.sender_name = "Somebody else"
    db.session.commit()
    assert db.session.scalar(select(Run.sender).where(Run.id == run_id)) == '"Anna" <golub@golub.test>'


def test_a_header_that_would_not_fit_leaves_the_name_out(user: User) -> None:
    make.mailing(user, start_at=clock.now() - timedelta(seconds=1), sender_name='"' * LONGEST_NAME)
    address = "x" * 60 + "@" + "y" * 60 + "." + "z" * 60 + "." + "w" * 60 + ".test"
    dispatch.dispatch_due(address)
    assert db.session.scalar(select(Run.sender)) == address
