"""Workers that are killed, and workers that are asked to end, while they send."""

import signal

import pytest

from tests.chaos.world import CONNECTIONS, World

MESSAGE_SECONDS = 0.005  # so long the mail server thinks: a kill should hit somebody who sends


@pytest.mark.timeout(400)
def test_workers_are_killed_while_they_send(world: World, is_full: bool) -> None:
    count, kills = (5000, 20) if is_full else (1000, 4)
    world.mail.behave(delay=MESSAGE_SECONDS)
    planted = world.plant(count)
    world.while_sending(planted, kills, lambda: world.kill_a_sender(signal.SIGKILL))
    world.finish(planted, 300)
    world.verdict(planted, unknown_at_most=kills * CONNECTIONS)
