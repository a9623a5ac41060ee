"""All of Golub as processes that a test may kill, and the verdict: what the ledger says beside what the server took."""

import contextlib
import json
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import redis
import requests
import rq
from sqlalchemy import Engine, NullPool, create_engine, func, insert, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app import clock
from app.auth.models import User
from app.auth.roles import Role
from app.clients.models import Client
from app.config import Settings
from app.delivery.models import Attempt, Claim, Delivery, DeliveryStatus, Run, RunStatus
from app.mailings import jobs
from app.mailings.models import Audience, Mailing, MailingStatus
from app.mailings.schedule import Period
from app.messages.models import Message
from app.queue import QUEUE_NAME, JobFunction
from dev import servers
from tests.chaos.parts import MailServer, Process, Redis, leaves
from tests.processes import environment
from tests.waiting import PATIENCE_SECONDS, wait_until

WORKERS = 2
CONNECTIONS = 2  # to the mail server, of each worker
CLAIM_SIZE = 50
LEASE_SECONDS = 10
NUDGE_SECONDS = 2.0
TRACEBACK = "Traceback (most recent call last)"
# Where one exception has led to the next; a log of JSON has its newlines escaped.
CHAINED = re.compile(
    r"(another exception occurred|direct cause of the following exception):[\s\\n]+" + re.escape(TRACEBACK)
)
# What is said while Redis is away or has forgotten a job, and while the database is away or its disk is full.
REDIS_AWAY = ("redis/connection.py", "InvalidJobOperation", "NoSuchJobError")
DATABASE_AWAY = (
    "server closed the connection",
    "Connection refused",
    "connection already closed",
    "terminating connection",
    "the database system is",
    "database or disk is full",
)


@dataclass(frozen=True)
class Planted:
    """A mailing that is due, with all of its recipients at one domain."""

    mailing_id: int
    domain: str
    count: int
    accepted_before: int  # messages, by the server, for others


@dataclass(frozen=True)
class Verdict:
    """How a run ended."""

    run: dict[str, int]  # the counters
    faults: list[str]  # what is not as promised
    sent: set[str]
    failed: set[str]
    unknown: set[str]
    attempts: Counter[str]  # tries by recipient
    replies: Counter[tuple[str, str]]  # (outcome, reply) of the attempts


class World:
    """Redis, a mail server, gunicorn, two workers and the scheduler, on a database that is empty and stays."""

    def __init__(self, folder: Path, database_url: str, variables: Mapping[str, str]) -> None:
        """variables: for the environment of its own processes, beside the settings."""
        self.folder = folder
        self.random = random.Random(4)  # noqa: S311  the same victims each time
        self.mail = MailServer(folder)
        self.redis = Redis(folder)
        port = servers.free_port()
        given: dict[str, object] = {
            "app_env": "production",
            "instance_path": folder / "instance",
            "secret_key": "only-for-this-test-and-long-enough",
            "database_url": database_url,
            "redis_url": self.redis.url,
            "base_url": f"http://127.0.0.1:{port}",
            "mail_server": "127.0.0.1",
            "mail_port": self.mail.port,
            "mail_default_sender": "golub@golub.test",
            "mail_timeout_seconds": 3,
            "claim_size": CLAIM_SIZE,
            "claim_lease_seconds": LEASE_SECONDS,
            "deliver_connections": CONNECTIONS,
            "deliver_slice_seconds": 2,
            "retry_first_seconds": 1,
            "retry_longest_seconds": 2,
        }
        self.settings = Settings.model_validate({"_env_file": None} | given)
        variables = environment(self.settings) | dict(variables)
        web = ("-m", "gunicorn", "wsgi:app", "--bind", f"127.0.0.1:{port}", "--threads", "2")
        self.workers = Process("workers", ("worker.py", "--count", str(WORKERS)), folder, variables)
        self.scheduler = Process("scheduler", ("scheduler.py",), folder, variables)
        self.web = Process("web", web, folder, variables)
        self.engine: Engine = create_engine(self.settings.database_url, poolclass=NullPool)
        self._read: dict[str, int] = {}  # how much of each log has been judged
        self._nudged_at = 0.0

    @property
    def processes(self) -> tuple[Process, ...]:
        return self.workers, self.scheduler, self.web

    # ── Beginning and end ──

    def start(self) -> None:
        upgrade = Process("upgrade", ("-m", "flask", "db", "upgrade"), self.folder, self.workers.environment)
        upgrade.start()
        wait_until(lambda: not upgrade.is_running)
        upgrade.stop()
        self.heal()

    def heal(self) -> None:
        """Start what does not run, have the mail server behave well, and wait until all is ready."""
        self.mail.behave()
        if not servers.redis_answers(self.redis.url):
            self.redis.start()
        for process in self.processes:
            if not process.is_running:
                process.start()
        wait_until(self.is_ready, self.logs)
        client = self.client()
        for key in client.scan_iter("golub:breaker:*"):
            client.delete(key)

    def is_ready(self) -> bool:
        try:
            answers = requests.get(f"{self.settings.base_url}/readyz", timeout=5).status_code == 200
        except requests.RequestException:
            return False
        return answers and len(self.senders()) == WORKERS

    def restart_workers(self) -> None:
        """So that no connection to the mail server is left, and the next ones are made anew."""
        self.workers.terminate()
        self.workers.start()
        wait_until(self.is_ready, self.logs)

    def stop(self) -> None:
        for process in self.processes:
            process.stop()
        self.redis.stop()
        self.mail.stop()

    def logs(self) -> str:
        return "\n".join(f"── {process.name}\n{process.output[-5000:]}" for process in self.processes)

    # ── Work ──

    def plant(self, count: int, *, begins: bool = True) -> Planted:
        """A mailing to so many recipients that is due now; the workers do the rest, unless they are not told."""
        name = f"m{uuid4().hex[:10]}"
        domain = f"{name}.test"
        before = self.mail.count
        now = clock.now()
        with Session(self.engine) as session:
            email = f"{name}@golub.test"
            owner = User(email=email, email_key=email, role=Role.USER, password_hash="-", verified_at=now)
            session.add(owner)
            session.flush()
            rows = [{"owner_id": owner.id, "email": (to := f"c{n}@{domain}"), "email_key": to} for n in range(count)]
            session.execute(insert(Client), rows)
            message = Message(owner_id=owner.id, subject="News", html="<p>Hello, friend!</p>", text="")
            mailing = Mailing(
                owner_id=owner.id,
                name=name,
                message=message,
                audience=Audience.ALL,
                start_at=now,
                next_run_at=now,
                period=Period.ONCE,
                timezone="UTC",
            )
            session.add(mailing)
            session.commit()
            planted = Planted(mailing.id, domain, count, before)
        if begins:
            self.ring(jobs.dispatch_due)
        return planted

    def ring(self, job: JobFunction) -> None:
        """Put this job into the queue, as the scheduler does: whether it is there already or not."""
        queue = rq.Queue(QUEUE_NAME, connection=self.client())
        queue.enqueue_call(f"{job.__module__}.{job.__qualname__}", at_front=job.urgent, result_ttl=0)

    def nudge(self) -> None:
        """Have the sweep come every two seconds: the scheduler's comes twice a minute, and tests have no time."""
        if time.monotonic() - self._nudged_at > NUDGE_SECONDS:
            self._nudged_at = time.monotonic()
            try:
                self.ring(jobs.sweep)
            except redis.RedisError:
                return

    def accepted(self, planted: Planted) -> int:
        """How many messages the server has taken since this was planted."""
        return self.mail.count - planted.accepted_before

    def wait_for_accepted(self, planted: Planted, count: int, seconds: float = 120) -> None:
        self._wait(lambda: self.accepted(planted) >= count, seconds, f"{count} messages accepted")

    def while_sending(self, planted: Planted, times: int, disturb: Callable[[], object]) -> None:
        """Disturb so many times, spread evenly over the run."""
        for number in range(1, times + 1):
            self.wait_for_accepted(planted, planted.count * number // (times + 1))
            disturb()

    def senders(self) -> list[int]:
        """Pids of the processes that send."""
        return leaves(self.workers.pid) if self.workers.is_running else []

    def signal_a_sender(self, signal_number: int) -> int:
        """Send this signal to a random one that sends; its pid."""
        ends = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < ends:
            senders = self.senders()
            with contextlib.suppress(IndexError, ProcessLookupError):  # none is there just now, or it ended meanwhile
                victim = self.random.choice(senders)
                os.kill(victim, signal_number)
                return victim
            time.sleep(0.02)
        raise AssertionError(f"nobody sends\n{self.logs()}")

    def finish(self, planted: Planted, seconds: float = 120, *, nudge: bool = True) -> None:
        """Wait until the mailing is completed, and no worker holds anything."""
        self._wait(lambda: self._is_finished(planted), seconds, "the mailing completed", nudge=nudge)

    def _is_finished(self, planted: Planted) -> bool:
        try:
            with Session(self.engine) as session:
                status = session.scalar(select(Mailing.status).where(Mailing.id == planted.mailing_id))
                claims = session.scalar(select(func.count()).select_from(Claim)) or 0
        except DBAPIError:
            return False
        return status is MailingStatus.COMPLETED and claims == 0

    def _wait(self, condition: Callable[[], bool], seconds: float, what: str, *, nudge: bool = True) -> None:
        ends = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > ends:
                raise AssertionError(f"not within {seconds} s: {what}\n{self.state()}\n{self.logs()}")
            if nudge:
                self.nudge()
            time.sleep(0.02)

    def state(self) -> str:
        """What stands in the ledger and in the queue, for whoever reads a failure."""
        try:
            with Session(self.engine) as session:
                runs = [
                    {name: str(getattr(run, name)) for name in (*COUNTERS, "id", "status", "resume_at", "fault")}
                    for run in session.scalars(select(Run).where(Run.status != RunStatus.DONE))
                ]
                claims = [(claim.id, claim.worker, str(claim.leased_until)) for claim in session.scalars(select(Claim))]
            client = self.client()
            queued = rq.Queue(QUEUE_NAME, connection=client).job_ids
            keys = sorted(map(str, client.scan_iter("golub:*")))
        except (DBAPIError, redis.RedisError) as error:
            return str(error)
        return json.dumps({"runs": runs, "claims": claims, "queued": queued, "keys": keys}, indent=1)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis.url, socket_timeout=5, socket_connect_timeout=2)

    # ── Judgement ──

    def verdict(self, planted: Planted, *, unknown_at_most: int = 0, explained: tuple[str, ...] = ()) -> Verdict:
        """Compare the ledger with the server's record; fails with everything that is not as promised.

        explained: words of exceptions that the disturbance explains.
        """
        found = self._compare(planted)
        if len(found.unknown) > unknown_at_most:
            found.faults.append(f"{len(found.unknown)} unknown, and no more than {unknown_at_most} are explained")
        found.faults.extend(self._tracebacks(explained))
        assert not found.faults, "\n".join([*found.faults, str(found.run), self.logs()])
        return found

    def _compare(self, planted: Planted) -> Verdict:
        taken = self.mail.accepted(planted.domain)
        with Session(self.engine) as session:
            run = session.scalars(select(Run).where(Run.mailing_id == planted.mailing_id)).one()
            of_run = Delivery.run_id == run.id
            status_of: dict[str, DeliveryStatus] = dict(
                session.execute(select(Delivery.email, Delivery.status).where(of_run)).all()
            )
            tries = session.execute(
                select(Delivery.email, Attempt.outcome, Attempt.reply)
                .join(Delivery, Delivery.id == Attempt.delivery_id)
                .where(of_run)
            ).all()
            counters = {name: getattr(run, name) for name in COUNTERS}
            is_done = run.status is RunStatus.DONE
        by_status = {status: {email for email, its in status_of.items() if its is status} for status in DeliveryStatus}
        sent, failed, unknown = (by_status[DeliveryStatus(name)] for name in ("sent", "failed", "unknown"))
        sent_tries = Counter(email for email, outcome, _ in tries if outcome is DeliveryStatus.SENT)
        final_tries = {
            email for email, outcome, _ in tries if outcome in (DeliveryStatus.FAILED, DeliveryStatus.UNKNOWN)
        }
        faults = [
            *_if(not is_done, "the run is not done"),
            *_if(counters["planned"] != planted.count, f"{counters['planned']} planned of {planted.count}"),
            *_if(
                {status.value: len(emails) for status, emails in by_status.items()}
                != {name: counters[name] for name in COUNTERS if name != "planned"},
                "the counters are not those of the rows",
            ),
            *_some("accepted more than once", {email for email, times in taken.items() if times > 1}),
            *_some("sent, and the server never took it", sent - taken.keys()),
            *_some("failed, and the server took it", failed & taken.keys()),
            *_some("skipped, and the server took it", by_status[DeliveryStatus.SKIPPED] & taken.keys()),
            *_some("taken, and neither sent nor unknown", taken.keys() - sent - unknown),
            *_some("sent without exactly one attempt that says so", {e for e in sent if sent_tries[e] != 1}),
            *_some("an attempt says sent, and the delivery does not", sent_tries.keys() - sent),
            *_some("failed or unknown without an attempt that says so", (failed | unknown) - final_tries),
        ]
        return Verdict(
            counters,
            faults,
            sent,
            failed,
            unknown,
            Counter(email for email, _, _ in tries),
            Counter((outcome.value, reply) for _, outcome, reply in tries),
        )

    def _tracebacks(self, explained: tuple[str, ...]) -> list[str]:
        """Those in the logs since the last look that the disturbance does not explain."""
        faults = []
        for process in self.processes:
            text = process.output
            fresh = CHAINED.sub("", text[self._read.get(process.name, 0) :])
            self._read[process.name] = len(text)
            # Some stand in the log as text, others as a field of a line of JSON.
            traces = fresh.split(TRACEBACK)[1:] + [line for line in fresh.splitlines() if '"exception": [' in line]
            faults += [
                f"a traceback of {process.name}: {trace[:3000]}"
                for trace in traces
                if not any(words in trace for words in explained)
            ]
        return faults


COUNTERS = ("planned", *(status.value for status in DeliveryStatus))


def _if(wrong: bool, words: str) -> list[str]:
    return [words] if wrong else []


def _some(words: str, emails: set[str]) -> list[str]:
    return [f"{len(emails)} {words}: {', '.join(sorted(emails)[:5])}"] if emails else []
