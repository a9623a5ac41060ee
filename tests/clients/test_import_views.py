"""The pages of an import, over HTTP: from the file to its report."""

import csv
import io
import zipfile
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from app.auth.models import User
from app.clients import imports, service
from app.clients.models import Client, Import, ImportStatus
from app.extensions import db
from tests import make

RunJobs = Callable[[], None]
FILE = "E-mail;Имя;Город\nanna@example.test;Анна;Тверь\nnobody;Никто;\n=boris@example.test;Борис;Омск\n"
PAGE = "/clients/import"


def send(browser: FlaskClient, content: str | bytes, name: str = "clients.csv", **headers: str) -> TestResponse:
    data = content.encode() if isinstance(content, str) else content
    return browser.post(PAGE, data={"file": (io.BytesIO(data), name)}, headers=headers)


def upload(browser: FlaskClient, content: str | bytes, name: str = "clients.csv") -> str:
    """The address of the import's page."""
    answer = send(browser, content, name)
    assert answer.status_code == 303, answer.text
    return str(answer.location)


COLUMNS = {
    "encoding": "utf-8",
    "delimiter": ";",
    "header": "1",
    "column-0": "email",
    "column-1": "first_name",
    "column-2": "attribute:",
    "name-2": "city",
    "known": "skip",
    "tags": "autumn",
}


def test_the_whole_way(app: Flask, owner_client: FlaskClient, run_jobs: RunJobs) -> None:
    page = upload(owner_client, FILE)
    text = owner_client.get(page).text
    assert "Анна" in text
    assert '<option value="first_name" selected>' in text
    assert 'value="gorod"' in text
    assert 'hx-trigger="every' not in text

    answer = owner_client.post(f"{page}/start", data=COLUMNS)
    assert (answer.status_code, answer.location) == (303, page)
    assert 'hx-trigger="every 1s"' in owner_client.get(page).text
    run_jobs()
    text = owner_client.get(page).text
    assert "completed" in text
    assert "nobody" in text
    assert "every 1s" not in text
    with app.app_context():
        clients = db.session.scalars(select(Client).order_by(Client.id)).all()
        assert [(client.email, client.first_name, client.attributes) for client in clients] == [
            ("anna@example.test", "Анна", {"city": "Тверь"}),
            ("=boris@example.test", "Борис", {"city": "Омск"}),
        ]
        assert [tag.name for tag in clients[0].tags] == ["autumn"]

    report = owner_client.get(f"{page}/bad-rows.csv")
    assert report.mimetype == "text/csv"
    _heading, row = list(csv.reader(io.StringIO(report.data.decode("utf-8-sig"))))
    assert row[:2] == ["3", "nobody"]
    assert "clients.csv" in owner_client.get(PAGE).text
    assert owner_client.post(f"{page}/delete").location == PAGE
    assert owner_client.get(page).status_code == 404


def test_the_reader_may_read_the_file_in_another_way(app: Flask, owner_client: FlaskClient, run_jobs: RunJobs) -> None:
    page = upload(owner_client, "почта|имя\na@example.test|Анна\n".encode("koi8-r"))
    text = owner_client.get(page, query_string={"encoding": "cp1251", "delimiter": ",", "header": "1"}).text
    assert "Анна" not in text
    assert text.count('name="column-') == 1
    data = {"encoding": "koi8-r", "delimiter": "|", "header": "0", "column-0": "email", "column-1": "first_name"}
    assert owner_client.post(f"{page}/start", data=data).status_code == 303
    run_jobs()
    with app.app_context():
        made = db.session.scalars(select(Import)).one()
        assert (made.added, made.bad, made.encoding) == (1, 1, "koi8-r")


@pytest.mark.parametrize("header", [{}, {"HX-Request": "true"}])
def test_columns_that_make_no_sense_come_back_as_they_were_chosen(
    owner_client: FlaskClient, header: dict[str, str]
) -> None:
    page = upload(owner_client, FILE)
    for wrong, words in (({"column-0": ""}, "Say which"), ({"name-2": "город"}, "name of an attribute")):
        answer = owner_client.post(f"{page}/start", data=COLUMNS | wrong, headers=header)
        assert answer.status_code == 422
        assert words in answer.text
        assert '<option value="attribute:" selected>' in answer.text
        assert 'value="autumn"' in answer.text
    assert owner_client.post(f"{page}/start", data=COLUMNS | {"tags": "x" * 60}).status_code == 422
    assert owner_client.post(f"{page}/start").status_code == 422


@pytest.mark.parametrize("fragment", [False, True])
def test_without_a_file_the_form_says_so(owner_client: FlaskClient, fragment: bool) -> None:
    headers = {"HX-Request": "true"} if fragment else {}
    answers = [
        owner_client.post(PAGE, headers=headers),
        send(owner_client, "", **headers),
        owner_client.post(PAGE, data={"file": (io.BytesIO(b""), "")}, headers=headers),
    ]
    for answer in answers:
        assert answer.status_code == 422
        assert ("<html" in answer.text) is not fragment
        assert 'id="import-form"' in answer.text


def test_files_may_be_larger_than_other_forms_up_to_a_limit(
    app: Flask, owner_client: FlaskClient, manager_client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = b"email\n" + b"a@example.test\n" * 20_000
    monkeypatch.setitem(app.config, "MAX_CONTENT_LENGTH", 200_000)
    assert send(owner_client, large).status_code == 303
    assert send(manager_client, large).status_code == 403
    monkeypatch.setitem(app.config, "SETTINGS", app.config["SETTINGS"].model_copy(update={"import_max_mb": 0}))
    assert send(owner_client, large).status_code == 413


def test_another_ones_import_is_not_there(owner_client: FlaskClient, stranger_client: FlaskClient) -> None:
    page = upload(owner_client, FILE)
    assert stranger_client.get(page).status_code == 404
    for verb in ("start", "cancel", "delete"):
        assert stranger_client.post(f"{page}/{verb}", data=COLUMNS).status_code == 404
    assert stranger_client.get(f"{page}/bad-rows.csv").status_code == 404
    assert "clients.csv" not in stranger_client.get(PAGE).text


def test_what_runs_can_be_cancelled_and_what_has_ended_not(app: Flask, owner_client: FlaskClient) -> None:
    page = upload(owner_client, FILE)
    assert owner_client.post(f"{page}/start", data=COLUMNS).status_code == 303
    assert owner_client.post(f"{page}/start", data=COLUMNS).status_code == 409
    assert owner_client.post(f"{page}/delete").status_code == 409
    assert owner_client.post(f"{page}/cancel").location == page
    assert "cancelled" in owner_client.get(page).text
    assert owner_client.post(f"{page}/cancel").status_code == 409
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(Client)) == 0


# ── Workbooks ──


def column_letter(index: int) -> str:
    return "ABCDEFGHIJ"[index]


def a_workbook(rows: list[list[str | int | float]], *, extra: str = "", first_row: int = 1) -> bytes:
    """A workbook as small programs write them."""
    cells = []
    for number, row in enumerate(rows, start=first_row):
        written = []
        for index, value in enumerate(row):
            place = f'r="{column_letter(index)}{number}"'
            if isinstance(value, str):
                written.append(f'<c {place} t="inlineStr"><is><t>{value}</t></is></c>')
            else:
                written.append(f"<c {place}><v>{value}</v></c>")
        cells.append(f'<row r="{number}">{"".join(written)}</row>')
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kinds = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="rels" ContentType='
        '"application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" '
        f'ContentType="{kinds}.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" '
        f'ContentType="{kinds}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r" '
        f'Type="{relations}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{relations}"><sheets><sheet name="People" sheetId="1" '
        'r:id="r"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r" '
        f'Type="{relations}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{"".join(cells)}{extra}</sheetData>'
        "</worksheet>",
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return made.getvalue()


def test_a_workbook_is_unpacked_by_a_worker(app: Flask, owner_client: FlaskClient, run_jobs: RunJobs) -> None:
    formula = '<row r="4"><c r="A4" t="str"><f>"c"&amp;"@example.test"</f><v>c@example.test</v></c></row>'
    rows: list[list[str | int | float]] = [["почта", "имя", "год рождения"], ["a@example.test", "Анна", 1985]]
    page = upload(owner_client, a_workbook(rows, extra=formula), "люди.xlsx")
    assert "every 1s" in owner_client.get(page).text
    run_jobs()
    text = owner_client.get(page).text
    assert "Анна" in text
    data = {"encoding": "utf-8", "delimiter": ",", "header": "1"}
    data |= {"column-0": "email", "column-1": "first_name", "column-2": "birth_year"}
    assert owner_client.post(f"{page}/start", data=data).status_code == 303
    run_jobs()
    with app.app_context():
        clients = db.session.scalars(select(Client).order_by(Client.id)).all()
        assert [(client.email, client.first_name, client.birth_year) for client in clients] == [
            ("a@example.test", "Анна", 1985),
            ("c@example.test", "", None),
        ]


def test_bad_rows_of_a_workbook_have_the_numbers_that_the_spreadsheet_shows(
    app: Flask, owner_client: FlaskClient, run_jobs: RunJobs
) -> None:
    page = upload(owner_client, a_workbook([["email"], ["nobody"]], first_row=4), "book.xlsx")
    run_jobs()
    owner_client.post(f"{page}/start", data={"encoding": "utf-8", "delimiter": ",", "header": "1", "column-0": "email"})
    run_jobs()
    with app.app_context():
        made = db.session.scalars(select(Import)).one()
        assert [row.number for row in db.session.scalars(imports.bad_rows(made))] == [5]


BOMB = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04 this is no workbook",
        b"\xd0\xcf\x11\xe0 neither is this",
        a_workbook([["email"], ["a@example.test"]])[:-100],
        a_workbook([["email"]], extra=BOMB),  # two cells, and room for 17 billion
        a_workbook([]),
    ],
    ids=["zip", "old", "cut", "bomb", "empty"],
)
def test_a_workbook_that_can_not_be_read_says_so(
    app: Flask, owner_client: FlaskClient, run_jobs: RunJobs, content: bytes
) -> None:
    page = upload(owner_client, content, "book.xlsx")
    run_jobs()
    assert "be read" in owner_client.get(page).text
    with app.app_context():
        assert db.session.scalar(select(Import.status)) is ImportStatus.FAILED


# ── Out ──


def test_an_export_is_what_the_list_shows(
    app: Flask, owner: User, stranger: User, owner_client: FlaskClient, run_jobs: RunJobs
) -> None:
    with app.app_context():
        anna = make.client(
            owner,
            "anna@example.test",
            first_name="Анна",
            last_name="=SUM(1)",
            birth_year=1985,
            comment="one,\ntwo",
            attributes={"city": "Tver", "phone": "+7"},
        )
        service.set_tags(owner.id, anna, ["new", "VIP"])
        make.client(owner, "boris@example.test", attributes={"city": "Omsk"})
        make.client(stranger, "other@example.test")
        db.session.commit()
    answer = owner_client.get("/clients/export.csv")
    assert answer.mimetype == "text/csv"
    assert ".csv" in answer.headers["Content-Disposition"]
    heading, first, second = list(csv.reader(io.StringIO(answer.data.decode("utf-8-sig"), newline="")))
    assert heading == [
        "E-mail",
        "Last name",
        "First name",
        "Patronymic",
        "Birth year",
        "Tags",
        "Comment",
        "Status",
        "Added",
        "city",
        "phone",
    ]
    assert first[:8] == ["anna@example.test", "'=SUM(1)", "Анна", "", "1985", "VIP, new", "one,\ntwo", "active"]
    assert first[9:] == ["Tver", "'+7"]
    assert (second[0], second[9:]) == ("boris@example.test", ["Omsk", ""])
    assert len(owner_client.get("/clients/export.csv?q=boris").text.splitlines()) == 2
    assert len(owner_client.get("/clients/export.csv?tag=VIP").text.splitlines()) == 3  # a comment has two lines
    assert len(owner_client.get("/clients/export.csv?status=bounced").text.splitlines()) == 1


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_what_was_exported_can_be_imported_and_is_the_same(
    app: Flask, owner_client: FlaskClient, stranger_client: FlaskClient, run_jobs: RunJobs, ending: str
) -> None:
    with app.app_context():
        owner = db.session.scalars(select(User).where(User.email == "owner@golub.test")).one()
        owner_id = owner.id
        make.client(owner, "+tag@example.test", first_name="=1+1", last_name="Пётр <&>", comment="a\nb")
        make.client(owner, "жук@пример.рф", attributes={"city": "Tver"}, birth_year=1985)
        db.session.commit()
    file = owner_client.get(f"/clients/export.{ending}").data
    page = upload(stranger_client, file, f"clients.{ending}")
    run_jobs()
    used = ["email", "last_name", "first_name", "patronymic", "birth_year", "tags", "comment", "", "", "attribute:"]
    text = stranger_client.get(page).text
    for column in used[:7]:
        assert f'<option value="{column}" selected>' in text
    data = {"encoding": "utf-8", "delimiter": ",", "header": "1", "name-9": "city"}
    data |= {f"column-{number}": column for number, column in enumerate(used)}
    assert stranger_client.post(f"{page}/start", data=data).status_code == 303
    run_jobs()
    with app.app_context():
        columns = (
            Client.email,
            Client.last_name,
            Client.first_name,
            Client.birth_year,
            Client.comment,
            Client.attributes,
        )
        mine, theirs = (
            db.session.execute(select(*columns).where(condition).order_by(Client.email_key)).all()
            for condition in (Client.owner_id == owner_id, Client.owner_id != owner_id)
        )
        assert mine == theirs
        assert len(mine) == 2


def test_an_empty_address_book_is_exported_too(owner_client: FlaskClient) -> None:
    assert len(owner_client.get("/clients/export.csv").text.splitlines()) == 1
    assert zipfile.ZipFile(io.BytesIO(owner_client.get("/clients/export.xlsx").data)).testzip() is None
