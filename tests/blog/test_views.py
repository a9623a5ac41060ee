import gzip
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, update

from app import caching, clock
from app.auth.models import User
from app.blog import queries
from app.blog.models import FormerSlug, Post
from app.extensions import db
from app.mailings import service as mailings
from app.mailings.models import MailingStatus
from app.pictures.models import Picture, PictureSize
from tests import make

HTMX = {"HX-Request": "true"}
RUSSIAN = {"Accept-Language": "ru-RU, ru;q=0.9, en;q=0.5"}
WritePost = Callable[..., int]


def titles(page: str) -> list[str]:
    return re.findall(r"About [\w-]+", re.sub(r"<title>.*?</title>", "", page))


def caching_forget(client: FlaskClient) -> None:
    with client.application.app_context():
        caching.forget_blog()


def links(page: str) -> list[str]:
    return re.findall(r'href="(/blog/[^"]*)"', page)


def linked_data(page: str) -> dict[str, dict[str, Any]]:
    """By type, what the page tells search engines."""
    found = re.search(r'<script type="application/ld\+json">(.*?)</script>', page)
    assert found
    return {thing["@type"]: thing for thing in json.loads(found[1])["@graph"]}


def test_the_home_page_invites_guests(client: FlaskClient) -> None:
    page = client.get("/").text
    assert 'href="/auth/register"' in page
    assert 'href="/auth/login"' in page
    assert "From the blog" not in page


def test_the_home_page_leads_whoever_is_logged_in_to_the_overview(owner_client: FlaskClient) -> None:
    page = owner_client.get("/").text
    assert "To the overview" in page
    assert 'href="/auth/register"' not in page


def test_the_home_page_shows_three_articles_by_chance(client: FlaskClient, write_post: WritePost) -> None:
    for number in range(8):
        write_post(f"post{number}")
    shown = set()
    for _ in range(20):
        caching_forget(client)
        three = titles(client.get("/").text)
        assert len(set(three)) == 3
        shown |= set(three)
    assert len(shown) == 8


def test_the_home_page_takes_articles_of_another_language_only_where_there_are_too_few(
    client: FlaskClient, write_post: WritePost
) -> None:
    for number in range(3):
        write_post(f"en{number}")
        write_post(f"ru{number}", locale="ru")
    assert {title[6:8] for title in titles(client.get("/").text)} == {"en"}
    assert {title[6:8] for title in titles(client.get("/", headers=RUSSIAN).text)} == {"ru"}
    with client.application.app_context():
        db.session.execute(delete(Post).where(Post.slug.in_(["en1", "en2"])))
        db.session.commit()
    caching_forget(client)
    three = titles(client.get("/").text)
    assert three[0] == "About en0"
    assert {title[6:8] for title in three[1:]} == {"ru"}


def test_the_home_page_has_the_service_s_figures(
    app: Flask, client: FlaskClient, owner: User, stranger: User, manager: User
) -> None:
    with app.app_context():
        for somebody in (owner, stranger):
            make.client(somebody, "anna@example.test")
            make.client(somebody, f"of-{somebody.id}@example.test")
        make.mailing(owner, status=MailingStatus.RUNNING)
        make.mailing(owner, status=MailingStatus.SENT)
        make.mailing(owner, status=MailingStatus.SENT, disabled_at=clock.now())
        make.mailing(owner, status=MailingStatus.PAUSED)
        make.mailing(owner, status=MailingStatus.RUNNING, deleted_at=clock.now())
        mailing = make.mailing(owner)
        run = mailings.start_now(mailing)
        run.planned = run.sent = 1234
        db.session.commit()
        figures = queries.figures()
    # The last one runs by now, too.
    assert (figures.mailings, figures.active, figures.clients, figures.sent) == (5, 3, 3, 1234)
    page = client.get("/").text
    for value in ("5", "3", "1,234"):
        assert f'<div class="stat-value">{value}</div>' in page


def test_the_blog_begins_with_the_newest_article(client: FlaskClient, write_post: WritePost) -> None:
    for days in (4, 2, 3):
        write_post(f"day{days}", published_at=clock.now() - timedelta(days=days))
    assert titles(client.get("/blog/").text) == ["About day2", "About day3", "About day4"]


def test_an_empty_blog_says_so(client: FlaskClient) -> None:
    assert "No articles yet" in client.get("/blog/").text


def test_the_blog_pages_through_articles_of_one_moment(client: FlaskClient, write_post: WritePost) -> None:
    moment = clock.now()
    for number in range(12):
        write_post(f"post{number:02}", published_at=moment)
    page = client.get("/blog/").text
    further = re.search(r'hx-get="([^"]+cursor[^"]+)"', page)
    assert further
    fragment = client.get(further[1].replace("&amp;", "&"), headers=HTMX).text
    assert "<html" not in fragment
    assert 'type="search"' not in fragment
    assert titles(page) + titles(fragment) == [f"About post{number:02}" for number in reversed(range(12))]


def test_a_forged_cursor_is_404(client: FlaskClient) -> None:
    assert client.get("/blog/?cursor=nonsense").status_code == 404


def test_an_article_is_shown_with_its_author(client: FlaskClient, write_post: WritePost, editor: User) -> None:
    write_post("pigeons", author_id=editor.id)
    page = client.get("/blog/pigeons").text
    assert "<p>Words on pigeons</p>" in page
    assert "About pigeons" in page


@pytest.mark.parametrize("published_at", [None, clock.now() + timedelta(days=1)], ids=["draft", "tomorrow's"])
def test_what_is_not_published_yet_is_nowhere(client: FlaskClient, write_post: WritePost, published_at: object) -> None:
    write_post("secret", published_at=published_at)
    assert client.get("/blog/secret").status_code == 404
    assert "secret" not in client.get("/blog/").text
    assert "secret" not in client.get("/").text


def test_an_unknown_article_is_404(client: FlaskClient) -> None:
    assert client.get("/blog/nothing").status_code == 404


def test_what_could_run_in_an_article_is_taken_out(client: FlaskClient, write_post: WritePost) -> None:
    write_post(
        "evil",
        title="<script>alert(1)</script>",
        html='<script>alert(1)</script><img src=x onerror="alert(1)"><a href="javascript:alert(1)">go</a><b>good</b>',
    )
    page = client.get("/blog/evil").text
    assert "<b>good</b>" in page
    for danger in ("<script>alert", "onerror", "javascript:"):
        assert danger not in page
        assert danger not in client.get("/blog/").text


def test_a_guest_s_language_stays_with_the_session(client: FlaskClient) -> None:
    answer = client.post("/language", data={"lang": "ru", "next": "/blog/?cursor="})
    assert (answer.status_code, answer.location) == (303, "/blog/?cursor=")
    assert '<html lang="ru">' in client.get("/").text
    client.post("/language", data={"lang": "en"})
    assert '<html lang="en">' in client.get("/").text


def test_a_language_stays_with_the_account(app: Flask, owner_client: FlaskClient, owner: User) -> None:
    owner_client.post("/language", data={"lang": "ru"})
    assert '<html lang="ru">' in owner_client.get("/").text
    with app.app_context():
        assert db.session.get_one(User, owner.id).locale == "ru"


@pytest.mark.parametrize("lang", ["", "xx", "ru'--"])
def test_an_unknown_language_is_400(client: FlaskClient, lang: str) -> None:
    assert client.post("/language", data={"lang": lang}).status_code == 400


@pytest.mark.parametrize(
    ("referrer", "page"),
    [
        ("http://localhost/blog/?cursor=x", "/blog/?cursor=x"),
        ("http://localhost/blog/", "/blog/"),
        ("http://localhost//evil.test/", "/"),
        ("http://evil.test/blog/", "/"),
        ("nonsense", "/"),
        (None, "/"),
    ],
)
def test_it_goes_back_to_where_the_reader_was(client: FlaskClient, referrer: str | None, page: str) -> None:
    headers = {"Referer": referrer} if referrer else {}
    assert client.post("/language", data={"lang": "ru"}, headers=headers).location == page


@pytest.mark.parametrize("page", ["http://evil.test/", "//evil.test/", "/\\evil.test", "javascript:alert(1)"])
def test_it_leads_nobody_elsewhere(client: FlaskClient, page: str) -> None:
    assert client.post("/language", data={"lang": "ru", "next": page}).location == "/"


def test_a_language_needs_the_token(app: Flask) -> None:
    app.config["WTF_CSRF_ENABLED"] = True
    try:
        assert app.test_client().post("/language", data={"lang": "ru"}).status_code == 400
    finally:
        app.config["WTF_CSRF_ENABLED"] = False


@pytest.mark.parametrize("somebody", ["owner", "manager", "editor", "admin"])
def test_the_home_page_leads_everybody_where_they_may_go(somebody: str, request: pytest.FixtureRequest) -> None:
    browser = request.getfixturevalue(f"{somebody}_client")
    link = re.search(r'class="btn btn-primary btn-lg" href="([^"]+)"', browser.get("/").text)
    assert link is not None
    assert browser.get(link[1]).status_code == 200


# ── What is listed ──


def test_the_blog_offers_the_reader_s_language_and_the_other(client: FlaskClient, write_post: WritePost) -> None:
    write_post("english")
    write_post("russian", locale="ru")
    assert titles(client.get("/blog/").text) == ["About english"]
    assert titles(client.get("/blog/", headers=RUSSIAN).text) == ["About russian"]
    switched = client.get("/blog/?lang=ru")
    assert titles(switched.text) == ["About russian"]
    assert '<html lang="en">' in switched.text
    assert titles(client.get("/blog/?lang=nonsense").text) == ["About english"]
    assert "/blog/?lang=ru" in client.get("/blog/").text


def test_the_blog_can_be_read_by_tag(client: FlaskClient, write_post: WritePost) -> None:
    write_post("one", tags=["news", "product"])
    write_post("two", tags=["newsletter"])
    write_post("three", tags=["product", "%_\"'"])
    page = client.get("/blog/").text
    assert re.search(r"product <span>2</span>", page)
    assert titles(client.get("/blog/?tag=product").text) == ["About three", "About one"]
    assert titles(client.get("/blog/?tag=Product").text) == ["About three", "About one"]
    assert titles(client.get("/blog/?tag=news").text) == ["About one"]
    assert titles(client.get("/blog/", query_string={"tag": "%_\"'"}).text) == ["About three"]
    assert "No article matches" in client.get("/blog/?tag=nothing").text


@pytest.mark.parametrize("tag", ["%", '"', "'", "[]", "\\", "x" * 5000, "\x00", "жук", "\ud800"])
def test_no_tag_breaks_the_blog(client: FlaskClient, write_post: WritePost, tag: str) -> None:
    write_post("one", tags=["news"])
    answer = client.get("/blog/?tag=" + quote(tag, errors="surrogatepass"))
    assert answer.status_code == 200
    assert titles(answer.text) == []


def test_articles_are_found_by_title_summary_and_text_but_not_by_tags_of_html(
    client: FlaskClient, write_post: WritePost
) -> None:
    write_post("one", title="About one: Почтовый голубь", html='<p class="paragraph">Nothing <strong>much</strong></p>')
    write_post("two", summary="Of ёлки", html="<p>A needle in the hay</p>")

    def found(words: str) -> list[str]:
        return titles(client.get("/blog/", query_string={"q": words}).text)

    assert found("ГОЛУБЬ") == ["About one"]
    assert found("елки") == ["About two"]
    assert found("needle hay") == ["About two"]
    assert found("needle much") == []
    assert found("MUCH") == ["About one"]
    assert found("strong") == []
    assert found("paragraph") == []
    fragment = client.get("/blog/?q=needle", headers=HTMX).text
    assert titles(fragment) == ["About two"]
    assert "<html" not in fragment


def test_a_search_goes_on_over_pages(client: FlaskClient, write_post: WritePost) -> None:
    for number in range(12):
        write_post(f"post{number:02}", tags=["long"])
    page = client.get("/blog/?q=words&tag=long").text
    further = re.search(r'hx-get="([^"]+cursor[^"]+)"', page)
    assert further
    assert len(titles(client.get(further[1].replace("&amp;", "&"), headers=HTMX).text)) == 2


# ── One article ──


def test_an_article_leads_to_its_neighbours_of_the_same_language(client: FlaskClient, write_post: WritePost) -> None:
    for days, locale in ((5, "en"), (4, "ru"), (3, "en"), (2, "ru"), (1, "en")):
        write_post(f"day{days}", published_at=clock.now() - timedelta(days=days), locale=locale)
    page = client.get("/blog/day3").text
    assert re.search(r'rel="prev" href="/blog/day5"', page)
    assert re.search(r'rel="next" href="/blog/day1"', page)
    assert "/blog/day4" not in page
    assert 'rel="prev"' not in client.get("/blog/day5").text
    assert 'rel="next"' not in client.get("/blog/day1").text


def test_neighbours_of_one_moment_are_all_passed(client: FlaskClient, write_post: WritePost) -> None:
    moment = clock.now() - timedelta(hours=1)
    for number in range(4):
        write_post(f"post{number}", published_at=moment)
    seen, slug = [], "post0"
    while slug:
        seen.append(slug)
        further = re.search(r'rel="next" href="/blog/([^"]+)"', client.get(f"/blog/{slug}").text)
        slug = further[1] if further else ""
    assert seen == [f"post{number}" for number in range(4)]


def test_related_articles_share_most_tags(client: FlaskClient, write_post: WritePost) -> None:
    write_post("here", tags=["a", "b", "c"])
    write_post("all-three", tags=["a", "b", "c"], published_at=clock.now() - timedelta(days=9))
    write_post("two", tags=["a", "b"], published_at=clock.now() - timedelta(days=8))
    write_post("one-old", tags=["c"], published_at=clock.now() - timedelta(days=7))
    write_post("one-new", tags=["c"], published_at=clock.now() - timedelta(days=6))
    write_post("russian", tags=["a", "b", "c"], locale="ru")
    write_post("none", tags=["d"])
    write_post("draft", tags=["a", "b", "c"], published_at=None)
    related = client.get("/blog/here").text.partition("On the same subject")[2]
    assert titles(related) == ["About all-three", "About two", "About one-new"]
    assert "On the same subject" not in client.get("/blog/none").text


def test_an_article_says_how_long_it_takes_and_how_often_it_is_read(client: FlaskClient, write_post: WritePost) -> None:
    write_post("long", words=901, views=1234)
    page = client.get("/blog/long").text
    assert "5 minutes to read" in page
    assert "1,234 views" in page
    write_post("short", words=10)
    assert "1 minute to read" in client.get("/blog/short").text


def test_a_former_address_leads_to_the_new_one_for_ever(app: Flask, client: FlaskClient, write_post: WritePost) -> None:
    post_id = write_post("new-name")
    with app.app_context():
        db.session.add_all([FormerSlug(slug="old-name", post_id=post_id), FormerSlug(slug="older", post_id=post_id)])
        db.session.commit()
    for former in ("old-name", "older"):
        answer = client.get(f"/blog/{former}")
        assert (answer.status_code, answer.location) == (301, "/blog/new-name")
    with app.app_context():
        db.session.get_one(Post, post_id).published_at = None
        db.session.commit()
    assert client.get("/blog/old-name").status_code == 404


def test_what_was_deleted_is_nowhere(client: FlaskClient, write_post: WritePost) -> None:
    write_post("gone", deleted_at=clock.now(), tags=["gone"])
    for path in ("/", "/blog/", "/blog/?q=gone", "/blog/?tag=gone", "/blog/feed.atom", "/sitemap.xml"):
        assert "About gone" not in client.get(path).text
        assert "/blog/gone" not in client.get(path).text
    assert client.get("/blog/gone").status_code == 404


def test_a_cover_comes_in_the_size_that_a_screen_asks_for(
    app: Flask, client: FlaskClient, write_post: WritePost
) -> None:
    with app.app_context():
        picture = Picture(key="k" * 32, alt='A "pigeon"', width=1440, height=720)
        picture.sizes = [PictureSize(width=width, image=b"x") for width in (480, 960, 1440)]
        db.session.add(picture)
        db.session.commit()
        cover_id = picture.id
    write_post("with-cover", cover_id=cover_id)
    page = client.get("/blog/with-cover").text
    at = f"/blog/pictures/{'k' * 32}"
    assert f'srcset="{at}/480.webp 480w, {at}/960.webp 960w, {at}/1440.webp 1440w"' in page
    assert 'width="1440" height="720" alt="A &#34;pigeon&#34;"' in page
    assert f'<meta property="og:image" content="http://golub.test{at}/1440.webp">' in page
    assert f'src="{at}/960.webp"' in client.get("/blog/").text


# ── Search engines and sharing ──


def test_pages_say_what_they_are(client: FlaskClient, write_post: WritePost) -> None:
    write_post("pigeons", title='About "pigeons" & <others>', tags=["birds"])
    for path, canonical, kind in (
        ("/", "/", "website"),
        ("/blog/", "/blog/?lang=en", "website"),
        ("/blog/?lang=ru", "/blog/?lang=ru", "website"),
        ("/blog/?lang=en&tag=birds", "/blog/?lang=en&amp;tag=birds", "website"),
        ("/blog/pigeons", "/blog/pigeons", "article"),
    ):
        page = client.get(path, headers={"Host": "localhost"}).text
        assert f'<link rel="canonical" href="http://golub.test{canonical}">' in page, path
        assert f'<meta property="og:url" content="http://golub.test{canonical}">' in page, path
        assert f'<meta property="og:type" content="{kind}">' in page, path
        assert re.search(r'<meta name="description" content="[^"]{10,}">', page), path
        assert re.search(r'<meta property="og:image" content="http://golub.test/static/[^"]+sharing.png">', page), path
        assert 'name="robots"' not in page, path
    assert '<meta property="og:title" content="About &#34;pigeons&#34; &amp; &lt;others&gt;">' in page


def test_the_blog_names_itself_in_the_other_language(client: FlaskClient) -> None:
    page = client.get("/blog/").text
    for language in ("en", "ru"):
        assert f'<link rel="alternate" hreflang="{language}" href="http://golub.test/blog/?lang={language}">' in page


@pytest.mark.parametrize("path", ["/blog/?q=words", "/blog/?q=words&tag=x"])
def test_no_search_engine_is_to_keep_our_searches(client: FlaskClient, path: str) -> None:
    assert '<meta name="robots" content="noindex, follow">' in client.get(path).text


def test_linked_data_tell_what_an_article_is(client: FlaskClient, write_post: WritePost, editor: User) -> None:
    write_post("pigeons", title="</script><script>alert(1)</script>", author_id=editor.id, words=300, tags=["birds"])
    page = client.get("/blog/pigeons").text
    assert "<script>alert" not in page
    posting = linked_data(page)["BlogPosting"]
    assert posting["headline"] == "</script><script>alert(1)</script>"
    assert posting["url"] == "http://golub.test/blog/pigeons"
    assert posting["wordCount"] == 300
    assert posting["keywords"] == ["birds"]
    assert posting["datePublished"] <= posting["dateModified"]
    home = linked_data(client.get("/").text)
    assert set(home) == {"Organization", "WebSite"}


# ── What browsers keep ──

PUBLIC = [
    "/",
    "/blog/",
    "/blog/?lang=ru",
    "/blog/pigeons",
    "/blog/feed.atom",
    "/blog/feed.rss",
    "/sitemap.xml",
    "/robots.txt",
]
PAGES = PUBLIC[:4]
A_BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
A_ROBOT = {"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}


@pytest.mark.parametrize("path", PUBLIC)
def test_what_has_not_changed_is_304(client: FlaskClient, write_post: WritePost, path: str) -> None:
    write_post("pigeons")
    first = client.get(path, headers=A_BROWSER)
    assert first.status_code == 200
    for _ in range(2):
        again = client.get(path, headers=A_BROWSER | {"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]


@pytest.mark.parametrize("path", PUBLIC[:-1])
def test_a_robot_may_ask_by_date_as_well(app: Flask, write_post: WritePost, path: str) -> None:
    write_post("pigeons", updated_at=clock.now() - timedelta(minutes=5))
    first = app.test_client().get(path, headers=A_ROBOT)
    again = app.test_client().get(path, headers=A_ROBOT | {"If-Modified-Since": first.headers["Last-Modified"]})
    assert again.status_code == 304
    earlier = {"If-Modified-Since": "Thu, 01 Jan 2026 00:00:00 GMT"}
    assert app.test_client().get(path, headers=A_ROBOT | earlier).status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_a_robot_without_a_session_is_told_as_well(app: Flask, write_post: WritePost, path: str) -> None:
    write_post("pigeons")
    first = app.test_client().get(path, headers=A_ROBOT)
    again = app.test_client().get(path, headers=A_ROBOT | {"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("path", PAGES)
def test_a_kept_page_whose_session_is_over_is_not_shown_again(app: Flask, write_post: WritePost, path: str) -> None:
    """Its forms would be refused: their token belongs to that session."""
    write_post("pigeons")
    kept = app.test_client().get(path, headers=A_BROWSER).headers["ETag"]
    for another in (app.test_client(), app.test_client()):
        another.get("/blog/")
        assert another.get(path, headers=A_BROWSER | {"If-None-Match": kept}).status_code == 200
    assert app.test_client().get(path, headers=A_BROWSER | {"If-None-Match": kept}).status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_a_change_of_language_or_content_is_no_304(client: FlaskClient, write_post: WritePost, path: str) -> None:
    write_post("pigeons")
    kept = {"If-None-Match": client.get(path, headers=A_BROWSER).headers["ETag"]}
    assert client.get(path, headers=A_BROWSER | kept | RUSSIAN).status_code == 200
    with client.application.app_context():
        db.session.execute(update(Post).values(title="Renamed", locale="ru" if "ru" in path else "en"))
        db.session.commit()
        caching.forget_blog()
    again = client.get(path, headers=A_BROWSER | kept)
    assert again.status_code == 200
    assert "Renamed" in again.text


@pytest.mark.parametrize("path", PAGES)
def test_pages_of_whoever_is_logged_in_are_kept_by_nobody(
    client: FlaskClient, owner_client: FlaskClient, write_post: WritePost, path: str
) -> None:
    write_post("pigeons")
    answer = owner_client.get(path)
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert "ETag" not in answer.headers
    guests = client.get(path)
    assert {"private", "no-cache"} == set(guests.headers["Cache-Control"].split(", "))
    assert {"Cookie", "Accept-Language", "HX-Request"} <= set(guests.headers["Vary"].split(", "))


@pytest.mark.parametrize("path", PUBLIC)
def test_pages_are_smaller_for_who_takes_gzip(client: FlaskClient, write_post: WritePost, path: str) -> None:
    write_post("pigeons", html="<p>Words and words.</p>" * 100)
    plain = client.get(path)
    packed = client.get(path, headers={"Accept-Encoding": "gzip, br"})
    assert "Accept-Encoding" in plain.headers["Vary"]
    if path == "/robots.txt":
        return
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) == len(packed.data) < len(plain.data) / 2
    token = re.compile(rb"I[\w.-]{60,}")
    assert token.sub(b"", gzip.decompress(packed.data)) == token.sub(b"", plain.data)
    assert "Content-Encoding" not in client.get(path, headers={"Accept-Encoding": "gzip;q=0"}).headers


def test_pages_of_whoever_is_logged_in_are_not_compressed_here(owner_client: FlaskClient) -> None:
    """They hold secrets beside what others may choose: their length would tell."""
    assert "Content-Encoding" not in owner_client.get("/blog/?q=x", headers={"Accept-Encoding": "gzip"}).headers


def test_head_says_what_get_does(client: FlaskClient, write_post: WritePost) -> None:
    write_post("pigeons")
    for path in PUBLIC:
        answer = client.head(path)
        assert (answer.status_code, answer.data) == (200, b""), path
        assert "ETag" in answer.headers
