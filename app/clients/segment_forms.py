"""The form of a segment: a name, and groups of conditions, each a row of kind, operator and values.

Every row has a number of its own that stays while others come and go, so that a browser may replace one row alone.
Without JavaScript the buttons that add and remove send the form, as it is, with `do`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from flask import request
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm

from app.clients.conditions import Book, Condition, Input, condition, kinds, operators_of
from app.clients.fields import BadField, one_line
from app.clients.forms import Parsed
from app.clients.segments import MOST_CONDITIONS, Group, Match, Rules, Stored, read, stored
from app.errors import GolubError

ROW = re.compile(r"kind-(\d{1,4})-(\d{1,4})", re.ASCII)
FIRST_KIND = "tag"
LONGEST_TYPED = 1000


def _name(text: str) -> str:
    if not (name := one_line(text)):
        raise BadField(_("Give the segment a name."))
    return name


@dataclass
class Row:
    """A condition as it stands in the form, complete or not."""

    group: int
    number: int
    kind: str
    op: str
    values: Mapping[str, Any]
    book: Book
    error: str = ""

    def __post_init__(self) -> None:
        operators = operators_of(self.kind)
        if self.op not in operators:
            self.op = next(iter(operators), "")

    @property
    def key(self) -> str:
        return f"{self.group}-{self.number}"

    @property
    def operators(self) -> Mapping[str, Any]:
        return operators_of(self.kind)

    @property
    def inputs(self) -> Sequence[Input]:
        return self._condition(self.values).inputs()

    @property
    def note(self) -> str:
        """The condition in words where it names something that is gone."""
        made = self.made()
        return made.in_words() if made and made.is_gone() else ""

    def value(self, name: str) -> str:
        """What stands in the input of this name."""
        value = self.values.get(name)
        return "" if value is None else str(value)

    def made(self) -> Condition | None:
        """The condition; None while it is not complete."""
        try:
            return self.parsed()
        except GolubError:
            return None

    def parsed(self) -> Condition:
        """The condition. Raises: GolubError, while it is not complete."""
        typed = {each.name: self.value(each.name) for each in self.inputs}
        return self._condition(self._condition(typed).parsed())

    def _condition(self, values: Mapping[str, Any]) -> Condition:
        return condition(self.kind, self.op, values, self.book)


@dataclass
class GroupOfRows:
    number: int
    match: Match = Match.ALL
    rows: list[Row] = field(default_factory=list)


class SegmentForm(FlaskForm):
    name = Parsed(_l("Name"), _name, required=True)

    def __init__(self, book: Book, name: str = "", conditions: Stored | None = None) -> None:
        """What is in the segment, or what was sent."""
        super().__init__(data={"name": name})
        self.book = book
        self.match, self.groups = Match.ALL, list[GroupOfRows]()
        self.too_many = False
        self.fresh = ""  # the id of what was added, or stands where something was removed: the focus goes there
        if self.is_submitted():
            self._take(request.form)
        else:
            self._show(read(conditions or {}, book))
        if not self.groups:
            self._add_group()
            self.fresh = ""  # a new form begins with its name

    def _show(self, rules: Rules) -> None:
        self.match = rules.match
        for number, group in enumerate(rules.groups):
            rows = [Row(number, at, one.key, one.op, one.values, self.book) for at, one in enumerate(group.conditions)]
            if rows:
                self.groups.append(GroupOfRows(number, group.match, rows))

    def _take(self, sent: Mapping[str, str]) -> None:
        self.match = _match(sent.get("match"))
        found = sorted((int(key[1]), int(key[2])) for key in map(ROW.fullmatch, sent) if key)
        self.too_many = len(found) > MOST_CONDITIONS
        groups: dict[int, GroupOfRows] = {}
        for group, number in found[:MOST_CONDITIONS]:
            made = groups.setdefault(group, GroupOfRows(group, _match(sent.get(f"match-{group}"))))
            made.rows.append(self._row(sent, group, number))
        self.groups = list(groups.values())

    def _row(self, sent: Mapping[str, str], group: int, number: int) -> Row:
        key = f"{group}-{number}"
        kind, op = (sent.get(f"{name}-{key}", "") for name in ("kind", "op"))
        ending = f"-{key}"
        # PostgreSQL takes no text with a NUL in it.
        values = {
            name.removesuffix(ending): value.replace("\0", "")[:LONGEST_TYPED]
            for name in (f"{each}{ending}" for each in _input_names(kind, op, self.book))
            if (value := sent.get(name)) is not None
        }
        return Row(group, number, kind, op, values, self.book)

    # ── Adding and removing ──

    @property
    def is_full(self) -> bool:
        return sum(len(group.rows) for group in self.groups) >= MOST_CONDITIONS

    def change(self, what: str) -> None:
        """Do what a button asks: "add-0" a condition to group 0, "remove-0-1", "add-group", "remove-0"."""
        if what == "add-group":
            self._add_group()
            return
        verb, _dash, of = what.partition("-")
        for group in self.groups:
            if verb == "add" and of == str(group.number):
                self._add_row(group)
                return
            if verb == "remove":
                kept = [row for row in group.rows if of not in (row.key, str(group.number))]
                if len(kept) < len(group.rows):
                    group.rows, self.fresh = kept, f"add-{group.number}"
        self.groups = [group for group in self.groups if group.rows]
        if not self.groups:
            self._add_group()
        elif verb == "remove" and self.fresh not in {f"add-{group.number}" for group in self.groups}:
            self.fresh = "add-group"

    def _add_group(self) -> None:
        if not self.is_full:
            group = GroupOfRows(_free(group.number for group in self.groups))
            self.groups.append(group)
            self._add_row(group)

    def _add_row(self, group: GroupOfRows) -> None:
        if not self.is_full:
            row = Row(group.number, _free(row.number for row in group.rows), FIRST_KIND, "", {}, self.book)
            group.rows.append(row)
            self.fresh = f"kind-{row.key}"

    # ── What it says ──

    def complete(self) -> dict[str, Any]:
        """The conditions, as they are stored, without the rows that are not complete."""
        made = ((group.match, tuple(filter(None, (row.made() for row in group.rows)))) for group in self.groups)
        return stored(Rules(self.match, tuple(Group(match, conditions) for match, conditions in made if conditions)))

    @property
    def incomplete(self) -> int:
        """How many rows `complete` leaves out."""
        return sum(row.made() is None for group in self.groups for row in group.rows)

    def validate(self, extra_validators: Any = None) -> bool:
        is_valid = super().validate(extra_validators)
        for row in (row for group in self.groups for row in group.rows):
            try:
                row.parsed()
            except GolubError as error:
                row.error = str(error)
                is_valid = False
        if self.too_many:
            self.form_errors.append(_("A segment can have at most %(most)s conditions.", most=MOST_CONDITIONS))
        return is_valid and not self.too_many

    @property
    def is_marked(self) -> bool:
        """Whether something in it was refused."""
        return bool(self.errors) or any(row.error for group in self.groups for row in group.rows)

    @property
    def kinds(self) -> list[tuple[str, Any]]:
        return [(kind.key, kind.label) for kind in kinds()]


def _input_names(kind: str, op: str, book: Book) -> list[str]:
    """The names of the fields that such a row has: whatever else was sent is not looked at."""
    return [each.name for each in Row(0, 0, kind, op, {}, book).inputs]


def _match(text: str | None) -> Match:
    return Match.ANY if text == Match.ANY else Match.ALL


def _free(taken: Any) -> int:
    """The number after the largest; numbers of four digits are all that a form can hold."""
    used = set(taken)
    after = max(used, default=-1) + 1
    return after if after < 10_000 else next(number for number in count() if number not in used)
