"""/healthz: alive. /readyz: able to work, and else what is missing, without telling strangers where things are."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import upgrade
from sqlalchemy import text

from app import create_app, health
from app.config import Settings
from app.extensions import db

ALL_WELL = {"status": "ok", "database": "ok", "migrations": "ok", "redis": "ok"}


@pytest.fixture
def build(app: Flask, settings: Settings) -> Iterator[Callable[..., Flask]]:
    """An application with some settings changed."""
    made = []

    def new(**changes: Any) -> Flask:
        handlers = logging.getLogger().handlers[:]
        made.append(create_app(settings.model_copy(update=changes)))
        logging.getLogger().handlers = handlers  # pytest's among them
        return made[-1]

    yield new
    for other in made:
        with other.app_context():
            db.engine.dispose()


def broken_database(settings: Settings, folder: Path) -> str:
    if settings.database_url.startswith("sqlite"):
        return f"sqlite:///{folder}/secret-place/golub.db"
    return "postgresql+psycopg2://golub:hunter2@127.0.0.1:1/secret-place"


def ask(app: Flask, path: str) -> Any:
    return app.test_client().get(path)


def test_all_is_well(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json == ALL_WELL
    assert client.get("/healthz").json == {"status": "ok"}


def test_healthz_asks_nothing(build: Callable[..., Flask], settings: Settings, tmp_path: Path) -> None:
    """A process is not killed and started again because its database is away."""
    alone = build(database_url=broken_database(settings, tmp_path), redis_url=f"unix://{tmp_path}/nobody.sock?db=0")
    answer = ask(alone, "/healthz")
    assert answer.status_code == 200
    assert answer.json == {"status": "ok"}


def test_redis_away(build: Callable[..., Flask], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(build(redis_url=f"unix://{tmp_path}/secret-place.sock?db=0"), "/readyz")
    assert answer.status_code == 503
    assert answer.json == ALL_WELL | {"status": "unavailable", "redis": "failed"}
    assert "secret-place" not in answer.text
    assert "secret-place" in caplog.text


def test_the_database_away(
    build: Callable[..., Flask], settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answer = ask(build(database_url=broken_database(settings, tmp_path)), "/readyz")
    assert answer.status_code == 503
    expected = {"status": "unavailable", "database": "failed", "migrations": "failed"}
    assert answer.json == ALL_WELL | expected
    for secret in ("secret-place", "hunter2", "127.0.0.1"):
        assert secret not in answer.text
    assert "hunter2" not in caplog.text


def test_everything_away(build: Callable[..., Flask], settings: Settings, tmp_path: Path) -> None:
    alone = build(database_url=broken_database(settings, tmp_path), redis_url=f"unix://{tmp_path}/nobody.sock?db=0")
    answer = ask(alone, "/readyz")
    assert answer.status_code == 503
    assert set(answer.json.values()) == {"unavailable", "failed"}


def test_without_migrations_it_is_not_ready(
    build: Callable[..., Flask], new_database: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    fresh = build(database_url=new_database("unmigrated"))
    answer = ask(fresh, "/readyz")
    assert answer.status_code == 503
    assert answer.json == ALL_WELL | {"status": "unavailable", "migrations": "failed"}
    assert "not ready: migrations" in caplog.text
    with fresh.app_context():
        check = health.check_migrations()
        assert check.remedy == "Run: flask db upgrade"
        db.session.remove()
        upgrade()
    assert ask(fresh, "/readyz").status_code == 200


def test_a_database_of_a_newer_version_is_not_ready(
    build: Callable[..., Flask], new_database: Callable[[str], str]
) -> None:
    newer = build(database_url=new_database("newer"))
    with newer.app_context():
        upgrade()
        db.session.execute(text("UPDATE alembic_version SET version_num = 'ffffffffffff'"))
        db.session.commit()
    assert ask(newer, "/readyz").json["migrations"] == "failed"


def test_it_recovers(client: FlaskClient, app: Flask, settings: Settings, tmp_path: Path) -> None:
    app.config["SETTINGS"] = settings.model_copy(update={"redis_url": f"unix://{tmp_path}/nobody.sock"})
    assert client.get("/readyz").status_code == 503
    app.config["SETTINGS"] = settings
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_nobody_has_to_log_in_and_nothing_is_kept(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers
    assert client.post(path).status_code == 405
