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
from sqlalchemy import select, text

from app import clock, create_app
from app.auth.models import User
from app.config import ROOT, load_settings
from app.delivery.models import Run, RunStatus
from app.extensions import db
from app.mailings import jobs
from app.mailings import service as mailings
from app.queue import enqueue
from dev import servers, tied
from tests import make

PARAGRAPH = "<p>Dear {{ first_name }} {{ last_name }}, here is what has happened since our last letter to you.</p>\n"
FILLER = "<p>The pigeons of the old town have found a new roof, and the square is quieter in the mornings now.</p>\n"
HTML = PARAGRAPH + FILLER * 38
TEXT = (
    "Dear {{ first_name }} {{ last_name }},\n" + "The pigeons of the old town have found a new roof this week.\n" * 45
)


# Both databases read this: a million rows in seconds.
CLIENTS = text("""
    WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :count)
    INSERT INTO client (owner_id, email, email_key, first_name, last_name, patronymic, comment, attributes, status,
        added_at)
    SELECT :owner, 'client' || n || '@example.test', 'client' || n || '@example.test', 'Anna' || n, 'Golubeva', '', '',
        '{}', 'active', :now
    FROM numbers
""")


@dataclass
class World:
    """Golub without its pages: the application, and what its processes are started with."""

    app: Flask
    environment: dict[str, str]
    folder: Path
    stack: ExitStack

    def owner_with_clients(self, count: int) -> int:
        """Id of a user who has so many clients; each number has a user of its own."""
        with self.app.app_context():
            known = db.session.scalar(select(User.id).where(User.email == f"bench{count}@golub.test"))
            if known is not None:
                return known
            owner_id = make.user(f"bench{count}@golub.test").id
            db.session.execute(CLIENTS, {"owner": owner_id, "count": count, "now": str(clock.now())})
            db.session.commit()
            return owner_id

    def begin_run(self, owner_id: int) -> int:
        """A run to all of this owner's clients, to be prepared; returns its id."""
        with self.app.app_context():
            owner = db.session.get_one(User, owner_id)
            message = make.message(owner, subject="News for {{ first_name }}", html=HTML, text=TEXT)
            run = mailings.start_now(make.mailing(owner, message=message))
            db.session.commit()
            enqueue(jobs.prepare_runs)
            return run.id

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
        app = create_app(load_settings(_env_file=None, **settings))
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
