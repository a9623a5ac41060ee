"""How often articles are read: counted in Redis, handed over to `post.views` by a job.

Who counts: a browser, with a GET that shows the whole article; not its author, no robot, no prefetching; one view for
each reader, article and day (of UTC). A reader is an address and a browser's name.

What is kept of readers: a fingerprint, salted with our secret key and with a random word of the day, until the day is
over. Word and fingerprints are gone with it, and nobody can tell then who read what.

What is guaranteed:

- Exact under any number of parallel readers: whether a reader is new, and the count, are one script in Redis.
- Exact when the job is killed anywhere. It renames the counts to a batch with a random name, which no reader touches
  any more, adds them in one transaction together with the batch's name, and deletes the batch afterwards. A batch that
  a killed job left behind is taken up by the next one; a name that stands in the database is not added again. Names
  are kept for a day, so that two jobs at once, or one that was stopped for hours, add nothing twice.
- While Redis is away, articles are shown and views are not counted. With Redis's data, what was not handed over yet is
  lost, a minute's views; a Redis that comes back with data from before (an append-only file loses a second) may bring
  views of that second twice.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache

from flask import Request, current_app
from redis import Redis
from sqlalchemy import bindparam, delete, update
from ua_parser import parse_device

from app import caching, clock
from app.blog.models import Post, ViewBatch
from app.database import insert_or_ignore
from app.extensions import db

PENDING = "golub:views"  # a hash: an article's id to the number of its new views
BATCH = "golub:views:batch:"
SEEN = "golub:views:seen:"
SALT = "golub:views:salt:"
NAMES_KEPT = timedelta(days=1)

# KEYS: salt, seen, pending. ARGV: a salt if there is none yet, the reader, the article, when the day is over.
COUNT = """
redis.call('SET', KEYS[1], ARGV[1], 'NX')
redis.call('EXPIREAT', KEYS[1], ARGV[4])
local reader = redis.sha1hex(redis.call('GET', KEYS[1]) .. ARGV[2])
local is_new = redis.call('SADD', KEYS[2], reader)
redis.call('EXPIREAT', KEYS[2], ARGV[4])
if is_new == 1 then redis.call('HINCRBY', KEYS[3], ARGV[3], 1) end
return is_new
"""


def count(post_id: int, address: str, user_agent: str) -> bool:
    """Count this reader's view of the article; False where they have been counted today, or Redis is away."""
    return caching.ask(lambda: _count(caching.quick_redis(), post_id, address, user_agent), False)


def _count(redis: Redis, post_id: int, address: str, user_agent: str) -> bool:
    now = clock.now()
    day = now.date().isoformat()
    ends = datetime(now.year, now.month, now.day, tzinfo=now.tzinfo) + timedelta(days=1)
    keys = (f"{SALT}{day}", f"{SEEN}{day}:{post_id}", PENDING)
    reader = _fingerprint(day, address, user_agent)
    return redis.eval(COUNT, 3, *keys, secrets.token_hex(16), reader, post_id, int(ends.timestamp())) == 1


def _fingerprint(day: str, address: str, user_agent: str) -> str:
    key = str(current_app.config["SECRET_KEY"]).encode()
    return hmac.new(key, f"views\n{day}\n{address}\n{user_agent}".encode(), hashlib.sha256).hexdigest()


def is_worth_counting(request: Request) -> bool:
    """A person with a browser opens the page: no look at the headers alone, no fetching in advance, no robot."""
    purposes = (request.headers.get(name, "") for name in ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"))
    ahead = any("prefetch" in purpose or "preview" in purpose or "prerender" in purpose for purpose in purposes)
    return request.method == "GET" and not ahead and not is_robot(request.user_agent.string)


@lru_cache(maxsize=1000)
def is_robot(user_agent: str) -> bool:
    """Whether this is no person's browser: all of those begin with Mozilla/ or Opera/, and so do some robots."""
    if not user_agent.startswith(("Mozilla/", "Opera/")) or "HeadlessChrome" in user_agent:
        return True
    device = parse_device(user_agent[:1000])
    return device is not None and device.family == "Spider"


# ── Handing over ────────────────────────────────────────────────────────────────────────────────────────────


def put_aside(redis: Redis) -> list[str]:
    """The batches that are to be handed over: what has been counted by now, and what a killed job left behind.

    Raises:
        redis.RedisError
    """
    left = [_text(key).removeprefix(BATCH) for key in redis.scan_iter(f"{BATCH}*", count=1000)]
    if not redis.exists(PENDING):
        return left
    name = secrets.token_hex(16)
    # Two jobs at once: the second finds nothing to rename, unless there are new views.
    is_ours = redis.eval(
        "return redis.call('EXISTS', KEYS[1]) == 1 and redis.call('RENAMENX', KEYS[1], KEYS[2]) or 0",
        2,
        PENDING,
        BATCH + name,
    )
    return [*left, name] if is_ours else left


def counts_of(redis: Redis, name: str) -> dict[int, int]:
    """New views by the articles' ids; nothing when the batch is gone.

    Raises:
        redis.RedisError
    """
    return {int(post_id): int(views) for post_id, views in redis.hgetall(BATCH + name).items()}


def add(name: str, counts: dict[int, int]) -> bool:
    """Add the batch to the articles, unless it was added before. To be committed."""
    added = db.session.execute(insert_or_ignore(ViewBatch, db.session).values(name=name, added_at=clock.now()))
    if not added.rowcount:  # type: ignore[attr-defined]
        return False
    _add_views(sorted(counts.items()))
    return True


def _add_views(counts: Iterable[tuple[int, int]]) -> None:
    # In the order of ids: two batches never wait for each other crosswise.
    rows = [{"post_id": post_id, "new": new} for post_id, new in counts]
    if rows:
        adding = update(Post).where(Post.id == bindparam("post_id")).values(views=Post.views + bindparam("new"))
        db.session.connection().execute(adding, rows)


def forget(redis: Redis, name: str) -> None:
    """The batch has been added and committed.

    Raises:
        redis.RedisError
    """
    redis.delete(BATCH + name)


def forget_old_names() -> None:
    old = delete(ViewBatch).where(ViewBatch.added_at < clock.now() - NAMES_KEPT)
    db.session.execute(old.execution_options(synchronize_session=False))


def _text(key: bytes | str) -> str:
    return key.decode() if isinstance(key, bytes) else key
