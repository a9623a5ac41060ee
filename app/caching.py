"""What is remembered of public pages, for how long, and how it is forgotten: the service's one policy of caching.

Remembered are data, and of the home page the part that all guests of one language share; never a page: a page shows
who is logged in, their token, their messages. What differs by language or address has it in its key; nothing here may
depend on who asks.

Three promises hold for every `Kind`:

- A change is seen by everybody within `seconds`, and the time that looking anew takes; at once where its topic is
  forgotten after the commit, as `forget_blog` does. Whoever may make such changes looks past all this: see the views.
- What was read before a change is never kept as if it were the newest: the key holds the topic's generation, a random
  word that was asked for before the reading, and forgetting is choosing another word.
- Without Redis, or with one that hangs, pages are made anew each time. That is slower, and breaks nothing.

An entry that is older than `seconds` is made anew by one reader, while the others still get the old one. What is heavy
is made anew beside the pages, so that nobody waits for it, and takes no more than a twentieth of the time.
"""

import hashlib
import secrets
import time
from collections.abc import Callable
from functools import cache as for_ever
from threading import Thread
from typing import Any, NamedTuple, TypeVar, cast

import structlog
from flask import Flask, current_app
from redis import Redis, RedisError
from sqlalchemy import Select
from sqlalchemy.exc import SQLAlchemyError

from app import clock
from app.config import ROOT
from app.database import only_reads
from app.extensions import cache, db

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Kind(NamedTuple):
    """A kind of thing to remember: what makes it old, its name, and for how many seconds it is good."""

    topic: str
    name: str
    seconds: int
    is_heavy: bool = False  # see above; what makes it needs no request


BLOG = "blog"
FIGURES = "figures"

HOME_FIGURES = Kind(FIGURES, "home", 50, is_heavy=True)
CLIENTS = Kind(FIGURES, "clients", 50, is_heavy=True)  # of one owner, by day
RANDOM_POSTS = Kind(BLOG, "random", 50)
HOME_FOR_GUESTS = Kind(BLOG, "guests", 10)  # made of the two above: together no more than a minute
POST_LIST = Kind(BLOG, "list", 60)
POST = Kind(BLOG, "post", 60)
FEED = Kind(BLOG, "feed", 60)
SITEMAP = Kind(BLOG, "sitemap", 600)
BLOG_CHANGED = Kind(BLOG, "changed", 60)
COUNT = Kind(FIGURES, "count", 30, is_heavy=True)
CAUSES = Kind(FIGURES, "causes", 30, is_heavy=True)  # why messages failed, where very many did

RENEWAL_SECONDS = 60  # whoever began to make it anew and has not come back within these will not
STALE_FOR = 2  # times its seconds: so long an entry lies there for the others, while one makes it anew
LARGE_COUNT = 20_000  # rows; fewer are counted in milliseconds
SHARE_OF_HEAVY = 20  # times what it took to make it: so long it is good at least
AWAY_SECONDS = 5  # so long a Redis that did not answer is asked nothing

_away = {"until": 0.0}  # time.monotonic(): what this process knows of Redis


def number(query: Select[int]) -> int:
    """The number that the query counts; a large one as it was up to a minute ago."""

    def count() -> int:
        return db.session.scalar(query) or 0

    compiled = query.compile(db.engine)
    return remembered(COUNT, count, str(compiled), sorted(compiled.params.items()), worth=LARGE_COUNT.__le__)


def remembered(kind: Kind, make: Callable[[], T], *key: object, worth: Callable[[T], bool] = lambda _value: True) -> T:
    """What `make` gave for this key within the last `kind.seconds`, or what it gives now.

    `make` depends on nothing but the database and the key; what it gives can be pickled. What it raises is not kept,
    nor what is not `worth` it.
    """
    generation = ask(lambda: _generation(kind.topic), None)
    if generation is None:
        return make()
    place = _place(kind, generation, key)
    kept = ask(lambda: cache.get(place), None)
    if kept is not None:
        value, good_until = kept
        if clock.now().timestamp() < good_until or not ask(lambda: _may_renew(place), False):
            return cast("T", value)
        if kind.is_heavy:
            _renew_beside(kind, place, make)
            return cast("T", value)
        return _renew(kind, place, make)
    return _make_and_keep(kind, place, make, worth)


def _make_and_keep(
    kind: Kind, place: str, make: Callable[[], T], worth: Callable[[T], bool] = lambda _value: True
) -> T:
    began = time.monotonic()
    made = make()
    if not worth(made):
        return made
    seconds = kind.seconds
    if kind.is_heavy:
        seconds = max(seconds, round((time.monotonic() - began) * SHARE_OF_HEAVY))
    entry = (made, clock.now().timestamp() + seconds)
    ask(lambda: cache.set(place, entry, timeout=seconds * STALE_FOR), None)
    return made


def _renew(kind: Kind, place: str, make: Callable[[], T]) -> T:
    made = _make_and_keep(kind, place, make)
    ask(lambda: cache.delete(_renewal(place)), None)
    return made


def _renew_beside(kind: Kind, place: str, make: Callable[[], object]) -> None:
    app = cast("Flask", cast("Any", current_app)._get_current_object())

    def renew() -> None:
        only_reads.set(True)
        with app.app_context():
            try:
                _renew(kind, place, make)
            except SQLAlchemyError:  # the next one who comes when the old entry is gone sees it, too
                log.exception("cache.not_renewed", kind=kind.name)

    Thread(target=renew, name=f"renew-{kind.name}", daemon=True).start()


def forget_blog() -> None:
    """Show everybody the articles as they are now. Call it after the commit: a reader may come in between."""
    forget(BLOG)


def forget(topic: str) -> None:
    """Let nothing of this topic be shown again. While Redis is away, time does it: see `Kind.seconds`."""
    try:
        cache.set(_generation_place(topic), secrets.token_hex(8), timeout=0)
    except (RedisError, OSError) as error:
        log.warning("cache.away", error=str(error), topic=topic, help="what is remembered grows old by itself")


def ask(question: Callable[[], T], otherwise: T) -> T:
    """Redis's answer; `otherwise` when it gives none, or gave none just now."""
    if time.monotonic() < _away["until"]:
        return otherwise
    try:
        return question()
    except (RedisError, OSError) as error:
        _away["until"] = time.monotonic() + AWAY_SECONDS
        log.warning("cache.away", error=str(error), help="pages are made anew each time until it is back")
        return otherwise


def quick_redis() -> Redis:
    """A connection for pages: short timeouts, no second try. It raises; `ask` does not."""
    return cast("Redis", cast("Any", cache.cache)._read_client)


def _generation(topic: str) -> str:
    """The word of all that is remembered of this topic since it was forgotten last."""
    place = _generation_place(topic)
    if word := cache.get(place):
        return str(word)
    # Of all who find none, one chooses. A number would begin at 1 again, where old entries may still lie.
    cache.add(place, secrets.token_hex(8), timeout=0)
    return str(cache.get(place))


def _generation_place(topic: str) -> str:
    return f"{topic}:generation"


def _place(kind: Kind, generation: str, key: tuple[object, ...]) -> str:
    digest = hashlib.sha256(repr(key).encode()).hexdigest()[:32]
    release = _release(str(current_app.config.get("STATIC_VERSION")))
    return f"{kind.topic}:{generation}:{release}:{kind.name}:{digest}"


def _may_renew(place: str) -> bool:
    return bool(cache.add(_renewal(place), 1, timeout=RENEWAL_SECONDS))


def _renewal(place: str) -> str:
    return f"{place}:renewal"


@for_ever
def _release(static_version: str) -> str:
    """A word for this release: what another one has remembered may have another shape."""
    digest = hashlib.sha256(static_version.encode())
    folder = ROOT / "app"
    for path in sorted([*folder.rglob("*.py"), *(folder / "templates").rglob("*.*"), *folder.rglob("*.mo")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
