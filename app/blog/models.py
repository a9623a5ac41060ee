"""Blog articles, and the addresses they once had."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app import clock
from app.auth.models import User
from app.database import Base, BigId, Json
from app.pictures.models import Picture


class Post(Base):
    """A blog article; a draft until `published_at`, which may lie ahead."""

    __tablename__ = "post"

    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"), index=True)
    title: Mapped[str] = mapped_column(String(200))
    slug: Mapped[str] = mapped_column(String(200), unique=True)
    summary: Mapped[str] = mapped_column(String(500), default="")
    html: Mapped[str] = mapped_column(Text)  # sanitised on the way in
    locale: Mapped[str] = mapped_column(String(10), default="en")
    tags: Mapped[list[str]] = mapped_column(Json, default=list)  # sorted, lower case, at most 10 of 40 characters
    words: Mapped[int] = mapped_column(default=0)  # of the text, for the reading time
    cover_id: Mapped[int | None] = mapped_column(ForeignKey("picture.id", ondelete="SET NULL"), index=True)
    views: Mapped[int] = mapped_column(BigId, default=0)  # what the counter in Redis has handed over
    draft: Mapped[dict[str, object] | None] = mapped_column(Json)  # typed and not yet saved: see service.autosave
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    updated_at: Mapped[datetime] = mapped_column(default=clock.now)  # by its author; not by the view counter
    published_at: Mapped[datetime | None] = mapped_column()
    deleted_at: Mapped[datetime | None] = mapped_column()

    author: Mapped[User | None] = relationship()
    cover: Mapped[Picture | None] = relationship()

    __table_args__ = (Index("ix_post_published", "published_at", "id"),)


class FormerSlug(Base):
    """An address that an article had before it was renamed: it leads to the new one for ever."""

    __tablename__ = "former_slug"

    slug: Mapped[str] = mapped_column(String(200), primary_key=True)
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id", ondelete="CASCADE"), index=True)


class ViewBatch(Base):
    """A batch of counted views that has reached the articles: whoever brings it again finds its name here."""

    __tablename__ = "view_batch"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)  # random, see app.blog.counter
    added_at: Mapped[datetime] = mapped_column(default=clock.now, index=True)
