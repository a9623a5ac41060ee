"""The pages and actions that the palette leads to, by permission."""

from collections.abc import Sequence
from dataclasses import dataclass

from flask_babel import gettext as _

from app.auth.models import User
from app.auth.roles import Permission

SHORTEST_OTHER = 3  # characters of what is typed, from which on other words count: a page must not come as a riddle


@dataclass(frozen=True)
class Place:
    label: str
    endpoint: str
    icon: str
    also: str = ""  # other words for it


def actions_of(user: User) -> list[Place]:
    """What this person can begin."""
    found = []
    if user.may(Permission.OWN_THINGS):
        found += [
            Place(_("New mailing"), "mailings.create_mailing", "send", _("create plan send")),
            Place(_("New message"), "messages.create_message", "mail", _("create write letter")),
            Place(_("New client"), "clients.create_client", "user-plus", _("create add")),
            Place(_("New segment"), "clients.create_segment", "filter", _("create filter")),
            Place(_("Import clients"), "clients.upload_clients", "file-import", _("csv xlsx upload")),
        ]
    if user.may(Permission.RUN_BLOG):
        found.append(Place(_("New article"), "blog.new_post", "article", _("create write post")))
    return found


def pages_of(user: User) -> list[Place]:
    """What this person can look at."""
    found = []
    if user.may(Permission.OWN_THINGS):
        found += [
            Place(_("Overview"), "mailings.overview", "layout-dashboard"),
            Place(_("Mailings"), "mailings.list_mailings", "send"),
            Place(_("Calendar"), "mailings.show_calendar", "calendar-event"),
            Place(_("Clients"), "clients.list_clients", "address-book"),
            Place(_("Segments"), "clients.list_segments", "filter"),
        ]
    if user.may(Permission.SEE_LIBRARY):
        found.append(Place(_("Messages"), "messages.list_messages", "mail", _("common library")))
    if user.may(Permission.SEE_OTHERS):
        found += [
            Place(_("Dashboard"), "manager.dashboard", "shield-check", _("manager")),
            Place(_("All mailings"), "manager.list_mailings", "send"),
            Place(_("All clients"), "manager.list_clients", "address-book"),
        ]
    if user.may(Permission.BLOCK_USERS):
        found.append(Place(_("Users"), "manager.list_users", "users", _("accounts roles")))
    if user.may(Permission.SEE_AUDIT):
        found.append(Place(_("Audit log"), "manager.list_audit", "list-details"))
    if user.may(Permission.SEE_LOG):
        found.append(Place(_("Log"), "mailings.show_log", "history", _("attempts answers")))
    if user.may(Permission.RUN_BLOG):
        found += [
            Place(_("Articles"), "blog.list_managed", "article"),
            Place(_("Pictures"), "blog.manage_pictures", "photo"),
        ]
    return [
        *found,
        Place(_("Blog"), "blog.list_posts", "news"),
        Place(_("Account"), "account.edit_profile", "user-cog", _("profile language time zone")),
        Place(_("Security"), "account.security", "shield-check", _("password second factor log-ins")),
        Place(_("Activity"), "account.list_activity", "history"),
        Place(_("My data"), "account.data", "download", _("export close account")),
    ]


def matching(places: Sequence[Place], words: Sequence[str]) -> list[Place]:
    """Those in whose label, or other words, each word begins a word; those named so come first."""
    is_vague = max(map(len, words)) < SHORTEST_OTHER
    found = [place for place in places if _begin(words, place.label if is_vague else f"{place.label} {place.also}")]
    return sorted(found, key=lambda place: not _begin(words, place.label))


def _begin(words: Sequence[str], text: str) -> bool:
    parts = text.casefold().split()
    return all(any(part.startswith(word.casefold()) for part in parts) for word in words)
