"""A world that the tests share, and disturb one after the other."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

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


NewWorld = Callable[..., AbstractContextManager[World]]


@pytest.fixture(scope="session")
def new_world(crashable_postgres: servers.PostgresServer | None) -> Iterator[NewWorld]:
    """A function that starts a world of its own, on this database or a new one, until the end of its context."""
    folder = Path(tempfile.mkdtemp(prefix="golub-chaos-"))
    numbers = count(1)

    @contextmanager
    def new(database_url: str = "", variables: Mapping[str, str] | None = None) -> Iterator[World]:
        name = f"world{next(numbers)}"
        (folder / name).mkdir()
        if not database_url and crashable_postgres is not None:
            database_url = _new_database(crashable_postgres.url, name)
        world = World(folder / name, database_url or f"sqlite:///{folder / name}/golub.db", variables or {})
        try:
            world.start()
            yield world
        finally:
            world.stop()

    yield new
    shutil.rmtree(folder)


def _new_database(server: str, name: str) -> str:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{server.rsplit('/', 1)[0]}/{name}"


@pytest.fixture(scope="session")
def shared_world(new_world: NewWorld) -> Iterator[World]:
    with new_world() as world:
        yield world


@pytest.fixture
def world(shared_world: World) -> World:
    """All of it, in good health."""
    shared_world.heal()
    return shared_world
