"""The content manager's panel over HTTP."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from app import caching, clock
from app.auth.models import User
from app.blog import service
from app.blog.models import Post
from app.extensions import db
from app.pictures.models import Picture
from tests import make

HTMX = {"HX-Request": "true"}
JSON = {"Accept": "application/json"}
Write = Callable[..., int]


@pytest.fixture
def write(app: Flask, editor: User) -> Write:
    """A function that stores an article of the editor, a draft unless told otherwise, and gives its id."""

    def make_one(**fields: Any) -> int:
        with app.app_context():
            post = make.post(editor, **fields)
            db.session.commit()
            number: int = post.id
            return number

    return make_one


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A list that grows with each time the public pages are to be made anew."""
    times: list[bool] = []
    forget = caching.forget_blog

    def count() -> None:
        times.append(True)
        forget()

    monkeypatch.setattr(caching, "forget_blog", count)
    return times


def post_of(app: Flask, post_id: int | None = None) -> Post:
    """The article as the database has it, or the only one."""
    with app.app_context():
        query = select(Post) if post_id is None else select(Post).where(Post.id == post_id)
        post = db.session.scalars(query).one()
        db.session.expunge(post)
        return post


def fields(app: Flask, post_id: int | None = None, **changed: Any) -> dict[str, Any]:
    """What a form would send."""
    values: dict[str, Any] = {
        "title": "Pigeons fly home",
        "html": "<p>About pigeons</p>",
        "locale": "en",
        "intent": "save",
    }
    if post_id is not None:
        post = post_of(app, post_id)
        values |= {"slug": post.slug, "version": service.version_of(post), "draft": service.draft_mark(post)}
    return values | changed


def edit(client: FlaskClient, app: Flask, post_id: int, headers: Any = None, **changed: Any) -> Any:
    return client.post(f"/blog/manage/{post_id}/edit", data=fields(app, post_id, **changed), headers=headers or {})


# ── The list ──


def test_the_list_shows_what_each_article_is(editor_client: FlaskClient, write: Write) -> None:
    write(title="A draft")
    write(title="To come", published_at=clock.now() + timedelta(days=1))
    write(title="Out", published_at=clock.now() - timedelta(days=1), views=1234)
    write(title="Gone", deleted_at=clock.now())
    page = editor_client.get("/blog/manage/").text
    rows = re.findall(r'<tr id="post-\d+">(.*?)</tr>', page, re.DOTALL)
    assert len(rows) == 3
    assert [state for row in rows for state in re.findall(r"Draft|Scheduled|Published", row)] == [
        "Published",
        "Scheduled",
        "Draft",
    ]
    assert "1,234" in page
    assert "Gone" not in page


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("state=draft", {"Entwurf"}),
        ("state=scheduled", {"Soon"}),
        ("state=published", {"Голуби"}),
        ("state=trash", {"Gone"}),
        ("q=голуб", {"Голуби"}),
        ("lang=ru", {"Голуби"}),
        ("q=nothing", set()),
        ("state=nonsense&sort=nonsense", {"Entwurf", "Soon", "Голуби"}),
    ],
)
def test_the_list_is_filtered(editor_client: FlaskClient, write: Write, query: str, titles: set[str]) -> None:
    write(title="Entwurf")
    write(title="Soon", published_at=clock.now() + timedelta(days=1))
    write(title="Голуби", published_at=clock.now() - timedelta(days=1), locale="ru")
    write(title="Gone", deleted_at=clock.now())
    page = editor_client.get(f"/blog/manage/?{query}", headers=HTMX).text
    assert set(re.findall(r'fw-medium"[^>]*>([^<]+)<', page)) == titles


@pytest.mark.parametrize("sort", ["", "changed", "views", "title"])
def test_all_pages_of_the_list_show_each_article_once(editor_client: FlaskClient, write: Write, sort: str) -> None:
    for number in range(60):
        write(title=f"Title {number % 7}", views=number % 5, updated_at=clock.now() - timedelta(days=number % 3))
    address, found = f"/blog/manage/?sort={sort}", []
    while address:
        page = editor_client.get(address, headers=HTMX).text
        found += re.findall(r'id="post-(\d+)"', page)
        further = re.search(r'hx-get="([^"]+cursor=[^"]+)"', page)
        address = further[1].replace("&amp;", "&") if further else ""
    assert len(found) == len(set(found)) == 60


def test_the_way_into_the_panel_is_shown_to_those_who_may(
    editor_client: FlaskClient, owner_client: FlaskClient
) -> None:
    assert 'href="/blog/manage/"' in editor_client.get("/blog/").text
    assert 'href="/blog/manage/"' not in owner_client.get("/blog/").text


# ── Writing ──


def test_a_new_article_is_a_draft_of_whoever_wrote_it(app: Flask, editor_client: FlaskClient, editor: User) -> None:
    answer = editor_client.post(
        "/blog/manage/new", data=fields(app, tags="Birds, mail", summary=" In  short ", locale="ru")
    )
    post = post_of(app)
    assert (answer.status_code, answer.location) == (303, f"/blog/manage/{post.id}/edit")
    assert (post.author_id, post.published_at, post.slug) == (editor.id, None, "pigeons-fly-home")
    assert (post.tags, post.summary, post.locale, post.words) == (["birds", "mail"], "In short", "ru", 2)
    assert app.test_client().get("/blog/pigeons-fly-home").status_code == 404


def test_any_content_manager_edits_any_article(
    app: Flask, admin_client: FlaskClient, write: Write, editor: User
) -> None:
    post_id = write()
    assert edit(admin_client, app, post_id, title="Better").status_code == 303
    assert (post_of(app).title, post_of(app).author_id) == ("Better", editor.id)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"title": " \0 "}, "Write a title."),
        ({"title": "x" * 201}, "at most 200"),
        ({"summary": "x" * 501}, "at most 500"),
        ({"html": "x" * 500_001}, "larger than 500 kB"),
        ({"html": "<div>" * 1000}, "too tangled"),
        ({"tags": "x" * 50}, "longer than 40"),
        ({"slug": "taken"}, "Another article has this address"),
        ({"slug": "manage"}, "Another article has this address"),
        ({"publish_at": "tomorrow"}, "Write a date"),
        ({"intent": "publish", "html": "<p> </p>"}, "Write something before you publish"),
        ({"locale": "xx"}, "Not a valid choice"),
    ],
)
def test_what_is_wrong_comes_back_with_all_that_was_typed(
    app: Flask, editor_client: FlaskClient, write: Write, wrong: dict[str, str], said: str
) -> None:
    write(slug="taken")
    typed = fields(app, summary="Kept as it was typed") | wrong
    for headers in ({}, HTMX):
        answer = editor_client.post("/blog/manage/new", data=typed, headers=headers)
        assert answer.status_code == 422
        assert said in answer.text
        assert typed["summary"] in answer.text
        assert ("<html" in answer.text) == (headers == {})
    with app.app_context():
        assert db.session.scalar(select(func.count(Post.id))) == 1


def test_what_could_run_is_not_even_stored(app: Flask, editor_client: FlaskClient) -> None:
    html = '<p onclick="alert(1)">a</p><script>alert(1)</script><img src=x onerror=alert(1)>'
    editor_client.post("/blog/manage/new", data=fields(app, html=html))
    assert post_of(app).html == "<p>a</p>"


def test_an_unknown_or_deleted_article_is_404(editor_client: FlaskClient, write: Write) -> None:
    gone = write(deleted_at=clock.now())
    for number in (gone, gone + 1, 2**31 - 1):
        for action in ("edit", "preview"):
            assert editor_client.get(f"/blog/manage/{number}/{action}").status_code == 404
        for action in ("edit", "autosave", "discard", "publish", "unpublish", "delete"):
            assert editor_client.post(f"/blog/manage/{number}/{action}").status_code == 404


def test_the_later_of_two_windows_is_told_and_loses_nothing(
    app: Flask, editor_client: FlaskClient, write: Write
) -> None:
    post_id = write()
    stale = fields(app, post_id, title="Mine", html="<p>My long text</p>")
    edit(editor_client, app, post_id, title="Theirs")
    answer = editor_client.post(f"/blog/manage/{post_id}/edit", data=stale)
    assert answer.status_code == 422
    assert "saved in another window meanwhile" in answer.text
    assert "My long text" in answer.text
    assert post_of(app).title == "Theirs"

    version = re.search(r'name="version"[^>]*value="([^"]+)"', answer.text)
    assert version
    answer = editor_client.post(f"/blog/manage/{post_id}/edit", data=stale | {"version": version[1]})
    assert (answer.status_code, post_of(app).title) == (303, "Mine")


def test_a_renamed_article_keeps_its_readers(app: Flask, editor_client: FlaskClient, write: Write) -> None:
    post_id = write(slug="first", published_at=clock.now() - timedelta(days=1))
    edit(editor_client, app, post_id, slug="Второй адрес")
    assert post_of(app).slug == "vtoroy-adres"
    with app.app_context():
        assert not service.is_free("first", None)


# ── Autosaving ──


def autosave(client: FlaskClient, post_id: int, **typed: str) -> Any:
    return client.post(f"/blog/manage/{post_id}/autosave", data=typed)


def test_what_is_typed_is_kept_and_the_public_article_stays(
    app: Flask, editor_client: FlaskClient, write: Write
) -> None:
    post_id = write(slug="out", published_at=clock.now() - timedelta(days=1))
    version = service.version_of(post_of(app))
    answer = autosave(editor_client, post_id, version=version, draft="", title="New", html="<p>typed</p>")
    assert answer.status_code == 200
    assert re.fullmatch(r"Saved at \d\d:\d\d", answer.json["message"])
    post = post_of(app)
    assert (post.title, post.html, service.version_of(post)) == ("Pigeons", "<p>About pigeons</p>", version)
    assert answer.json["fields"] == {"version": version, "draft": service.draft_mark(post)}
    assert "typed" not in app.test_client().get("/blog/out").text

    page = editor_client.get(f"/blog/manage/{post_id}/edit").text
    assert "There is text of" in page
    assert "typed" not in page
    restored = editor_client.get(f"/blog/manage/{post_id}/edit?draft=1").text
    assert "typed" in restored
    assert "There is text of" not in restored

    edit(editor_client, app, post_id, title="New", html="<p>typed</p>")
    assert "There is text of" not in editor_client.get(f"/blog/manage/{post_id}/edit").text


def test_autosaved_text_can_be_thrown_away(app: Flask, editor_client: FlaskClient, write: Write) -> None:
    post_id = write()
    autosave(editor_client, post_id, version=service.version_of(post_of(app)), html="<p>typed</p>")
    editor_client.post(f"/blog/manage/{post_id}/discard")
    assert post_of(app).draft is None


def test_the_first_words_make_a_place_for_a_new_article(app: Flask, editor_client: FlaskClient) -> None:
    answer = editor_client.post("/blog/manage/autosave", data={"title": "Half a title", "html": "<p>typed</p>"})
    post = post_of(app)
    assert answer.json["action"] == f"/blog/manage/{post.id}/edit"
    assert answer.json["autosave"] == f"/blog/manage/{post.id}/autosave"
    assert (post.html, post.published_at) == ("", None)
    page = editor_client.get(f"/blog/manage/{post.id}/edit").text
    assert "typed" in page  # nothing is saved that could be shown in its place
    assert "untitled-" not in page
    assert "Half a title" in editor_client.get("/blog/manage/").text

    known = answer.json["fields"]
    edit(editor_client, app, post.id, title="Whole title", slug="", **known)
    assert (post_of(app).slug, post_of(app).draft) == ("whole-title", None)


def test_a_second_window_autosaves_nothing_over_the_first(app: Flask, editor_client: FlaskClient, write: Write) -> None:
    post_id = write()
    version = service.version_of(post_of(app))
    assert autosave(editor_client, post_id, version=version, html="first").status_code == 200
    answer = autosave(editor_client, post_id, version=version, html="second")
    assert (answer.status_code, answer.json) == (409, {"error": "This article has unsaved text of another window."})
    answer = autosave(editor_client, post_id, version="old", html="third")
    assert (answer.status_code, "another window" in answer.json["error"]) == (409, True)
    draft = post_of(app).draft
    assert draft
    assert draft["html"] == "first"


# ── Preview ──


def test_a_preview_is_the_page_that_readers_will_see(app: Flask, editor_client: FlaskClient) -> None:
    typed = fields(app, intent="preview", title="", html="<h2>Half</h2><script>alert(1)</script>", tags="x" * 99)
    answer = editor_client.post("/blog/manage/new", data=typed)
    post = post_of(app)
    assert answer.location == f"/blog/manage/{post.id}/preview"
    page = editor_client.get(answer.location).text
    assert "<h2>Half</h2>" in page
    assert "<script>alert" not in page
    assert "This is a preview." in page
    assert post.html == ""


def test_a_preview_changes_nothing_that_is_saved(app: Flask, editor_client: FlaskClient, write: Write) -> None:
    post_id = write(html="<p>Saved</p>")
    page = editor_client.get(f"/blog/manage/{post_id}/preview").text
    assert "<p>Saved</p>" in page
    assert "Nobody else can see it yet." in page
    edit(editor_client, app, post_id, intent="preview", html="<p>Typed</p>")
    page = editor_client.get(f"/blog/manage/{post_id}/preview").text
    assert "<p>Typed</p>" in page
    assert post_of(app).html == "<p>Saved</p>"


# ── Publishing ──


def test_publishing_from_the_form(app: Flask, editor_client: FlaskClient, forgotten: list[bool]) -> None:
    editor_client.post("/blog/manage/new", data=fields(app, intent="publish"))
    assert "About pigeons" in app.test_client().get("/blog/pigeons-fly-home").text
    assert forgotten == [True]


def test_a_time_is_on_the_clock_of_whoever_writes(app: Flask, editor_client: FlaskClient, editor: User) -> None:
    with app.app_context():
        db.session.get_one(User, editor.id).timezone = "Asia/Vladivostok"
        db.session.commit()
    editor_client.post("/blog/manage/new", data=fields(app, intent="publish", publish_at="2090-03-01T09:00"))
    post = post_of(app)
    assert post.published_at == datetime(2090, 2, 28, 23, 0, tzinfo=UTC)
    assert app.test_client().get("/blog/pigeons-fly-home").status_code == 404
    page = editor_client.get(f"/blog/manage/{post.id}/edit").text
    assert 'value="2090-03-01T09:00"' in page
    assert "Asia/Vladivostok" in page


def test_saving_again_moves_no_moment_that_was_not_touched(
    app: Flask, editor_client: FlaskClient, write: Write
) -> None:
    moment = clock.now().replace(second=33, microsecond=123)
    post_id = write(published_at=moment)
    edit(editor_client, app, post_id, publish_at=moment.strftime("%Y-%m-%dT%H:%M"))
    assert post_of(app).published_at == moment
    edit(editor_client, app, post_id, publish_at="2090-03-01T09:00")
    assert post_of(app).published_at == datetime(2090, 3, 1, 9, tzinfo=UTC)


def test_publishing_taking_back_deleting_and_restoring(
    app: Flask, editor_client: FlaskClient, write: Write, forgotten: list[bool]
) -> None:
    post_id = write(slug="out")

    def do(action: str) -> int:
        assert editor_client.post(f"/blog/manage/{post_id}/{action}").status_code == 303
        return app.test_client().get("/blog/out").status_code

    statuses = [do(action) for action in ("publish", "unpublish", "publish", "delete", "restore")]
    assert statuses[:3] == [200, 404, 200]
    assert len(forgotten) == 5
    assert post_of(app).deleted_at is None


def test_deleting_offers_to_undo_it(app: Flask, editor_client: FlaskClient, write: Write) -> None:
    post_id = write(title="<b>Bold</b>")
    editor_client.post(f"/blog/manage/{post_id}/delete")
    page = editor_client.get("/blog/manage/").text
    assert f'action="/blog/manage/{post_id}/restore"' in page
    assert "<b>Bold" not in page
    editor_client.post(f"/blog/manage/{post_id}/restore")
    assert "&lt;b&gt;Bold" in editor_client.get("/blog/manage/").text


def test_an_empty_article_is_not_published(app: Flask, editor_client: FlaskClient, write: Write) -> None:
    post_id = write(html="")
    assert editor_client.post(f"/blog/manage/{post_id}/publish").status_code == 409
    assert post_of(app).published_at is None


# ── Pictures ──


def upload(client: FlaskClient, file: BytesIO | None, **options: Any) -> Any:
    data = {"picture": (file, "photo.jpg"), "alt": "A dove"} if file else {}
    return client.post("/blog/manage/pictures", data=data, **options)


def test_a_script_uploads_and_learns_the_address(app: Flask, editor_client: FlaskClient) -> None:
    answer = upload(editor_client, make.picture_file(1200, 600), headers=JSON)
    assert answer.status_code == 201
    assert (answer.json["width"], answer.json["height"], answer.json["alt"]) == (1200, 600, "A dove")
    shown = app.test_client().get(answer.json["src"])
    assert (shown.status_code, shown.mimetype) == (200, "image/webp")
    assert shown.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    again = app.test_client().get(answer.json["src"], headers={"If-None-Match": shown.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("file", [BytesIO(b"<svg/>"), None], ids=["svg", "nothing"])
def test_a_script_learns_why_a_picture_was_refused(editor_client: FlaskClient, file: BytesIO | None) -> None:
    answer = upload(editor_client, file and BytesIO(file.getvalue()), headers=JSON)
    assert answer.status_code == 422
    assert answer.json["error"]


def test_without_a_script_the_page_of_pictures_shows_what_to_copy(editor_client: FlaskClient) -> None:
    assert upload(editor_client, make.picture_file()).status_code == 303
    page = editor_client.get("/blog/manage/pictures").text
    assert re.search(r'value="&lt;img src=&#34;/blog/pictures/[0-9a-f]{32}/600.webp&#34;', page)
    assert upload(editor_client, BytesIO(b"nonsense")).status_code == 422


@pytest.mark.parametrize("path", ["nonsense/480.webp", f"{'0' * 32}/480.webp", "%00/480.webp"])
def test_an_unknown_picture_is_404(client: FlaskClient, path: str) -> None:
    assert client.get(f"/blog/pictures/{path}").status_code == 404


def test_a_width_that_is_not_kept_is_404(app: Flask, editor_client: FlaskClient) -> None:
    src = upload(editor_client, make.picture_file(1200, 600), headers=JSON).json["src"]
    for width in (1, 961, 1440, 99999):
        assert editor_client.get(src.replace("/960.", f"/{width}.")).status_code == 404


def test_a_cover_comes_with_the_form_and_stays_until_it_is_taken_away(
    app: Flask, editor_client: FlaskClient, write: Write
) -> None:
    post_id = write()
    edit(editor_client, app, post_id, cover=(make.picture_file(), "c.jpg"), cover_alt="A loft")
    with app.app_context():
        picture = db.session.scalars(select(Picture)).one()
        number, alt = picture.id, picture.alt
    assert (post_of(app).cover_id, alt) == (number, "A loft")
    edit(editor_client, app, post_id, cover_id=str(number), cover_alt="A white loft")
    assert post_of(app).cover_id == number
    edit(editor_client, app, post_id, cover_id=str(number), remove_cover="y")
    assert post_of(app).cover_id is None


def test_a_cover_is_kept_when_the_rest_of_the_form_is_wrong(
    app: Flask, editor_client: FlaskClient, write: Write
) -> None:
    post_id = write()
    answer = edit(editor_client, app, post_id, title="", cover=(make.picture_file(), "c.jpg"))
    assert answer.status_code == 422
    with app.app_context():
        number = db.session.scalars(select(Picture.id)).one()
    assert f'name="cover_id" type="hidden" value="{number}"' in answer.text


@pytest.mark.parametrize("number", ["0", "-1", "99999999999999", "x", "1; drop", "²"])
def test_a_cover_that_is_none_is_no_cover(app: Flask, editor_client: FlaskClient, write: Write, number: str) -> None:
    assert edit(editor_client, app, write(), cover_id=number).status_code == 303
    assert post_of(app).cover_id is None


def test_a_bad_cover_is_said_at_its_field(app: Flask, editor_client: FlaskClient, write: Write) -> None:
    answer = edit(editor_client, app, write(), cover=(BytesIO(b"nonsense"), "c.jpg"))
    assert answer.status_code == 422
    assert "This is no picture that we can read" in answer.text
