"""Sending by hand."""

import sys
from time import monotonic, sleep

import click
from sqlalchemy import select

from app import queue
from app.auth.forms import one_line
from app.cli.looking import FIGURES, hindrance_of
from app.cli.speaking import LARGEST_ID, BadArguments, command, mailing_argument, note, reading
from app.delivery.models import DeliveryStatus, Run
from app.errors import NotFound, RuleBroken
from app.extensions import db
from app.mailings import jobs
from app.mailings import service as mailings
from app.mailings.models import Mailing

POLL_SECONDS = 0.5


@command("send-mailing")
@mailing_argument
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


@command("resend")
@click.argument("run_id", metavar="RUN", type=click.IntRange(1, LARGEST_ID))
@click.option("--failed", is_flag=True, help="What the mail server refused. Clients who bounced are left out.")
@click.option("--unknown", is_flag=True, help="What may have arrived: whoever has the letter may get it twice.")
def resend(run_id: int, failed: bool, unknown: bool) -> None:
    """Send the failed or the unknown messages of RUN again."""
    if failed == unknown:
        raise BadArguments("Give one of --failed and --unknown. See: flask resend --help")
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
        note("No worker is alive, so nobody will send it. Start one: python worker.py")
    ends = monotonic() + timeout
    with reading(True), click.progressbar(length=1, label=f"Run {run_id}", file=sys.stderr) as bar:
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
        why = f" {hindrance_of(run)}." if hindrance_of(run) else ""
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


@command("dispatch")
def dispatch() -> None:
    """Begin a run of every mailing that is due now. The workers send it."""
    click.echo(f"Runs begun: {jobs.begin_due_runs()}.")
