"""What RQ runs for the address book: imports, slice by slice. Every job may run twice, at once or never."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import structlog
from flask import Flask, current_app

from app.clients import imports
from app.clients.columns import RowReader
from app.clients.imports import Portion
from app.clients.models import Import, ImportStatus
from app.database import only_reads
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

    def is_over() -> bool:
        used = time.monotonic() - began
        return used > SLICE_SECONDS or (used > SHORTEST_SLICE_SECONDS and others_wait(run_import))

    if take_rows(import_id, is_over):
        enqueue(run_import, import_id)


def take_rows(import_id: int, is_over: Callable[[], bool]) -> bool:
    """Take portions, each whole or not at all, until it `is_over`; whether there is more to take then.

    While the database is busy with one portion, a thread reads the next one.
    """
    made = db.session.get(Import, import_id)
    if made is None or made.status is not ImportStatus.RUNNING:
        return False
    read = partial(_read, current_app._get_current_object(), import_id, RowReader(made.columns, made.tags))  # type: ignore[attr-defined]  # the thread has no current one
    db.session.commit()  # nobody shall wait for SQLite while the first rows are read
    try:
        with ThreadPoolExecutor(max_workers=1) as ahead:
            portion = ahead.submit(read, None).result()
            while portion is not None:
                following = None if portion.ends_it else ahead.submit(read, portion)
                goes_on = imports.take(import_id, portion)
                db.session.commit()
                if not goes_on or following is None:
                    log.info("import.ended", id=import_id, rows=portion.rows_until)
                    return False
                if is_over():
                    return True
                portion = following.result()
    except Exception:
        db.session.rollback()
        imports.failed_again(import_id)
        db.session.commit()
        raise
    return False


def _read(app: Flask, import_id: int, reader: RowReader, earlier: Portion | None) -> Portion | None:
    """The next portion; None when the import is gone."""
    only_reads.set(True)  # of this thread: it must not wait for the one who writes into SQLite
    with app.app_context():
        made = db.session.get(Import, import_id)
        if made is None:
            return None
        return imports.read_portion(made, reader, app.config["SETTINGS"].import_max_rows, earlier)


@job()
def tend_imports() -> None:
    """Resume imports whose worker was lost, and forget old ones."""
    lost = imports.lost()
    db.session.commit()
    jobs = {ImportStatus.RUNNING: run_import, ImportStatus.UNPACKING: unpack_import}
    enqueue_lost((jobs[status], (import_id,)) for import_id, status in lost)
    imports.forget_old()
    db.session.commit()
