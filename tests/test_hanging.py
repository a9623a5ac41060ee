"""A mail server that takes letters and never answers keeps nobody from the pages, and no other mailing from leaving."""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from statistics import median
from threading import Event
from typing import cast

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.browsing import Person
from tests.live import running
from tests.smtp import Received, RecordingSmtp
from tests.waiting import wait_until

CLIENTS = {"anna@example.test", "boris@example.test"}
HANGING, OTHER = "Letters that hang", "Letters that leave"
# Generous: the machine may be busy. Waiting for the mail server would take its 30 s.
USUAL_SECONDS = 1.0
WORST_SECONDS = 5.0


class HangingSmtp(RecordingSmtp):
    """Takes some letters whole, and says nothing about them."""

    def __init__(self) -> None:
        super().__init__()
        self.is_hanging = Event()
        self.is_over = Event()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        letter = Received(envelope.mail_from or "", list(envelope.rcpt_tos), cast("bytes", envelope.content))
        if letter.message["Subject"] == HANGING:
            self.is_hanging.set()
            while not self.is_over.is_set():
                await asyncio.sleep(0.05)
        return await super().handle_DATA(server, session, envelope)


@pytest.fixture(scope="module")
def mail_server() -> Iterator[HangingSmtp]:
    with HangingSmtp() as server:
        yield server
        server.is_over.set()


@pytest.fixture(scope="module")
def service(
    new_database: Callable[[str], str], mail_server: HangingSmtp, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with running(new_database("hanging"), mail_server, tmp_path_factory.mktemp("hanging")) as base_url:
        yield base_url
        mail_server.is_over.set()  # else the worker would wait for its answer before it ends


def letters_with(mail_server: HangingSmtp, subject: str) -> list[Received]:
    return [letter for letter in mail_server.letters if letter.message["Subject"] == subject]


def test_pages_and_other_mailings_go_on_while_the_mail_server_hangs(service: str, mail_server: HangingSmtp) -> None:
    person = Person(service)
    person.sign_up("owner@golub.test", mail_server)
    for email in CLIENTS:
        person.fill_in("/clients/new", email=email, status="active")
    first, second = person.write_message(HANGING), person.write_message(OTHER)
    person.plan("Hangs", first, datetime.now(UTC), "once")
    wait_until(mail_server.is_hanging.is_set)

    person.plan("Leaves", second, datetime.now(UTC), "once")
    wait_until(lambda: len(letters_with(mail_server, OTHER)) == len(CLIENTS))

    seconds = []
    for number in range(5):
        for path in ("/overview", "/mailings/", "/mailings/1", "/mailings/1/runs/1", "/clients/"):
            began = time.monotonic()
            text = person.see(path)
            seconds.append(time.monotonic() - began)
            assert text
        began = time.monotonic()
        person.fill_in("/clients/new", email=f"new{number}@example.test", status="active")
        seconds.append((time.monotonic() - began) / 3)  # the form, the answer, and where that leads
    assert median(seconds) < USUAL_SECONDS
    assert max(seconds) < WORST_SECONDS

    assert not letters_with(mail_server, HANGING), "it was still hanging"
    mail_server.is_over.set()
    wait_until(lambda: len(letters_with(mail_server, HANGING)) == len(CLIENTS))
    person.close()
