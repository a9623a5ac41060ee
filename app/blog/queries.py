"""Reads about articles, scoped to what everybody may see."""

from sqlalchemy import Select, select

from app import clock
from app.blog.models import Post


def published() -> Select[Post]:
    """The articles that are public by now."""
    return select(Post).where(Post.published_at <= clock.now())
