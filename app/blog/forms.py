"""The forms of the content manager's panel."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from flask import request
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from flask_wtf.file import FileField, FileRequired
from wtforms import (
    BooleanField,
    Field,
    HiddenField,
    SelectField,
    StringField,
    TextAreaField,
    ValidationError,
)
from wtforms.fields.choices import SelectChoice  # type: ignore[attr-defined]  # types-WTForms is behind
from wtforms.validators import DataRequired, Length

from app import clock
from app.auth.models import User
from app.blog import html as article
from app.blog import service
from app.blog.models import Post
from app.blog.slugs import slug_of
from app.errors import RuleBroken
from app.extensions import db
from app.fields import LocalTimeField
from app.mailings.schedule import local_to_utc
from app.pictures.models import Picture
from app.pictures.queries import of_articles
from app.pictures.service import LONGEST_ALT
from app.web import LANGUAGES

LARGEST_ID = 2**31 - 1
SUMMARY_SHOWN = 160  # characters that search engines show


class Intent(StrEnum):
    """What the button says that sent the form."""

    SAVE = "save"
    PUBLISH = "publish"
    PREVIEW = "preview"


def _tidy(text: str | None) -> str:
    """One line, without the NUL that PostgreSQL refuses."""
    return " ".join((text or "").replace("\0", "").split())


class PostForm(FlaskForm):
    """Create and edit alike. After `validate`, `parsed` is what the service takes."""

    title = StringField(
        _l("Title"),
        [
            DataRequired(_l("Write a title.")),
            Length(max=service.LONGEST_TITLE, message=_l("A title has at most %(max)d characters.")),
        ],
        filters=[_tidy],
    )
    html = TextAreaField(_l("Text"))
    summary = TextAreaField(
        _l("Summary"),
        [Length(max=service.LONGEST_SUMMARY, message=_l("A summary has at most %(max)d characters."))],
        description=_l("Lists, search engines and shared links show it. About 160 characters are best."),
        filters=[_tidy],
    )
    slug = StringField(_l("Address"), filters=[_tidy], description=_l("Leave it empty, and it is made of the title."))
    locale = SelectField(
        _l("Language of the article"), choices=[SelectChoice(code, name) for code, name in LANGUAGES.items()]
    )
    tags = StringField(_l("Tags"), filters=[_tidy], description=_l("Up to ten, with commas between them."))
    cover = FileField(_l("Cover picture"), description=_l("JPEG, PNG, WebP or GIF, up to 10 MB."))
    cover_id = HiddenField()
    cover_alt = StringField(
        _l("What the cover shows"),
        [Length(max=LONGEST_ALT, message=_l("At most %(max)d characters."))],
        description=_l("For those who can't see it. Leave it empty when it only decorates."),
        filters=[_tidy],
    )
    remove_cover = BooleanField(_l("Take the cover away"))
    publish_at = LocalTimeField(_l("Publish at"))
    version = HiddenField()
    draft = HiddenField()
    is_outdated = False  # somebody else saved after this form was opened

    def __init__(self, user: User, post: Post | None = None, *, restored: bool = False) -> None:
        super().__init__(data=_values_of(user, post, restored=restored))
        self.user = user
        self.post = post

    @property
    def intent(self) -> Intent:
        wanted = request.form.get("intent", "")
        return Intent(wanted) if wanted in set(Intent) else Intent.SAVE

    @property
    def picture(self) -> Picture | None:
        """The cover that is chosen now, if it is there."""
        chosen = self.cover_id.data or ""
        number = int(chosen) if chosen.isascii() and chosen.isdigit() and len(chosen) < 11 else 0
        is_chosen = 0 < number <= LARGEST_ID and not self.remove_cover.data
        return db.session.scalar(of_articles().where(Picture.id == number)) if is_chosen else None

    def validate_html(self, field: Field) -> None:
        try:
            article.check(field.data or "")
            is_empty = self.intent is Intent.PUBLISH and article.is_empty(service.clean(field.data or ""))
        except RuleBroken as error:
            raise ValidationError(str(error)) from None
        if is_empty:
            raise ValidationError(_("Write something before you publish it."))

    def validate_slug(self, field: Field) -> None:
        if field.data and not service.is_free(slug_of(field.data), self.post.id if self.post else None):
            raise ValidationError(_("Another article has this address, or had it."))

    def validate_tags(self, field: Field) -> None:
        try:
            service.parse_tags(field.data or "")
        except service.BadTags as error:
            raise ValidationError(str(error)) from None

    def parsed(self) -> service.PostData:
        picture = self.picture
        return service.PostData(
            title=self.title.data or "",
            html=self.html.data or "",
            summary=self.summary.data or "",
            slug=self.slug.data or "",
            locale=self.locale.data,
            tags=service.parse_tags(self.tags.data or ""),
            cover_id=picture.id if picture else None,
        )

    def moment(self) -> datetime | None:
        """The time in `publish_at`, which is on the clock of the one who writes; None when it is empty."""
        if self.publish_at.data is None:
            return None
        before = self.post.published_at if self.post else None
        # What was not touched stays exactly as it was: the field shows minutes.
        if before and _on_the_clock(before, self.user) == self.publish_at.data:
            return before
        return local_to_utc(self.publish_at.data, self.user.timezone)


# What is autosaved: all that can be typed.
TYPED = ("title", "slug", "summary", "html", "locale", "tags", "cover_id", "cover_alt", "publish_at")


def typed() -> dict[str, str]:
    """The fields of the form that is being typed, as they are."""
    return {name: request.form.get(name, "") for name in TYPED}


def _values_of(user: User, post: Post | None, *, restored: bool) -> dict[str, Any]:
    if post is None:
        return {"locale": user.locale or "en"}
    saved = {
        "title": post.title,
        "slug": post.slug if service.has_slug(post) else "",
        "summary": post.summary,
        "html": post.html,
        "locale": post.locale,
        "tags": ", ".join(post.tags),
        "cover_id": str(post.cover_id or ""),
        "cover_alt": post.cover.alt if post.cover else "",
        "publish_at": post.published_at and _on_the_clock(post.published_at, user),
        "version": service.version_of(post),
    }
    if not restored or not post.draft:
        return saved
    return saved | _typed_before(post.draft) | {"draft": service.draft_mark(post)}


def _typed_before(draft: Mapping[str, object]) -> dict[str, Any]:
    kept: dict[str, Any] = {name: str(draft.get(name, "")) for name in TYPED}
    try:
        kept["publish_at"] = datetime.fromisoformat(kept["publish_at"]) if kept["publish_at"] else None
    except ValueError:
        kept["publish_at"] = None
    return kept


def _on_the_clock(moment: datetime, user: User) -> datetime:
    return moment.astimezone(clock.zone(user.timezone)).replace(tzinfo=None, second=0, microsecond=0)


class PublishForm(FlaskForm):
    """For an article that is saved already."""

    publish_at = LocalTimeField(_l("Publish at"))


class PictureForm(FlaskForm):
    picture = FileField(_l("Picture"), [FileRequired(_l("Choose a picture first."))])
    alt = StringField(
        _l("What the picture shows"),
        [Length(max=LONGEST_ALT, message=_l("At most %(max)d characters."))],
        description=_l("For those who can't see it. Leave it empty when it only decorates."),
        filters=[_tidy],
    )
