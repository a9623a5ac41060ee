"""Taking a file of clients into an address book, portion by portion, each of them whole or not at all."""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import BinaryIO

from flask_babel import force_locale, format_number
from flask_babel import gettext as _
from sqlalchemy import Select, delete, func, insert, select, update

from app import clock
from app.addresses import plain_address
from app.auth.models import User
from app.clients import columns, csv_reading, queries, service, workbook
from app.clients.columns import RowReader, Taken
from app.clients.csv_reading import Layout, Place, Rows
from app.clients.models import BadRow, Client, Import, ImportPiece, ImportStatus, KnownClients
from app.clients.staging import Loaded, keep_bad_rows
from app.errors import GolubError, NotFound, RuleBroken
from app.extensions import db

PIECE_BYTES = 512 * 1024
PORTION_BYTES = 1024 * 1024
PORTION_ROWS = 20_000
PREVIEW_BYTES = 64 * 1024
PREVIEW_ROWS = 5
MOST_COLUMNS = 200
MOST_OPEN = 5  # imports of one owner that have not ended: each may hold a large file
MOST_TAGS_OF_OWNER = 2000
MOST_FAILURES = 5
KEPT_UNSTARTED = timedelta(days=1)
KEPT_REPORTS = timedelta(days=90)
LOST_AFTER = timedelta(seconds=60)
UNPACKING_LOST_AFTER = timedelta(seconds=workbook.LONGEST_SECONDS + 60)
OPEN = (ImportStatus.UNPACKING, ImportStatus.READY, ImportStatus.RUNNING)


class UnusableFile(RuleBroken):
    """The file as a whole can't be imported; says why."""


@dataclass(frozen=True)
class Preview:
    """The first rows of a file, read in one way. headings: of the columns; columns: what they seem to be."""

    layout: Layout
    has_header: bool
    headings: list[str]
    columns: list[str]
    rows: list[list[str]]


@dataclass
class Portion:
    """Some rows of the file, read.

    rows_before: of the file, good and bad.  total: its good rows.  changed: those that change an earlier one of it.
    """

    before: Place
    after: Place
    rows_before: int
    is_last: bool = False
    rows: list[Taken] = field(default_factory=list)
    tag_sets: list[tuple[str, ...]] = field(default_factory=list)
    total: int = 0
    changed: int = 0
    bad: list[tuple[int, str, str]] = field(default_factory=list)
    fault: str = ""

    @property
    def rows_until(self) -> int:
        return self.rows_before + self.total + len(self.bad)

    @property
    def ends_it(self) -> bool:
        """Nothing comes after it."""
        return self.is_last or bool(self.fault)


# ── Before it begins ──


def of_owner(user: User) -> Select[Import]:
    return select(Import).where(Import.owner_id == user.id)


def get_import(user: User, import_id: int) -> Import:
    """Raises: NotFound, also for those of others."""
    found = db.session.scalar(of_owner(user).where(Import.id == min(import_id, service.LARGEST_ID)))
    if found is None:
        raise NotFound(_("There is nothing at this address, or it is not yours."))
    return found


def create(owner: User, stream: BinaryIO, file_name: str, locale: str) -> Import:
    """Keep the file, which must be seekable, and find out how it is written.

    A workbook is `UNPACKING` then, everything else `READY`.

    Raises:
        UnusableFile: when there is nothing in it.
        RuleBroken: when too many are open already.
    """
    waiting = of_owner(owner).where(Import.status.in_(OPEN)).with_only_columns(func.count())
    if (db.session.scalar(waiting) or 0) >= MOST_OPEN:
        raise RuleBroken(_("Several imports are not finished yet. Finish or discard one of them first."))
    stream.seek(0)
    made = Import(owner_id=owner.id, file_name=_plain(file_name)[-200:], locale=locale, begins_at=0)
    made.status = ImportStatus.UNPACKING if workbook.is_workbook(stream.read(4)) else ImportStatus.READY
    _keep(made, stream)
    return made


def _keep(made: Import, stream: BinaryIO) -> None:
    """The file into pieces, in the place of those that were there."""
    if made.status is ImportStatus.READY:
        layout = csv_reading.layout_of(stream, lambda cell: bool(columns.guess(cell)))
        made.encoding, made.delimiter, made.begins_at = layout
    made.size = stream.seek(0, io.SEEK_END)
    if made.size <= made.begins_at:
        raise UnusableFile(_("There is nothing in this file."))
    db.session.add(made)
    db.session.flush()
    db.session.execute(delete(ImportPiece).where(ImportPiece.import_id == made.id))
    stream.seek(0)
    number = 0
    while data := stream.read(PIECE_BYTES):
        db.session.execute(insert(ImportPiece).values(import_id=made.id, number=number, data=data))
        number += 1


def unpack(import_id: int) -> None:
    """Make rows of a workbook. Nothing happens to one that is unpacked already, or was discarded.

    This takes a while, so it commits what it has read before, and the caller what it writes in the end.
    """
    made = db.session.get(Import, import_id)
    if made is None or made.status is not ImportStatus.UNPACKING:
        return
    made.seen_at = clock.now()
    db.session.commit()
    with tempfile.TemporaryFile() as book:
        copy_file(import_id, book)
        db.session.commit()
        try:
            with workbook.as_csv(book) as rows, _still(import_id, ImportStatus.UNPACKING) as found:
                if found is not None:
                    found.status = ImportStatus.READY
                    _keep(found, rows)
        except (workbook.UnreadableWorkbook, UnusableFile):
            db.session.rollback()
            with _still(import_id, ImportStatus.UNPACKING) as found:
                if found is not None:
                    with force_locale(found.locale):
                        fail(found, _("This workbook can't be read. Save the sheet as CSV, and import that."))


@contextlib.contextmanager
def _still(import_id: int, status: ImportStatus) -> Iterator[Import | None]:
    """The import, locked, if that is how it still is."""
    query = select(Import).where(Import.id == import_id, Import.status == status).with_for_update()
    yield db.session.scalar(query.execution_options(populate_existing=True))


def copy_file(import_id: int, target: BinaryIO) -> None:
    number = 0
    piece = select(ImportPiece.data).where(ImportPiece.import_id == import_id)
    while (data := db.session.scalar(piece.where(ImportPiece.number == number))) is not None:
        target.write(data)
        number += 1


def preview(made: Import, layout: Layout | None = None, has_header: bool | None = None) -> Preview:
    """The first rows, read as `layout` says, or else as the file seems to be written."""
    layout = layout or Layout(made.encoding, made.delimiter, made.begins_at)
    data = _stored(made.id, layout.begins_at, PREVIEW_BYTES)
    is_last = layout.begins_at + len(data) >= made.size
    text = csv_reading.decode(data, layout.encoding, is_whole=is_last)
    found = [
        row.cells
        for row, _number in zip(
            Rows(text, layout, Place(layout.begins_at), is_last=is_last), range(PREVIEW_ROWS + 1), strict=False
        )
        if row.cells
    ]
    first = found[0][:MOST_COLUMNS] if found else []
    if has_header is None:
        has_header = bool(first) and not any(plain_address(cell.strip()) for cell in first)
    if has_header:
        guessed = columns.guess_all(first, _attributes_in_use(made.owner_id))
        headings = [_plain(cell).strip()[:100] for cell in first]
    else:
        guessed = columns.guess_by_cells(first)
        headings = [""] * len(first)
    rows = [[_plain(cell)[:100] for cell in row[: len(first)]] for row in (found[1:] if has_header else found)]
    return Preview(layout, has_header, headings, guessed, rows[:PREVIEW_ROWS])


def _attributes_in_use(owner_id: int) -> list[str]:
    """Names of attributes of the newest clients: nobody wants to wait for those of a million."""
    own = queries.existing().where(Client.owner_id == owner_id)
    newest = own.with_only_columns(Client.attributes).order_by(Client.id.desc()).limit(100)
    return list(dict.fromkeys(name for attributes in db.session.scalars(newest) for name in attributes))


def _plain(text: str) -> str:
    """The text as a page and a database can have it."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def start(made: Import, seen: Preview, used: Sequence[str], known: KnownClients, tags: Sequence[str] = ()) -> None:
    """From now on workers take it in. Commit, then enqueue `jobs.run_import`.

    seen: how the file is to be read.  used: what each column is.  tags: for all.

    Raises:
        columns.BadColumns, RuleBroken: when it has begun already.
    """
    columns.check(used)
    if made.status is not ImportStatus.READY:
        raise RuleBroken(_("This import has begun already, or has ended."))
    made.encoding, made.delimiter, made.begins_at = seen.layout
    made.has_header, made.columns, made.known, made.tags = seen.has_header, list(used), known, list(tags)
    made.position, made.status = made.begins_at, ImportStatus.RUNNING
    made.started_at = made.seen_at = clock.now()


def start_as_guessed(made: Import, known: KnownClients) -> None:
    """The same without anybody to ask.

    Raises:
        UnusableFile: when no column is known to have the addresses.
    """
    seen = preview(made)
    if "email" not in seen.columns:
        raise UnusableFile(
            _("The first row of the file must name its columns, and one of them must be “email” or “почта”.")
        )
    start(made, seen, seen.columns, known)


def cancel(made: Import) -> None:
    """Take no more rows from now on. Those that were taken stay.

    Raises:
        RuleBroken: when it has ended already.
    """
    changed = update(Import).where(Import.id == made.id, Import.status.in_(OPEN))
    values = {"status": ImportStatus.CANCELLED, "finished_at": clock.now()}
    if not db.session.execute(changed.values(values)).rowcount:  # type: ignore[attr-defined]
        raise RuleBroken(_("This import has ended already."))
    _drop_file(made.id)


def discard(made: Import) -> None:
    """Delete it with its report. The clients stay.

    Raises:
        RuleBroken: while it runs.
    """
    if made.status is ImportStatus.RUNNING:
        raise RuleBroken(_("This import is running. Cancel it first."))
    db.session.execute(delete(Import).where(Import.id == made.id))


def fail(made: Import, fault: str) -> None:
    made.status, made.fault, made.finished_at = ImportStatus.FAILED, fault, clock.now()
    _drop_file(made.id)


def _drop_file(import_id: int) -> None:
    db.session.execute(delete(ImportPiece).where(ImportPiece.import_id == import_id))


# ── While it runs ──


def read_portion(made: Import, reader: RowReader, most_rows: int, earlier: Portion | None = None) -> Portion:
    """The rows after `earlier`, or else the next ones to be taken.

    Nothing is written, and nothing but pieces of the file is asked of the database.

    most_rows: of the whole file.
    """
    layout = Layout(made.encoding, made.delimiter, made.begins_at)
    before = earlier.after if earlier else Place(made.position, made.next_row)
    portion = Portion(before, before, earlier.rows_until if earlier else made.rows)
    with force_locale(made.locale):
        if portion.rows_before >= most_rows:
            limit = format_number(most_rows)
            portion.fault = _("The file has more than %(limit)s rows. The rest was not taken.", limit=limit)
            return portion
        data = _stored(made.id, before.position, PORTION_BYTES)
        reaches_end = before.position + len(data) >= made.size
        text = csv_reading.decode(data, layout.encoding, is_whole=reaches_end)
        rows = Rows(text, layout, before, is_last=reaches_end)
        is_all = _read_into(portion, rows, reader, made, min(PORTION_ROWS, most_rows - portion.rows_before))
        portion.after = rows.place
        portion.is_last = is_all and reaches_end
        if portion.after == before and not portion.is_last:
            portion.fault = _("From row %(number)s on, this file is no table.", number=before.number)
    return portion


def _read_into(portion: Portion, rows: Rows, reader: RowReader, made: Import, most: int) -> bool:
    """The good and the bad rows into the portion; False when there may be more of them than so many."""
    is_all = False
    found: dict[str, Taken] = {}
    given = iter(rows)
    if made.has_header and portion.before.position == made.begins_at:
        next(given, None)
    reader.forget_tags()
    for number, cells in given:
        try:
            if cells is None:
                raise UnusableFile(_("The quotation marks in this row don't match."))
            taken = reader.read(cells)
        except GolubError as error:
            portion.bad.append((number, _plain(reader.email_of(cells or []))[:254], str(error)))
        else:
            portion.total += 1
            key = taken.email_key
            if key in found:
                earlier, taken = found[key], reader.merge(found[key], taken, made.known)
                portion.changed += taken != earlier
            found[key] = taken
        if portion.total + len(portion.bad) >= most:
            break
    else:
        is_all = True
    portion.rows, portion.tag_sets = list(found.values()), reader.tag_sets
    return is_all


def _stored(import_id: int, position: int, size: int) -> bytes:
    """So many bytes of the file from there on, or all that are left."""
    first, skipped = divmod(position, PIECE_BYTES)
    last = (position + size - 1) // PIECE_BYTES
    pieces = select(ImportPiece.data).where(ImportPiece.import_id == import_id)
    query = pieces.where(ImportPiece.number.between(first, last)).order_by(ImportPiece.number)
    return b"".join(db.session.scalars(query))[skipped : skipped + size]


def take(import_id: int, portion: Portion) -> bool:
    """Take the portion into the address book; whether there is more to take.

    When another worker was quicker, or somebody has cancelled the import meanwhile, nothing happens.
    """
    now = clock.now()
    claim = update(Import).where(
        Import.id == import_id,
        Import.status == ImportStatus.RUNNING,
        Import.position == portion.before.position,
        Import.next_row == portion.before.number,
    )
    values = {"position": portion.after.position, "next_row": portion.after.number, "seen_at": now, "failures": 0}
    if not db.session.execute(claim.values(values)).rowcount:  # type: ignore[attr-defined]
        return False
    made = db.session.get_one(Import, import_id, populate_existing=True)
    tags = _tags(made, portion.tag_sets)
    if tags is None:
        with force_locale(made.locale):
            fail(made, _("The file would make too many different tags. Is the right column chosen for them?"))
        return False
    added, changed = 0, portion.changed
    if portion.rows:
        loaded = Loaded(made.owner_id, portion.rows, tags, _used(made.columns))
        added, of_known = loaded.take(made.known, now)
        changed += of_known
    made.added += added
    made.updated += changed
    made.skipped += portion.total - added - changed
    made.bad += len(portion.bad)
    keep_bad_rows(made.id, portion.bad)
    if portion.ends_it:
        made.status, made.fault, made.finished_at = ImportStatus.DONE, portion.fault, now
        _drop_file(made.id)
    return not portion.ends_it


def _tags(made: Import, tag_sets: Sequence[tuple[str, ...]]) -> list[tuple[int, int]] | None:
    """The tags of each set by their ids; None when the owner would have too many."""
    service.lock_tags(made.owner_id)
    names = dict.fromkeys(name for tags in tag_sets for name in tags)  # the spelling that came first stays
    if not names:
        return []
    if len(names) > MOST_TAGS_OF_OWNER:
        return None
    ids = {tag.name.casefold(): tag.id for tag in service.tags_named(made.owner_id, names)}
    all_tags = queries.tags_of(made.owner_id).with_only_columns(func.count())
    if (db.session.scalar(all_tags) or 0) > MOST_TAGS_OF_OWNER:
        return None
    return [(number, ids[name.casefold()]) for number, tags in enumerate(tag_sets) for name in tags]


def _used(used: Sequence[str]) -> set[str]:
    """The columns of a client that the file tells of."""
    names = {"attributes" if column.startswith(columns.ATTRIBUTE) else column for column in used}
    return names | {"last_name", "first_name", "patronymic"} if "full_name" in names else names


def failed_again(import_id: int) -> None:
    """A portion could not be taken, for a reason that is nobody's but ours. After a few times it is given up."""
    made = db.session.get(Import, import_id)
    if made is None or made.status is not ImportStatus.RUNNING:
        return
    made.failures += 1
    if made.failures >= MOST_FAILURES:
        with force_locale(made.locale):
            fail(made, _("Something went wrong on our side. It has been noted."))


# ── Afterwards ──


def bad_rows(made: Import) -> Select[BadRow]:
    return select(BadRow).where(BadRow.import_id == made.id).order_by(BadRow.number)


def lost() -> list[tuple[int, ImportStatus]]:
    """Imports that no worker has seen to for a while."""
    now = clock.now()
    query = select(Import.id, Import.status).where(
        Import.finished_at.is_(None),
        ((Import.status == ImportStatus.RUNNING) & (Import.seen_at < now - LOST_AFTER))
        | ((Import.status == ImportStatus.UNPACKING) & (Import.seen_at < now - UNPACKING_LOST_AFTER)),
    )
    return [(import_id, status) for import_id, status in db.session.execute(query)]


def forget_old() -> None:
    """Files that nobody began to import, and reports that nobody will read any more."""
    now = clock.now()
    never_begun = Import.started_at.is_(None) & (Import.created_at < now - KEPT_UNSTARTED)
    old = Import.finished_at < now - KEPT_REPORTS
    db.session.execute(delete(Import).where(never_begun | old).execution_options(synchronize_session=False))
