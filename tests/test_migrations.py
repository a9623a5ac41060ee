"""Migrations: from nothing to the models and back, on the database under test."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import inspect, select, text

from app import create_app
from app.auth.models import User
from app.clients.models import Client
from app.config import ROOT, Settings
from app.extensions import db, migrate
from tests import make

Build = Callable[[str], Flask]


@pytest.fixture(scope="module")
def build(settings: Settings, new_database: Callable[[str], str]) -> Iterator[Build]:
    """An application on an empty database of that name."""
    made = []

    def new(name: str) -> Flask:
        handlers = logging.getLogger().handlers[:]
        app = create_app(settings.model_copy(update={"database_url": new_database(name)}))
        logging.getLogger().handlers = handlers  # pytest's among them
        made.append(app)
        return app

    yield new
    for app in made:
        with app.app_context():
            db.engine.dispose()


def tables() -> set[str]:
    return set(inspect(db.engine).get_table_names())


def differences() -> list[Any]:
    """What would have to change for the database to be what the models say."""
    with db.engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), db.metadata))


def test_from_nothing_they_lead_to_the_models_and_back_to_nothing(build: Build) -> None:
    with build("there_and_back").app_context():
        upgrade()
        assert tables() == set(db.metadata.tables) | {"alembic_version"}
        assert differences() == []
        downgrade(revision="base")
        assert tables() <= {"alembic_version"}
        assert leftovers() == []
        upgrade()
        assert differences() == []


def leftovers() -> list[str]:
    """What is no table, and is left all the same: sequences, types, views."""
    if db.engine.dialect.name == "sqlite":
        names = db.session.scalars(
            text("SELECT name FROM sqlite_master WHERE name NOT LIKE '%alembic%' AND name NOT LIKE 'sqlite_%'")
        )
    else:
        names = db.session.scalars(
            text(
                "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
                " WHERE n.nspname = 'public' AND relname NOT LIKE '%alembic%'"
                " UNION ALL SELECT typname FROM pg_type JOIN pg_namespace n ON n.oid = typnamespace"
                " WHERE n.nspname = 'public' AND typname NOT LIKE '%alembic%'"
            )
        )
    found = list(names)
    db.session.rollback()
    return found


def test_they_make_what_the_models_would_make(build: Build) -> None:
    """Checks and partial indexes, which the comparison of Alembic does not see."""
    with build("by_migrations").app_context():
        upgrade()
        migrated = shape()
    with build("by_models").app_context():
        db.create_all()
        assert shape() == migrated


def plain(value: Any) -> Any:
    """Texts in the place of SQLAlchemy's objects, which are never equal."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in sorted(value.items())}
    return [plain(inner) for inner in value] if isinstance(value, list) else str(value)


def shape() -> dict[str, Any]:
    """All that can be read of the tables."""
    look = inspect(db.engine)

    def sort(things: Any) -> list[str]:
        return sorted(str(plain(thing)) for thing in things)

    return {
        table: {
            "columns": sort(look.get_columns(table)),
            "indexes": sort(look.get_indexes(table)),
            "unique": sort(look.get_unique_constraints(table)),
            "foreign": sort(look.get_foreign_keys(table)),
            "checks": sort(look.get_check_constraints(table)),
            "primary": sort([look.get_pk_constraint(table)]),
        }
        for table in look.get_table_names()
        if table != "alembic_version"
    }


def test_upgrading_again_changes_nothing_and_keeps_the_data(build: Build) -> None:
    with build("with_data").app_context():
        upgrade()
        make.client(make.user("owner@golub.test"))
        db.session.commit()
        upgrade()
        assert db.session.scalar(select(Client.email)) == "anna@example.test"
        assert db.session.scalar(select(User.email)) == "owner@golub.test"
        db.session.remove()


def test_there_is_one_line_of_them(app: Flask) -> None:
    with app.app_context():
        scripts = ScriptDirectory.from_config(migrate.get_config())
    assert len(scripts.get_heads()) == 1
    assert len(scripts.get_bases()) == 1


def test_every_one_can_be_taken_back_and_names_no_type_of_ours() -> None:
    found = list((ROOT / "migrations" / "versions").glob("*.py"))
    assert found
    for migration in found:
        source = migration.read_text()
        assert "def downgrade()" in source
        assert "import app" not in source
        assert "from app" not in source


def test_on_sqlite_foreign_keys_are_on_again_afterwards(build: Build) -> None:
    with build("foreign_keys").app_context():
        upgrade()
        if db.engine.dialect.name == "sqlite":
            with db.engine.connect() as connection:
                assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
        else:
            assert inspect(db.engine).get_foreign_keys("client")


def test_pictures_that_were_there_before_those_of_letters_stay(build: Build) -> None:
    with build("pictures").app_context():
        upgrade(revision="f85b1e3c7d60")
        db.session.execute(
            text("INSERT INTO picture (key, alt, width, height, created_at) VALUES ('k', 'A dove', 480, 240, :now)"),
            {"now": "2026-01-01 00:00:00.000000+00:00"},
        )
        for width in (240, 480):
            values = {"width": width, "image": b"x" * width}
            db.session.execute(text("INSERT INTO picture_size VALUES (1, :width, :image)"), values)
        db.session.commit()
        upgrade()
        query = text("SELECT format, weight, used_at, alt FROM picture")
        assert db.session.execute(query).one() == ("webp", 720, None, "A dove")
        db.session.commit()
        downgrade(revision="f85b1e3c7d60")
        assert db.session.scalar(text("SELECT count(*) FROM picture_size")) == 2
        db.session.remove()
