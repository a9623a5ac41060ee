"""What a segment can ask of a client: one class for each kind of condition.

Packages above add kinds of their own when the application is made: see `add_kind`. A kind says which operators it has
and which inputs they need, reads what was typed, and tells what it asks as SQL and in words.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, ClassVar, TypeVar

from flask_babel import format_date, lazy_pgettext, ngettext
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import ColumnElement, Text, and_, cast, false, func, not_, select

from app import clock
from app.clients import fields
from app.clients.fields import BadField
from app.clients.models import Client, ClientStatus, Tag, client_tag
from app.clients.queries import active_clients
from app.clients.words import STATUS_LABELS
from app.extensions import db
from app.search import has_phrase

MOST_DAYS = 3650
LONGEST_PHRASE = 100
NAMES_OF = 300  # newest clients, whose attributes are suggested

Thing = TypeVar("Thing")
IS_OR_NOT = {"is": lazy_pgettext("condition", "is"), "is_not": lazy_pgettext("condition", "is not")}


@dataclass(frozen=True)
class Book:
    """Whose things conditions may name, and where their days begin. What was asked for once is remembered."""

    owner_id: int
    zone: tzinfo = UTC
    _found: dict[Any, Any] = field(default_factory=dict)

    def once(self, key: Any, find: Callable[[], Thing]) -> Thing:
        if key not in self._found:
            self._found[key] = find()
        found: Thing = self._found[key]
        return found


@dataclass(frozen=True)
class Input:
    """A field beside the operator. type: text, number, date or select."""

    name: str
    label: Any
    type: str = "text"
    choices: Sequence[tuple[str, str]] = ()
    suggestions: Sequence[str] = ()
    longest: int | None = None


@dataclass(frozen=True)
class Condition:
    """One condition. `values` belong to the names of its inputs: as they were typed, or, once `parsed`, as stored."""

    key: ClassVar[str]
    label: ClassVar[Any]
    operators: ClassVar[Mapping[str, Any]]
    if_gone: ClassVar[Any] = _l("(deleted)")

    op: str
    values: Mapping[str, Any]
    book: Book

    def inputs(self) -> Sequence[Input]:
        """The fields that the operator needs; what stands in them already stays a choice."""
        raise NotImplementedError

    def parsed(self) -> dict[str, Any]:
        """What was typed, ready to be stored as JSON. Raises: GolubError, which says what is missing."""
        raise NotImplementedError

    def holds(self) -> ColumnElement[bool]:
        """Whether it holds for a row of Client: true or false, and never NULL."""
        raise NotImplementedError

    def words(self) -> str:
        """What it asks for, in words that fit between "and" and "or"."""
        raise NotImplementedError

    def is_gone(self) -> bool:
        """Whether it names something that is not there any more."""
        return False

    def in_words(self) -> str:
        """The same with a word about what is gone."""
        return f"{self.words()} {self.if_gone}" if self.is_gone() else self.words()


class TagCondition(Condition):
    key = "tag"
    label = _l("Tag")
    if_gone = _l("(nobody has it)")
    operators = IS_OR_NOT

    def inputs(self) -> Sequence[Input]:
        names = dict.fromkeys(filter(None, [*self._names(), self.values.get("tag")]))
        first = _("Choose a tag…") if names else _("There are no tags yet")
        return [Input("tag", self.label, "select", [("", first), *((name, name) for name in names)])]

    def parsed(self) -> dict[str, Any]:
        name = fields.one_line(self.values.get("tag", ""), fields.LONGEST_TAG)
        if not name:
            raise BadField(_("Choose a tag."))
        return {"tag": name}

    def holds(self) -> ColumnElement[bool]:
        worn = Client.tags.any(Tag.name == self.values["tag"])
        return worn if self.op == "is" else not_(worn)

    def words(self) -> str:
        name = self.values["tag"]
        return _("tag “%(tag)s”", tag=name) if self.op == "is" else _("no tag “%(tag)s”", tag=name)

    def is_gone(self) -> bool:
        return self.values["tag"] not in self._names()

    def _names(self) -> Sequence[str]:
        worn = select(client_tag.c.tag_id).where(client_tag.c.tag_id == Tag.id).exists()
        in_use = (
            select(Tag.name).where(Tag.owner_id == self.book.owner_id, worn).order_by(func.lower(Tag.name), Tag.name)
        )
        return self.book.once("tags", lambda: db.session.scalars(in_use).all())


class BirthCondition(Condition):
    key = "born"
    label = _l("Birth year")
    operators: ClassVar[Mapping[str, Any]] = {"between": lazy_pgettext("condition", "is between")}

    def inputs(self) -> Sequence[Input]:
        return [
            Input("from", _l("First year"), "number", longest=4),
            Input("to", _l("Last year"), "number", longest=4),
        ]

    def parsed(self) -> dict[str, Any]:
        first, last = (fields.parse_birth_year(self.values.get(name, "")) for name in ("from", "to"))
        if first is None and last is None:
            raise BadField(_("Write the first year, the last one, or both."))
        if first and last and first > last:
            raise BadField(_("The last year is before the first one."))
        return {"from": first, "to": last}

    def holds(self) -> ColumnElement[bool]:
        first, last = self.values.get("from"), self.values.get("to")
        edges = [Client.birth_year.is_not(None)]
        edges += [Client.birth_year >= first] if first else []
        edges += [Client.birth_year <= last] if last else []
        return and_(*edges)

    def words(self) -> str:
        first, last = self.values.get("from"), self.values.get("to")
        if first and last:
            return _("born %(first)s–%(last)s", first=str(first), last=str(last))
        if first:
            return _("born in %(year)s or later", year=str(first))
        return _("born in %(year)s or earlier", year=str(last))


class DomainCondition(Condition):
    key = "domain"
    label = _l("E-mail domain")
    operators = IS_OR_NOT

    def inputs(self) -> Sequence[Input]:
        return [Input("domain", _l("Domain, such as example.com"), longest=253)]

    def parsed(self) -> dict[str, Any]:
        domain = fields.parse_domain(self.values.get("domain", ""))
        if domain is None:
            raise BadField(_("Write a domain, such as example.com."))
        return {"domain": domain}

    def holds(self) -> ColumnElement[bool]:
        found = Client.email.endswith(f"@{self.values['domain']}", autoescape=True)
        return found if self.op == "is" else not_(found)

    def words(self) -> str:
        if self.op == "is":
            return _("e-mail at %(domain)s", domain=self.values["domain"])
        return _("e-mail not at %(domain)s", domain=self.values["domain"])


class AttributeCondition(Condition):
    key = "attribute"
    label = _l("Attribute")
    operators: ClassVar[Mapping[str, Any]] = {
        "is": lazy_pgettext("condition", "is"),
        "is_not": lazy_pgettext("condition", "is not"),
        "contains": lazy_pgettext("condition", "contains"),
        "set": lazy_pgettext("condition", "is set"),
        "not_set": lazy_pgettext("condition", "is not set"),
    }

    def inputs(self) -> Sequence[Input]:
        name = Input("name", _l("Name of the attribute"), suggestions=self._names(), longest=40)
        if self.op in ("set", "not_set"):
            return [name]
        longest = LONGEST_PHRASE if self.op == "contains" else fields.LONGEST_VALUE
        return [name, Input("value", _l("Value"), longest=longest)]

    def parsed(self) -> dict[str, Any]:
        name = self.values.get("name", "").strip()
        if not fields.ATTRIBUTE_NAME.fullmatch(name):
            raise BadField(_("Write the name of an attribute, such as “city”: Latin letters, digits and “_”."))
        if self.op in ("set", "not_set"):
            return {"name": name}
        longest = LONGEST_PHRASE if self.op == "contains" else fields.LONGEST_VALUE
        value = fields.one_line(self.values.get("value", ""), longest)
        if not value:
            raise BadField(_("Write a value."))
        return {"name": name, "value": value}

    def holds(self) -> ColumnElement[bool]:
        value = func.coalesce(cast(Client.attributes[self.values["name"]].as_string(), Text), "")
        match self.op:
            case "is":
                return value == self.values["value"]
            case "is_not":
                return value != self.values["value"]
            case "contains":
                return has_phrase(value, self.values["value"])
            case "set":
                return value != ""
            case _:
                return value == ""

    def words(self) -> str:
        name, value = self.values["name"], self.values.get("value", "")
        match self.op:
            case "is":
                return _("%(name)s is “%(value)s”", name=name, value=value)
            case "is_not":
                return _("%(name)s is not “%(value)s”", name=name, value=value)
            case "contains":
                return _("%(name)s contains “%(value)s”", name=name, value=value)
            case "set":
                return _("%(name)s is set", name=name)
            case _:
                return _("%(name)s is not set", name=name)

    def _names(self) -> Sequence[str]:
        newest = active_clients(self.book.owner_id).with_only_columns(Client.attributes)
        newest = newest.order_by(Client.id.desc()).limit(NAMES_OF)
        return self.book.once(
            "attributes", lambda: sorted({name for one in db.session.scalars(newest) for name in one})
        )


class StatusCondition(Condition):
    key = "status"
    label = _l("Status")
    operators = IS_OR_NOT

    def inputs(self) -> Sequence[Input]:
        labels = [(status.value, str(label)) for status, label in STATUS_LABELS.items()]
        return [Input("status", self.label, "select", labels)]

    def parsed(self) -> dict[str, Any]:
        status = self.values.get("status", "")
        if status not in set(ClientStatus):
            raise BadField(_("Choose a status."))
        return {"status": status}

    def holds(self) -> ColumnElement[bool]:
        status = ClientStatus(self.values["status"])
        return Client.status == status if self.op == "is" else Client.status != status

    def words(self) -> str:
        label = STATUS_LABELS[ClientStatus(self.values["status"])]
        return _("status “%(status)s”", status=label) if self.op == "is" else _("status not “%(status)s”", status=label)


class DateCondition(Condition):
    """Kinds that ask when something was: a day, or a number of days up to this moment."""

    operators: ClassVar[Mapping[str, Any]] = {
        "before": lazy_pgettext("condition", "before"),
        "after": lazy_pgettext("condition", "on or after"),
        "within": lazy_pgettext("condition", "in the last … days"),
        "not_within": lazy_pgettext("condition", "not in the last … days"),
    }

    def inputs(self) -> Sequence[Input]:
        if self.op in ("before", "after"):
            return [Input("day", _l("Day"), "date")]
        return [Input("days", _l("How many days"), "number", longest=4)]

    def parsed(self) -> dict[str, Any]:
        if self.op in ("before", "after"):
            day = fields.parse_day(self.values.get("day", ""))
            if day is None:
                raise BadField(_("Choose a day."))
            return {"day": day.isoformat()}
        days = self.values.get("days", "").strip()
        if not (days.isascii() and days.isdigit() and len(days) <= 4 and 1 <= int(days) <= MOST_DAYS):
            raise BadField(_("Write a number of days from 1 to %(most)s.", most=str(MOST_DAYS)))
        return {"days": int(days)}

    def holds(self) -> ColumnElement[bool]:
        if self.op in ("before", "after"):
            edge = datetime.combine(date.fromisoformat(self.values["day"]), time.min, self.book.zone)
        else:
            edge = clock.now() - timedelta(days=self.values.get("days", 0))
        return self.compared(edge)

    def compared(self, edge: datetime) -> ColumnElement[bool]:
        """The same with the moment that the operator speaks of."""
        raise NotImplementedError


class AddedCondition(DateCondition):
    key = "added"
    label = _l("Added")

    def compared(self, edge: datetime) -> ColumnElement[bool]:
        return Client.added_at < edge if self.op in ("before", "not_within") else Client.added_at >= edge

    def words(self) -> str:
        match self.op:
            case "before":
                return _("added before %(day)s", day=day_in_words(self.values["day"]))
            case "after":
                return _("added since %(day)s", day=day_in_words(self.values["day"]))
            case "within":
                return ngettext("added in the last %(num)s day", "added in the last %(num)s days", self.values["days"])
            case _:
                return ngettext(
                    "added more than %(num)s day ago", "added more than %(num)s days ago", self.values["days"]
                )


class UnknownCondition(Condition):
    """In the place of one that this version does not know: nobody fulfils it."""

    key = ""
    label = _l("Unknown")
    operators: ClassVar[Mapping[str, Any]] = {}

    def inputs(self) -> Sequence[Input]:
        return []

    def parsed(self) -> dict[str, Any]:
        raise BadField(_("Choose what to look at."))

    def holds(self) -> ColumnElement[bool]:
        return false()

    def words(self) -> str:
        return _("a condition that is not known here")


_KINDS: dict[str, type[Condition]] = {}


def add_kind(kind: type[Condition]) -> None:
    """Offer this kind of condition from now on."""
    _KINDS[kind.key] = kind


def kinds() -> Iterable[type[Condition]]:
    """All that can be asked for, in the order in which people choose."""
    return _KINDS.values()


def condition(kind: str, op: str, values: Mapping[str, Any], book: Book) -> Condition:
    """The condition of that kind; one that nobody fulfils where the kind or its operator is not known."""
    made = _KINDS.get(kind, UnknownCondition)
    return (made if op in made.operators else UnknownCondition)(op, values, book)


def operators_of(kind: str) -> Mapping[str, Any]:
    """The operators of that kind with their labels; none for one that is not known."""
    return _KINDS.get(kind, UnknownCondition).operators


def day_in_words(day: str) -> str:
    return str(format_date(date.fromisoformat(day), rebase=False))


for _kind in (
    TagCondition,
    BirthCondition,
    DomainCondition,
    AttributeCondition,
    StatusCondition,
    AddedCondition,
):
    add_kind(_kind)
