"""The palette's results, as a fragment for its dialog and as a page of their own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request, session, url_for
from flask_babel import gettext as _
from flask_babel import ngettext
from markupsafe import Markup

from app import web
from app.auth.access import requires, signed_in
from app.auth.models import User
from app.auth.roles import Permission
from app.clients.models import Client, Segment
from app.mailings.models import Mailing
from app.mailings.words import state_of_mailing
from app.messages.models import Message
from app.palette import finding, places
from app.palette.places import Place
from app.search import LONGEST_SEARCH

MOST_RECENT = 8
RECENT = "recent"  # in the session: what was opened last, as [kind, id]
# Pages whose visit makes a thing a recent one.
PAGES_OF_THINGS = {
    "clients.show_client": ("client", "client_id"),
    "clients.edit_segment": ("segment", "segment_id"),
    "messages.show_message": ("message", "message_id"),
    "messages.edit_message": ("message", "message_id"),
    "mailings.show_mailing": ("mailing", "mailing_id"),
    "manager.show_user": ("user", "user_id"),
    "blog.edit_post": ("post", "post_id"),
}

blueprint = Blueprint("palette", __name__)


@dataclass(frozen=True)
class Hit:
    label: str
    detail: str
    url: str
    icon: str


@dataclass(frozen=True)
class Group:
    title: str
    hits: Sequence[Hit]
    more_url: str = ""  # where all of them are, not only the first few


@blueprint.get("/search")
@requires()
def search() -> Response:
    text = " ".join(request.args.get("q", "").split())[:LONGEST_SEARCH]
    words = finding.words_of(text)
    user = signed_in()
    groups = [group for group in (_found(user, text, words) if words else _offered(user)) if group.hits]
    count = sum(len(group.hits) for group in groups)
    return web.render(
        "palette/search.html",
        block="results",
        groups=groups,
        text=text,
        words=words,
        summary=ngettext("%(num)s result", "%(num)s results", count) if groups else _("Nothing found"),
        as_options=web.wants_fragment(),
    )


def _offered(user: User) -> list[Group]:
    """Before anything is typed."""
    return [
        Group(_("Opened last"), [hit_of(thing) for thing in finding.those(user, _recent())]),
        Group(_("Actions"), [_hit_of_place(place) for place in places.actions_of(user)]),
        Group(_("Pages"), [_hit_of_place(place) for place in places.pages_of(user)]),
    ]


def _found(user: User, text: str, words: Sequence[str]) -> list[Group]:
    mailings = "mailings.list_mailings" if user.may(Permission.OWN_THINGS) else "manager.list_mailings"
    return [
        _group_of_places(_("Actions"), places.actions_of(user), words),
        _group_of_places(_("Pages"), places.pages_of(user), words),
        _group(_("Clients"), finding.find_clients(user, words), "clients.list_clients", text),
        _group(_("Mailings"), finding.find_mailings(user, words), mailings, text),
        _group(_("Messages"), finding.find_messages(user, words), "messages.list_messages", text),
        _group(_("Segments"), finding.find_segments(user, words), "clients.list_segments", text),
        _group(_("Users"), finding.find_users(user, words), "manager.list_users", text),
        _group(_("Articles"), finding.find_posts(user, words), "blog.list_managed", text),
    ]


def _group(title: str, things: Sequence[Any], all_of_them: str, text: str) -> Group:
    is_full = len(things) >= finding.SHOWN
    return Group(title, [hit_of(thing) for thing in things], url_for(all_of_them, q=text) if is_full else "")


def _group_of_places(title: str, all_places: Sequence[Place], words: Sequence[str]) -> Group:
    return Group(title, [_hit_of_place(place) for place in places.matching(all_places, words)])


def _hit_of_place(place: Place) -> Hit:
    return Hit(place.label, "", url_for(place.endpoint), place.icon)


def hit_of(thing: finding.Found) -> Hit:
    """A thing as a line of the palette."""
    match thing:
        case Client():
            url, name = url_for("clients.show_client", client_id=thing.id), thing.full_name
            return Hit(name or thing.email, thing.email if name else "", url, "user")
        case Mailing():
            url = url_for("mailings.show_mailing", mailing_id=thing.id)
            return Hit(thing.name, _owner_of(thing) or state_of_mailing(thing)[1], url, "send")
        case Message():
            url = url_for("messages.show_message", message_id=thing.id)
            return Hit(thing.subject, "" if _is_own(thing) else _("From the common library"), url, "mail")
        case Segment():
            return Hit(thing.name, "", url_for("clients.edit_segment", segment_id=thing.id), "filter")
        case User():
            url = url_for("manager.show_user", user_id=thing.id)
            return Hit(thing.name or thing.email, thing.email if thing.name else "", url, "user-circle")
    return Hit(thing.title or _("Untitled"), "", url_for("blog.edit_post", post_id=thing.id), "article")


def _is_own(thing: Mailing | Message) -> bool:
    return thing.owner_id == signed_in().id


def _owner_of(mailing: Mailing) -> str:
    return "" if _is_own(mailing) else mailing.owner.name or mailing.owner.email


# ── What was opened last ────────────────────────────────────────────────────────────────────────────────────


@blueprint.after_app_request
def _remember(response: Response) -> Response:
    kind, argument = PAGES_OF_THINGS.get(request.endpoint or "", ("", ""))
    is_page = request.method == "GET" and response.status_code == HTTPStatus.OK and not web.wants_fragment()
    if kind and is_page:
        mark = [kind, (request.view_args or {})[argument]]
        before = session.get(RECENT, [])
        if before[:1] != [mark]:
            session[RECENT] = [mark, *(other for other in before if other != mark)][:MOST_RECENT]
    return response


def _recent() -> list[tuple[str, int]]:
    return [(kind, number) for kind, number in session.get(RECENT, [])]


# ── Marks ───────────────────────────────────────────────────────────────────────────────────────────────────


@blueprint.app_template_filter("marked")
def marked(text: str, words: Sequence[str]) -> Markup:
    """The text, escaped, with what matches the words marked."""
    longest_first = sorted(words, key=len, reverse=True)
    pattern = "|".join(re.sub("[её]", "[её]", re.escape(word), flags=re.IGNORECASE) for word in longest_first)
    parts = re.split(f"({pattern})", text, flags=re.IGNORECASE) if pattern else [text]
    return Markup("").join(Markup("<mark>{}</mark>").format(part) if at % 2 else part for at, part in enumerate(parts))
