"""The mail server is away, hangs, breaks off, talks nonsense, or refuses some."""

import time

import pytest

from tests.chaos.server import is_deferred, is_refused
from tests.chaos.world import CONNECTIONS, WORKERS, World

THINKS_SECONDS = 0.005
BACK_SECONDS = 60.0  # so soon after its return all is sent
# (what it does, where, whether it has taken the body all the same)
FAULTS = [
    ("hang", "greeting", False),
    ("hang", "ehlo", False),
    ("hang", "mail", False),
    ("hang", "rcpt", False),
    ("hang", "data", False),
    ("hang", "body", False),
    ("hang", "body", True),
    ("421", "greeting", False),
    ("421", "mail", False),
    ("421", "rcpt", False),
    ("421", "data", False),
    ("421", "body", False),
    ("rubbish", "greeting", False),
    ("rubbish", "ehlo", False),
    ("rubbish", "mail", False),
    ("rubbish", "data", False),
    ("rubbish", "body", False),
    ("rubbish", "body", True),
    ("close", "greeting", False),
    ("close", "mail", False),
    ("close", "data", False),
    ("close", "body", False),
    ("close", "body", True),
    ("close", "answer", False),
]
IN_SHORT = {("close", "body", True), ("421", "rcpt", False)}


def named(fault: tuple[str, str, bool]) -> object:
    what, stage, records = fault
    marks = () if fault in IN_SHORT else (pytest.mark.chaos_full,)
    return pytest.param(*fault, id=f"{what} at {stage}{', taken' if records else ''}", marks=marks)


@pytest.mark.parametrize(("what", "stage", "records"), [named(fault) for fault in FAULTS])
def test_the_mail_server_fails_at_a_stage(world: World, is_full: bool, what: str, stage: str, records: bool) -> None:
    count = 600 if is_full else 300
    # A connection's beginning comes seldom; of what comes with every message, some meet the fault.
    every, times = (1, 2) if stage in ("greeting", "ehlo") else (50, 4)
    if stage in ("greeting", "ehlo"):
        world.restart_workers()
    world.mail.behave(fault=what, stage=stage, records=records, every=every, times=times)
    planted = world.plant(count)
    world.finish(planted, nudge=False)
    struck = world.mail.struck
    assert struck >= 1
    leaves_doubt = stage in ("body", "answer") and what != "421"
    found = world.verdict(planted, unknown_at_most=struck if leaves_doubt else 0)
    if stage == "body" and leaves_doubt:
        assert len(found.unknown) == struck
    assert not found.failed


def test_the_mail_server_refuses_some_and_defers_others(world: World, is_full: bool) -> None:
    world.mail.behave(defers_some=True, refuses_some=True)
    planted = world.plant(5000 if is_full else 300)
    world.finish(planted, nudge=False)
    found = world.verdict(planted)
    everyone = found.sent | found.failed
    assert found.failed == {email for email in everyone if is_refused(email)}
    twice = {email for email, tries in found.attempts.items() if tries == 2}
    assert twice == {email for email in everyone if is_deferred(email) and not is_refused(email)}
    assert len(everyone) == planted.count


@pytest.mark.chaos_full
def test_a_mail_server_that_knows_no_pipelining_refuses_some_and_defers_others(world: World) -> None:
    world.mail.behave(offers=["8BITMIME"], defers_some=True, refuses_some=True)
    world.restart_workers()
    planted = world.plant(1000)
    world.finish(planted, nudge=False)
    found = world.verdict(planted)
    assert found.failed == {email for email in found.attempts if is_refused(email)}


@pytest.mark.chaos_full
def test_the_mail_server_is_away_for_a_while(world: World) -> None:
    world.mail.behave(delay=THINKS_SECONDS)
    planted = world.plant(1000)
    world.wait_for_accepted(planted, 300)
    world.mail.behave(is_there=False)
    time.sleep(10)
    world.mail.behave()
    world.finish(planted, BACK_SECONDS, nudge=False)
    busy = WORKERS * CONNECTIONS
    found = world.verdict(planted, unknown_at_most=busy)
    # Its absence costs a handful of tries, not one for each recipient.
    assert sum(found.attempts.values()) <= planted.count + 3 * busy


@pytest.mark.chaos_full
def test_the_mail_server_is_away_from_the_beginning(world: World) -> None:
    world.restart_workers()
    world.mail.behave(is_there=False)
    planted = world.plant(500)
    time.sleep(10)
    world.mail.behave()
    world.finish(planted, BACK_SECONDS, nudge=False)
    found = world.verdict(planted)
    assert sum(found.attempts.values()) == planted.count
