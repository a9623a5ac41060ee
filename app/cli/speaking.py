"""How a command speaks: what it prints, where, and what it says when it fails."""

import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from typing import ParamSpec

import click
from flask import current_app
from flask.cli import with_appcontext
from flask_babel import force_locale
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app.auth import audit
from app.config import Settings
from app.database import only_reads
from app.errors import GolubError

P = ParamSpec("P")

LARGEST_ID = 2**63 - 1  # what a column can hold: SQLite's driver fails on more
mailing_argument = click.argument("mailing_id", metavar="ID", type=click.IntRange(1, LARGEST_ID))


class BadArguments(click.ClickException):
    exit_code = 2


class _Command(click.Command):
    """Tells of bad arguments in one line. Click's own way takes four."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            message = " ".join(error.format_message().split())
            raise BadArguments(f"{message} See: flask {ctx.info_name} --help") from None


def command(name: str, *, reads: bool = False) -> Callable[[Callable[P, None]], click.Command]:
    """Make a function a command. One that only reads never waits for SQLite's one writer."""

    def decorate(function: Callable[P, None]) -> click.Command:
        @wraps(function)
        def speaking(*args: P.args, **kwargs: P.kwargs) -> None:
            with reading(reads), _warnings_on_stderr(), force_locale("en"), _faults_in_one_line(), _on_record():
                function(*args, **kwargs)

        return click.command(name, cls=_Command)(with_appcontext(speaking))

    return decorate


@contextmanager
def reading(reads: bool) -> Iterator[None]:
    token = only_reads.set(reads)
    try:
        yield
    finally:
        only_reads.reset(token)


@contextmanager
def _on_record() -> Iterator[None]:
    token = audit.origin.set(lambda: audit.Origin(address=audit.COMMAND))
    try:
        yield
    finally:
        audit.origin.reset(token)


@contextmanager
def _warnings_on_stderr() -> Iterator[None]:
    """What a command prints may go into a pipe, where events of the log don't belong; whoever waits reads the rest."""
    handlers = [handler for handler in logging.getLogger().handlers if type(handler) is logging.StreamHandler]
    before = [(handler, handler.stream, handler.level) for handler in handlers]
    try:
        for handler in handlers:
            handler.setStream(sys.stderr)
            handler.setLevel(logging.WARNING)
        yield
    finally:
        for handler, stream, level in before:
            handler.setStream(stream)
            handler.setLevel(level)


@contextmanager
def _faults_in_one_line() -> Iterator[None]:
    try:
        yield
    except (GolubError, OSError) as error:
        raise click.ClickException(_first_line(error)) from None
    except SQLAlchemyError as error:
        why = _first_line(getattr(error, "orig", None) or error)
        raise click.ClickException(f"The database: {why} — to see what is wrong, run: flask doctor") from None
    except RedisError as error:
        raise click.ClickException(f"Redis: {_first_line(error)} — to see what is wrong, run: flask doctor") from None


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def note(text: str) -> None:
    """Something beside the result, on standard error."""
    click.echo(text, err=True)


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns: numbers to the right, all else to the left."""
    texts = [[str(cell) for cell in row] for row in rows]
    columns = list(zip(head, *texts, strict=True))
    widths = [max(map(len, column)) for column in columns]
    is_number = [all(cell.isdecimal() or not cell for cell in column[1:]) for column in columns]
    for row in [list(head), *texts]:
        cells = zip(row, widths, is_number, strict=True)
        line = "  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells)
        click.echo(line.rstrip())


def print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def time_text(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if moment else "-"


def iso_text(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None


def settings() -> Settings:
    settings: Settings = current_app.config["SETTINGS"]
    return settings
