"""Files of clients: in, with a page that follows them, and out."""

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, BinaryIO, cast

from flask import Response, current_app, flash, request, stream_with_context, url_for
from flask_babel import get_locale, lazy_pgettext
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_login import current_user

from app import clock, web
from app.auth.access import requires, signed_in
from app.auth.roles import Permission
from app.clients import columns, csv_reading, export, fields, imports, jobs
from app.clients.columns import ATTRIBUTE, IGNORED
from app.clients.csv_reading import Layout
from app.clients.imports import Preview
from app.clients.models import Import, ImportStatus, KnownClients
from app.clients.views import Filters, blueprint
from app.clients.words import STATUS_LABELS
from app.errors import RuleBroken
from app.extensions import db
from app.paging import paginate
from app.queue import enqueue

SHOWN_BAD_ROWS = 20
POLL_SECONDS = 1
STATUS_WORDS = {
    ImportStatus.UNPACKING: lazy_pgettext("import", "being read"),
    ImportStatus.READY: lazy_pgettext("import", "waits for you"),
    ImportStatus.RUNNING: lazy_pgettext("import", "running"),
    ImportStatus.DONE: lazy_pgettext("import", "completed"),
    ImportStatus.CANCELLED: lazy_pgettext("import", "cancelled"),
    ImportStatus.FAILED: lazy_pgettext("import", "failed"),
}
DELIMITER_WORDS = {",": _l("comma"), ";": _l("semicolon"), "\t": _l("tab"), "|": _l("vertical bar")}
KNOWN_WORDS = {
    KnownClients.SKIP: (_l("Skip them"), _l("Clients who are there already stay exactly as they are.")),
    KnownClients.UPDATE: (
        _l("Update them"),
        _l("What the file says takes the place of what is there; its empty cells change nothing."),
    ),
    KnownClients.FILL: (_l("Fill gaps"), _l("What is there stays; the file only adds what is not known yet.")),
}


@blueprint.url_value_preprocessor
def _let_large_files_in(endpoint: str | None, _values: Any) -> None:
    """Before the CSRF check, which reads the whole form. Guests are held to the usual limit."""
    if endpoint == "clients.upload_clients" and request.method == "POST":
        if current_user.is_authenticated and signed_in().may(Permission.OWN_THINGS):
            request.max_content_length = _most_megabytes() * 1024 * 1024
        db.session.rollback()  # nobody shall wait for a database while a file comes over a slow line


def _most_megabytes() -> int:
    return int(current_app.config["SETTINGS"].import_max_mb)


@blueprint.route("/clients/import", methods=["GET", "POST"])
@requires(Permission.OWN_THINGS)
@web.takes_files
def upload_clients() -> Response:
    if request.method == "GET":
        return _upload_page()
    file = request.files.get("file")
    if file is None or not file.filename:
        return _upload_page(_("Choose a file first."))
    try:
        made = imports.create(signed_in(), cast("BinaryIO", file.stream), file.filename, str(get_locale()))
    except RuleBroken as error:
        db.session.rollback()
        return _upload_page(str(error))
    db.session.commit()
    if made.status is ImportStatus.UNPACKING:
        enqueue(jobs.unpack_import, made.id)
    return web.redirect_to(url_for(".show_import", import_id=made.id))


def _upload_page(error: str = "") -> Response:
    status = HTTPStatus.UNPROCESSABLE_ENTITY if error else HTTPStatus.OK
    earlier = paginate(
        imports.of_owner(signed_in()), Import.id, cursor=request.args.get("after"), descending=True, size=20
    )
    return web.render(
        "clients/import.html",
        block="rows" if request.method == "GET" else "form",
        status=status,
        error=error,
        earlier=earlier,
        status_words=STATUS_WORDS,
        most_megabytes=_most_megabytes(),
        most_rows=current_app.config["SETTINGS"].import_max_rows,
    )


@blueprint.get("/clients/imports/<int:import_id>")
@requires(Permission.OWN_THINGS)
def show_import(import_id: int) -> Response:
    made = imports.get_import(signed_in(), import_id)
    seen = imports.preview(made, *_asked_layout(made, request.args)) if made.status is ImportStatus.READY else None
    return _import_page(made, seen)


def _asked_layout(made: Import, given: Any) -> tuple[Layout | None, bool | None]:
    """How the reader wants the file to be read; what makes no sense asks for nothing."""
    encoding, delimiter = given.get("encoding", ""), given.get("delimiter", "")
    if encoding not in csv_reading.ENCODINGS or delimiter not in _delimiters(made):
        return None, None
    # Where another line than the first one begins, it was found out together with the encoding.
    return Layout(encoding, delimiter, made.begins_at), given.get("header") == "1"


def _delimiters(made: Import) -> dict[str, Any]:
    return DELIMITER_WORDS | ({made.delimiter: made.delimiter} if made.delimiter not in DELIMITER_WORDS else {})


@blueprint.post("/clients/imports/<int:import_id>/start")
@requires(Permission.OWN_THINGS)
def start_import(import_id: int) -> Response:
    made = imports.get_import(signed_in(), import_id)
    if made.status is not ImportStatus.READY:
        raise RuleBroken(_("This import has begun already, or has ended."))
    seen = imports.preview(made, *_asked_layout(made, request.form))
    used = [_column(number) for number in range(len(seen.columns))]
    known = request.form.get("known", "")
    try:
        tags = fields.parse_tags(_sent("tags"))
        choice = KnownClients(known) if known in set(KnownClients) else KnownClients.SKIP
        imports.start(made, seen, used, choice, tags)
    except RuleBroken as error:
        db.session.rollback()
        return _import_page(made, seen, used, str(error))
    db.session.commit()
    enqueue(jobs.run_import, made.id)
    return web.redirect_to(url_for(".show_import", import_id=made.id))


def _column(number: int) -> str:
    chosen = _sent(f"column-{number}")
    return ATTRIBUTE + _sent(f"name-{number}") if chosen == ATTRIBUTE else chosen


def _sent(name: str) -> str:
    return request.form.get(name, "").replace("\0", "").strip()


def _import_page(made: Import, seen: Preview | None, used: Sequence[str] | None = None, error: str = "") -> Response:
    """The page of an import, whatever its state. used: the columns as they were sent."""
    bad = db.session.scalars(imports.bad_rows(made).limit(SHOWN_BAD_ROWS)).all() if made.bad else []
    return web.render(
        "clients/import_show.html",
        block="live",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if error else HTTPStatus.OK,
        made=made,
        seen=seen,
        chosen=_chosen(seen, used) if seen else [],
        error=error,
        bad_rows=bad,
        share=made.position / made.size if made.size else 0,
        status_words=STATUS_WORDS,
        known_words=KNOWN_WORDS,
        encodings=csv_reading.ENCODINGS,
        delimiters=_delimiters(made),
        targets=columns.LABELS,
        label_of=columns.label_of,
        poll_seconds=POLL_SECONDS if made.status in (ImportStatus.UNPACKING, ImportStatus.RUNNING) else None,
    )


def _chosen(seen: Preview, used: Sequence[str] | None) -> list[dict[str, Any]]:
    """The columns of the file, each with its first values, what it is, and a name for an attribute."""
    chosen = []
    for number, (heading, guessed) in enumerate(zip(seen.headings, seen.columns, strict=True)):
        column = guessed if used is None else used[number]
        is_attribute = column.startswith(ATTRIBUTE)
        chosen.append(
            {
                "heading": heading or _("Column %(number)s", number=number + 1),
                "values": [row[number] for row in seen.rows if number < len(row) and row[number].strip()][:3],
                "column": ATTRIBUTE if is_attribute else column or IGNORED,
                "name": column.removeprefix(ATTRIBUTE) if is_attribute else columns.attribute_name(heading),
            }
        )
    return chosen


@blueprint.post("/clients/imports/<int:import_id>/cancel")
@requires(Permission.OWN_THINGS)
def cancel_import(import_id: int) -> Response:
    made = imports.get_import(signed_in(), import_id)
    imports.cancel(made)
    db.session.commit()
    flash(_("The import is cancelled. What was taken in before stays."), "success")
    return web.redirect_to(url_for(".show_import", import_id=made.id))


@blueprint.post("/clients/imports/<int:import_id>/delete")
@requires(Permission.OWN_THINGS)
def delete_import(import_id: int) -> Response:
    imports.discard(imports.get_import(signed_in(), import_id))
    db.session.commit()
    flash(_("The import is deleted. Its clients stay."), "success")
    return web.redirect_to(url_for(".upload_clients"))


@blueprint.get("/clients/imports/<int:import_id>/bad-rows.csv")
@requires(Permission.OWN_THINGS)
def download_bad_rows(import_id: int) -> Response:
    made = imports.get_import(signed_in(), import_id)
    return _download(export.bad_rows_as_csv(imports.bad_rows(made)), f"import-{made.id}-bad-rows.csv", "text/csv")


@blueprint.get("/clients/export.csv")
@requires(Permission.OWN_THINGS)
def export_csv() -> Response:
    query, words = Filters.of_request().of(signed_in()), {key: str(word) for key, word in STATUS_LABELS.items()}
    return _download(export.clients_as_csv(query, words), _dated("csv"), "text/csv")


@blueprint.get("/clients/export.xlsx")
@requires(Permission.OWN_THINGS)
def export_xlsx() -> Response:
    query, words = Filters.of_request().of(signed_in()), {key: str(word) for key, word in STATUS_LABELS.items()}
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    return _download(export.clients_as_xlsx(query, words), _dated("xlsx"), kind)


def _dated(ending: str) -> str:
    return f"clients-{clock.now():%Y-%m-%d}.{ending}"


def _download(pieces: Iterator[bytes], name: str, kind: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(stream_with_context(pieces), mimetype=kind, headers=headers)
