"""Clients as files, streamed: no address book has to fit into memory."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from flask_babel import gettext as _
from sqlalchemy import Select, Text, func, select

from app import xlsx
from app.clients.models import BadRow, Client, ClientStatus, Tag, client_tag
from app.csv_text import csv_lines
from app.database import only_reads
from app.extensions import db

ROWS_AT_ONCE = 2000
MOST_ATTRIBUTES = 200  # columns: what is rarer in the alphabet's end is left to the page of the client
BYTE_ORDER_MARK = "\ufeff"  # without it Excel takes UTF-8 for something else


def clients_as_csv(query: Select[Client], words: dict[ClientStatus, str]) -> Iterator[bytes]:
    """words: what the statuses are called. Texts that a spreadsheet would take for formulas are defused."""
    with _reading():
        names = _attribute_names(query)
        yield (BYTE_ORDER_MARK + csv_lines([_headings(names)])).encode()
        for rows in _batches(query, names, words):
            yield csv_lines(rows).encode()


def clients_as_xlsx(query: Select[Client], words: dict[ClientStatus, str]) -> Iterator[bytes]:
    """The same as a workbook, whose texts are texts."""
    with _reading():
        names = _attribute_names(query)
        yield from xlsx.pieces(_("Clients"), _headings(names), _batches(query, names, words))


def bad_rows_as_csv(query: Select[BadRow]) -> Iterator[bytes]:
    """query: in the order of their numbers."""
    with _reading():
        yield (BYTE_ORDER_MARK + csv_lines([[_("Row"), _("E-mail"), _("Reason")]])).encode()
        columns = query.with_only_columns(BadRow.number, BadRow.email, BadRow.reason)
        for rows in _rows(columns).partitions(ROWS_AT_ONCE):
            yield csv_lines(rows).encode()


@contextmanager
def _reading() -> Iterator[None]:
    """A slow download must not keep everybody else from writing into SQLite."""
    reading = only_reads.set(True)
    try:
        yield
    finally:
        db.session.rollback()
        only_reads.reset(reading)


def _headings(attributes: Iterable[str]) -> list[str]:
    """In the reader's language. An import knows all of them, in every one."""
    names = [_("E-mail"), _("Last name"), _("First name"), _("Patronymic"), _("Birth year"), _("Tags"), _("Comment")]
    return [*names, _("Status"), _("Added"), *attributes]


def _attribute_names(query: Select[Client]) -> list[str]:
    """All that these clients have, in alphabetical order."""
    is_sqlite = db.session.get_bind().dialect.name == "sqlite"
    some = query.with_only_columns(Client.attributes).where(func.cast(Client.attributes, Text) != "{}")
    given = some.subquery()
    if is_sqlite:
        each = func.json_each(given.c.attributes).table_valued("key")
        names = select(each.c.key).select_from(given).join(each, onclause=db.true())
    else:
        names = select(func.jsonb_object_keys(given.c.attributes))
    return sorted(db.session.scalars(names.distinct()))[:MOST_ATTRIBUTES]


def _batches(query: Select[Client], attributes: list[str], words: dict[ClientStatus, str]) -> Iterator[list[list[Any]]]:
    columns = query.with_only_columns(
        Client.id,
        Client.email,
        Client.last_name,
        Client.first_name,
        Client.patronymic,
        Client.birth_year,
        Client.comment,
        Client.status,
        Client.added_at,
        *([Client.attributes] if attributes else []),
    ).order_by(Client.id)
    for rows in _rows(columns).partitions(ROWS_AT_ONCE):
        tags = _tags_of(rows[0].id, rows[-1].id, query)
        yield [
            [
                *row[1:6],
                tags.get(row[0], ""),
                row[6],
                words[row[7]],
                row[8].isoformat(" ", "seconds"),
                *(row[9].get(name) for name in attributes),
            ]
            for row in rows
        ]


def _tags_of(first_id: int, last_id: int, query: Select[Client]) -> dict[int, str]:
    """The tags of those of `query` between these ids, as the form writes them."""
    ids = query.with_only_columns(Client.id).where(Client.id.between(first_id, last_id))
    worn = select(client_tag.c.client_id, Tag.name).join(Tag, Tag.id == client_tag.c.tag_id)
    tags: dict[int, str] = {}
    for client_id, name in db.session.execute(worn.where(client_tag.c.client_id.in_(ids)).order_by(Tag.name)):
        tags[client_id] = f"{tags[client_id]}, {name}" if client_id in tags else name
    return tags


def _rows(query: Any) -> Any:
    return db.session.execute(query.execution_options(yield_per=ROWS_AT_ONCE))
