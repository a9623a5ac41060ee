"""What the content manager's panel reads: all articles, public or not."""

from enum import StrEnum

from sqlalchemy import Select, select
from sqlalchemy.orm import load_only, selectinload

from app import clock
from app.blog.models import Post
from app.extensions import db
from app.pictures.models import Picture
from app.pictures.queries import of_articles
from app.search import containing

TAGS_SUGGESTED = 30


class PostState(StrEnum):
    """What an article is to its readers. Trash holds what was deleted, whatever it was before."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    PUBLISHED = "published"
    TRASH = "trash"


def state_of(post: Post) -> PostState:
    if post.deleted_at is not None:
        return PostState.TRASH
    if post.published_at is None:
        return PostState.DRAFT
    return PostState.SCHEDULED if post.published_at > clock.now() else PostState.PUBLISHED


def in_state(state: str) -> Select[Post]:
    """The articles in this state; those that are not deleted for any other word."""
    query, now = select(Post), clock.now()
    if state == PostState.TRASH:
        return query.where(Post.deleted_at.is_not(None))
    query = query.where(Post.deleted_at.is_(None))
    if state == PostState.DRAFT:
        query = query.where(Post.published_at.is_(None))
    elif state == PostState.SCHEDULED:
        query = query.where(Post.published_at > now)
    elif state == PostState.PUBLISHED:
        query = query.where(Post.published_at <= now)
    return query


def for_list(query: Select[Post], words: str = "", locale: str = "") -> Select[Post]:
    """Of `query`, those whose title has these words and that are in this language; without their texts."""
    shown = load_only(
        Post.title,
        Post.slug,
        Post.locale,
        Post.tags,
        Post.views,
        Post.updated_at,
        Post.published_at,
        Post.deleted_at,
        Post.author_id,
        Post.cover_id,
    )
    query = query.options(shown, selectinload(Post.author), selectinload(Post.cover))
    if locale:
        query = query.where(Post.locale == locale)
    return containing(query, Post.title, words) if words else query


def not_deleted(post_id: int) -> Select[Post]:
    return select(Post).where(Post.id == post_id, Post.deleted_at.is_(None))


def known_tags() -> list[str]:
    """The tags of articles, the commonest first."""
    counts: dict[str, int] = {}
    for tags in db.session.scalars(select(Post.tags).where(Post.deleted_at.is_(None))):
        for tag in tags:
            counts[tag] = counts.get(tag, 0) + 1
    return sorted(counts, key=lambda tag: (-counts[tag], tag))[:TAGS_SUGGESTED]


def pictures_newest_first() -> Select[Picture]:
    return of_articles().order_by(Picture.id.desc())
