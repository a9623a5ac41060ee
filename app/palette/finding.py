"""What the palette finds among the things that somebody may open: quick, however many there are.

Clients are found by the beginnings of their addresses and names, along the indexes; every other search looks into a
window of the newest. What is older than that is for the lists' own searches.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Select, SQLColumnExpression, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, joinedload, load_only
from sqlalchemy.orm.interfaces import ORMOption

from app.auth.models import User
from app.auth.roles import Permission
from app.blog.models import Post
from app.clients import queries as clients
from app.clients.models import Client, Segment
from app.extensions import db
from app.mailings import queries as mailings
from app.mailings.models import Mailing
from app.messages import queries as messages
from app.messages.models import Message
from app.search import LONGEST_SEARCH, MOST_WORDS, containing

SHOWN = 6  # of each kind
WINDOW = 2000  # rows, the newest, in which a word may stand anywhere
SCANNED = 50  # rows along an index, from where a word would stand

CLIENT_TEXT = Client.last_name + "\n" + Client.first_name + "\n" + Client.patronymic + "\n" + Client.email
MESSAGE_LOADING = (load_only(Message.subject, Message.owner_id, Message.is_shared),)
POST_LOADING = (load_only(Post.title),)

Thing = TypeVar("Thing")
Found = Client | Message | Mailing | Segment | Post | User


def words_of(text: str) -> list[str]:
    """The words to look for, without what no database takes."""
    return text.replace("\0", "")[:LONGEST_SEARCH].split()[:MOST_WORDS]


def find_clients(user: User, words: Sequence[str]) -> list[Client]:
    """The user's own: whose address or last name begins so, then the newest with the words in names or address."""
    if not user.may(Permission.OWN_THINGS):
        return []
    starts = [_ids_from(user, Client.email_key, words[0].lower())] if len(words) == 1 else []
    starts += [_ids_from(user, Client.last_name, spelling) for spelling in _spellings(words[0])]
    for last, first in (words[:2], words[1::-1]) if len(words) > 1 else ():
        # Along the same index: of ten thousand Ivanovs, those whose first names begin so.
        pairs = zip(_spellings(last), _spellings(first), strict=True)
        starts += [_ids_from(user, Client.first_name, other, last_name=one) for one, other in pairs]
    begun = select(Client).where(Client.id.in_(union_all(*starts)))
    found = {client.id: client for client in db.session.scalars(begun) if _begins(client, words)}
    best = sorted(found.values(), key=lambda client: (client.last_name, client.first_name, client.id))[:SHOWN]
    if len(best) < SHOWN:
        more = _among_newest(clients.owned_by(user), Client.id, CLIENT_TEXT, words)
        best += [client for client in more if client.id not in found]
    return best[:SHOWN]


def _ids_from(user: User, column: InstrumentedAttribute[str], start: str, **same: str) -> Select[int]:
    """The first ids in the order of an index, from where `start` would stand in it.

    That order is the database's own, whatever its collation: what begins with `start` stands there, and `_begins`
    looks again. A condition for the end of the stretch would need an order that we know.
    """
    order = (column,) if column is Client.email_key else (Client.last_name, Client.first_name, Client.id)
    query = clients.owned_by(user).with_only_columns(Client.id).where(column >= start).filter_by(**same)
    return select(query.order_by(*order).limit(SCANNED).subquery().c.id)


def _spellings(word: str) -> list[str]:
    """As people write names, the ways in which a word may be written in the index."""
    return [word[:1].upper() + word[1:].lower(), word, word.upper(), word.lower()]


def _begins(client: Client, words: Sequence[str]) -> bool:
    """Whether each word begins one of the client's names, or the address."""
    names = [_folded(name) for name in (client.last_name, client.first_name, client.patronymic, client.email)]
    return all(any(name.startswith(_folded(word)) for name in names) for word in words)


def _folded(text: str) -> str:
    return text.casefold().replace("ё", "е")


def find_messages(user: User, words: Sequence[str]) -> Sequence[Message]:
    if not user.may(Permission.SEE_LIBRARY):
        return []
    return _among_newest(messages.readable_by(user), Message.id, Message.subject, words, *MESSAGE_LOADING)


def find_mailings(user: User, words: Sequence[str]) -> Sequence[Mailing]:
    """One's own; for the staff everybody's."""
    if not (user.may(Permission.OWN_THINGS) or user.may(Permission.SEE_OTHERS)):
        return []
    return _among_newest(mailings.visible_to(user), Mailing.id, Mailing.name, words, joinedload(Mailing.owner))


def find_segments(user: User, words: Sequence[str]) -> Sequence[Segment]:
    if not user.may(Permission.OWN_THINGS):
        return []
    return _among_newest(clients.segments_of(user), Segment.id, Segment.name, words)


def find_users(user: User, words: Sequence[str]) -> Sequence[User]:
    """For those who may block them: whose address begins so, then the newest with the words in name or address."""
    if not user.may(Permission.BLOCK_USERS):
        return []
    begun: Sequence[User] = ()
    if len(words) == 1:
        start = words[0].lower()
        query = select(User).where(User.email_key >= start).order_by(User.email_key).limit(SHOWN)
        begun = [person for person in db.session.scalars(query) if person.email_key.startswith(start)]
    more = _among_newest(select(User), User.id, User.name + "\n" + User.email, words)
    return list(dict.fromkeys([*begun, *more]))[:SHOWN]


def find_posts(user: User, words: Sequence[str]) -> Sequence[Post]:
    if not user.may(Permission.RUN_BLOG):
        return []
    return _among_newest(_posts(), Post.id, Post.title, words, *POST_LOADING)


def _posts() -> Select[Post]:
    return select(Post).where(Post.deleted_at.is_(None))


def _among_newest(
    query: Select[Thing],
    key: InstrumentedAttribute[Any],
    text: SQLColumnExpression[str],
    words: Sequence[str],
    *loading: ORMOption,
) -> Sequence[Thing]:
    """The first of its newest WINDOW rows that have all the words in their text.

    The limit stands in a query of its own, within that of the words: else a planner that expects many matches would
    compare the texts of all rows.
    """
    window = query.with_only_columns(key.label("id"), text.label("words")).order_by(key.desc()).limit(WINDOW).subquery()
    ids = containing(select(window.c.id), window.c.words, " ".join(words)).order_by(window.c.id.desc()).limit(SHOWN)
    found = query.where(key.in_(select(ids.subquery().c.id))).order_by(key.desc())
    return db.session.scalars(found.options(*loading)).all()


# ── What was opened last ────────────────────────────────────────────────────────────────────────────────────


def those(user: User, marks: Iterable[tuple[str, int]]) -> list[Found]:
    """The things of these kinds and ids, in this order: those that are still there, and that the user may open."""
    wanted = list(marks)
    may_open: dict[str, tuple[Select[Any], Permission]] = {
        "client": (clients.visible_to(user), Permission.OWN_THINGS),
        "message": (messages.readable_by(user).options(*MESSAGE_LOADING), Permission.SEE_LIBRARY),
        "mailing": (mailings.visible_to(user).options(joinedload(Mailing.owner)), Permission.OWN_THINGS),
        "segment": (clients.segments_editable_by(user), Permission.OWN_THINGS),
        "post": (_posts().options(*POST_LOADING), Permission.RUN_BLOG),
        "user": (select(User), Permission.BLOCK_USERS),
    }
    found: dict[tuple[str, int], Found] = {}
    for kind, (query, permission) in may_open.items():
        ids = [number for name, number in wanted if name == kind]
        sees = user.may(permission) or (kind in ("client", "mailing") and user.may(Permission.SEE_OTHERS))
        if ids and sees:
            table = query.column_descriptions[0]["entity"]
            found |= {(kind, thing.id): thing for thing in db.session.scalars(query.where(table.id.in_(ids)))}
    return [found[mark] for mark in wanted if mark in found]
