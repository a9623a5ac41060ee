"""What became of everything, and what is not well."""

from typing import Any

import click
from sqlalchemy import Select, select

from app import doctor
from app.auth.forms import one_line
from app.auth.models import User
from app.cli.speaking import command, iso_text, mailing_argument, print_json, print_table, time_text
from app.delivery.models import DeliveryStatus, Run, RunStatus
from app.errors import NotFound
from app.extensions import db
from app.health import Check
from app.mailings.models import Mailing

FIGURES = ("planned", *(status.value for status in DeliveryStatus))


@command("report", reads=True)
@mailing_argument
@click.option("--json", "as_json", is_flag=True, help="A list of runs, for programs.")
def report(mailing_id: int, as_json: bool) -> None:
    """Show what became of the letters of a mailing, run by run."""
    mailing = db.session.get(Mailing, mailing_id)
    if mailing is None:
        raise NotFound(f"There is no mailing {mailing_id}.")
    found = db.session.scalars(select(Run).where(Run.mailing_id == mailing_id).order_by(Run.id)).all()
    if as_json:
        print_json([_run_as_json(run) for run in found])
        return
    next_run = time_text(mailing.next_run_at)
    click.echo(f"Mailing {mailing_id}, “{one_line(mailing.name)}”: {_state_of(mailing)}. Next run: {next_run}")
    if not found:
        click.echo("It has not run yet.")
        return
    rows = [(run.id, time_text(run.scheduled_for), _state_of_run(run), *figures_of(run)) for run in found]
    sums = [sum(column) for column in zip(*map(figures_of, found), strict=True)]
    click.echo()
    print_table(("run", "scheduled for", "state", *FIGURES), [*rows, ("", "", "all runs", *sums)])
    for run in found:
        if run.fault:
            click.echo(f"Run {run.id} waits for the mail server: {one_line(run.fault)}")


@command("runs", reads=True)
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
        when, state = time_text(run.scheduled_for), _state_of_run(run)
        rows.append((run.id, run.mailing_id, one_line(name), owner, when, state, *figures_of(run), one_line(run.fault)))
    print_table(head, rows)


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
        "scheduled_for": iso_text(run.scheduled_for),
        "started_at": iso_text(run.started_at),
        "finished_at": iso_text(run.finished_at),
        "status": run.status.value,
        "held": run.held_at is not None,
        "missed": run.missed,
        "fault": run.fault or None,
    } | dict(zip(FIGURES, figures_of(run), strict=True))


def figures_of(run: Run) -> list[int]:
    return [getattr(run, name) for name in FIGURES]


def _state_of(mailing: Mailing) -> str:
    overlays = ("disabled", mailing.disabled_at), ("deleted", mailing.deleted_at)
    return ", ".join([mailing.status.value, *(word for word, since in overlays if since is not None)])


def _state_of_run(run: Run) -> str:
    if run.missed is not None:
        return f"missed, {run.missed.value}"
    return f"{run.status.value}, held" if run.held_at and not run.is_finished else run.status.value


def hindrance_of(run: Run) -> str:
    """Why an unfinished run does not get on, as far as the ledger knows."""
    if run.held_at is not None:
        return "It is held: the mailing is paused or disabled, or its owner blocked"
    return f"The mail server: {one_line(run.fault)}" if run.fault else ""


@command("doctor", reads=True)
@click.option("--json", "as_json", is_flag=True, help="A list of checks, for programs.")
def run_doctor(as_json: bool) -> None:
    """Say what is not well, and what to do about it."""
    checks = doctor.examine()
    if as_json:
        print_json([_check_as_json(check) for check in checks])
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
