"""The servers and the data that the engine is measured with: PostgreSQL or SQLite, Redis, one worker process."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import func, insert, select

from app import clock, create_app
from app.auth.models import User
from app.clients.models import Client
from app.config import ROOT, Settings
from app.delivery.models import Run, RunStatus
from app.extensions import db
from app.mailings import jobs
from app.mailings import service as mailings
from dev import servers, tied
from tests import make

PARAGRAPH = "<p>Dear {{ first_name }} {{ last_name }}, here is what has happened since our last letter to you.</p>\n"
FILLER = "<p>The pigeons of the old town have found a new roof, and the square is quieter in the mornings now.</p>\n"
HTML = PARAGRAPH + FILLER * 38
TEXT = "Dear {{ first_name }} {{ last_name }},\n" + "The pigeons of the old town have found a new roof this week.\n" * 45


@dataclass
class World:
    """Golub without its pages: the application, and what its processes are started with."""

    app: Flask
    environment: dict[str, str]
    folder: Path
    stack: ExitStack

    def plant(self, recipients: int) -> int:
        """An owner with so many clients, and a prepared run to all of them; returns its id."""
        with self.app.app_context():
            owner = db.session.scalar(select(User))
            if owner is None:
                owner = make.user("bench@golub.test")
            self.add_clients(owner.id, recipients)
            message = make.message(owner, subject="News for {{ first_name }}", html=HTML, text=TEXT)
            run = mailings.start_now(make.mailing(owner, message=message))
            db.session.commit()
            jobs.prepare_runs()
            return run.id

    def add_clients(self, owner_id: int, count: int) -> None:
        """Bring the owner's clients to that number."""
        known = db.session.scalar(select(func.count()).select_from(Client)) or 0
        for start in range(known, count, 10_000):
            rows = [
                {
                    "owner_id": owner_id,
                    "email": f"client{n}@example.test",
                    "email_key": f"client{n}@example.test",
                    "first_name": f"Anna{n}",
                    "last_name": "Golubeva",
                }
                for n in range(start, min(start + 10_000, count))
            ]
            db.session.execute(insert(Client), rows)
        db.session.commit()

    def start(self, *command: str) -> tied.Tied:
        log = self.stack.enter_context((self.folder / "log").open("ab"))
        process = tied.start([sys.executable, *command], folder=ROOT, environment=self.environment, output=log)
        return self.stack.enter_context(process)

    def wait_until_done(self, run_id: int, seconds: float) -> Run:
        ends = time.monotonic() + seconds
        with self.app.app_context():
            while True:
                run = db.session.get_one(Run, run_id, populate_existing=True)
                db.session.expunge(run)
                db.session.commit()  # an open transaction would be the only one that SQLite allows
                if run.status is RunStatus.DONE:
                    return run
                if time.monotonic() > ends:
                    raise RuntimeError(f"the run was not done in {seconds} s:\n{self.log()}")
                time.sleep(0.02)

    def log(self) -> str:
        return (self.folder / "log").read_text()[-4000:]


@contextmanager
def world(database: str, mail_port: int, **changes: Any) -> Iterator[World]:
    """database: `postgresql` or `sqlite`; durable, as in production. changes: settings."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="golub-bench-")))
        redis = stack.enter_context(servers.start_redis(folder, socket=None, port=None, persistent=True))
        if database == "postgresql":
            url = stack.enter_context(servers.start_postgres(durable=True)).url
        else:
            url = f"sqlite:///{folder / 'bench.db'}"
        settings: dict[str, Any] = {
            "app_env": "production",
            "instance_path": folder / "instance",
            "secret_key": "only-for-the-bench-and-long-enough",
            "database_url": url,
            "redis_url": redis.url,
            "base_url": "http://golub.test",
            "mail_server": "127.0.0.1",
            "mail_port": mail_port,
            "mail_default_sender": "golub@golub.test",
            **changes,
        }
        environment = os.environ | {key.upper(): str(value) for key, value in settings.items()}
        app = create_app(Settings(_env_file=None, **settings))
        made = World(app, environment, folder, stack)
        with made.start("-m", "flask", "db", "upgrade") as upgrade:
            if upgrade.wait(60):
                raise RuntimeError(made.log())
        yield made
        with app.app_context():
            db.engine.dispose()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def now() -> float:
    return clock.now().timestamp()
