"""PostgreSQL crashes; the disk under SQLite is full. Both come back."""

import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from dev import servers
from tests.chaos.conftest import NewWorld
from tests.chaos.world import DATABASE_AWAY, World
from tests.waiting import wait_until

THINKS_SECONDS = 0.005
DISK_BYTES = 16 * 1024 * 1024
DISK_FULL = "database or disk is full"  # SQLite's own words


@pytest.fixture
def postgres(crashable_postgres: servers.PostgresServer | None) -> servers.PostgresServer:
    if crashable_postgres is None:
        pytest.skip("with --database postgresql only")
    return crashable_postgres


@pytest.mark.parametrize(
    "away_seconds",
    [
        1,
        # Longer than a worker waits for it with outcomes in its hands: the journals have them.
        pytest.param(30, marks=pytest.mark.chaos_full),
    ],
)
def test_postgresql_crashes_while_they_send(
    world: World, postgres: servers.PostgresServer, is_full: bool, away_seconds: int
) -> None:
    count, times = (2000, 3) if is_full and away_seconds == 1 else (600, 1)

    def crash() -> None:
        postgres.crash()
        time.sleep(away_seconds)
        postgres.start_again()

    world.mail.behave(delay=THINKS_SECONDS)
    planted = world.plant(count)
    world.while_sending(planted, times, crash)
    world.finish(planted)
    world.verdict(planted, explained=DATABASE_AWAY)


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.config.getoption("--database") != "sqlite":
        pytest.skip("with --database sqlite only")
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "golub", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a disk that is full needs the right to mount one: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Write a file until not a byte more fits."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
    return ballast


def complains_anew(world: World, before: int) -> bool:
    return world.workers.output.count(DISK_FULL) > before


@pytest.mark.chaos_full
def test_the_disk_under_sqlite_is_full_for_a_while(new_world: NewWorld, small_disk: Path) -> None:
    with new_world(f"sqlite:///{small_disk}/golub.db") as world:
        world.mail.behave(delay=THINKS_SECONDS)
        planted = world.plant(1000)
        for part in (1, 2):
            world.wait_for_accepted(planted, planted.count * part // 4)
            complaints = world.workers.output.count(DISK_FULL)
            ballast = fill(small_disk)
            wait_until(partial(complains_anew, world, complaints), world.logs)
            time.sleep(3)
            ballast.unlink()
        world.finish(planted)
        world.verdict(planted, explained=DATABASE_AWAY)
