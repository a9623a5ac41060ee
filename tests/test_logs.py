"""Logs: one event a line, with its ids, and without secrets."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from typing import Any

import pytest
import structlog
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from app.config import Settings
from app.logs import QUIET, configure_logs

SECRET = "hunter2"
Lines = Callable[[], list[str]]


@pytest.fixture
def configure(settings: Settings) -> Iterator[Callable[..., Lines]]:
    """Sets the logs up as in some environment, and gives a function that reads what was written."""
    root = logging.getLogger()
    handlers, level, structlogs = root.handlers[:], root.level, structlog.get_config()
    written = io.StringIO()

    def set_up(app_env: str, **changes: Any) -> Lines:
        with redirect_stdout(written):
            configure_logs(settings.model_copy(update={"app_env": app_env} | changes))
        return lambda: written.getvalue().splitlines()

    yield set_up
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**structlogs)
    structlog.contextvars.clear_contextvars()
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.NOTSET)


def fail(password: str) -> None:
    """Its local variables are nobody's business."""
    letter = {"html": f"<p>{password}</p>"}
    raise RuntimeError(f"no luck with {len(letter)} letters")


def say_everything() -> None:
    log = structlog.get_logger("golub")
    log.info("run.begun", run=7, mailing=3, subject="Привет\nмир")
    try:
        fail(SECRET)
    except RuntimeError:
        log.exception("fault", run=7)
        logging.getLogger("foreign").exception("theirs %s", "too", extra={"run": 7})


def test_in_production_each_event_is_one_line_of_json(configure: Callable[..., Lines]) -> None:
    lines = configure("production")
    say_everything()
    begun, fault, theirs = map(json.loads, lines())
    assert (begun["event"], begun["run"], begun["mailing"]) == ("run.begun", 7, 3)
    assert begun["subject"] == "Привет\nмир"
    assert (begun["level"], begun["logger"]) == ("info", "golub")
    assert begun["timestamp"].endswith("Z")
    assert (fault["level"], theirs["level"]) == ("error", "error")
    assert (theirs["event"], theirs["logger"], theirs["run"]) == ("theirs too", "foreign", 7)


def test_a_fault_comes_with_its_traceback(configure: Callable[..., Lines]) -> None:
    lines = configure("production")
    say_everything()
    for line in lines()[1:]:
        (exception,) = json.loads(line)["exception"]
        assert (exception["exc_type"], exception["exc_value"]) == ("RuntimeError", "no luck with 1 letters")
        assert [frame["name"] for frame in exception["frames"]] == ["say_everything", "fail"]


def test_in_development_it_is_for_people(configure: Callable[..., Lines]) -> None:
    lines = configure("development")
    say_everything()
    assert "run.begun" in lines()[0]
    assert "run=7" in lines()[0]
    assert "\x1b" not in "".join(lines())  # no colours where nobody sees them
    assert any(line.startswith("RuntimeError: no luck") for line in lines())


@pytest.mark.parametrize("app_env", ["production", "development"])
def test_no_traceback_shows_local_variables(configure: Callable[..., Lines], app_env: str) -> None:
    lines = configure(app_env)
    say_everything()
    assert "RuntimeError" in "".join(lines())
    assert SECRET not in "".join(lines())


@pytest.mark.parametrize("app_env", ["production", "development"])
@pytest.mark.parametrize(
    "secret",
    [
        {"password": SECRET},
        {"MAIL_PASSWORD": SECRET},
        {"secret_key": SECRET},
        {"csrf_token": SECRET},
        {"Authorization": SECRET},
        {"set_cookie": SECRET},
        {"html": SECRET},
        {"body": SECRET},
        {"headers": {"Authorization": SECRET, "Host": "golub.test"}},
        {"a": {"b": {"password": {"deep": SECRET}}}},
    ],
)
def test_what_is_named_like_a_secret_is_hidden(
    configure: Callable[..., Lines], app_env: str, secret: dict[str, Any]
) -> None:
    lines = configure(app_env)
    structlog.get_logger("golub").info("said", run=7, **secret)
    logging.getLogger("foreign").warning("said", extra=secret)
    structlog.contextvars.bind_contextvars(**secret)
    structlog.get_logger("golub").info("said")
    assert len(lines()) == 3
    assert all("[hidden]" in line for line in lines())
    assert SECRET not in "".join(lines())


def test_the_database_tells_no_values_in_production(configure: Callable[..., Lines], settings: Settings) -> None:
    lines = configure("production")
    options = settings.model_copy(update={"app_env": "production"}).for_flask()["SQLALCHEMY_ENGINE_OPTIONS"]
    engine = create_engine("sqlite://", **options)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT nothing WHERE :letter = 1"), {"letter": SECRET})
    except SQLAlchemyError:
        structlog.get_logger("golub").exception("fault")
    engine.dispose()
    assert "OperationalError" in lines()[0]
    assert SECRET not in lines()[0]


def test_what_is_bound_rides_along(configure: Callable[..., Lines]) -> None:
    lines = configure("production")
    with structlog.contextvars.bound_contextvars(worker="w1"):
        structlog.get_logger("golub").info("one")
        logging.getLogger("foreign").warning("two")
    structlog.get_logger("golub").info("three")
    assert [json.loads(line).get("worker") for line in lines()] == ["w1", "w1", None]


def test_what_json_does_not_know_is_written_all_the_same(configure: Callable[..., Lines]) -> None:
    lines = configure("production")
    structlog.get_logger("golub").info("odd", error=ValueError("x"), data=b"\xff", things={1})
    assert json.loads(lines()[0])["error"] == "ValueError('x')"


def test_the_level_is_kept(configure: Callable[..., Lines]) -> None:
    lines = configure("production", log_level="WARNING")
    structlog.get_logger("golub").info("no")
    logging.getLogger("foreign").info("no")
    structlog.get_logger("golub").warning("yes")
    assert [json.loads(line)["event"] for line in lines()] == ["yes"]


def test_chatty_libraries_are_quiet_unless_something_is_wrong(configure: Callable[..., Lines]) -> None:
    lines = configure("production", log_level="DEBUG")
    for name in QUIET:
        logging.getLogger(name).info("chat")
        logging.getLogger(name).warning("news")
    assert [json.loads(line)["event"] for line in lines()] == ["news"] * len(QUIET)


def test_setting_up_twice_says_nothing_twice(configure: Callable[..., Lines]) -> None:
    configure("production")
    lines = configure("production")
    structlog.get_logger("golub").info("once")
    assert len(lines()) == 1
