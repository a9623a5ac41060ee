"""The service's policy of caching: how fresh, how forgotten, whose pages, and what a Redis that is away does."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_caching import Cache
from redis import ConnectionError as RedisAway
from sqlalchemy import event, func, select, update

from app import caching, clock, queue
from app.auth.models import User
from app.blog import queries
from app.blog.models import Post
from app.caching import Kind
from app.clients.models import Client
from app.extensions import cache, db
from dev import servers
from tests import make
from tests.waiting import PATIENCE_SECONDS, wait_until

NUMBERS = Kind("numbers", "one", 60)
HTMX = {"HX-Request": "true"}
RUSSIAN = {"Accept-Language": "ru"}
PAGES = ("/", "/blog/", "/blog/?lang=ru", "/blog/?tag=birds", "/blog/?q=about", "/blog/pigeons", "/blog/golubi")


class Counting:
    """Gives 1, 2, 3 …"""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        return self.calls


@pytest.fixture
def make_number() -> Counting:
    return Counting()


@pytest.fixture(autouse=True)
def redis_is_there() -> Iterator[None]:
    yield
    caching._away["until"] = 0.0


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A function that sets the clock that many seconds ahead."""

    def shift(seconds: float) -> None:
        moment = clock.now() + timedelta(seconds=seconds)
        monkeypatch.setattr(caching.clock, "now", lambda: moment)

    return shift


@pytest.fixture
def posts(app: Flask) -> None:
    with app.app_context():
        hour_ago = clock.now() - timedelta(hours=1)
        for slug, locale in (("pigeons", "en"), ("golubi", "ru")):
            words = {"title": f"About {slug}", "html": "<p>Words</p>", "tags": ["birds"]}
            db.session.add(Post(slug=slug, locale=locale, published_at=hour_ago, updated_at=hour_ago, **words))
        db.session.commit()


# Remembering


@pytest.mark.usefixtures("context")
def test_what_was_made_is_remembered_by_key(make_number: Counting) -> None:
    assert [caching.remembered(NUMBERS, make_number) for _ in range(3)] == [1, 1, 1]
    assert caching.remembered(NUMBERS, make_number, "en") == 2
    assert caching.remembered(NUMBERS, make_number, "en", 7) == 3
    assert caching.remembered(NUMBERS, make_number, "en") == 2
    assert caching.remembered(NUMBERS._replace(name="two"), make_number) == 4


@pytest.mark.usefixtures("context")
def test_nothing_is_a_value_too() -> None:
    made = []
    for _ in range(2):
        assert caching.remembered(NUMBERS, lambda: made.append(1)) is None
    assert made == [1]


@pytest.mark.usefixtures("context")
def test_a_fault_is_not_remembered(make_number: Counting) -> None:
    def fail() -> int:
        raise LookupError

    with pytest.raises(LookupError):
        caching.remembered(NUMBERS, fail)
    assert caching.remembered(NUMBERS, make_number) == 1


@pytest.mark.usefixtures("context")
def test_it_is_made_anew_when_its_seconds_are_over(make_number: Counting, later: Callable[[float], None]) -> None:
    assert caching.remembered(NUMBERS, make_number) == 1
    later(59)
    assert caching.remembered(NUMBERS, make_number) == 1
    later(61)
    assert caching.remembered(NUMBERS, make_number) == 2


@pytest.mark.usefixtures("context")
def test_redis_itself_forgets_what_nobody_asks_for(make_number: Counting) -> None:
    caching.remembered(NUMBERS, make_number)
    redis = queue.connection()
    lives = {key: redis.ttl(key) for key in redis.keys("golub:cache:numbers:*:one:*")}  # type: ignore[union-attr]
    assert len(lives) == 1
    assert all(0 < seconds <= NUMBERS.seconds * caching.STALE_FOR for seconds in lives.values())


def test_of_many_one_makes_it_anew_and_the_others_get_the_old_one(app: Flask, later: Callable[[float], None]) -> None:
    with app.app_context():
        caching.remembered(NUMBERS, lambda: 0)
    later(61)
    begin, made = Barrier(8), []

    def ask() -> int:
        with app.app_context():
            begin.wait()
            return caching.remembered(NUMBERS, slowly)

    def slowly() -> int:
        made.append(1)
        time.sleep(0.5)
        return 1

    with ThreadPoolExecutor(8) as pool:
        given = [answer.result() for answer in [pool.submit(ask) for _ in range(8)]]
    assert made == [1]
    assert sorted(given) == [0] * 7 + [1]


def test_nobody_waits_for_what_is_heavy(app: Flask, later: Callable[[float], None]) -> None:
    heavy = Kind("numbers", "heavy", 60, is_heavy=True)
    release = Event()

    def make_slowly() -> str:
        assert release.wait(PATIENCE_SECONDS)
        return "new"

    with app.app_context():
        assert caching.remembered(heavy, lambda: "old") == "old"
        later(61)
        assert [caching.remembered(heavy, make_slowly) for _ in range(3)] == ["old"] * 3
        release.set()
        wait_until(lambda: caching.remembered(heavy, lambda: "unasked") == "new")


@pytest.mark.usefixtures("context")
def test_what_is_heavy_takes_a_twentieth_of_the_time(make_number: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    heavy = Kind("numbers", "heavy", 60, is_heavy=True)
    moments = iter([1000.0, 1010.0])
    monkeypatch.setattr(caching, "_make_and_keep", timed(caching._make_and_keep, moments, monkeypatch))
    caching.remembered(heavy, make_number)
    monkeypatch.undo()
    now = clock.now()
    for seconds, calls in ((199, 1), (100, 1)):
        monkeypatch.setattr(caching.clock, "now", lambda seconds=seconds: now + timedelta(seconds=seconds))
        assert caching.remembered(heavy, make_number) == calls


def timed(real: Callable[..., Any], moments: Iterator[float], patch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`real`, during which the monotonic clock shows these moments."""

    def run(*given: Any) -> Any:
        with patch.context() as inner:
            inner.setattr(caching.time, "monotonic", lambda: next(moments, 1010.0))
            return real(*given)

    return run


# Forgetting


@pytest.mark.parametrize(("large", "seen"), [(3, [3, 3]), (4, [3, 4])])
def test_a_large_number_may_be_old_and_a_small_one_is_counted(
    app: Flask, monkeypatch: pytest.MonkeyPatch, large: int, seen: list[int]
) -> None:
    monkeypatch.setattr(caching, "LARGE_COUNT", large)
    with app.app_context():
        owner, other = make.user("owner@example.test"), make.user("other@example.test")
        make.clients(owner, 3)
        counts = [select(func.count()).where(Client.owner_id == user.id) for user in (owner, other)]
        first = caching.number(counts[0])
        make.client(owner, "one@more.test")
        assert [first, caching.number(counts[0])] == seen
        assert caching.number(counts[1]) == 0


@pytest.mark.usefixtures("context")
def test_a_topic_is_forgotten_whole_and_alone(make_number: Counting) -> None:
    other = Kind("other", "one", 60)
    caching.remembered(NUMBERS, make_number)
    caching.remembered(NUMBERS, make_number, "en")
    caching.remembered(other, make_number)
    caching.forget("numbers")
    assert caching.remembered(NUMBERS, make_number) == 4
    assert caching.remembered(NUMBERS, make_number, "en") == 5
    assert caching.remembered(other, make_number) == 3


@pytest.mark.usefixtures("context")
def test_what_was_read_before_a_change_is_never_kept_as_if_it_came_after() -> None:
    """A reader looks, somebody changes and forgets, then the reader writes down what they saw."""

    def read_slowly() -> str:
        caching.forget("numbers")
        return "old"

    assert caching.remembered(NUMBERS, read_slowly) == "old"
    assert caching.remembered(NUMBERS, lambda: "new") == "new"


@pytest.mark.usefixtures("context")
def test_a_lost_generation_brings_nothing_old_back(make_number: Counting) -> None:
    """Redis may drop any key when its memory is full."""
    caching.remembered(NUMBERS, make_number)
    for _ in range(3):
        queue.connection().delete("golub:cache:numbers:generation")
        assert caching.remembered(NUMBERS, make_number) == make_number.calls
    assert make_number.calls == 4


@pytest.mark.usefixtures("context")
def test_another_release_has_a_memory_of_its_own(make_number: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    caching.remembered(NUMBERS, make_number)
    monkeypatch.setattr(caching, "_release", lambda _static: "another")
    assert caching.remembered(NUMBERS, make_number) == 2


# Pages: fresh for whom


def rename(app: Flask, title: str) -> None:
    with app.app_context():
        db.session.execute(update(Post).values(title=title))
        db.session.commit()


@pytest.mark.usefixtures("posts")
@pytest.mark.parametrize("path", [path for path in PAGES if "q=" not in path] + ["/blog/feed.atom", "/blog/feed.rss"])
def test_a_change_is_seen_by_its_author_at_once_and_by_all_within_the_stated_time(
    app: Flask, client: FlaskClient, editor_client: FlaskClient, path: str, later: Callable[[float], None]
) -> None:
    assert "About" in client.get(path).text
    rename(app, "Renamed")  # by somebody who can't reach Redis, so that nothing is forgotten
    assert "Renamed" in editor_client.get(path).text
    assert "Renamed" not in client.get(path).text
    later(61)
    assert "Renamed" in client.get(path).text


@pytest.mark.usefixtures("posts")
@pytest.mark.parametrize("path", [*PAGES, "/blog/feed.atom", "/blog/feed.rss"])
def test_what_is_forgotten_is_seen_anew_by_all_at_once(app: Flask, client: FlaskClient, path: str) -> None:
    client.get(path)
    rename(app, "About something else")
    with app.app_context():
        caching.forget_blog()
    assert "About something else" in client.get(path).text


def test_the_sitemap_forgets_with_the_articles(app: Flask, client: FlaskClient, posts: None) -> None:
    assert "/blog/pigeons" in client.get("/sitemap.xml").text
    with app.app_context():
        db.session.execute(update(Post).values(deleted_at=clock.now()))
        db.session.commit()
        caching.forget_blog()
    assert "/blog/pigeons" not in client.get("/sitemap.xml").text


def test_an_article_appears_by_itself_within_the_stated_time(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now()
    with app.app_context():
        words = {"title": "About tomorrow", "html": "<p>Words</p>", "published_at": now + timedelta(seconds=10)}
        db.session.add(Post(slug="tomorrow", updated_at=now, **words))
        db.session.commit()
    assert "About tomorrow" not in client.get("/blog/").text
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(seconds=10 + 61))
    assert "About tomorrow" in client.get("/blog/").text
    assert "About tomorrow" in client.get("/").text


def test_the_figures_are_made_anew_after_a_minute(
    app: Flask, client: FlaskClient, owner: User, later: Callable[[float], None]
) -> None:
    def mailings() -> str:
        return re.findall(r'"stat-value">(\d+)<', client.get("/").text)[0]

    assert mailings() == "0"
    with app.app_context():
        make.mailing(owner)
        db.session.commit()
    assert mailings() == "0"
    later(51)
    assert mailings() == "0"  # made anew beside it

    def are_new() -> bool:
        with app.app_context():
            return caching.remembered(caching.HOME_FIGURES, queries.figures).mailings == 1

    wait_until(are_new)
    later(62)
    assert mailings() == "1"


@pytest.mark.usefixtures("posts")
@pytest.mark.parametrize("path", ["/", "/blog/", "/blog/pigeons", "/blog/feed.atom", "/sitemap.xml"])
def test_a_remembered_page_asks_the_database_nothing(app: Flask, client: FlaskClient, path: str) -> None:
    client.get(path)
    asked: list[str] = []
    with app.app_context():
        engine = db.engine

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    assert client.get(path).status_code == 200
    event.remove(engine, "before_cursor_execute", note)
    assert asked == []


def test_nobody_can_fill_redis_with_addresses(app: Flask, client: FlaskClient, posts: None) -> None:
    def keys() -> int:
        with app.app_context():
            return len(queue.connection().keys("golub:cache:*"))  # type: ignore[arg-type]

    for path in ("/", "/blog/", "/blog/?lang=ru", "/blog/pigeons"):
        client.get(path)
    before = keys()
    for number in range(20):
        for path in (f"/blog/?tag=t{number}", f"/blog/?q=w{number}", f"/blog/no-{number}", f"/blog/?lang=x{number}"):
            client.get(path)
        client.get(f"/blog/feed.atom?lang=x{number}")
    assert keys() <= before + 1


# Pages: nobody's but one's own


@pytest.fixture
def people(app: Flask) -> dict[str, FlaskClient]:
    """Two users who chose different languages, a content manager, and two guests."""
    with app.app_context():
        made = [
            make.user("olga@golub.test", locale="ru", name="Olga Secret"),
            make.user("john@golub.test", locale="en", name="John Secret"),
        ]
        db.session.commit()
        for user in made:
            db.session.refresh(user)
            db.session.expunge(user)
    browsers = {"guest": app.test_client(), "other guest": app.test_client()}
    for name, user in zip(("olga", "john"), made, strict=True):
        browsers[name] = app.test_client()
        make.session_of(app, browsers[name], user)
    return browsers


OF_ONE = {"olga": ("Olga Secret", "olga@golub.test"), "john": ("John Secret", "john@golub.test")}


@pytest.mark.usefixtures("posts")
@pytest.mark.parametrize("first", ["olga", "john", "guest"])
@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "fragment"])
def test_no_page_of_one_is_served_to_another(
    app: Flask, people: dict[str, FlaskClient], first: str, headers: dict[str, str]
) -> None:
    """Whoever comes first fills what is remembered; then everybody comes, in both languages, with HTMX and without."""
    order = [first, *(name for name in people if name != first)]
    tokens: dict[str, set[str]] = {}
    for path in PAGES:
        for name in order:
            for language in ("en", "ru"):
                answer = people[name].get(path, headers=headers | {"Accept-Language": language})
                assert answer.status_code == 200
                page = answer.text
                for other, words in OF_ONE.items():
                    is_shown = any(word in page for word in words)
                    assert is_shown == (other == name and "<html" in page), (path, name, other)
                wanted = {"olga": "ru", "john": "en"}.get(name, language)
                if "<html" in page:
                    assert f'<html lang="{wanted}">' in page
                    assert ("Sign up" in page or "Регистрация" in page) == (name not in OF_ONE)
                    tokens.setdefault(name, set()).update(re.findall(r'"X-CSRFToken": "([^"]+)"', page))
    for name, its in tokens.items():
        for other, others in tokens.items():
            assert name == other or not its & others


@pytest.mark.usefixtures("posts")
def test_a_guest_s_token_is_good_on_a_remembered_page(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.config, "WTF_CSRF_ENABLED", True)
    for _ in range(2):
        guest = app.test_client()
        token = re.search(r'name="csrf_token" value="([^"]+)"', guest.get("/").text)
        assert token
        assert guest.post("/language", data={"lang": "ru", "csrf_token": token[1]}).status_code == 303
        assert app.test_client().post("/language", data={"lang": "ru", "csrf_token": token[1]}).status_code == 400


@pytest.mark.usefixtures("posts")
def test_a_flash_is_shown_to_its_reader_only(people: dict[str, FlaskClient]) -> None:
    for _ in range(2):
        with people["guest"].session_transaction() as session:
            session["_flashes"] = [("success", "For this guest alone")]
        assert "For this guest alone" in people["guest"].get("/blog/").text
        for name in ("guest", "other guest", "john"):
            assert "For this guest alone" not in people[name].get("/blog/").text


@pytest.mark.usefixtures("posts")
def test_times_are_shown_on_the_reader_s_own_clocks(app: Flask) -> None:
    with app.app_context():
        db.session.execute(update(Post).values(published_at=clock.now().replace(year=2025, month=3, day=9, hour=22)))
        tokyo = make.user("tokyo@golub.test", timezone="Asia/Tokyo", locale="en")
        db.session.commit()
        db.session.refresh(tokyo)
        db.session.expunge(tokyo)
    in_tokyo = app.test_client()
    make.session_of(app, in_tokyo, tokyo)
    for _ in range(2):
        assert "9 March 2025" in app.test_client().get("/blog/pigeons").text
        assert "10 March 2025" in in_tokyo.get("/blog/pigeons").text


# Redis away


@pytest.fixture
def lonely_redis(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[servers.RunningServer]:
    """A Redis in which nothing is but what the application remembers."""
    with servers.start_redis(tmp_path, socket=None, port=None, persistent=False) as redis:
        alone = Cache()
        alone.init_app(app, config=dict(app.config) | {"CACHE_REDIS_URL": redis.url})
        monkeypatch.setitem(app.extensions["cache"], cache, app.extensions["cache"][alone])
        yield redis


@pytest.mark.usefixtures("posts")
def test_with_redis_gone_every_page_opens_and_is_fresh(
    app: Flask, client: FlaskClient, lonely_redis: servers.RunningServer
) -> None:
    for path in PAGES:
        assert client.get(path).status_code == 200
    lonely_redis.process.kill()
    rename(app, "About the new one")
    for path in (*PAGES, "/blog/feed.atom", "/blog/feed.rss", "/sitemap.xml", "/robots.txt"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        if path in PAGES:
            assert "About the new one" in answer.text, path
    with app.app_context():
        caching.forget_blog()  # it says so in the log, and raises nothing


@pytest.mark.usefixtures("posts")
def test_with_redis_hanging_pages_open_and_wait_once(
    client: FlaskClient,
    lonely_redis: servers.RunningServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(caching, "AWAY_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(caching, "_away", {"until": 0.0})
    client.get("/")
    os.kill(lonely_redis.process.pid, signal.SIGSTOP)
    try:
        for path in PAGES:
            assert client.get(path).status_code == 200
        assert caplog.text.count("cache.away") == 1
    finally:
        os.kill(lonely_redis.process.pid, signal.SIGCONT)


@pytest.mark.usefixtures("context")
def test_it_remembers_again_when_redis_is_back(make_number: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_given: Any) -> Any:
        raise RedisAway("nobody there")

    with monkeypatch.context() as patch:
        patch.setattr(cache.cache, "get", away)
        assert [caching.remembered(NUMBERS, make_number) for _ in range(2)] == [1, 2]
    assert caching.remembered(NUMBERS, make_number) == 3  # not asked yet: it was away just now
    monkeypatch.setattr(caching, "AWAY_SECONDS", 0)
    caching._away["until"] = 0.0
    assert [caching.remembered(NUMBERS, make_number) for _ in range(2)] == [4, 4]
