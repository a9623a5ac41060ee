"""Every page with a list, at an owner with a million clients, five million deliveries and ten million attempts."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from statistics import quantiles

from flask.testing import FlaskClient
from sqlalchemy import select, text

from app import clock
from app.auth.models import User
from app.auth.roles import Role
from app.clients.models import Client, Tag
from app.delivery.models import Run, RunStatus
from app.extensions import db
from app.mailings.models import Mailing
from bench.figures import Figure
from bench.world import World, world
from tests import make

KEYS = ("list_pages_p95_ms", "list_pages_growth")
RUNS = 5
REQUESTS = 100  # of each page
WARM_UP = 10
_DAY = timedelta(days=1)
BROWSER = {"Accept-Encoding": "gzip", "Sec-Fetch-Site": "same-origin"}
NO_SERVER = 1  # a port that nobody is asked at


@dataclass(frozen=True)
class Size:
    """Rows. Deliveries are shared out among the runs; each has the same number of attempts."""

    clients: int
    deliveries: int
    attempts: int


LARGE = Size(1_000_000, 5_000_000, 10_000_000)
SMALL = Size(1_000, 1_000, 1_000)

# One of a hundred failed for good, one of ten thousand is unknown; n is the delivery's number within its run.
OUTCOME = "CASE WHEN n % 10000 = 77 THEN 'unknown' WHEN n % 100 = 7 THEN 'failed' ELSE 'sent' END"
DELIVERIES = f"""
    INSERT INTO delivery (run_id, client_id, email, status, attempts, finished_at)
    SELECT :run, client.id, client.email, {OUTCOME}, :tries, CAST(:began AS timestamptz) + n * interval '2 ms'
    FROM (SELECT id, email, row_number() OVER (ORDER BY id) AS n FROM client WHERE owner_id = :owner LIMIT :count)
        AS client
"""  # noqa: S608  ours alone
ATTEMPTS = """
    INSERT INTO attempt (delivery_id, run_id, owner_id, at, stage, outcome, code, enhanced_code, reply)
    SELECT delivery.id, :run, :owner, delivery.finished_at - (:tries - try) * interval '10 min',
        CASE WHEN try < :tries OR delivery.status = 'failed' THEN 'rcpt' ELSE 'body' END,
        CASE WHEN try < :tries THEN 'pending' ELSE delivery.status END,
        CASE WHEN try < :tries THEN 451 WHEN delivery.status = 'failed' THEN 550
             WHEN delivery.status = 'sent' THEN 250 END,
        CASE WHEN try < :tries THEN '4.7.1' WHEN delivery.status = 'failed' THEN '5.1.1' ELSE '2.0.0' END,
        CASE WHEN try < :tries THEN 'Greylisted, try again later' WHEN delivery.status = 'failed' THEN 'No such user'
             ELSE 'Ok: queued as ' || delivery.id END
    FROM delivery, generate_series(1, :tries) AS try WHERE run_id = :run ORDER BY try, delivery.id
"""


def measure() -> dict[str, Figure]:
    """The slowest page's server time, large against small; each page as often as the others."""
    large, small = _times(LARGE), _times(SMALL)
    slowest = max(large, key=large.__getitem__)
    by_time = sorted(large, key=large.__getitem__, reverse=True)
    pages = ", ".join(f"{path} {large[path]:.0f} ({small[path]:.0f})" for path in by_time[:5])
    detail = (
        f"p95 of {REQUESTS} requests each to {len(large)} pages, the slowest in ms (with 1,000 rows): {pages}; "
        f"{LARGE.clients:,} clients, {LARGE.deliveries:,} deliveries, {LARGE.attempts:,} attempts, PostgreSQL"
    )
    growth = large[slowest] / max(small.values())
    return {
        "list_pages_p95_ms": Figure(round(large[slowest], 1), "≤ 50", "ms", detail),
        "list_pages_growth": Figure(round(growth, 2), "≤ 2", "×", f"against {max(small.values()):.1f} ms"),
    }


def _times(size: Size) -> dict[str, float]:
    """p95 in milliseconds by path."""
    with world("postgresql", NO_SERVER, trusted_hosts="localhost") as here:
        paths = fill(here, size)
        people = {role: _logged_in(here, role) for role in paths}
        return {path: _p95(people[role], path) for role, of_role in paths.items() for path in of_role}


def fill(here: World, size: Size) -> dict[Role, list[str]]:
    """Returns the paths to look at, by who looks."""
    with here.app.app_context():
        owner = make.user("bench-user@golub.test")
        make.user("bench-manager@golub.test", role=Role.MANAGER)
        tag = Tag(owner_id=owner.id, name="VIP")
        db.session.add(tag)
        db.session.commit()
        with _without_indexes("client"):
            _clients(owner, size.clients)
        db.session.execute(
            text("INSERT INTO client_tag (client_id, tag_id) SELECT id, :tag FROM client WHERE id % 50 = 0"),
            {"tag": tag.id},
        )
        message = make.message(owner, subject="News for {{ first_name }}")
        mailings = [make.mailing(owner, message=message, name=f"Mailing {n}", next_run_at=None) for n in range(60)]
        mailing = mailings[0]
        runs = [_run(mailing, number, size.deliveries // RUNS) for number in range(RUNS)]
        db.session.commit()
        with _without_indexes("delivery", "attempt"):
            for run in runs:
                _ledger(run, size.deliveries // RUNS, size.attempts // size.deliveries)
        db.session.commit()
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
        return {Role.USER: _paths(owner, mailing, runs), Role.MANAGER: _paths_of_staff(mailing, runs)}


def _clients(owner: User, count: int) -> None:
    """Names that sort and repeat as names do."""
    db.session.execute(
        text("""
            INSERT INTO client (owner_id, email, email_key, first_name, last_name, patronymic, birth_year, comment,
                attributes, status, added_at)
            SELECT :owner, address, address, 'Anna' || n % 1000, 'Golubeva' || n * 7919 % 9973, '', 1940 + n % 70, '',
                '{}', CASE WHEN n % 100 = 3 THEN 'bounced' ELSE 'active' END, now() - (:count - n) * interval '1 min'
            FROM (SELECT n, substr(md5(CAST(n AS text)), 1, 12) || '@firm' || n % 500 || '.example' AS address
                FROM generate_series(1, CAST(:count AS bigint)) AS n) AS numbered
        """),
        {"owner": owner.id, "count": count},
    )


def _run(mailing: Mailing, number: int, planned: int) -> Run:
    failed, unknown = planned // 100, planned // 10_000
    counters = {"planned": planned, "failed": failed, "unknown": unknown, "sent": planned - failed - unknown}
    began = clock.now().replace(microsecond=0) - (RUNS - number) * _DAY
    run = Run(
        mailing_id=mailing.id,
        owner_id=mailing.owner_id,
        scheduled_for=began,
        created_at=began,
        started_at=began,
        finished_at=began + _DAY / 2,
        status=RunStatus.DONE,
        subject="News",
        html="<p>News</p>",
        text="News",
        sender="golub@golub.test",
        **counters,
    )
    db.session.add(run)
    db.session.flush()
    return run


def _ledger(run: Run, deliveries: int, tries: int) -> None:
    given = {"run": run.id, "owner": run.owner_id, "count": deliveries, "tries": tries}
    db.session.execute(text(DELIVERIES), given | {"began": str(run.started_at)})
    db.session.execute(text(ATTEMPTS), given)


@contextmanager
def _without_indexes(*tables: str) -> Iterator[None]:
    """Millions of rows are there sooner when indexes and foreign keys are seen to afterwards."""
    session = db.session
    session.execute(text("SET session_replication_role = replica"))
    session.execute(text("SET maintenance_work_mem = '1GB'"))
    found = session.execute(
        text("""
            SELECT indexname, indexdef FROM pg_indexes
            WHERE tablename = ANY(:tables) AND indexname NOT IN (SELECT conname FROM pg_constraint)
        """),
        {"tables": list(tables)},
    ).all()
    for name, _definition in found:
        session.execute(text(f'DROP INDEX "{name}"'))
    yield
    for _name, definition in found:
        session.execute(text(definition))
    session.execute(text("SET session_replication_role = DEFAULT"))


def _paths(owner: User, mailing: Mailing, runs: list[Run]) -> list[str]:
    run, first = runs[-1], runs[0]
    client = db.session.scalars(select(Client.id).where(Client.owner_id == owner.id).offset(5).limit(1)).one()
    page = f"/mailings/{mailing.id}/runs/{run.id}"
    since = (first.created_at + _DAY / 24).strftime("%Y-%m-%dT%H:%M")
    return [
        "/overview",
        "/clients/",
        "/clients/?status=bounced",
        "/clients/?tag=VIP",
        "/clients/?sort=email",
        "/clients/?sort=-added",
        "/clients/segments/",
        f"/clients/{client}",
        f"/clients/{client}/history",
        "/search?q=golubeva77",
        "/messages/",
        "/mailings/",
        "/mailings/?status=created",
        "/mailings/calendar",
        f"/mailings/{mailing.id}",
        page,
        f"{page}?status=failed",
        f"{page}?status=unknown",
        f"{page}?q=a1b2",
        f"/mailings/{mailing.id}/runs",
        "/log",
        "/log?of=all",
        "/log?outcome=failed",
        "/log?outcome=unknown",
        "/log?code=550&within=month",
        f"/log?mailing={mailing.id}",
        f"/log?mailing={mailing.id}&outcome=unknown",
        f"/log?until={since}",
        f"/log?until={since}&outcome=failed",
        "/log?q=a1b2",
    ]


def _paths_of_staff(mailing: Mailing, runs: list[Run]) -> list[str]:
    return [
        "/manager/",
        "/manager/users",
        "/manager/mailings",
        "/manager/clients",
        "/log",
        "/log?code=550",
        "/log?outcome=unknown&within=month",
        f"/log?mailing={mailing.id}&code=451",
        "/log?q=a1b2",
        f"/mailings/{mailing.id}",
        f"/mailings/{mailing.id}/runs/{runs[0].id}",
    ]


def _logged_in(here: World, role: Role) -> FlaskClient:
    browser = here.app.test_client()
    with here.app.app_context():
        user = db.session.scalars(select(User).where(User.role == role)).one()
        db.session.expunge(user)
    make.session_of(here.app, browser, user)
    return browser


def _p95(browser: FlaskClient, path: str) -> float:
    """Milliseconds of the server for one page; what a browser would draw afterwards is not in it."""
    took = []
    for _ in range(WARM_UP + REQUESTS):
        began = time.perf_counter()
        answer = browser.get(path, headers=BROWSER)
        took.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200:
            raise RuntimeError(f"{path}: {answer.status}")
    return quantiles(took[WARM_UP:], n=20)[18]
