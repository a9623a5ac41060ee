"""What content managers do with articles and their pictures."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import count

from flask_babel import gettext as _
from sqlalchemy import delete as delete_rows
from sqlalchemy import or_, select

from app import clock
from app.auth import audit
from app.auth.models import Action, User
from app.blog import html as article
from app.blog.models import FormerSlug, Post
from app.blog.slugs import RESERVED, numbered, slug_of
from app.errors import RuleBroken
from app.extensions import db
from app.pictures import queries as pictures
from app.pictures.models import Picture
from app.pictures.service import tidy_alt

LONGEST_TITLE = 200  # characters, as all of these
LONGEST_SUMMARY = 500
LONGEST_TAG = 40
MOST_TAGS = 10
LARGEST_DRAFT = 2_000_000  # characters of all that was typed: more than can be saved, for it is not lost for that
_NOT_NAMED_YET = "untitled-"


class Changed(RuleBroken):
    """Somebody saved the article after this form was opened."""


class BadTags(RuleBroken):
    """Too many tags, or one that is too long; says which."""


@dataclass(frozen=True)
class PostData:
    """What an author writes. The texts are tidied already: see `app.blog.forms`."""

    title: str
    html: str
    summary: str = ""
    slug: str = ""  # empty: made of the title
    locale: str = "en"
    tags: tuple[str, ...] = ()
    cover_id: int | None = None


# ── Writing ─────────────────────────────────────────────────────────────────────────────────────────────────


def create(author: User, data: PostData) -> Post:
    """A new article, not published.

    Raises:
        BadArticle, BadContent: see `app.blog.html.check`.
    """
    post = Post(author_id=author.id, title="", html="", slug=_NOT_NAMED_YET)
    _write(post, data)
    db.session.add(post)
    db.session.flush()
    return post


def begin(author: User, title: str) -> Post:
    """An article of which nothing is saved yet, so that there is a place for what is being typed."""
    slug = f"{_NOT_NAMED_YET}{secrets.token_hex(8)}"
    post = Post(author_id=author.id, title=title.replace("\0", "")[:LONGEST_TITLE], html="", slug=slug)
    db.session.add(post)
    db.session.flush()
    return post


def edit(post: Post, data: PostData, *, known: str = "") -> None:
    """Save; what was autosaved is done with, unless it is of another window: `known` is the `draft_mark` of this one.

    Raises:
        BadArticle, BadContent: see `app.blog.html.check`.
    """
    _write(post, data)
    if draft_mark(post) in ("", known):
        post.draft = None


def _write(post: Post, data: PostData) -> None:
    post.html = clean(data.html)
    post.words = article.words_in(post.html)
    _rename(post, data)
    post.title, post.summary, post.locale = data.title, data.summary, data.locale
    post.tags = sorted(data.tags)
    post.cover_id = data.cover_id
    _touch(post)


def _touch(post: Post) -> None:
    # Two saves within a microsecond would be one version to whoever compares.
    post.updated_at = max(clock.now(), post.updated_at or clock.now())


def version_of(post: Post) -> str:
    """What a form remembers, to notice that somebody else saved meanwhile."""
    return post.updated_at.isoformat()


def check_version(post: Post, version: str) -> None:
    """Raises: Changed."""
    if version != version_of(post):
        raise Changed(_("This article was saved in another window meanwhile."))


def clean(html: str) -> str:
    """The HTML as it is stored, with those pictures of ours that there are.

    Raises:
        BadArticle, BadContent: see `app.blog.html.check`.
    """
    keys = article.keys_in(html)
    found = db.session.scalars(pictures.of_articles().where(Picture.key.in_(keys))) if keys else ()
    return article.sanitise(html, {picture.key: picture for picture in found})


def parse_tags(text: str) -> tuple[str, ...]:
    """What stands between the commas, in small letters, each once, sorted.

    Raises:
        BadTags
    """
    spoken = (" ".join(tag.replace("#", " ").split()).lower() for tag in text.replace("\n", ",").split(","))
    tags = sorted({tag for tag in spoken if tag})
    if too_long := next((tag for tag in tags if len(tag) > LONGEST_TAG), None):
        raise BadTags(_("“%(tag)s” is longer than %(limit)s characters.", tag=too_long, limit=LONGEST_TAG))
    if len(tags) > MOST_TAGS:
        raise BadTags(_("At most %(limit)s tags, please.", limit=MOST_TAGS))
    return tuple(tags)


# ── Addresses ───────────────────────────────────────────────────────────────────────────────────────────────


def has_slug(post: Post) -> bool:
    """Whether the article has an address that a person would recognise."""
    return not post.slug.startswith(_NOT_NAMED_YET)


def is_free(slug: str, post_id: int | None) -> bool:
    """Whether no other article has this address, or had it: its readers are led from there."""
    if slug in RESERVED:
        return False
    having = select(Post.id).where(Post.slug == slug, Post.id != (post_id or 0))
    had = select(FormerSlug.slug).where(FormerSlug.slug == slug, FormerSlug.post_id != (post_id or 0))
    return db.session.scalar(select(or_(having.exists(), had.exists()))) is False


def _rename(post: Post, data: PostData) -> None:
    slug = _free_slug(slug_of(data.slug or data.title), post.id)
    if slug == post.slug:
        return
    if _was_read(post):
        db.session.add(FormerSlug(slug=post.slug, post_id=post.id))
    # It may take back an address that it once had.
    db.session.execute(delete_rows(FormerSlug).where(FormerSlug.slug == slug))
    post.slug = slug


def _was_read(post: Post) -> bool:
    return post.id is not None and post.published_at is not None and post.published_at <= clock.now()


def _free_slug(slug: str, post_id: int | None) -> str:
    with db.session.no_autoflush:
        return next(name for number in count(1) if is_free(name := numbered(slug, number), post_id))


# ── Autosaving ──────────────────────────────────────────────────────────────────────────────────────────────


def draft_mark(post: Post) -> str:
    """Which autosaved text the article has; empty for none."""
    return str(post.draft["saved_at"]) if post.draft else ""


def autosave(post: Post, typed: Mapping[str, str], *, version: str, known: str) -> None:
    """Keep what is being typed beside the article, which stays as it is.

    known: the `draft_mark` that this window got last.

    Raises:
        Changed: when another window saved or autosaved meanwhile: its text must not be lost either.
        BadArticle: when it is larger than LARGEST_DRAFT.
    """
    check_version(post, version)
    if known != draft_mark(post):
        raise Changed(_("This article has unsaved text of another window."))
    if sum(map(len, typed.values())) > LARGEST_DRAFT:
        raise article.BadArticle(_("That is larger than %(limit)s kB.", limit=LARGEST_DRAFT // 1000))
    post.draft = {**{name: text.replace("\0", "") for name, text in typed.items()}, "saved_at": clock.now().isoformat()}


def discard_draft(post: Post) -> None:
    post.draft = None


# ── Publishing ──────────────────────────────────────────────────────────────────────────────────────────────


def publish(post: Post, at: datetime | None = None) -> None:
    """Everybody may read it, at once or from `at` on.

    Raises:
        RuleBroken: when there is nothing to read.
    """
    if not post.title or article.is_empty(post.html):
        raise RuleBroken(_("Write a title and a text before you publish."))
    post.published_at = at or clock.now()
    _touch(post)
    _note(post, Action.POST_PUBLISHED)


def unpublish(post: Post) -> None:
    """Back to a draft, also when its time has not come yet. Doing it twice changes nothing."""
    if post.published_at is None:
        return
    post.published_at = None
    _touch(post)
    _note(post, Action.POST_UNPUBLISHED)


def delete(post: Post) -> None:
    """Into the trash: nobody reads it any more, and `restore` makes it what it was."""
    if post.deleted_at is None:
        post.deleted_at = clock.now()
        _note(post, Action.DELETED)


def restore(post: Post) -> None:
    post.deleted_at = None


def _note(post: Post, action: Action) -> None:
    audit.record(action, owner_id=post.author_id, subject=f"post {post.id}")


# ── Pictures ────────────────────────────────────────────────────────────────────────────────────────────────


def describe(picture: Picture, alt: str) -> None:
    """What is told to those who can't see it; empty for a picture that only decorates."""
    picture.alt = tidy_alt(alt)
