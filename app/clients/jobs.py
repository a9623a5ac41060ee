"""What RQ runs for the address book: imports, slice by slice. Every job may run twice, at once or never."""

import time
from datetime import timedelta

import structlog
from flask import current_app

from app.clients import imports
from app.clients.columns import RowReader
from app.clients.models import Import, ImportStatus
from app.extensions import db
from app.queue import enqueue, enqueue_lost, job, others_wait

log = structlog.get_logger(__name__)

TEND_EVERY = timedelta(seconds=30)
SLICE_SECONDS = 10
SHORTEST_SLICE_SECONDS = 1


@job()
def unpack_import(import_id: int) -> None:
    """Make rows of a workbook, so that its owner can say what its columns are."""
    imports.unpack(import_id)
    db.session.commit()


@job()
def run_import(import_id: int) -> None:
    """Take rows of the file into the address book for one slice, and see to it that somebody goes on."""
    began = time.monotonic()
    reader = None
    while (made := db.session.get(Import, import_id)) and made.status is ImportStatus.RUNNING:
        used = time.monotonic() - began
        if used > SLICE_SECONDS or (used > SHORTEST_SLICE_SECONDS and others_wait(run_import)):
            enqueue(run_import, import_id)
            return
        reader = reader or RowReader(made.columns, made.tags)
        if not take_portion(made, reader):
            return


def take_portion(made: Import, reader: RowReader) -> bool:
    """Read some rows and take them, whole or not at all; whether there is more to take."""
    import_id = made.id
    try:
        portion = imports.read_portion(made, reader, current_app.config["SETTINGS"].import_max_rows)
        # Reading takes longer than writing: meanwhile others may write into SQLite.
        db.session.commit()
        goes_on = imports.take(import_id, portion)
        db.session.commit()
    except Exception:
        db.session.rollback()
        imports.failed_again(import_id)
        db.session.commit()
        raise
    if not goes_on:
        log.info("import.ended", id=import_id, rows=made.rows, status=made.status)
    return goes_on


@job()
def tend_imports() -> None:
    """Resume imports whose worker was lost, and forget old ones."""
    lost = imports.lost()
    db.session.commit()
    jobs = {ImportStatus.RUNNING: run_import, ImportStatus.UNPACKING: unpack_import}
    enqueue_lost((jobs[status], (import_id,)) for import_id, status in lost)
    imports.forget_old()
    db.session.commit()
