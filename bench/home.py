"""The home page of a large service: made anew against remembered, and how long it takes under a steady load."""

import http.client
import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import text

from app import caching, clock
from app.blog.models import Post
from app.delivery.models import RunStatus
from app.extensions import db
from app.mailings import service as mailings
from bench.figures import Figure
from bench.world import World, world
from dev import servers
from tests import make

KEYS = ("home_cached_speedup", "home_cached_p99_ms")
MAILINGS = 100_000
OWNERS = 1_000
CLIENTS_OF_ONE = 300
POSTS = 60
ROUNDS = 30
REQUESTS = 100  # remembered ones for each round
PER_SECOND = 40
SECONDS = 75  # longer than anything on the page is remembered: renewals are in it
NO_SERVER = 1  # a port that nobody is asked at


def measure() -> dict[str, Figure]:
    """Both on PostgreSQL with 100,000 mailings, as a guest sees the page."""
    with world("postgresql", NO_SERVER) as here:
        _fill(here)
        anew, remembered = _speeds(here)
        latencies = _steady_load(here)
    p99 = quantiles(latencies, n=100)[98] * 1000
    data = f"{MAILINGS:,} mailings, {OWNERS * CLIENTS_OF_ONE:,} clients, PostgreSQL"
    speeds = f"server time, medians: made anew {anew * 1000:.1f} ms, remembered {remembered * 1000:.2f} ms"
    load = (
        f"{PER_SECOND} requests a second for {SECONDS} s at one gunicorn process of 4 threads: median "
        f"{median(latencies) * 1000:.1f} ms, longest {max(latencies) * 1000:.1f} ms"
    )
    return {
        "home_cached_speedup": Figure(round(anew / remembered, 1), "≥ 5", "×", f"{speeds}; {data}"),
        "home_cached_p99_ms": Figure(round(p99, 1), "≤ 10", "ms", f"{load}; {data}"),
    }


def _fill(here: World) -> None:
    """One row of each kind as the application makes it, and copies of it that differ where rows do."""
    with here.app.app_context():
        owner = make.user("owner@golub.test")
        client = make.client(owner)
        mailing = make.mailing(owner, next_run_at=None)
        run = mailings.start_now(mailing)
        run.status, run.planned, run.sent, run.failed = RunStatus.DONE, 300, 292, 8
        article = "<p>" + "All that there is to say. " * 400 + "</p>"
        post = Post(title="An article", slug="an-article", summary="What it is about", html=article, words=2400)
        post.tags, post.published_at = ["news", "product"], clock.now()
        db.session.add(post)
        db.session.flush()
        first_owner = owner.id + 1
        _copy(owner, OWNERS, email="'owner' || n || '@golub.test'", email_key="'owner' || n || '@golub.test'")
        # Each shares a third of their clients with the next.
        address = f"'client' || (n / {OWNERS} + n % {OWNERS} * {CLIENTS_OF_ONE * 2 // 3}) || '@example.test'"
        of_owner = f"{first_owner} + n % {OWNERS}"
        _copy(client, OWNERS * CLIENTS_OF_ONE, owner_id=of_owner, email=address, email_key=address)
        states = "(ARRAY['completed', 'completed', 'completed', 'sent', 'running', 'paused', 'created'])[1 + n % 7]"
        _copy(mailing, MAILINGS, owner_id=of_owner, status=states)
        _copy(run, MAILINGS, owner_id=of_owner, mailing_id=f"{mailing.id + 1} + n")
        _copy(post, POSTS, slug="'article-' || n", locale="(ARRAY['en', 'ru'])[1 + n % 2]", views="n")
        db.session.commit()
        # As autovacuum would have done long ago.
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))


def _copy(row: Any, count: int, **changes: str) -> None:
    """changes: SQL by column; n is the copy's number, from 0."""
    db.session.flush()
    table = row.__table__.name
    columns = [column.name for column in row.__table__.columns if column.name != "id"]
    values = [changes.get(name, f'pattern."{name}"') for name in columns]
    names = ", ".join(f'"{name}"' for name in columns)
    db.session.execute(
        text(
            f'INSERT INTO "{table}" ({names}) SELECT {", ".join(values)} '  # noqa: S608  ours alone
            f'FROM "{table}" AS pattern, generate_series(0, {count - 1}) AS n WHERE pattern.id = {row.id} ORDER BY n'
        )
    )


def _speeds(here: World) -> tuple[float, float]:
    """Seconds for the page made anew, and remembered: the same view in the same process, in turns."""
    guest = here.app.test_client()
    _seconds(guest)  # imports, templates, connections
    anew, remembered = [], []
    for _ in range(ROUNDS):
        with here.app.app_context():
            caching.forget_blog()
            caching.forget(caching.FIGURES)
        anew.append(_seconds(guest))
        remembered += [_seconds(guest) for _ in range(REQUESTS)]
    return median(anew), median(remembered)


def _seconds(guest: FlaskClient) -> float:
    began = time.perf_counter()
    answer = guest.get("/", base_url="http://golub.test")
    took = time.perf_counter() - began
    if answer.status_code != 200:
        raise RuntimeError(f"the home page: {answer.status}")
    return took


def _steady_load(here: World) -> list[float]:
    """Seconds for each request, from when it was due: one that waits for the one before it has waited, too."""
    port = servers.free_port()
    here.start("-m", "gunicorn", "wsgi:app", "--bind", f"127.0.0.1:{port}", "--threads", "4", "--no-control-socket")
    _until(lambda: _get(http.client.HTTPConnection("127.0.0.1", port, timeout=5), "/healthz"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    for _ in range(20):
        _get(connection, "/")
    took = []
    began = time.perf_counter()
    for number in range(PER_SECOND * SECONDS):
        due = began + number / PER_SECOND
        time.sleep(max(0.0, due - time.perf_counter()))
        _get(connection, "/")
        took.append(time.perf_counter() - due)
    return took


def _get(connection: http.client.HTTPConnection, path: str) -> None:
    connection.request("GET", path, headers={"Host": "golub.test"})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200 or not body:
        raise RuntimeError(f"{path}: {answer.status}")


def _until(works: Callable[[], None]) -> None:
    ends = time.monotonic() + 30
    while True:
        try:
            return works()
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)
