import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import ConnectionError as RedisAway
from sqlalchemy import func, select

from app import caching, clock, queue
from app.auth.models import User
from app.blog import counter, jobs
from app.blog.models import Post, ViewBatch
from app.extensions import db

WritePost = Callable[..., int]
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Mobile Safari/537.36"
PHONE = f"Mozilla/5.0 (Linux; Android 14; Cubot X30) {CHROME}"
GOOGLE = "(compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


@pytest.fixture
def post_id(write_post: WritePost) -> int:
    return write_post("pigeons")


def read(client: FlaskClient, address: str = "192.0.2.1", agent: str = FIREFOX, **headers: str) -> None:
    given = {"User-Agent": agent} | {name.replace("_", "-"): value for name, value in headers.items()}
    assert client.get("/blog/pigeons", headers=given, environ_base={"REMOTE_ADDR": address}).status_code == 200


def counted(app: Flask) -> int:
    """Views that wait in Redis."""
    with app.app_context():
        return sum(map(int, queue.connection().hvals(counter.PENDING)))  # type: ignore[arg-type]


def views(app: Flask, post_id: int) -> int:
    with app.app_context():
        return db.session.get_one(Post, post_id).views


def flush(app: Flask) -> None:
    with app.app_context():
        jobs.flush_views()


# Who counts


def test_a_reader_counts_once_a_day(app: Flask, client: FlaskClient, post_id: int) -> None:
    for _ in range(3):
        read(client)
    assert counted(app) == 1
    read(app.test_client())
    assert counted(app) == 1
    read(client, address="192.0.2.2")
    read(client, agent=PHONE)
    assert counted(app) == 3


def test_the_next_day_they_count_again(
    app: Flask, client: FlaskClient, post_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(client)
    tomorrow = clock.now() + timedelta(days=1)
    monkeypatch.setattr(counter.clock, "now", lambda: tomorrow)
    read(client)
    assert counted(app) == 2


def test_each_article_has_its_own_readers(app: Flask, client: FlaskClient, post_id: int, write_post: WritePost) -> None:
    other = write_post("other")
    read(client)
    client.get("/blog/other", headers={"User-Agent": FIREFOX})
    flush(app)
    assert (views(app, post_id), views(app, other)) == (1, 1)


@pytest.mark.parametrize(
    "agent",
    [
        "",
        "curl/8.5.0",
        "python-requests/2.32",
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
        f"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) {CHROME} {GOOGLE}",
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "TelegramBot (like TwitterBot)",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/140.0 Safari/537.36",
        "Feedly/1.0 (+http://www.feedly.com/fetcher.html)",
    ],
)
def test_robots_do_not_count(app: Flask, client: FlaskClient, post_id: int, agent: str) -> None:
    read(client, agent=agent)
    assert counted(app) == 0


@pytest.mark.parametrize("agent", [FIREFOX, PHONE, "Opera/9.80 (J2ME/MIDP; Opera Mini/9.80; U; en) Presto/2.5"])
def test_people_are_no_robots(agent: str) -> None:
    assert not counter.is_robot(agent)


@pytest.mark.parametrize("header", ["Sec_Purpose", "Purpose", "X_Purpose", "X_Moz"])
def test_what_is_fetched_in_advance_does_not_count(app: Flask, client: FlaskClient, post_id: int, header: str) -> None:
    read(client, **{header: "prefetch;prerender"})
    assert counted(app) == 0


def test_a_look_at_the_headers_does_not_count(app: Flask, client: FlaskClient, post_id: int) -> None:
    client.head("/blog/pigeons", headers={"User-Agent": FIREFOX})
    assert counted(app) == 0


def test_the_author_does_not_count_and_other_people_do(
    app: Flask, editor_client: FlaskClient, editor: User, owner_client: FlaskClient, write_post: WritePost
) -> None:
    write_post("pigeons", author_id=editor.id)
    read(editor_client)
    assert counted(app) == 0
    read(owner_client)
    assert counted(app) == 1


def test_what_is_not_shown_does_not_count(app: Flask, client: FlaskClient, write_post: WritePost) -> None:
    write_post("draft", published_at=None)
    client.get("/blog/draft", headers={"User-Agent": FIREFOX})
    assert counted(app) == 0


def test_nothing_kept_tells_who_read(app: Flask, client: FlaskClient, post_id: int) -> None:
    read(client, address="192.0.2.77")
    with app.app_context():
        redis = queue.connection()
        kept = b"".join(redis.dump(key) for key in redis.keys("golub:views*"))  # type: ignore[union-attr,misc]
        assert b"192.0.2.77" not in kept
        assert b"Firefox" not in kept
        left = {key: redis.ttl(key) for key in redis.keys("golub:views:*")}  # type: ignore[union-attr]
    assert len(left) == 2
    assert all(0 < seconds <= 24 * 3600 for seconds in left.values())


# Handing over


def test_the_job_adds_what_was_counted(app: Flask, client: FlaskClient, post_id: int) -> None:
    for number in range(5):
        read(client, address=f"192.0.2.{number}")
    flush(app)
    assert (views(app, post_id), counted(app)) == (5, 0)
    flush(app)
    assert views(app, post_id) == 5
    read(client, address="192.0.2.9")
    flush(app)
    assert views(app, post_id) == 6


def test_it_leaves_alone_when_an_article_was_changed(app: Flask, client: FlaskClient, post_id: int) -> None:
    with app.app_context():
        before = db.session.get_one(Post, post_id).updated_at
    read(client)
    flush(app)
    with app.app_context():
        assert db.session.get_one(Post, post_id).updated_at == before


def test_an_article_that_is_gone_harms_no_other(
    app: Flask, client: FlaskClient, post_id: int, write_post: WritePost
) -> None:
    gone = write_post("gone")
    client.get("/blog/gone", headers={"User-Agent": FIREFOX})
    read(client)
    with app.app_context():
        db.session.delete(db.session.get_one(Post, gone))
        db.session.commit()
    flush(app)
    assert (views(app, post_id), counted(app)) == (1, 0)


def test_many_readers_at_once_are_counted_exactly_while_the_job_runs(app: Flask, post_id: int) -> None:
    """Each of 200 readers reads twice, from eight threads, and two jobs hand over all the while."""
    begin = threading.Barrier(10)
    over = threading.Event()

    def read_many(part: int) -> None:
        begin.wait()
        with app.app_context():
            for number in range(part, 200 * 2, 8):
                counter.count(post_id, f"192.0.2.{number % 200}", FIREFOX)

    def flush_often() -> None:
        begin.wait()
        while not over.is_set():
            flush(app)

    with ThreadPoolExecutor(10) as pool:
        flushers = [pool.submit(flush_often) for _ in range(2)]
        readers = [pool.submit(read_many, part) for part in range(8)]
        for reader in readers:
            reader.result()
        over.set()
        for flusher in flushers:
            flusher.result()
    flush(app)
    assert (views(app, post_id), counted(app)) == (200, 0)


STEPS = ("counts_of", "add", "commit", "forget")


class Killed(BaseException):
    """What SIGKILL does, seen from inside: nothing after it is done."""


@pytest.mark.parametrize("death", [(when, step) for when in ("before", "after") for step in STEPS], ids=" ".join)
def test_a_job_that_is_killed_anywhere_loses_nothing_and_adds_nothing_twice(
    app: Flask, client: FlaskClient, post_id: int, monkeypatch: pytest.MonkeyPatch, death: tuple[str, str]
) -> None:
    when, step = death
    for number in range(3):
        read(client, address=f"192.0.2.{number}")

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def die(*given: Any) -> Any:
            if when == "after":
                real(*given)
            raise Killed

        return die

    with monkeypatch.context() as patch, app.app_context():
        if step == "commit":
            patch.setattr(db.session, "commit", dying(db.session.commit))
        else:
            patch.setattr(counter, step, dying(getattr(counter, step)))
        with pytest.raises(Killed):
            jobs.flush_views()
        db.session.rollback()
    read(client, address="192.0.2.9")
    flush(app)
    flush(app)
    assert (views(app, post_id), counted(app)) == (4, 0)
    with app.app_context():
        assert list(queue.connection().scan_iter(f"{counter.BATCH}*")) == []


def test_a_batch_that_was_stopped_for_hours_adds_nothing_twice(app: Flask, client: FlaskClient, post_id: int) -> None:
    """One job has read the counts and stands still; another one adds them; then the first goes on."""
    read(client)
    with app.app_context():
        redis = queue.connection()
        [name] = counter.put_aside(redis)
        counts = counter.counts_of(redis, name)
    flush(app)
    with app.app_context():
        assert not counter.add(name, counts)
        db.session.commit()
    assert views(app, post_id) == 1


def test_names_of_old_batches_are_forgotten(
    app: Flask, client: FlaskClient, post_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(client)
    flush(app)
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(ViewBatch)) == 1
    later = clock.now() + counter.NAMES_KEPT + timedelta(minutes=1)
    monkeypatch.setattr(counter.clock, "now", lambda: later)
    flush(app)
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(ViewBatch)) == 0


# Redis away


@pytest.fixture
def without_redis(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def away(*_given: Any, **_options: Any) -> Any:
        raise RedisAway("nobody there")

    monkeypatch.setitem(caching._away, "until", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr("redis.connection.ConnectionPool.get_connection", away)
        yield
    caching._away["until"] = 0.0


@pytest.mark.usefixtures("without_redis")
def test_while_redis_is_away_articles_are_shown_and_not_counted(client: FlaskClient, write_post: WritePost) -> None:
    write_post("pigeons")
    read(client)


def test_while_redis_is_away_the_job_only_says_so(
    app: Flask, client: FlaskClient, post_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(client)
    with monkeypatch.context() as patch:
        patch.setattr(counter, "put_aside", lambda _redis: (_ for _ in ()).throw(RedisAway("nobody there")))
        flush(app)
    flush(app)
    assert views(app, post_id) == 1
