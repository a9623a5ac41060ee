import re
from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import caching, clock
from app.auth.models import User
from app.blog import feeds
from app.blog.models import Post
from app.extensions import db

ATOM = "{http://www.w3.org/2005/Atom}"
SITEMAP = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
WritePost = Callable[..., int]


def parsed(document: bytes) -> ET.Element:
    return ET.fromstring(document)  # noqa: S314  written by ourselves a moment ago


def atom(client: FlaskClient, query: str = "") -> ET.Element:
    answer = client.get(f"/blog/feed.atom{query}")
    assert answer.status_code == 200
    assert answer.content_type == "application/atom+xml; charset=utf-8"
    return parsed(answer.data)


def rss(client: FlaskClient, query: str = "") -> ET.Element:
    answer = client.get(f"/blog/feed.rss{query}")
    assert answer.status_code == 200
    assert answer.content_type == "application/rss+xml; charset=utf-8"
    channel = parsed(answer.data).find("channel")
    assert channel is not None
    return channel


def text(element: ET.Element, name: str) -> str:
    found = element.findtext(name)
    assert found is not None, name
    return found


def test_atom_holds_whole_articles_newest_first(client: FlaskClient, write_post: WritePost, editor: User) -> None:
    old = clock.now() - timedelta(days=2)
    write_post("old", published_at=old, updated_at=old)
    write_post("new", html='<p>See <a href="/blog/old">this</a> & that</p>', author_id=editor.id, tags=["a", "б"])
    feed = atom(client)
    entries = feed.findall(f"{ATOM}entry")
    assert [text(entry, f"{ATOM}title") for entry in entries] == ["About new", "About old"]
    entry = entries[0]
    content = entry.find(f"{ATOM}content")
    assert content is not None
    assert content.get("type") == "html"
    assert content.text
    assert '<a href="http://golub.test/blog/old"' in content.text
    assert "&amp; that" in content.text
    assert text(entry, f"{ATOM}summary") == "All on new"
    link = entry.find(f"{ATOM}link")
    assert link is not None
    assert link.get("href") == "http://golub.test/blog/new"
    assert [tag.get("term") for tag in entry.findall(f"{ATOM}category")] == ["a", "б"]
    moments = [datetime.fromisoformat(text(entry, f"{ATOM}{name}")) for name in ("published", "updated")]
    assert moments == sorted(moments)
    addresses = {link.get("rel"): link.get("href") for link in feed.findall(f"{ATOM}link")}
    assert addresses == {"self": "http://golub.test/blog/feed.atom", "alternate": "http://golub.test/blog/"}


def test_rss_holds_the_same(client: FlaskClient, write_post: WritePost) -> None:
    write_post("one", html="<p>Words</p>", tags=["a"])
    channel = rss(client)
    [item] = channel.findall("item")
    assert text(item, "title") == "About one"
    assert text(item, "link") == "http://golub.test/blog/one"
    assert text(item, "description") == "All on one"
    assert text(item, "{http://purl.org/rss/1.0/modules/content/}encoded") == "<p>Words</p>"
    assert text(channel, "link") == "http://golub.test/blog/"
    guid = item.find("guid")
    assert guid is not None
    assert guid.get("isPermaLink") == "false"
    assert parsedate_to_datetime(text(item, "pubDate")).tzinfo is not None


@pytest.mark.parametrize("read", [atom, rss])
def test_a_feed_for_each_language(client: FlaskClient, write_post: WritePost, read: Callable[..., ET.Element]) -> None:
    write_post("english")
    write_post("russian", locale="ru")

    def titles(query: str) -> list[str]:
        return [text for text in (e.text or "" for e in read(client, query).iter()) if text.startswith("About")]

    assert sorted(titles("")) == ["About english", "About russian"]
    assert titles("?lang=en") == ["About english"]
    assert titles("?lang=ru") == ["About russian"]
    assert len(titles("?lang=nonsense")) == 2


def test_a_feed_s_own_words_do_not_depend_on_who_asked_first(client: FlaskClient, write_post: WritePost) -> None:
    write_post("english")
    first = client.get("/blog/feed.atom?lang=en", headers={"Accept-Language": "ru"})
    assert first.data == client.get("/blog/feed.atom?lang=en", headers={"Accept-Language": "en"}).data
    assert "News about Golub" in first.text
    assert "Set-Cookie" not in first.headers
    assert {"public", "no-cache"} == set(first.headers["Cache-Control"].split(", "))


def test_a_feed_is_the_same_for_whoever_is_logged_in(
    client: FlaskClient, owner_client: FlaskClient, editor_client: FlaskClient, write_post: WritePost
) -> None:
    write_post("one")
    for path in ("/blog/feed.atom", "/blog/feed.rss", "/sitemap.xml", "/robots.txt"):
        assert client.get(path).data == owner_client.get(path).data == editor_client.get(path).data


def test_an_article_keeps_its_id_when_its_address_changes(
    app: Flask, client: FlaskClient, write_post: WritePost
) -> None:
    post_id = write_post("before")
    before = text(atom(client), f"{ATOM}entry/{ATOM}id")
    with app.app_context():
        db.session.get_one(Post, post_id).slug = "after"
        db.session.commit()
        caching.forget_blog()
    assert text(atom(client), f"{ATOM}entry/{ATOM}id") == before
    assert re.fullmatch(rf"tag:golub\.test,\d{{4}}-\d\d-\d\d:post/{post_id}", before)


def test_nothing_that_is_not_public_is_in_a_feed(client: FlaskClient, write_post: WritePost) -> None:
    write_post("draft", published_at=None)
    write_post("tomorrow", published_at=clock.now() + timedelta(days=1))
    write_post("gone", deleted_at=clock.now())
    for path in ("/blog/feed.atom", "/blog/feed.rss", "/sitemap.xml"):
        page = client.get(path).text
        assert not [word for word in ("draft", "tomorrow", "gone") if word in page]


def test_an_empty_blog_has_feeds(client: FlaskClient) -> None:
    assert atom(client).findall(f"{ATOM}entry") == []
    assert rss(client).findall("item") == []
    assert client.get("/blog/feed.atom").data == client.get("/blog/feed.atom").data


def test_what_xml_cannot_hold_is_left_out(client: FlaskClient, write_post: WritePost) -> None:
    write_post("odd", title="About \x01\x0b\ufffe odd & <b>", html="<p>a\x02b ]]&gt; </p>", summary="\x1f")
    entry = atom(client).find(f"{ATOM}entry")
    assert entry is not None
    assert text(entry, f"{ATOM}title") == "About  odd & <b>"
    assert "ab ]]" in text(entry, f"{ATOM}content")
    rss(client)


def test_evil_in_an_article_is_no_evil_in_a_feed(client: FlaskClient, write_post: WritePost) -> None:
    write_post("evil", html='<script>alert(1)</script><img src="x" onerror="alert(1)"><b>good</b>')
    content = text(atom(client), f"{ATOM}entry/{ATOM}content")
    assert "good" in content
    assert "alert" not in content


def test_only_the_newest_articles_are_in_a_feed(client: FlaskClient, write_post: WritePost) -> None:
    for number in range(feeds.POSTS_IN_FEED + 2):
        write_post(f"post{number}", published_at=clock.now() - timedelta(days=number))
    entries = atom(client).findall(f"{ATOM}entry")
    assert len(entries) == feeds.POSTS_IN_FEED
    assert text(entries[0], f"{ATOM}title") == "About post0"


@pytest.mark.parametrize(
    ("html", "absolute"),
    [
        ('<a href="/blog/x">', '<a href="https://g/blog/x">'),
        ('<img src="/a.webp" srcset="/a.webp 480w, /b.webp 960w">', None),
        ('<a href="//evil.test/x">', '<a href="//evil.test/x">'),
        ('<a href="https://other.test/x">', '<a href="https://other.test/x">'),
        ("<p>/blog/x and 1 / 2</p>", "<p>/blog/x and 1 / 2</p>"),
    ],
)
def test_addresses_in_feeds_lead_back_to_us(html: str, absolute: str | None) -> None:
    if absolute is None:
        absolute = '<img src="https://g/a.webp" srcset="https://g/a.webp 480w, https://g/b.webp 960w">'
    assert feeds.with_absolute_addresses(html, "https://g") == absolute


# sitemap.xml, robots.txt


def test_the_sitemap_names_every_public_page(client: FlaskClient, write_post: WritePost) -> None:
    changed = clock.now().replace(microsecond=0) - timedelta(days=3)
    write_post("one", updated_at=changed, published_at=changed)
    write_post("two", locale="ru")
    answer = client.get("/sitemap.xml")
    assert answer.content_type == "application/xml; charset=utf-8"
    root = parsed(answer.data)
    pages: dict[str, Any] = {text(url, f"{SITEMAP}loc"): url for url in root}
    site = "http://golub.test"
    lists = [f"{site}/blog/?lang=en", f"{site}/blog/?lang=ru"]
    assert set(pages) == {f"{site}/", *lists, f"{site}/blog/one", f"{site}/blog/two"}
    assert datetime.fromisoformat(text(pages[f"{site}/blog/one"], f"{SITEMAP}lastmod")) == changed
    others = [link.get("href") for link in pages[lists[0]] if link.get("hreflang")]
    assert others == lists


def test_a_sitemap_is_no_longer_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "MOST_ADDRESSES", 5)
    made = feeds.sitemap("https://g", ((f"post{n}", clock.now()) for n in range(10)), ("en", "ru"))
    assert len(parsed(made)) == 5


def test_robots_may_read_what_everybody_may(app: Flask, client: FlaskClient) -> None:
    robots = client.get("/robots.txt").text
    assert "Sitemap: http://golub.test/sitemap.xml" in robots
    closed = re.findall(r"^Disallow: (.+)$", robots, re.MULTILINE)
    for rule in app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or rule.arguments:
            continue
        is_out = client.get(rule.rule).status_code == 302
        assert is_out <= any(rule.rule.startswith(path) for path in closed), rule.rule
    assert not any(path.startswith(closed_path) for path in ("/", "/blog/", "/blog/x") for closed_path in closed)
