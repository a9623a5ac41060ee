"""Large numbers: a million recipients, and a thousand mailings due at the same second."""

import math
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median

from sqlalchemy import insert, literal, select

from app import clock
from app.auth.models import User
from app.clients.models import Client
from app.delivery.models import Delivery, Run, RunStatus
from app.extensions import db
from app.mailings import jobs
from app.mailings import service as mailings
from app.mailings.models import Mailing
from app.queue import alarm
from bench.engine import one_worker
from bench.figures import Figure
from bench.sinks import best_sink
from bench.world import World, world
from tests import make

MILLION = 1_000_000
FEW = 10_000
ROUNDS = 3
PREPARE_KEYS = ("prepare_1m_vs_insert_select",)
MEMORY_KEYS = ("worker_memory_growth_mb",)
DUE_KEYS = ("due_1000_mailings_s",)
MAILINGS = 1000
RECIPIENTS = 10
WORKERS = 2
NO_SERVER = 1  # a port that nobody is asked at


def measure_prepare() -> dict[str, Figure]:
    """`prepare_runs` of a million recipients against a bare INSERT … SELECT of the same rows into the same table."""
    ours, bare = [], []
    with world("postgresql", NO_SERVER) as here:
        owner_id = here.owner_with_clients(MILLION)
        with here.app.app_context():
            for _ in range(ROUNDS):
                _new_run(owner_id)
                ours.append(_seconds(jobs.prepare_runs))
                run_id = _new_run(owner_id)
                bare.append(_seconds(partial(_insert_bare, run_id, owner_id)))
    ratio = median(mine / theirs for mine, theirs in zip(ours, bare, strict=True))
    detail = f"median of {ROUNDS} rounds: prepare_runs {median(ours):.1f} s, bare {median(bare):.1f} s; PostgreSQL"
    return {"prepare_1m_vs_insert_select": Figure(round(ratio, 2), "≤ 1.5", "×", detail)}


def _new_run(owner_id: int) -> int:
    run = mailings.start_now(make.mailing(db.session.get_one(User, owner_id)))
    db.session.commit()
    return run.id


def _insert_bare(run_id: int, owner_id: int) -> None:
    rows = select(literal(run_id), Client.id, Client.email).where(Client.owner_id == owner_id)
    db.session.execute(insert(Delivery).from_select(["run_id", "client_id", "email"], rows, include_defaults=True))
    db.session.get_one(Run, run_id).status = RunStatus.DONE
    db.session.commit()


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure_memory() -> dict[str, Figure]:
    """The peak of a worker that prepares and sends to a million, minus that of one that does to ten thousand."""
    few, many = _peak_mb(FEW), _peak_mb(MILLION)
    peaks = f"{many:.0f} MB to {MILLION:,} recipients, {few:.0f} MB to {FEW:,}"
    detail = f"peak of one worker process that prepared and sent a run: {peaks}"
    return {"worker_memory_growth_mb": Figure(round(many - few, 1), "≤ 20", "MB", f"{detail}; PostgreSQL")}


def _peak_mb(recipients: int) -> float:
    with best_sink() as sink, world("postgresql", sink.port) as here, one_worker(here) as worker:
        owner_id = here.owner_with_clients(recipients)
        run_id = here.begin_run(owner_id)
        here.wait_until_done(run_id, 1800)
        status = Path(f"/proc/{worker}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure_due() -> dict[str, Figure]:
    """A thousand mailings of ten recipients due at the same second: the last accepted message after that second."""
    with best_sink() as sink, world("postgresql", sink.port) as here:
        due_at = _plan_many(here)
        here.start("worker.py", "--count", str(WORKERS))
        here.start("scheduler.py")
        if time.time() > due_at - 2:
            raise RuntimeError("planning the mailings took too long")
        while sink.accepted() < MAILINGS * RECIPIENTS:
            if time.time() > due_at + 120:
                raise RuntimeError(f"{sink.accepted()} messages after two minutes:\n{here.log()}")
            time.sleep(0.01)
        late = time.time() - due_at
    detail = (
        f"{MAILINGS} mailings of {RECIPIENTS} recipients each, {WORKERS} worker processes, scheduler and all on this "
        f"machine; PostgreSQL; {sink.name}"
    )
    return {"due_1000_mailings_s": Figure(round(late, 2), "≤ 10", "s", detail)}


def _plan_many(here: World) -> float:
    owner_id = here.owner_with_clients(RECIPIENTS)
    with here.app.app_context():
        owner = db.session.get_one(User, owner_id)
        due = clock.now().replace(microsecond=0) + timedelta(seconds=15)
        pattern = make.mailing(owner, start_at=due, next_run_at=due)
        db.session.flush()
        columns = [column for column in Mailing.__table__.columns if column.name != "id"]
        rows = [{column.name: getattr(pattern, column.key) for column in columns} for _ in range(MAILINGS - 1)]
        db.session.execute(insert(Mailing), rows)
        db.session.commit()
        alarm(due, jobs.dispatch_due)
        return math.floor(due.timestamp())
