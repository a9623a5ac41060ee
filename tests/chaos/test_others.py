"""The scheduler and the web process are killed; jobs come twice."""

import pytest
import requests

from app.mailings import jobs
from tests.chaos.world import World
from tests.waiting import wait_until

THINKS_SECONDS = 0.005


@pytest.mark.chaos_full
def test_scheduler_and_web_are_killed_while_they_send(world: World) -> None:
    def restart() -> None:
        for process in (world.scheduler, world.web):
            process.kill()
            process.start()

    world.mail.behave(delay=THINKS_SECONDS)
    planted = world.plant(2000)
    world.while_sending(planted, 3, restart)
    world.finish(planted, nudge=False)
    world.verdict(planted)
    wait_until(lambda: answers(world), world.logs)


@pytest.mark.chaos_full
def test_sending_goes_on_without_scheduler_and_web(world: World) -> None:
    world.mail.behave(delay=THINKS_SECONDS)
    planted = world.plant(1000)
    world.scheduler.kill()
    world.web.kill()
    world.finish(planted, nudge=False)
    world.verdict(planted)


def answers(world: World) -> bool:
    try:
        return requests.get(f"{world.settings.base_url}/healthz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def test_every_job_comes_several_times_at_once(world: World, is_full: bool) -> None:
    count, mailings = (1000, 10) if is_full else (60, 4)
    planted = [world.plant(count, begins=False) for _ in range(mailings)]

    def ring() -> None:
        for job in (jobs.dispatch_due, jobs.prepare_runs, jobs.deliver, jobs.sweep):
            for _ in range(4):
                world.ring(job)

    ring()
    world.while_sending(planted[0], 3, ring)
    for each in planted:
        world.finish(each)
        world.verdict(each)
