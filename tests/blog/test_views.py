import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import clock
from app.auth.models import User
from app.extensions import db

HTMX = {"HX-Request": "true"}
WritePost = Callable[..., None]


def titles(page: str) -> list[str]:
    return re.findall(r"About [\w-]+", re.sub(r"<title>.*?</title>", "", page))


def test_the_home_page_invites_guests(client: FlaskClient) -> None:
    page = client.get("/").text
    assert 'href="/auth/register"' in page
    assert 'href="/auth/login"' in page
    assert "From the blog" not in page


def test_the_home_page_leads_whoever_is_logged_in_to_the_overview(owner_client: FlaskClient) -> None:
    page = owner_client.get("/").text
    assert "To the overview" in page
    assert 'href="/auth/register"' not in page


def test_the_home_page_shows_the_three_newest_articles(client: FlaskClient, write_post: WritePost) -> None:
    for days in (4, 2, 3, 1):
        write_post(f"day{days}", published_at=clock.now() - timedelta(days=days))
    assert titles(client.get("/").text) == ["About day1", "About day2", "About day3"]


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
    further = re.search(r'hx-get="([^"]+)"', page)
    assert further
    fragment = client.get(further[1].replace("&amp;", "&"), headers=HTMX).text
    assert "<html" not in fragment
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
