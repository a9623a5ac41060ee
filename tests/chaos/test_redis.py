"""Redis forgets everything, dies, and dies together with a worker."""

import signal

import pytest
import redis

from tests.chaos.world import CLAIM_SIZE, CONNECTIONS, REDIS_AWAY, World

THINKS_SECONDS = 0.005


@pytest.mark.chaos_full
def test_redis_is_flushed_while_they_send(world: World) -> None:
    client = redis.Redis.from_url(world.redis.url)
    world.mail.behave(delay=THINKS_SECONDS)
    planted = world.plant(2000)
    world.while_sending(planted, 3, client.flushall)
    # Without our own sweeps: the scheduler has to notice that its own are gone.
    world.finish(planted, nudge=False)
    world.verdict(planted, explained=REDIS_AWAY)
    client.close()


@pytest.mark.parametrize(
    "empty",
    [
        pytest.param(True, id="and comes back empty"),
        pytest.param(False, id="and comes back with its file", marks=pytest.mark.chaos_full),
    ],
)
def test_redis_is_killed_while_they_send(world: World, is_full: bool, empty: bool) -> None:
    count, times = (2000, 3) if is_full else (600, 1)

    def restart() -> None:
        world.redis.kill()
        world.redis.start(empty=empty)

    world.mail.behave(delay=THINKS_SECONDS)
    planted = world.plant(count)
    world.while_sending(planted, times, restart)
    world.finish(planted)
    world.verdict(planted, explained=REDIS_AWAY)


@pytest.mark.chaos_full
@pytest.mark.parametrize("empty", [True, False], ids=["and comes back empty", "and comes back with its file"])
def test_redis_is_killed_together_with_a_worker(world: World, empty: bool) -> None:
    """Nobody knows any more what the dead worker had begun: all that it held is unknown, and nothing comes twice."""
    times = 3

    def kill_both() -> None:
        world.redis.kill()
        world.signal_a_sender(signal.SIGKILL)
        world.redis.start(empty=empty)

    world.mail.behave(delay=THINKS_SECONDS)
    planted = world.plant(2000)
    world.while_sending(planted, times, kill_both)
    world.finish(planted)
    world.verdict(planted, unknown_at_most=times * CONNECTIONS * CLAIM_SIZE, explained=REDIS_AWAY)
