"""Real parts for every test: a database, Redis, and a mail server, over real sockets.

The cast is fixed: `owner` has things, `stranger` has other things, `manager`, `editor` and `admin` are the staff. Each
`<somebody>_client` is a browser in which that person is logged in.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import hypothesis
import pytest
from flask import Flask, has_app_context
from flask.testing import FlaskClient, FlaskCliRunner
from flask_migrate import upgrade
from rq import Queue, SimpleWorker
from sqlalchemy import create_engine, text

from app import create_app, queue
from app.auth.models import User
from app.auth.roles import Role
from app.config import ROOT, Settings
from app.extensions import db
from dev import servers
from tests import make
from tests.smtp import RecordingSmtp
from tests.waiting import PATIENCE_SECONDS

# On a busy machine any example may take long; what takes for ever is ended by pytest-timeout.
hypothesis.settings.register_profile("golub", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("golub")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=("sqlite", "postgresql"), default="sqlite")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: drives a real browser; all of tests/browser, and one_database as well")
    config.addinivalue_line("markers", "crawl: a browser goes everywhere; takes long, so it is a part of its own")
    config.addinivalue_line("markers", "one_database: has nothing to do with the database, so it is run on SQLite only")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "browser"):
            item.add_marker("browser")
            item.add_marker("one_database")
    if config.getoption("--database") == "sqlite":
        return
    left_out = [item for item in items if item.get_closest_marker("one_database")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def pytest_report_header(config: pytest.Config) -> str:
    return f"database: {config.getoption('--database')}"


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder with a short name: a unix socket's path must fit into 108 bytes."""
    path = Path(tempfile.mkdtemp(prefix="golub-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def redis_url(folder: Path) -> Iterator[str]:
    """A Redis of our own: tests flush it, so the one of REDIS_URL, with somebody's jobs in it, is never used."""
    with servers.start_redis(folder, socket=folder / "redis.sock", port=None, persistent=False) as server:
        yield server.url


@pytest.fixture(scope="session")
def database_server(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """Where databases can be made: a folder for SQLite, a server for PostgreSQL."""
    if request.config.getoption("--database") == "sqlite":
        yield f"sqlite:///{folder}"
    elif given := os.environ.get("TEST_DATABASE_URL"):
        yield given
    else:
        with servers.start_postgres() as server:
            yield server.url


@pytest.fixture(scope="session")
def new_database(database_server: str) -> Iterator[Callable[[str], str]]:
    """A function that makes an empty database of that name and gives its URL; all are dropped at the end."""
    made = []

    def new(name: str) -> str:
        if database_server.startswith("sqlite"):
            return f"{database_server}/{name}.db"
        name = f"golub_test_{os.getpid()}_{name}"
        _on_server(database_server, f'CREATE DATABASE "{name}"')
        made.append(name)
        return f"{database_server.rsplit('/', 1)[0]}/{name}"

    yield new
    for name in made:
        _on_server(database_server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _on_server(url: str, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.fixture(scope="session")
def smtp_server() -> Iterator[RecordingSmtp]:
    with RecordingSmtp() as server:
        yield server


@pytest.fixture
def smtp(smtp_server: RecordingSmtp) -> RecordingSmtp:
    """The mail server that the application sends to, with nothing received yet."""
    smtp_server.reset()
    return smtp_server


@pytest.fixture(scope="session")
def settings(folder: Path, new_database: Callable[[str], str], redis_url: str, smtp_server: RecordingSmtp) -> Settings:
    return Settings(
        _env_file=None,
        app_env="test",
        instance_path=folder / "instance",
        secret_key="only for tests",
        database_url=new_database("suite"),
        redis_url=redis_url,
        base_url="http://golub.test",
        timezone="UTC",
        mail_server="127.0.0.1",
        mail_port=smtp_server.port,
        mail_default_sender="golub@golub.test",
        mail_timeout_seconds=PATIENCE_SECONDS,
    )


@pytest.fixture(scope="session")
def migrated_app(settings: Settings) -> Iterator[Flask]:
    app = create_app(settings)
    app.config["WTF_CSRF_ENABLED"] = False  # tests/test_csrf.py switches it on
    with app.app_context():
        upgrade()
        _let_the_audit_log_be_emptied()
    yield app
    with app.app_context():
        db.engine.dispose()


def _let_the_audit_log_be_emptied() -> None:
    """Between tests. That nobody else can is tested on a database that keeps its triggers."""
    if db.engine.dialect.name == "sqlite":
        statements = [f"DROP TRIGGER audit_entry_no_{verb}" for verb in ("update", "delete")]
    else:
        statements = ["DROP TRIGGER audit_entry_is_append_only ON audit_entry"]
    for statement in statements:
        db.session.execute(text(statement))
    db.session.commit()


@pytest.fixture
def app(migrated_app: Flask, smtp: RecordingSmtp) -> Iterator[Flask]:
    """The application on an empty database and an empty Redis.

    No application context is open around a test client: a login would leak from one client into the next.
    """
    yield migrated_app
    with migrated_app.app_context():
        db.session.rollback()
        _empty_the_database()
        queue.connection().flushdb()


def _empty_the_database() -> None:
    connection = db.session.connection()
    delete_all = [str(table.delete().compile(connection)) for table in reversed(db.metadata.sorted_tables)]
    if connection.dialect.name == "sqlite":
        for delete in delete_all:
            connection.exec_driver_sql(delete)
    else:
        # Row by row for the usual handful, in one round trip; many rows would be compared with what refers to them.
        if db.session.scalar(text("SELECT count(*) > 1000 FROM client")):
            connection.exec_driver_sql("TRUNCATE client, delivery, attempt CASCADE")
        connection.exec_driver_sql("; ".join(delete_all))
    db.session.commit()


@pytest.fixture
def context(app: Flask) -> Iterator[None]:
    """An application context, for tests of services and queries. Not together with a test client."""
    with app.app_context():
        yield


@pytest.fixture
def run_jobs(app: Flask) -> Callable[[], None]:
    """Run what stands in the queue, and what that enqueues, until nothing is left. A failed job fails the test."""

    def run() -> None:
        with nullcontext() if has_app_context() else app.app_context():
            db.session.rollback()  # an open transaction of the test's own would lock SQLite
            default = Queue(queue.QUEUE_NAME, connection=queue.connection())
            SimpleWorker([default], connection=queue.connection()).work(burst=True, logging_level="WARNING")
            failed = [str(job.latest_result().exc_string) for job in queue.failed_jobs()]
        assert not failed, "\n".join(failed)

    return run


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser in which nobody is logged in."""
    return app.test_client()


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()


def _person(name: str, role: Role) -> Callable[[Flask], User]:
    @pytest.fixture(name=name)
    def person(app: Flask) -> User:
        with app.app_context():
            user = make.user(f"{name}@golub.test", role)
            db.session.commit()
            db.session.refresh(user)
            db.session.expunge(user)
            return user

    return person


def _browser_of(name: str) -> Callable[[Flask, User], FlaskClient]:
    @pytest.fixture(name=f"{name}_client")
    def browser(app: Flask, request: pytest.FixtureRequest) -> FlaskClient:
        user = request.getfixturevalue(name)
        client = app.test_client()
        make.session_of(app, client, user)
        return client

    return browser


owner = _person("owner", Role.USER)
stranger = _person("stranger", Role.USER)
manager = _person("manager", Role.MANAGER)
editor = _person("editor", Role.EDITOR)
admin = _person("admin", Role.ADMIN)
owner_client = _browser_of("owner")
stranger_client = _browser_of("stranger")
manager_client = _browser_of("manager")
editor_client = _browser_of("editor")
admin_client = _browser_of("admin")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with self-signed certificates: right.pem for 127.0.0.1, and other.pem for another host."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the program openssl is not on this machine, and makes the certificates")
    folder = tmp_path_factory.mktemp("certificates")
    for name, host in (("right", "IP:127.0.0.1"), ("other", "DNS:other.test")):
        command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=golub.test"]
        command += ["-addext", f"subjectAltName={host}", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    return folder
