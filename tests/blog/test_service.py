"""What becomes of articles: addresses, versions, drafts beside them, publishing, the trash."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from app import clock
from app.auth.models import Action, AuditEntry, User
from app.auth.roles import Role
from app.blog import service
from app.blog.models import FormerSlug, Post
from app.blog.service import PostData
from app.blog.slugs import LONGEST_SLUG, slug_of
from app.errors import RuleBroken
from app.extensions import db
from app.pictures.models import Picture
from app.pictures.service import add_to_articles
from tests import make

pytestmark = pytest.mark.usefixtures("context")


@pytest.fixture
def author(context: None) -> User:
    user: User = make.user("author@golub.test", Role.EDITOR)
    return user


def data(title: str = "Pigeons fly home", **fields: object) -> PostData:
    values: dict[str, object] = {"title": title, "html": "<p>Three words here</p>"} | fields
    return PostData(**values)  # type: ignore[arg-type]


def published(author: User, **fields: object) -> Post:
    post = service.create(author, data(**fields))  # type: ignore[arg-type]
    service.publish(post)
    db.session.flush()
    return post


def former() -> dict[str, int]:
    return {row.slug: row.post_id for row in db.session.scalars(select(FormerSlug))}


def actions() -> list[Action]:
    return list(db.session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))


# ── Addresses ──


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Pigeons fly home", "pigeons-fly-home"),
        ("  “Every day at nine”, and what it takes ", "every-day-at-nine-and-what-it-takes"),
        ("Письмо вернулось: что теперь?", "pismo-vernulos-chto-teper"),
        ("Щука съела ёжика — ЮЯ", "shchuka-sela-ezhika-yuya"),
        ("Їжак і ґава", "yizhak-i-gava"),
        ("Don’t & can't", "dont-and-cant"),
        ("Straße, Łódź, naïve café", "strasse-lodz-naive-cafe"),
        ("鳩", "article"),
        ("?!", "article"),
        ("a\u0301" * 5, "aaaaa"),
        ("a" + "\u0301" * 500, "article"),
    ],
)
def test_an_address_is_the_title_in_latin_letters(title: str, slug: str) -> None:
    assert slug_of(title) == slug


def test_a_long_address_ends_with_a_whole_word() -> None:
    slug = slug_of("pigeon " * 40)
    assert len(slug) <= LONGEST_SLUG
    assert set(slug.split("-")) == {"pigeon"}
    assert slug_of("x" * 300) == "x" * LONGEST_SLUG


def test_each_address_is_of_one_article(author: User) -> None:
    slugs = [service.create(author, data()).slug for _each in range(3)]
    assert slugs == ["pigeons-fly-home", "pigeons-fly-home-2", "pigeons-fly-home-3"]


@pytest.mark.parametrize("title", ["Manage", "pictures", "FEED"])
def test_what_stands_below_the_blog_is_no_article_s_address(author: User, title: str) -> None:
    assert service.create(author, data(title)).slug == f"{slug_of(title)}-2"


def test_a_draft_that_is_renamed_leaves_no_trace(author: User) -> None:
    post = service.create(author, data())
    service.edit(post, data("Another"))
    assert (post.slug, former()) == ("another", {})


def test_readers_of_a_renamed_article_are_led_on(author: User) -> None:
    post = published(author)
    service.edit(post, data(slug="second"))
    service.edit(post, data(slug="third"))
    db.session.flush()
    assert former() == {"pigeons-fly-home": post.id, "second": post.id}


def test_a_title_alone_changes_no_address_that_the_form_still_holds(author: User) -> None:
    post = published(author)
    service.edit(post, data("A better title", slug=post.slug))
    assert (post.slug, former()) == ("pigeons-fly-home", {})


def test_an_article_may_take_its_old_address_back(author: User) -> None:
    post = published(author)
    service.edit(post, data(slug="second"))
    service.edit(post, data(slug="pigeons-fly-home"))
    db.session.flush()
    assert (post.slug, former()) == ("pigeons-fly-home", {"second": post.id})


def test_nobody_takes_the_old_address_of_another_article(author: User) -> None:
    service.edit(published(author), data(slug="second"))
    db.session.flush()
    assert not service.is_free("pigeons-fly-home", None)
    assert service.create(author, data()).slug == "pigeons-fly-home-2"


# ── Writing ──


def test_the_text_is_cleaned_and_its_words_counted(author: User) -> None:
    post = service.create(author, data(html="<script>alert(1)</script><p>Three words here</p>"))
    assert (post.html, post.words) == ("<p>Three words here</p>", 3)


def test_pictures_that_are_there_stay_in_the_text(author: User) -> None:
    picture = add_to_articles(author, make.picture_file(), "A  dove\0 ", 500)
    src = f"/blog/pictures/{picture.key}/600.webp"
    post = service.create(
        author, data(html=f'<p><img src="{src}"><img src="{src.replace(picture.key, "0" * 32)}"></p>')
    )
    assert post.html == f'<p><img src="{src}" width="600" height="300" alt="A dove"></p>'


def test_a_picture_is_stored_in_its_sizes_under_a_name_that_tells_nothing(author: User) -> None:
    picture = add_to_articles(author, make.picture_file(1000, 500), "", 500)
    db.session.flush()
    db.session.expire_all()
    stored = db.session.scalars(select(Picture)).one()
    assert [size.width for size in stored.sizes] == [480, 960, 1000]
    assert len(picture.key) == 32


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", ()),
        ("Birds, #mail ,, birds", ("birds", "mail")),
        ("Почта,  два   слова\nтретий", ("два слова", "почта", "третий")),
    ],
)
def test_tags_are_small_sorted_and_each_there_once(text: str, tags: tuple[str, ...]) -> None:
    assert service.parse_tags(text) == tags


@pytest.mark.parametrize("text", ["x" * 41, ",".join(map(str, range(11)))])
def test_too_many_tags_are_refused(text: str) -> None:
    with pytest.raises(service.BadTags):
        service.parse_tags(text)


def test_a_version_changes_with_each_saving(author: User) -> None:
    post = service.create(author, data())
    version = service.version_of(post)
    service.check_version(post, version)
    service.edit(post, data())
    with pytest.raises(service.Changed):
        service.check_version(post, version)


def test_a_version_is_the_same_after_the_database_kept_it(author: User) -> None:
    post = service.create(author, data())
    version = service.version_of(post)
    db.session.flush()
    db.session.expire_all()
    service.check_version(post, version)


# ── Autosaving ──


def keep(post: Post, text: str, known: str = "", version: str | None = None) -> str:
    service.autosave(post, {"html": text}, version=version or service.version_of(post), known=known)
    return service.draft_mark(post)


def test_what_is_autosaved_stands_beside_the_article(author: User) -> None:
    post = published(author)
    before = (post.html, post.title, post.updated_at, post.words)
    keep(post, "<p>typed</p>")
    assert post.draft is not None
    assert post.draft["html"] == "<p>typed</p>"
    assert (post.html, post.title, post.updated_at, post.words) == before


def test_of_two_windows_none_overwrites_the_other(author: User) -> None:
    post = service.create(author, data())
    version = service.version_of(post)
    first = keep(post, "first window")
    with pytest.raises(service.Changed):
        keep(post, "second window")
    second = keep(post, "first window, more", known=first)
    service.edit(post, data("Saved"), known=second)
    with pytest.raises(service.Changed):
        keep(post, "too late", known=second, version=version)
    assert post.draft is None


def test_saving_keeps_the_autosaved_text_of_another_window(author: User) -> None:
    post = service.create(author, data())
    keep(post, "of a window that crashed")
    service.edit(post, data("Saved"))
    assert post.draft
    service.discard_draft(post)
    assert not post.draft


def test_more_than_a_novel_is_not_autosaved(author: User) -> None:
    post = service.create(author, data())
    with pytest.raises(RuleBroken):
        keep(post, "x" * (service.LARGEST_DRAFT + 1))


# ── Publishing ──


def test_it_is_published_at_once_or_at_its_time(author: User) -> None:
    post = service.create(author, data())
    service.publish(post)
    assert post.published_at
    assert post.published_at <= clock.now()
    tomorrow = clock.now() + timedelta(days=1)
    service.publish(post, tomorrow)
    assert post.published_at == tomorrow


@pytest.mark.parametrize("fields", [{"title": ""}, {"html": "<p> </p>"}, {"html": ""}])
def test_nothing_is_not_published(author: User, fields: dict[str, str]) -> None:
    post = service.create(author, data(**fields))
    with pytest.raises(RuleBroken):
        service.publish(post)


def test_taking_back_makes_a_draft_and_happens_once(author: User) -> None:
    post = published(author)
    service.unpublish(post)
    service.unpublish(post)
    db.session.flush()
    assert post.published_at is None
    assert actions() == [Action.POST_PUBLISHED, Action.POST_UNPUBLISHED]


def test_what_was_deleted_comes_back_as_it_was(author: User) -> None:
    post = published(author)
    was = (post.published_at, post.slug, post.html, post.updated_at)
    service.delete(post)
    service.delete(post)
    db.session.flush()
    assert post.deleted_at
    assert actions() == [Action.POST_PUBLISHED, Action.DELETED]
    service.restore(post)
    assert not post.deleted_at
    assert (post.published_at, post.slug, post.html, post.updated_at) == was
