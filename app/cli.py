"""The operator's commands. English only, like the logs.

Each prints what people want to know, or one line on standard error and ends with 1 (it failed) or 2 (bad arguments).
"""

import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from time import monotonic, sleep
from typing import Any, ParamSpec

import click
from flask import Flask, current_app
from flask.cli import with_appcontext
from flask_babel import force_locale
from redis import RedisError
from sqlalchemy import Select, select
from sqlalchemy.exc import SQLAlchemyError

from app import demo, doctor, queue
from app.addresses import parse_address
from app.auth import audit, passwords
from app.auth import queries as accounts
from app.auth import service as auth
from app.auth.forms import one_line
from app.auth.models import User
from app.auth.roles import Permission, Role
from app.clients.csv_import import ImportReport, import_csv
from app.config import Settings
from app.database import only_reads
from app.delivery.models import DeliveryStatus, Run, RunStatus
from app.errors import GolubError, NotFound, RuleBroken
from app.extensions import db
from app.health import Check
from app.mailings import jobs
from app.mailings import service as mailings
from app.mailings.models import Mailing

P = ParamSpec("P")

LARGEST_ID = 2**63 - 1  # what a column can hold: SQLite's driver fails on more
LONGEST_NAME = 150
BAD_ROWS_SHOWN = 20
POLL_SECONDS = 0.5
FIGURES = ("planned", *(status.value for status in DeliveryStatus))


def init_app(app: Flask) -> None:
    app.cli.add_command(create_admin)
    app.cli.add_command(create_admin, "csu")
    for one in (set_role, load_demo, import_clients, send_mailing, resend, dispatch, report, runs, run_doctor):
        app.cli.add_command(one)


# ── How a command speaks ──


class _BadArguments(click.ClickException):
    exit_code = 2


class _Command(click.Command):
    """Tells of bad arguments in one line. Click's own way takes four."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            message = " ".join(error.format_message().split())
            raise _BadArguments(f"{message} See: flask {ctx.info_name} --help") from None


def _command(name: str, *, reads: bool = False) -> Callable[[Callable[P, None]], click.Command]:
    """Make a function a command. One that only reads never waits for SQLite's one writer."""

    def decorate(function: Callable[P, None]) -> click.Command:
        @wraps(function)
        def speaking(*args: P.args, **kwargs: P.kwargs) -> None:
            with _reading(reads), _warnings_on_stderr(), force_locale("en"), _faults_in_one_line(), _on_record():
                function(*args, **kwargs)

        return click.command(name, cls=_Command)(with_appcontext(speaking))

    return decorate


@contextmanager
def _reading(reads: bool) -> Iterator[None]:
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


def _note(text: str) -> None:
    """Something beside the result, on standard error."""
    click.echo(text, err=True)


def _print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns: numbers to the right, all else to the left."""
    texts = [[str(cell) for cell in row] for row in rows]
    columns = list(zip(head, *texts, strict=True))
    widths = [max(map(len, column)) for column in columns]
    is_number = [all(cell.isdecimal() or not cell for cell in column[1:]) for column in columns]
    for row in [list(head), *texts]:
        cells = zip(row, widths, is_number, strict=True)
        line = "  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells)
        click.echo(line.rstrip())


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if moment else "-"


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None


def _settings() -> Settings:
    settings: Settings = current_app.config["SETTINGS"]
    return settings


# ── Accounts ──


@_command("create-admin")
@click.option("--email", help="The address to log in with.")
@click.option("--name", help="What the administrator is called.")
@click.option(
    "--password", envvar="GOLUB_ADMIN_PASSWORD", show_envvar=True, help="Others may see it in the shell's history."
)
def create_admin(email: str | None, name: str | None, password: str | None) -> None:
    """Create an administrator, who can log in at once.

    What is missing is asked for. Without a terminal the password is the next line of standard input.
    """
    if name is None:
        name = "" if email and password else _ask("Name", may_be_empty=True)
    name = one_line(name)
    if len(name) > LONGEST_NAME:
        raise _BadArguments(f"A name has at most {LONGEST_NAME} characters.")
    user = auth.create_admin(email or _ask("E-mail"), password or _ask_password(), name)
    db.session.commit()
    click.echo(f"{user.email} is an administrator now. Log in at {_settings().base_url}/auth/login")


def _has_terminal() -> bool:
    return sys.stdin.isatty()


def _ask(what: str, *, may_be_empty: bool = False) -> str:
    if _has_terminal():
        return str(click.prompt(what, default="" if may_be_empty else None, show_default=False))
    if may_be_empty:  # nobody is there to be asked
        return ""
    raise _BadArguments(f"{what} is missing, and there is no terminal to ask for it. See: flask create-admin --help")


def _ask_password() -> str:
    if _has_terminal():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    if line := sys.stdin.readline().rstrip("\r\n"):
        return line
    raise _BadArguments("The password is missing. Give it by --password, GOLUB_ADMIN_PASSWORD or standard input.")


@_command("set-role")
@click.argument("email")
@click.argument("role", metavar="ROLE", type=click.Choice([role.value for role in Role], case_sensitive=False))
def set_role(email: str, role: str) -> None:
    """Give the account EMAIL another role.

    ROLE is user, manager, editor or admin.
    """
    user = _user(email)
    auth.set_role(user, Role(role))
    db.session.commit()
    click.echo(f"{user.email} has the role “{role}” now.")


def _user(email: str) -> User:
    user = db.session.scalar(accounts.user_by_email(parse_address(email).key))
    if user is None:
        raise NotFound(f"No account has the address {email}.")
    return user


# ── Things to begin with ──


@_command("load-demo")
@click.option("--if-empty", is_flag=True, help="Do nothing when there is any account.")
@click.option("--force", is_flag=True, help="In production, too, where everybody would know the passwords.")
def load_demo(if_empty: bool, force: bool) -> None:
    """Load something to look around with.

    That is people, clients, messages, articles and mailings, one of which starts within seconds. What is there
    already stays as it is.
    """
    if _settings().is_production and not force:
        raise RuleBroken("This is production: the demo's passwords are public. If you mean it, add --force.")
    if if_empty and db.session.scalar(select(User.id).limit(1)) is not None:
        click.echo("There are accounts already: no demo data was loaded.")
        return
    planned = demo.load()
    db.session.commit()
    for mailing in planned:
        jobs.announce(mailing)
    db.session.commit()
    click.echo("The demo is loaded." if planned else "The demo is there already; what was missing of it was added.")
    click.echo(f"Log in at {_settings().base_url}/auth/login as\n")
    _print_table(
        ("who", "e-mail", "password", "may"),
        [(person.name, person.email, _password_of(person), person.may) for person in demo.PEOPLE],
    )


def _password_of(person: demo.Person) -> str:
    is_demos = passwords.verify_password(_user(person.email).password_hash, demo.DEMO_PASSWORD)
    return demo.DEMO_PASSWORD if is_demos else "(changed)"


@_command("import-clients")
@click.argument("email")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
def import_clients(email: str, file: Path) -> None:
    """Add the clients in a CSV file to an address book.

    It is that of the account EMAIL. The first row names the columns; one of them must be “email”. Those who are
    there already stay as they are.
    """
    owner = _user(email)
    if not owner.may(Permission.OWN_THINGS):
        raise RuleBroken(f"{owner.email} has the role “{owner.role}”, which comes without an address book.")
    with file.open("rb") as stream:
        result = import_csv(owner, stream)
    db.session.commit()
    _print_import(result)
    if not result.added and not result.skipped:
        raise RuleBroken("No client could be read from the file.")


def _print_import(result: ImportReport) -> None:
    click.echo(f"added: {result.added}\nskipped: {result.skipped} (there already)\nbad: {len(result.bad)}")
    for row in result.bad[:BAD_ROWS_SHOWN]:
        click.echo(f"  row {row.number}: {row.reason}")
    if len(result.bad) > BAD_ROWS_SHOWN:
        click.echo(f"  and {len(result.bad) - BAD_ROWS_SHOWN} more")


# ── Sending ──

_mailing_id = click.argument("mailing_id", metavar="ID", type=click.IntRange(1, LARGEST_ID))


@_command("send-mailing")
@_mailing_id
@click.option("--wait", is_flag=True, help="Wait until all of it is sent.")
@click.option("--timeout", type=click.FloatRange(min=0), default=600, show_default=True, help="Seconds to wait.")
def send_mailing(mailing_id: int, wait: bool, timeout: float) -> None:
    """Send the mailing ID now, beside its schedule."""
    mailing = db.session.scalar(select(Mailing).where(Mailing.id == mailing_id, Mailing.deleted_at.is_(None)))
    if mailing is None:
        raise NotFound(f"There is no mailing {mailing_id}.")
    run_id, name = mailings.start_now(mailing).id, one_line(mailing.name)
    db.session.commit()
    queue.enqueue(jobs.prepare_runs)
    click.echo(f"Run {run_id} of mailing {mailing_id}, “{name}”, has begun. Look at it: flask report {mailing_id}")
    if wait:
        _wait_for(run_id, mailing_id, timeout)


@_command("resend")
@click.argument("run_id", metavar="RUN", type=click.IntRange(1, LARGEST_ID))
@click.option("--failed", is_flag=True, help="What the mail server refused. Clients who bounced are left out.")
@click.option("--unknown", is_flag=True, help="What may have arrived: whoever has the letter may get it twice.")
def resend(run_id: int, failed: bool, unknown: bool) -> None:
    """Send the failed or the unknown messages of RUN again."""
    if failed == unknown:
        raise _BadArguments("Give one of --failed and --unknown. See: flask resend --help")
    status = DeliveryStatus.FAILED if failed else DeliveryStatus.UNKNOWN
    run = db.session.get(Run, run_id)
    if run is None:
        raise NotFound(f"There is no run {run_id}.")
    mailing = db.session.get_one(Mailing, run.mailing_id)
    again = mailings.resend(mailing, run, status)
    mailing_id, is_paused = mailing.id, mailing.paused_at is not None
    db.session.commit()
    queue.enqueue(jobs.deliver)
    when = "once its mailing is resumed" if is_paused else "now"
    click.echo(f"Messages of run {run_id} that are sent again, {when}: {again}. Look at it: flask report {mailing_id}")


def _wait_for(run_id: int, mailing_id: int, timeout: float) -> None:
    """Show how far the run is until it is done.

    timeout: seconds.

    Raises:
        RuleBroken: when it is not done by then.
    """
    if not queue.workers_alive():
        _note("No worker is alive, so nobody will send it. Start one: python worker.py")
    ends = monotonic() + timeout
    with _reading(True), click.progressbar(length=1, label=f"Run {run_id}", file=sys.stderr) as bar:
        while True:
            run = _look_at(run_id)
            bar.length = max(run.planned, 1)
            ended = bar.length if run.is_finished else run.planned - run.pending - run.sending
            bar.update(ended - bar.pos)
            if run.is_finished or monotonic() >= ends:
                break
            sleep(min(POLL_SECONDS, max(0, ends - monotonic())))
    figures = ", ".join(f"{name} {getattr(run, name)}" for name in FIGURES)
    if not run.is_finished:
        why = f" {_hindrance(run)}." if _hindrance(run) else ""
        raise RuleBroken(
            f"Run {run_id} is not done after {timeout:g} s ({figures}).{why} It goes on: flask report {mailing_id}"
        )
    click.echo(f"Run {run_id} is done: {figures}.")


def _look_at(run_id: int) -> Run:
    """The run as it is now, with no transaction left open."""
    run = db.session.get_one(Run, run_id, populate_existing=True)
    db.session.expunge(run)
    db.session.rollback()
    return run


@_command("dispatch")
def dispatch() -> None:
    """Begin a run of every mailing that is due now. The workers send it."""
    click.echo(f"Runs begun: {jobs.begin_due_runs()}.")


# ── Looking ──


@_command("report", reads=True)
@_mailing_id
@click.option("--json", "as_json", is_flag=True, help="A list of runs, for programs.")
def report(mailing_id: int, as_json: bool) -> None:
    """Show what became of the letters of a mailing, run by run."""
    mailing = db.session.get(Mailing, mailing_id)
    if mailing is None:
        raise NotFound(f"There is no mailing {mailing_id}.")
    found = db.session.scalars(select(Run).where(Run.mailing_id == mailing_id).order_by(Run.id)).all()
    if as_json:
        _print_json([_run_as_json(run) for run in found])
        return
    next_run = _time(mailing.next_run_at)
    click.echo(f"Mailing {mailing_id}, “{one_line(mailing.name)}”: {_state_of(mailing)}. Next run: {next_run}")
    if not found:
        click.echo("It has not run yet.")
        return
    rows = [(run.id, _time(run.scheduled_for), _state_of_run(run), *_figures(run)) for run in found]
    sums = [sum(column) for column in zip(*map(_figures, found), strict=True)]
    click.echo()
    _print_table(("run", "scheduled for", "state", *FIGURES), [*rows, ("", "", "all runs", *sums)])
    for run in found:
        if run.fault:
            click.echo(f"Run {run.id} waits for the mail server: {one_line(run.fault)}")


@_command("runs", reads=True)
@click.option("--all", "show_all", is_flag=True, help="The newest runs, finished ones too.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many at the most.")
def runs(show_all: bool, limit: int) -> None:
    """Show the unfinished runs of all accounts."""
    found = db.session.execute(_newest_runs(show_all).limit(limit)).all()
    if not found:
        click.echo("No runs yet." if show_all else "No unfinished runs. The finished ones: flask runs --all")
        return
    head = ("run", "mailing", "name", "owner", "scheduled for", "state", *FIGURES, "fault")
    rows = []
    for run, name, owner in found:
        when, state = _time(run.scheduled_for), _state_of_run(run)
        rows.append((run.id, run.mailing_id, one_line(name), owner, when, state, *_figures(run), one_line(run.fault)))
    _print_table(head, rows)


def _newest_runs(finished_too: bool) -> Select[Run, str, str]:
    query = (
        select(Run, Mailing.name, User.email)
        .join(Mailing, Mailing.id == Run.mailing_id)
        .join(User, User.id == Run.owner_id)
        .order_by(Run.id.desc())
    )
    return query if finished_too else query.where(Run.status != RunStatus.DONE)


def _run_as_json(run: Run) -> dict[str, Any]:
    return {
        "run": run.id,
        "mailing": run.mailing_id,
        "scheduled_for": _iso(run.scheduled_for),
        "started_at": _iso(run.started_at),
        "finished_at": _iso(run.finished_at),
        "status": run.status.value,
        "held": run.held_at is not None,
        "fault": run.fault or None,
    } | dict(zip(FIGURES, _figures(run), strict=True))


def _figures(run: Run) -> list[int]:
    return [getattr(run, name) for name in FIGURES]


def _state_of(mailing: Mailing) -> str:
    overlays = ("disabled", mailing.disabled_at), ("deleted", mailing.deleted_at)
    return ", ".join([mailing.status.value, *(word for word, since in overlays if since is not None)])


def _state_of_run(run: Run) -> str:
    return f"{run.status.value}, held" if run.held_at and not run.is_finished else run.status.value


def _hindrance(run: Run) -> str:
    """Why an unfinished run does not get on, as far as the ledger knows."""
    if run.held_at is not None:
        return "It is held: the mailing is paused or disabled, or its owner blocked"
    return f"The mail server: {one_line(run.fault)}" if run.fault else ""


@_command("doctor", reads=True)
@click.option("--json", "as_json", is_flag=True, help="A list of checks, for programs.")
def run_doctor(as_json: bool) -> None:
    """Say what is not well, and what to do about it."""
    checks = doctor.examine()
    if as_json:
        _print_json([_check_as_json(check) for check in checks])
    else:
        for check in checks:
            click.echo(_check_in_one_line(check))
    if any(check.fault for check in checks):
        raise click.exceptions.Exit(1)


def _check_in_one_line(check: Check) -> str:
    if check.fault:
        return f"FAILED: {check.name}: {one_line(check.fault)} — {check.remedy}"
    detail = getattr(check, "detail", None)
    return f"ok: {check.name}" + (f" — {detail}" if detail else "")


def _check_as_json(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "ok": check.fault is None,
        "detail": getattr(check, "detail", None),
        "fault": check.fault,
        "remedy": check.remedy,
    }
