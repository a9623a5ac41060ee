"""An application of development, which has an inbox, beside the suite's own, which has none."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.config import Settings
from app.extensions import db
from app.inbox.store import Store
from app.logs import configure_logs


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def same_logs(settings: Settings) -> Iterator[None]:
    """A further application sets up the logs of the whole process: give them back to the suite's own."""
    yield
    configure_logs(settings)


@pytest.fixture
def inbox_app(app: Flask, settings: Settings, same_logs: None, tmp_path: Path) -> Iterator[Flask]:
    inbox_app = create_app(
        Settings(
            _env_file=None,
            app_env="development",
            instance_path=tmp_path,
            database_url=settings.database_url,
            redis_url=settings.redis_url,
        )
    )
    yield inbox_app
    with inbox_app.app_context():
        db.engine.dispose()


@pytest.fixture
def browser(inbox_app: Flask) -> FlaskClient:
    """Somebody who looks into the inbox, not logged in."""
    inbox_app.config["WTF_CSRF_ENABLED"] = False
    return inbox_app.test_client()
