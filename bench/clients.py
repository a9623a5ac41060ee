"""A million clients: into an address book from a CSV file, and out of it again."""

import csv
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO, cast

from sqlalchemy import text

from app.auth.models import User
from app.clients import imports, jobs
from app.clients.models import Import, ImportStatus, KnownClients
from app.extensions import db
from app.queue import enqueue
from bench.engine import one_worker
from bench.figures import Figure
from bench.scale import FEW, MILLION, NO_SERVER
from bench.world import World, world
from tests import make

IMPORT_KEYS = ("import_rows_per_s", "import_vs_copy", "import_memory_growth_mb")
EXPORT_KEYS = ("export_rows_per_s",)
ROUNDS = 3
COLUMNS = ("email", "last_name", "first_name", "patronymic", "birth_year", "comment")
LAST_NAMES = ("Иванов", "Смирнова", "Кузнецов", "Попова", "Соколов", "Golubeva", "O'Brien", "Müller", "Ткаченко")
FIRST_NAMES = ("Пётр", "Анна", "Ольга", "Борис", "Anna", "Jürgen", "Елена", "Дмитрий", "Зоя", "Мария", "Илья")
PATRONYMICS = ("Ильич", "Ивановна", "Петрович", "", "Сергеевна", "Олегович", "Юрьевна")
DOMAINS = tuple(f"firm{n}.example" for n in range(500))

# What a bare COPY needs to take the same file: the rest comes by default, as our import adds it.
LIKE_CLIENT = (
    "CREATE TABLE copied (LIKE client INCLUDING ALL)",
    "ALTER TABLE copied ALTER owner_id SET DEFAULT 1, ALTER attributes SET DEFAULT '{}'",
    "ALTER TABLE copied ALTER status SET DEFAULT 'active', ALTER added_at SET DEFAULT now(), DROP COLUMN email_key",
    "ALTER TABLE copied ADD COLUMN email_key varchar(320) GENERATED ALWAYS AS (lower(email)) STORED",
    "CREATE UNIQUE INDEX ON copied (owner_id, email_key)",
)
COPY = f"COPY copied ({', '.join(COLUMNS)}) FROM STDIN (FORMAT csv, HEADER, FORCE_NOT_NULL (patronymic, comment))"


def measure_import() -> dict[str, Figure]:
    """One worker takes a CSV file of a million rows; a bare COPY of the same file right after it."""
    ours, bare = [], []
    with world("postgresql", NO_SERVER) as here, one_worker(here) as worker:
        _import(here, write_csv(here.folder / "few.csv", FEW), FEW)
        _empty(here)
        few = _peak_mb(worker)
        file = write_csv(here.folder / "million.csv", MILLION)
        size = file.stat().st_size / 1e6
        for _ in range(ROUNDS):
            ours.append(_import(here, file, MILLION))
            bare.append(_copy(here, file))
            _empty(here)
        many = _peak_mb(worker)
    seconds = median(ours)
    ratio = median(mine / theirs for mine, theirs in zip(ours, bare, strict=True))
    how = f"{MILLION:,} rows of {len(COLUMNS)} columns, {size:.0f} MB; one worker; PostgreSQL; median of {ROUNDS}"
    copying = f"a bare COPY of the same file into a table like client takes {median(bare):.1f} s"
    peaks = f"peak of the worker: {many:.0f} MB, after {FEW:,} rows {few:.0f} MB"
    return {
        "import_rows_per_s": Figure(round(MILLION / seconds), "≥ 40000", "/s", f"{seconds:.1f} s for {how}"),
        "import_vs_copy": Figure(round(ratio, 2), "≤ 4", "×", copying),
        "import_memory_growth_mb": Figure(round(many - few, 1), "≤ 30", "MB", peaks),
    }


def measure_export() -> dict[str, Figure]:
    """The whole address book of a million as CSV, from the request to the last byte."""
    with world("postgresql", NO_SERVER, trusted_hosts="localhost") as here:
        owner_id = here.owner_with_clients(MILLION)
        browser = here.app.test_client()
        with here.app.app_context():
            make.session_of(here.app, browser, db.session.get_one(User, owner_id))
        seconds, size = {}, {}
        for kind in ("csv", "xlsx"):
            began = time.perf_counter()
            answer = browser.get(f"/clients/export.{kind}", buffered=False)
            size[kind] = sum(map(len, answer.response)) / 1e6
            seconds[kind] = time.perf_counter() - began
    detail = (
        f"{MILLION:,} clients as CSV, {size['csv']:.0f} MB, in {seconds['csv']:.1f} s; as XLSX, {size['xlsx']:.0f} MB, "
        f"{MILLION / seconds['xlsx']:,.0f} /s; PostgreSQL"
    )
    return {"export_rows_per_s": Figure(round(MILLION / seconds["csv"]), "≥ 40000", "/s", detail)}


def write_csv(path: Path, rows: int) -> Path:
    """A file as offices have them: names that repeat, every address and every third comment its own."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(map(_row, range(rows)))
    return path


def _row(n: int) -> tuple[object, ...]:
    comment = f"Заказ {n}, перезвонить после обеда" if n % 3 == 0 else ""
    return (
        f"Client.{n * 7919 % 10_000_019}@{DOMAINS[n % 500]}",
        LAST_NAMES[n % 9] + str(n % 900),
        FIRST_NAMES[n % 11],
        PATRONYMICS[n % 7],
        1930 + n % 80,
        comment,
    )


def _import(here: World, file: Path, rows: int) -> float:
    """Seconds from the start of the job to its end."""
    with here.app.app_context():
        owner = db.session.get_one(User, here.owner_with_clients(0))
        with file.open("rb") as stream:
            made = imports.create(owner, cast("BinaryIO", stream), file.name, "en")
        imports.start_as_guessed(made, KnownClients.SKIP)
        db.session.commit()
        import_id = made.id
        db.session.commit()
        began = time.perf_counter()
        enqueue(jobs.run_import, import_id)
        while (made := db.session.get_one(Import, import_id, populate_existing=True)).status is ImportStatus.RUNNING:
            db.session.commit()
            time.sleep(0.05)
        seconds = time.perf_counter() - began
        if (made.status, made.added) != (ImportStatus.DONE, rows):
            raise RuntimeError(f"{made.status}: {made.added:,} of {rows:,} rows: {made.fault}\n{here.log()}")
        db.session.commit()
        return seconds


def _copy(here: World, file: Path) -> float:
    with here.app.app_context():
        for statement in LIKE_CLIENT:
            db.session.execute(text(statement))
        db.session.commit()
        cursor: Any = db.session.connection().connection.cursor()
        with closing(cursor), file.open() as stream:
            began = time.perf_counter()
            cursor.copy_expert(COPY, stream, 1 << 16)
            db.session.commit()
            return time.perf_counter() - began


def _empty(here: World) -> None:
    with here.app.app_context():
        db.session.execute(text("DROP TABLE IF EXISTS copied"))
        db.session.execute(text("TRUNCATE client CASCADE"))
        db.session.commit()


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
