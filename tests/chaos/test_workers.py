"""Workers that are killed, stopped in mid-sentence, or asked to end, while they send."""

import os
import signal
import time

import pytest

from tests.chaos.world import CONNECTIONS, LEASE_SECONDS, WORKERS, World
from tests.waiting import wait_until

THINKS_SECONDS = 0.005  # the mail server, before each answer: what disturbs should meet somebody who sends


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_workers_are_killed_while_they_send(world: World, is_full: bool) -> None:
    count, kills = (5000, 20) if is_full else (1000, 4)
    world.mail.behave(delay=THINKS_SECONDS)
    planted = world.plant(count)
    world.while_sending(planted, kills, lambda: world.signal_a_sender(signal.SIGKILL))
    world.finish(planted, 300)
    world.verdict(planted, unknown_at_most=kills * CONNECTIONS)


def test_workers_are_asked_to_end_while_they_send(world: World, is_full: bool) -> None:
    count, times = (5000, 20) if is_full else (600, 2)

    def end_one() -> None:
        victim = world.signal_a_sender(signal.SIGTERM)
        wait_until(lambda: is_gone(victim), world.logs)

    world.mail.behave(delay=THINKS_SECONDS)
    planted = world.plant(count)
    world.while_sending(planted, times, end_one)
    world.finish(planted, 300)
    world.verdict(planted)


@pytest.mark.parametrize(
    "with_children",
    [
        pytest.param(False, id="by their parent"),
        pytest.param(True, id="all at once", marks=pytest.mark.chaos_full),
    ],
)
def test_all_workers_are_asked_to_end_and_come_back(world: World, is_full: bool, with_children: bool) -> None:
    count, times = (2000, 4) if is_full else (400, 1)

    def restart() -> None:
        world.workers.terminate(with_children=with_children)
        world.workers.start()
        wait_until(world.is_ready, world.logs)

    world.mail.behave(delay=THINKS_SECONDS)
    planted = world.plant(count)
    world.while_sending(planted, times, restart)
    world.finish(planted)
    world.verdict(planted)


@pytest.mark.chaos_full
def test_all_workers_and_their_parent_are_killed_and_come_back(world: World) -> None:
    def restart() -> None:
        world.workers.kill()
        world.workers.start()

    world.mail.behave(delay=THINKS_SECONDS)
    planted = world.plant(2000)
    world.while_sending(planted, 3, restart)
    world.finish(planted)
    world.verdict(planted, unknown_at_most=3 * WORKERS * CONNECTIONS)


@pytest.mark.chaos_full
@pytest.mark.parametrize("records", [True, False])
def test_workers_are_asked_to_end_while_the_mail_server_hangs(world: World, records: bool) -> None:
    before = dict(world.workers.environment)
    world.workers.environment["MAIL_TIMEOUT_SECONDS"] = "60"
    world.workers.terminate()
    world.heal()
    try:
        world.mail.behave(fault="hang", stage="body", records=records)
        planted = world.plant(300)
        wait_until(lambda: world.mail.struck >= 1, world.logs)
        time.sleep(1)
        world.workers.terminate()
        struck = world.mail.struck
        world.mail.behave()
        world.workers.start()
        world.finish(planted)
        found = world.verdict(planted, unknown_at_most=struck)
        assert len(found.unknown) == struck
    finally:
        world.workers.environment = before
        world.workers.kill()


@pytest.mark.chaos_full
def test_a_worker_sleeps_longer_than_its_lease_and_wakes_up(world: World) -> None:
    """As after a suspended machine: its claims have been settled and sent by another one meanwhile."""
    world.mail.behave(delay=0.02)
    planted = world.plant(2000)
    for part in (1, 2, 3):
        world.wait_for_accepted(planted, planted.count * part // 5)
        victim = world.signal_a_sender(signal.SIGSTOP)
        ends = time.monotonic() + LEASE_SECONDS + 6
        while time.monotonic() < ends:
            world.nudge()
            time.sleep(0.1)
        os.kill(victim, signal.SIGCONT)
    world.finish(planted)
    world.verdict(planted, unknown_at_most=3 * CONNECTIONS)
