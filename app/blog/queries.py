"""Reads about articles, scoped to what everybody may see, and the service's figures for the home page.

What pages show is plain data, cut loose from the session: app.caching keeps it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import defer, joinedload

from app import clock
from app.blog.models import FormerSlug, Post
from app.clients.models import Client
from app.delivery.models import Run
from app.extensions import db
from app.mailings.models import Mailing, MailingStatus
from app.paging import Page, paginate
from app.pictures.models import Picture
from app.search import containing

WORDS_A_MINUTE = 200  # what people read of a text on a screen
PAGE_SIZE = 10
TAGS_SHOWN = 15
RELATED = 3
RELATED_AMONG = 100  # of the newest that share a tag, those are shown that share most
BY_NEWNESS = (Post.published_at, Post.id)


@dataclass(frozen=True)
class Figures:
    """How much of everything there is."""

    mailings: int  # in all
    active: int  # begun and not over: being sent, or waiting for the next occurrence
    clients: int  # addresses; one that several users write to is one
    sent: int  # messages that a mail server took
    at: datetime


@dataclass(frozen=True)
class Cover:
    """A picture, for an <img>; sizes in pixels."""

    key: str
    alt: str
    width: int
    height: int
    widths: tuple[int, ...]


@dataclass(frozen=True)
class Author:
    name: str


@dataclass(frozen=True)
class Link:
    slug: str
    title: str


@dataclass(frozen=True)
class Card:
    """What a list shows of an article."""

    id: int
    slug: str
    title: str
    summary: str
    locale: str
    tags: tuple[str, ...]
    author_id: int | None
    author: Author | None
    published_at: datetime
    updated_at: datetime
    words: int
    views: int
    cover: Cover | None

    @property
    def changed_at(self) -> datetime:
        return max(self.updated_at, self.published_at)


@dataclass(frozen=True)
class Article:
    """A whole article and what stands around it; of one language all of it."""

    card: Card
    html: str
    previous: Link | None
    next: Link | None
    related: tuple[Card, ...]


@dataclass(frozen=True)
class Listing:
    """One page of the list, and what one can choose beside it."""

    page: Page[Card]
    tags: tuple[tuple[str, int], ...]  # the commonest first, each with the number of its articles


def minutes_to_read(words: int) -> int:
    """Whole minutes, at least 1."""
    return max(1, ceil(words / WORDS_A_MINUTE))


# ── Which articles ──────────────────────────────────────────────────────────────────────────────────────────


def published() -> Select[Post]:
    """The articles that are public by now."""
    return select(Post).where(Post.published_at <= clock.now(), Post.deleted_at.is_(None))


def in_language(query: Select[Post], locale: str) -> Select[Post]:
    return query.where(Post.locale == locale)


def tagged(query: Select[Post], tag: str) -> Select[Post]:
    return query.where(_has_tag(tag))


def like(query: Select[Post], words: str) -> Select[Post]:
    """Those of `query` that contain every one of the words, in title, summary or text."""
    return containing(query, Post.title + "\n" + Post.summary, words, html=Post.html)


def _has_tag(tag: str) -> ColumnElement[bool]:
    if db.session.get_bind().dialect.name == "sqlite":
        each = func.json_each(Post.tags).table_valued("value")
        return select(1).select_from(each).where(each.c.value == tag).exists()
    return type_coerce(Post.tags, JSONB).contains([tag])


# ── What is shown of them ───────────────────────────────────────────────────────────────────────────────────


def listing(locale: str, tag: str, words: str, cursor: str | None) -> Listing:
    """A page of the articles in this language, of that tag and with these words, where they are given.

    Raises:
        NotFound: for a cursor that no page gave out.
    """
    query = in_language(published(), locale)
    tags = _tags(query)
    if tag:
        query = tagged(query, tag)
    if words:
        query = like(query, words)
    page = paginate(_with_all(query), *BY_NEWNESS, cursor=cursor, descending=True, size=PAGE_SIZE)
    return Listing(Page([_card(post) for post in page], page.next_cursor), tags)


def newest(locale: str | None, count: int) -> list[Post]:
    """The newest articles, whole, of this language or of all."""
    query = published() if locale is None else in_language(published(), locale)
    query = query.options(joinedload(Post.author)).order_by(Post.published_at.desc(), Post.id.desc())
    return list(db.session.scalars(query.limit(count)))


def random_cards(locale: str, count: int) -> tuple[Card, ...]:
    """Some articles by chance; of other languages only where this one has too few."""
    chosen = _with_all(published()).order_by((Post.locale == locale).desc(), func.random()).limit(count)
    return tuple(map(_card, db.session.scalars(chosen)))


def article(slug: str) -> Article | None:
    """The public article at this address, and its neighbours of the same language."""
    post = db.session.scalar(_with_all(published(), html=True).where(Post.slug == slug))
    if post is None:
        return None
    card = _card(post)
    return Article(card, post.html, _neighbour(card, newer=False), _neighbour(card, newer=True), _related(card))


def slug_after(former: str) -> str | None:
    """Where the public article is by now that once was at this address."""
    query = published().join(FormerSlug, FormerSlug.post_id == Post.id).where(FormerSlug.slug == former)
    return db.session.scalar(query.with_only_columns(Post.slug))


def addresses() -> Sequence[tuple[str, datetime]]:
    """Slug and last change of every public article, newest first."""
    query = published().with_only_columns(Post.slug, Post.updated_at).order_by(Post.published_at.desc(), Post.id.desc())
    return [(slug, at) for slug, at in db.session.execute(query)]


def changed_at() -> datetime | None:
    """When something of the public articles changed last: written, published, taken away."""
    now = clock.now()
    moments = db.session.execute(
        select(
            func.max(Post.updated_at),
            func.max(Post.deleted_at),
            select(func.max(Post.published_at)).where(Post.published_at <= now).scalar_subquery(),
        )
    ).one()
    return max((moment for moment in moments if moment is not None), default=None)


def figures() -> Figures:
    """How much of everything there is, by one statement."""
    exists = Mailing.deleted_at.is_(None)
    is_active = and_(Mailing.status.in_((MailingStatus.RUNNING, MailingStatus.SENT)), Mailing.disabled_at.is_(None))
    mailings = select(func.count(), func.count().filter(is_active)).select_from(Mailing).where(exists).subquery()
    # Not COUNT(DISTINCT …): PostgreSQL sorts for that, and hashes for this.
    addresses = select(Client.email_key).where(Client.deleted_at.is_(None)).distinct().subquery()
    clients = select(func.count()).select_from(addresses).scalar_subquery()
    sent = select(func.coalesce(func.sum(Run.sent), 0)).scalar_subquery()
    counts = db.session.execute(select(*mailings.c, clients, sent)).one()
    mailing_count, active, client_count, sent_count = map(int, counts)
    return Figures(mailing_count, active, client_count, sent_count, clock.now())


# ── Pieces ──────────────────────────────────────────────────────────────────────────────────────────────────


def _with_all(query: Select[Post], *, html: bool = False) -> Select[Post]:
    """With all that a card shows, and the text only where it is asked for: a list of ten is no megabyte."""
    query = query.options(joinedload(Post.author), joinedload(Post.cover).selectinload(Picture.sizes))
    return query.options(defer(Post.draft)) if html else query.options(defer(Post.draft), defer(Post.html))


def _card(post: Post) -> Card:
    return Card(
        id=post.id,
        slug=post.slug,
        title=post.title,
        summary=post.summary,
        locale=post.locale,
        tags=tuple(post.tags),
        author_id=post.author_id,
        author=Author(post.author.name) if post.author and post.author.name else None,
        published_at=post.published_at or post.created_at,  # public ones have the first
        updated_at=post.updated_at,
        words=post.words,
        views=post.views,
        cover=_cover(post.cover) if post.cover else None,
    )


def _cover(picture: Picture) -> Cover:
    widths = tuple(size.width for size in picture.sizes)
    return Cover(picture.key, picture.alt, picture.width, picture.height, widths or (picture.width,))


def _tags(query: Select[Post]) -> tuple[tuple[str, int], ...]:
    counts: Counter[str] = Counter()
    for tags in db.session.scalars(query.with_only_columns(Post.tags)):
        counts.update(tags)
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TAGS_SHOWN])


def _neighbour(card: Card, *, newer: bool) -> Link | None:
    """The article of the same language that was published right after this one, or before."""
    here = (card.published_at, card.id)
    after = or_(Post.published_at > here[0], and_(Post.published_at == here[0], Post.id > here[1]))
    before = or_(Post.published_at < here[0], and_(Post.published_at == here[0], Post.id < here[1]))
    order = [key.asc() if newer else key.desc() for key in BY_NEWNESS]
    query = in_language(published(), card.locale).where(after if newer else before).order_by(*order).limit(1)
    row = db.session.execute(query.with_only_columns(Post.slug, Post.title)).first()
    return Link(*row) if row else None


def _related(card: Card) -> tuple[Card, ...]:
    """Those of the same language that share most tags, the newer first; nothing without tags."""
    if not card.tags:
        return ()
    query = in_language(published(), card.locale).where(Post.id != card.id, or_(*map(_has_tag, card.tags)))
    rows = db.session.execute(
        query.with_only_columns(Post.id, Post.tags).order_by(*(key.desc() for key in BY_NEWNESS)).limit(RELATED_AMONG)
    ).all()
    # sorted() keeps the newer first among those that share as many.
    best = [id_ for id_, _tags in sorted(rows, key=lambda row: -len(set(row.tags) & set(card.tags)))[:RELATED]]
    posts = {post.id: post for post in db.session.scalars(_with_all(published()).where(Post.id.in_(best)))}
    return tuple(_card(posts[id_]) for id_ in best if id_ in posts)
