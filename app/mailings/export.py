"""A run's report as a file, streamed: every message with its end, its number of tries, and the last answer."""

from collections.abc import Iterator
from typing import Any

from flask_babel import gettext as _
from sqlalchemy import select

from app import xlsx
from app.csv_text import csv_lines
from app.delivery.models import Attempt, Delivery
from app.delivery.reports import reading
from app.extensions import db
from app.mailings import words

ROWS_AT_ONCE = 2000
BYTE_ORDER_MARK = "\ufeff"  # without it Excel takes UTF-8 for something else


def run_as_csv(run_id: int) -> Iterator[bytes]:
    """Texts that a spreadsheet would take for formulas are defused. Moments are in UTC."""
    with reading():
        yield (BYTE_ORDER_MARK + csv_lines([_headings()])).encode()
        for rows in _batches(run_id):
            yield csv_lines(rows).encode()


def run_as_xlsx(run_id: int) -> Iterator[bytes]:
    """The same as a workbook, whose texts are texts."""
    with reading():
        yield from xlsx.pieces(_("Messages"), _headings(), _batches(run_id))


def _headings() -> list[str]:
    return [
        _("E-mail"),
        _("Outcome"),
        _("Reason"),
        _("Finished (UTC)"),
        _("Tries"),
        _("Last try (UTC)"),
        _("Code"),
        _("Enhanced code"),
        _("The server's answer"),
    ]


def _batches(run_id: int) -> Iterator[list[list[Any]]]:
    last = 0
    known = {"": ""}  # a million messages have a handful of states

    def word(value: Any) -> str:
        return known.get(value) or known.setdefault(value, words.word(value))

    columns = select(Delivery.id, Delivery.email, Delivery.status, Delivery.skip_reason, Delivery.finished_at)
    of_run = columns.where(Delivery.run_id == run_id).order_by(Delivery.id).limit(ROWS_AT_ONCE)
    while rows := db.session.connection().execute(of_run.where(Delivery.id > last)).all():
        last = rows[-1].id
        tries = _tries(run_id, rows[0].id, last)
        yield [
            [
                row.email,
                word(row.status),
                word(row.skip_reason) if row.skip_reason else "",
                _moment(row.finished_at),
                *tries.get(row.id, (0, "", None, "", "")),
            ]
            for row in rows
        ]
        if len(rows) < ROWS_AT_ONCE:
            return


def _tries(run_id: int, first_id: int, last_id: int) -> dict[int, tuple[int, str, int | None, str, str]]:
    """Of each message between these: how many tries there were, and of the last one its moment, codes and answer."""
    query = (
        select(Attempt.delivery_id, Attempt.at, Attempt.code, Attempt.enhanced_code, Attempt.reply)
        .where(Attempt.delivery_id.between(first_id, last_id), Attempt.run_id == run_id)
        .order_by(Attempt.id)
    )
    tries: dict[int, tuple[int, str, int | None, str, str]] = {}
    for delivery_id, at, code, enhanced_code, reply in db.session.connection().execute(query):
        before = tries[delivery_id][0] if delivery_id in tries else 0
        tries[delivery_id] = (before + 1, _moment(at), code, enhanced_code or "", reply)
    return tries


def _moment(moment: Any) -> str:
    return moment.isoformat(" ", "seconds").removesuffix("+00:00") if moment else ""
