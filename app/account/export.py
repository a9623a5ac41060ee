"""All that is kept about somebody, as a ZIP file that streams: no table has to fit into memory."""

import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Select, inspect, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from app.auth.models import AuditEntry, Login, User
from app.clients.models import Client, Segment, Tag, client_tag
from app.csv_text import csv_line
from app.database import only_reads
from app.delivery.models import Attempt, Delivery, Run
from app.extensions import db
from app.mailings.models import Mailing
from app.messages.models import Message, MessageDraft
from app.pictures.models import Picture
from app.sink import Sink

ROWS_AT_ONCE = 1000
SECRETS = {"password_hash", "totp_secret", "totp_last_step", "key_hash", "email_key", "claim_id", "calendar_salt"}
README = """This is all that Golub keeps about you.

account.json     your account
clients.csv      your address book, with tags; attributes are JSON
segments.json    your segments
messages.json    your messages, also those that you deleted and mailings still use
drafts.json      what you typed and did not save
pictures.json    your pictures; those of letters are at /pictures/KEY.FORMAT
mailings.json    your mailings
runs.csv         each time that a mailing ran, and the letter as it was sent
deliveries.csv   each message planned, and what became of it; "unknown": it may have arrived, the answer never came
attempts.csv     each try at one, with the mail server's answer
logins.csv       the devices that are logged in
activity.csv     what the audit log says about you

Times are UTC. A text in a CSV file that a spreadsheet would take for a formula begins with an apostrophe.
"""


def zip_of(user_id: int) -> Iterator[bytes]:
    """The pieces of the ZIP file. They read the database while they go: keep the application context."""
    reading = only_reads.set(True)  # a slow download must not keep everybody else from writing into SQLite
    sink = Sink()
    try:
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, pieces in _files(user_id):
                with archive.open(name, "w", force_zip64=True) as file:
                    for piece in pieces:
                        file.write(piece.encode())
                        if sink.is_full:
                            yield sink.drain()
        yield sink.drain()
    finally:
        db.session.rollback()
        only_reads.reset(reading)


def _files(user_id: int) -> Iterator[tuple[str, Iterable[str]]]:
    runs = select(Run.id).where(Run.owner_id == user_id)
    yield "README.txt", [README]
    yield "account.json", _json(select(User).where(User.id == user_id), User)
    yield "clients.csv", _clients(user_id)
    yield "segments.json", _json(select(Segment).where(Segment.owner_id == user_id), Segment)
    yield "messages.json", _json(select(Message).where(Message.owner_id == user_id), Message)
    yield "drafts.json", _json(select(MessageDraft).where(MessageDraft.owner_id == user_id), MessageDraft)
    yield "pictures.json", _json(select(Picture).where(Picture.author_id == user_id), Picture)
    yield "mailings.json", _json(select(Mailing).where(Mailing.owner_id == user_id), Mailing)
    yield "runs.csv", _csv(Run, Run.owner_id == user_id)
    yield "deliveries.csv", _csv(Delivery, Delivery.run_id.in_(runs))
    yield "attempts.csv", _csv(Attempt, Attempt.run_id.in_(runs))
    yield "logins.csv", _csv(Login, Login.user_id == user_id)
    yield "activity.csv", _activity(user_id)


def _activity(user_id: int) -> Iterator[str]:
    """What the audit log says, without the addresses of the staff: those are nobody else's."""
    mine = or_(AuditEntry.owner_id == user_id, AuditEntry.actor_id == user_id)
    columns = _columns(AuditEntry)
    yield csv_line(column.key for column in columns)
    for row in _rows(select(*columns).where(mine).order_by(AuditEntry.id)):
        values = row._asdict()
        if row.actor_id not in (None, user_id):
            values |= {"origin": "", "device": ""}
        yield csv_line(map(_plain, values.values()))


def _clients(user_id: int) -> Iterator[str]:
    tagged = select(client_tag.c.client_id, Tag.name).join(Tag, Tag.id == client_tag.c.tag_id)
    tags: dict[int, list[str]] = {}
    for client_id, name in db.session.execute(tagged.where(Tag.owner_id == user_id).order_by(Tag.name)):
        tags.setdefault(client_id, []).append(name)
    columns = _columns(Client)
    yield csv_line([*(column.key for column in columns), "tags"])
    mine = (Client.owner_id == user_id, Client.deleted_at.is_(None))
    for row in _rows(select(*columns).where(*mine).order_by(Client.id)):
        yield csv_line([*map(_plain, row), ", ".join(tags.get(row.id, []))])


def _csv(model: Any, *where: Any) -> Iterator[str]:
    columns = _columns(model)
    yield csv_line(column.key for column in columns)
    for row in _rows(select(*columns).where(*where).order_by(model.id)):
        yield csv_line(map(_plain, row))


def _json(query: Select[Any], model: Any) -> Iterator[str]:
    columns = _columns(model)
    separator = "[\n"
    for row in _rows(query.with_only_columns(*columns).order_by(model.id)):
        record = dict(zip((column.key for column in columns), row, strict=True))
        yield separator + json.dumps(record, default=str, ensure_ascii=False, indent=2)
        separator = ",\n"
    yield "\n]\n" if separator.startswith(",") else "[]\n"


def _columns(model: Any) -> Sequence[InstrumentedAttribute[Any]]:
    keys = [attribute.key for attribute in inspect(model).column_attrs if attribute.key not in SECRETS]
    return [getattr(model, key) for key in keys]


def _rows(query: Select[Any]) -> Iterable[Any]:
    return db.session.execute(query.execution_options(yield_per=ROWS_AT_ONCE))


def _plain(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return value.isoformat() if isinstance(value, date | datetime) else value
