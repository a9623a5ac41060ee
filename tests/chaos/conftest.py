"""A world that the tests share, and disturb one after the other."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dev import servers
from tests.chaos.world import World


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos-full", action="store_true", help="tests/chaos: everything, and more of it")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "chaos_full: takes long; runs with --chaos-full only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--chaos-full", default=False):
        return
    left_out = [item for item in items if item.get_closest_marker("chaos_full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def is_full(pytestconfig: pytest.Config) -> bool:
    return bool(pytestconfig.getoption("--chaos-full", default=False))


@pytest.fixture(scope="session")
def crashable_postgres(request: pytest.FixtureRequest) -> Iterator[servers.PostgresServer | None]:
    """One with fsync, so that it can be crashed; None on SQLite."""
    if request.config.getoption("--database") == "sqlite":
        yield None
        return
    with servers.start_postgres(durable=True) as server:
        yield server


@pytest.fixture(scope="session")
def new_world(crashable_postgres: servers.PostgresServer | None) -> Iterator[Callable[..., World]]:
    """A function that starts a world of its own."""
    folder = Path(tempfile.mkdtemp(prefix="golub-chaos-"))
    made: list[World] = []

    def new(place: Path | None = None, **settings: object) -> World:
        place = place or folder / str(len(made))
        place.mkdir(exist_ok=True)
        # There is one on PostgreSQL, and its database is the server's first.
        url = crashable_postgres.url if crashable_postgres else f"sqlite:///{place}/golub.db"
        world = World(place, url, **settings)
        made.append(world)
        world.start()
        return world

    yield new
    for world in made:
        world.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def shared_world(new_world: Callable[..., World]) -> World:
    return new_world()


@pytest.fixture
def world(shared_world: World) -> World:
    """All of it, in good health."""
    shared_world.heal()
    return shared_world
