"""The blog for programs: Atom (RFC 4287) and RSS 2.0, sitemap.xml (sitemaps.org), robots.txt (RFC 9309)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from feedgen.feed import FeedGenerator

from app.blog.html import article_html
from app.blog.models import Post

POSTS_IN_FEED = 20
MOST_ADDRESSES = 50_000  # in one sitemap
SITEMAP_NAMES = "http://www.sitemaps.org/schemas/sitemap/0.9"
XHTML_NAMES = "http://www.w3.org/1999/xhtml"
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
ADDRESSES = re.compile(r'\b(?:src|srcset|href|poster)="[^"]*"')
FROM_THE_ROOT = re.compile(r'(?<=["\s,])/(?!/)')
FOR_PEOPLE_WITH_ACCOUNTS = (
    "/account/",
    "/auth/",
    "/blog/manage/",
    "/clients/",
    "/inbox/",
    "/log",
    "/mailings/",
    "/manager/",
    "/messages/",
    "/overview",
    "/search",
)

Format = Literal["atom", "rss"]


@dataclass(frozen=True)
class Feed:
    """What a feed says of itself; addresses are absolute."""

    title: str
    subtitle: str
    site: str  # the page that shows the same articles
    itself: str
    base: str  # of the whole service, without a slash at its end
    locale: str | None  # None: articles of all languages
    changed_at: datetime


def build(kind: Format, feed: Feed, posts: Iterable[Post]) -> bytes:
    """The feed with these articles, whole, in this order."""
    made = FeedGenerator()
    made.load_extension("dc", atom=False, rss=True)
    made.id(feed.itself)
    made.title(feed.title)
    made.subtitle(feed.subtitle)
    # The last alternate link is what RSS calls the link.
    made.link(href=feed.itself, rel="self")
    made.link(href=feed.site, rel="alternate")
    made.generator("Golub")
    made.updated(feed.changed_at)
    made.lastBuildDate(feed.changed_at)
    if feed.locale:
        made.language(feed.locale)
    for post in posts:
        _add_entry(made, feed, post)
    text = made.atom_str(pretty=True) if kind == "atom" else made.rss_str(pretty=True)
    return bytes(text)


def _add_entry(made: FeedGenerator, feed: Feed, post: Post) -> None:
    address = f"{feed.base}/blog/{post.slug}"
    entry = made.add_entry(order="append")
    # RFC 4151: it stays when the address changes, so that no reader shows a renamed article as a new one.
    entry.guid(f"tag:{urlsplit(feed.base).hostname},{post.created_at:%Y-%m-%d}:post/{post.id}", permalink=False)
    entry.id(entry.guid()["guid"])
    entry.title(_plain(post.title))
    entry.link(href=address, rel="alternate")
    if post.summary:
        entry.summary(_plain(post.summary))
        entry.description(_plain(post.summary), isSummary=True)
    entry.content(with_absolute_addresses(_plain(article_html(post.html)), feed.base), type="html")
    entry.published(post.published_at)
    entry.updated(max(post.updated_at, post.published_at or post.updated_at))
    if post.author and post.author.name:
        entry.author({"name": _plain(post.author.name)})
        entry.dc.dc_creator(_plain(post.author.name))
    for tag in post.tags:
        entry.category({"term": _plain(tag)})


def with_absolute_addresses(html: str, base: str) -> str:
    """The HTML for readers who don't know where it came from: `/blog/…` becomes `https://…/blog/…`."""
    return ADDRESSES.sub(lambda attribute: FROM_THE_ROOT.sub(f"{base}/", attribute[0]), html)


def _plain(text: str) -> str:
    return NOT_IN_XML.sub("", text)


def sitemap(base: str, posts: Iterable[tuple[str, datetime]], languages: Iterable[str]) -> bytes:
    """Home page, the blog in each of its languages, and the articles, each with its last change; newest first."""
    ET.register_namespace("", SITEMAP_NAMES)
    ET.register_namespace("xhtml", XHTML_NAMES)
    root = ET.Element(f"{{{SITEMAP_NAMES}}}urlset")
    posts = list(posts)
    newest = max((at for _slug, at in posts), default=None)
    _add_address(root, f"{base}/", newest)
    lists = {language: f"{base}/blog/?lang={language}" for language in languages}
    for address in lists.values():
        entry = _add_address(root, address, newest)
        for language, other in lists.items():
            ET.SubElement(entry, f"{{{XHTML_NAMES}}}link", rel="alternate", hreflang=language, href=other)
    for slug, at in posts[: MOST_ADDRESSES - 1 - len(lists)]:
        _add_address(root, f"{base}/blog/{slug}", at)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _add_address(root: ET.Element, address: str, changed_at: datetime | None) -> ET.Element:
    entry = ET.SubElement(root, f"{{{SITEMAP_NAMES}}}url")
    ET.SubElement(entry, f"{{{SITEMAP_NAMES}}}loc").text = address
    if changed_at:
        ET.SubElement(entry, f"{{{SITEMAP_NAMES}}}lastmod").text = changed_at.isoformat(timespec="seconds")
    return entry


def robots(base: str) -> str:
    """Everything public may be read; what asks for a log-in is not worth the way."""
    lines = ["User-agent: *", *(f"Disallow: {path}" for path in FOR_PEOPLE_WITH_ACCOUNTS), "Allow: /"]
    return "\n".join([*lines, "", f"Sitemap: {base}/sitemap.xml", ""])
