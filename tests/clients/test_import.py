"""What files become, on their way through the engine: portions, known clients, encodings, bad rows, kills."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text

from app.auth.models import User
from app.clients import columns, imports, jobs, queries, service
from app.clients.columns import RowReader
from app.clients.imports import UnusableFile
from app.clients.models import BadRow, Client, ClientStatus, Import, ImportPiece, ImportStatus, KnownClients, Tag
from app.errors import NotFound, RuleBroken
from app.extensions import db
from app.queue import enqueue
from tests import make

pytestmark = pytest.mark.usefixtures("context")
SKIP, UPDATE, FILL = KnownClients.SKIP, KnownClients.UPDATE, KnownClients.FILL


def upload(owner: User, content: str | bytes, encoding: str = "utf-8") -> Import:
    data = content.encode(encoding) if isinstance(content, str) else content
    made = imports.create(owner, io.BytesIO(data), "clients.csv", "en")
    db.session.commit()
    return made


def bring(owner: User, content: str | bytes, encoding: str = "utf-8", known: KnownClients = SKIP) -> Import:
    """Upload, and take all of it in."""
    made = upload(owner, content, encoding)
    imports.start_as_guessed(made, known)
    return take_all(made)


def take_all(made: Import) -> Import:
    db.session.commit()
    jobs.take_rows(made.id, is_over=lambda: False)
    db.session.expire_all()
    return made


def take_portion(made: Import, reader: RowReader) -> bool:
    """One portion only, as far as the commit."""
    goes_on = imports.take(made.id, imports.read_portion(made, reader, 1000))
    db.session.commit()
    return goes_on


def counts(made: Import) -> tuple[int, int, int, int]:
    return made.added, made.updated, made.skipped, made.bad


def clients_of(owner: User) -> list[Client]:
    db.session.expire_all()
    return list(db.session.scalars(queries.owned_by(owner).order_by(Client.id)))


def bad_rows_of(made: Import) -> list[BadRow]:
    return list(db.session.scalars(imports.bad_rows(made)))


def tags_of(client: Client) -> list[str]:
    return sorted(tag.name for tag in client.tags)


ALL_COLUMNS = (
    "email,last_name,first_name,patronymic,birth_year,comment,tags\n"
    'Anna@Example.test,Petrova,Anna,Ivanovna,1985,"Likes tea,\nand cakes","VIP, new"\n'
    "boris@example.test,,Boris,,,,vip\n"
)


def test_all_columns_are_read(owner: User) -> None:
    assert counts(bring(owner, ALL_COLUMNS)) == (2, 0, 0, 0)
    anna, boris = clients_of(owner)
    assert (anna.email, anna.email_key, anna.full_name) == (
        "Anna@example.test",
        "anna@example.test",
        "Petrova Anna Ivanovna",
    )
    assert (anna.birth_year, anna.comment) == (1985, "Likes tea,\nand cakes")
    assert tags_of(anna) == ["VIP", "new"]
    assert tags_of(boris) == ["VIP"]
    assert (boris.status, boris.attributes, boris.birth_year) == ("active", {}, None)


# ── How files are written ──


RUSSIAN = (
    "Фамилия{0}Имя{0}Отчество{0}E-mail{0}Год рождения{0}Комментарий{0}Теги{0}Город\n"
    'Иванов{0}Пётр{0}Ильич{0}petr@почта.рф{0}1970{0}"да, он"{0}опт{0}Тверь\n'
)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "windows-1251", "koi8-r", "utf-16", "utf-16-le", "utf-16-be"]
)
def test_russian_files_are_read_whatever_their_delimiter_and_encoding(
    owner: User, delimiter: str, encoding: str
) -> None:
    assert counts(bring(owner, RUSSIAN.format(delimiter), encoding)) == (1, 0, 0, 0)
    [client] = clients_of(owner)
    assert (client.full_name, client.email, client.birth_year, client.comment) == (
        "Иванов Пётр Ильич",
        "petr@почта.рф",
        1970,
        "да, он",
    )
    assert tags_of(client) == ["опт"]


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("E-Mail;Vorname;last name\nj@example.test;Jürgen;Müller\n", "latin-1", "cp1252"),
        ("email;name\na@example.test;André\n", "latin-1", "cp1252"),
        ("email;name\na@example.test;ИВАНОВ ПЁТР\n", "windows-1251", "cp1251"),
        ("email;name\na@example.test;ИВАНОВ ПЁТР\n", "koi8-r", "koi8-r"),
        ("email;name\na@example.test;Éléonore Muñoz\n", "cp1252", "cp1252"),
        ("email;имя\n" + "a@example.test;Anna\n" * 30_000 + "b@example.test;Борис\n", "windows-1251", "cp1251"),
        ("email;name\n" + "a@example.test;Anna\n" * 30_000 + "b@example.test;Борис;Тверь\n", "koi8-r", "koi8-r"),
        ("email;name\n" + "a@example.test;Anna\n" * 30_000 + "b@example.test;Борис\n", "utf-8", "utf-8"),
    ],
)
def test_the_encoding_is_found_out_wherever_its_letters_stand(
    owner: User, text: str, encoding: str, expected: str
) -> None:
    assert upload(owner, text, encoding).encoding == expected


@pytest.mark.parametrize("header", ["почта", "Электронная почта", "EMAIL", " e-mail ", '"E-mail"', "Email address"])
def test_a_file_of_addresses_alone_is_enough(owner: User, header: str) -> None:
    assert bring(owner, f"{header}\r\na@example.test\r\nb@example.test").added == 2


def test_a_file_without_headings_is_read_from_its_first_row(owner: User) -> None:
    made = bring(owner, "Anna;a@example.test\nBoris;b@example.test\n")
    assert (made.added, made.has_header, made.columns) == (2, False, ["", "email"])


def test_the_line_that_tells_excel_the_separator_is_no_row(owner: User) -> None:
    assert bring(owner, "sep=;\r\nemail;first name\r\na@example.test;Anna, the first\r\n").added == 1
    assert clients_of(owner)[0].first_name == "Anna, the first"


def test_a_comma_in_a_text_does_not_pass_for_the_delimiter(owner: User) -> None:
    text = "email;comment\na@example.test;one, two, three\nb@example.test;four, five, six\n"
    assert bring(owner, text).added == 2
    assert clients_of(owner)[0].comment == "one, two, three"


@pytest.mark.parametrize(
    ("cell", "year"),
    [("1985", 1985), ("1985-02-03", 1985), ("03.02.1985", 1985), ("2/3/1985", 1985), ("1985-02-03 00:00:00", 1985)],
)
def test_a_birth_date_gives_its_year(owner: User, cell: str, year: int) -> None:
    bring(owner, f"email,дата рождения\na@example.test,{cell}\n")
    assert clients_of(owner)[0].birth_year == year


def test_names_in_one_column_are_taken_apart(owner: User) -> None:
    bring(owner, "почта;ФИО\na@example.test;Петрова  Анна Ивановна\nb@example.test;Ким\n")
    anna, kim = clients_of(owner)
    assert (anna.last_name, anna.first_name, anna.patronymic) == ("Петрова", "Анна", "Ивановна")
    assert (kim.last_name, kim.first_name) == ("Ким", "")


def test_columns_become_attributes_and_those_in_use_are_known_again(owner: User) -> None:
    make.client(owner, "first@example.test", attributes={"city": "Tver"})
    made = upload(owner, "email,City,Телефон\na@example.test,Moscow,\nb@example.test,,+7 900\n")
    seen = imports.preview(made)
    assert seen.columns == ["email", "attribute:city", ""]
    assert columns.attribute_name("Телефон") == "telefon"
    imports.start(made, seen, ["email", "attribute:city", "attribute:phone"], SKIP)
    assert take_all(made).added == 2
    assert [client.attributes for client in clients_of(owner)[1:]] == [{"city": "Moscow"}, {"phone": "+7 900"}]


@pytest.mark.parametrize(
    "used",
    [
        [],
        ["first_name"],
        ["email", "email"],
        ["email", "no such"],
        ["email", "attribute:"],
        ["email", "attribute:город"],
        ["email", "full_name", "first_name"],
        ["email", "attribute:a", "attribute:a"],
        ["email", *(f"attribute:a{n}" for n in range(31))],
    ],
)
def test_columns_that_make_no_sense_are_refused(owner: User, used: list[str]) -> None:
    with pytest.raises(columns.BadColumns):
        columns.check(used)


# ── Bad rows and bad files ──


@pytest.mark.parametrize("text", ["name,phone\nAnna,123\n", "\n\n", "\0\0"])
def test_a_file_without_a_column_of_addresses_is_refused_as_a_whole(owner: User, text: str) -> None:
    with pytest.raises(UnusableFile, match="email"):
        bring(owner, text)
    assert not clients_of(owner)


def test_an_empty_file_is_refused(owner: User) -> None:
    with pytest.raises(UnusableFile):
        upload(owner, "")
    with pytest.raises(UnusableFile):
        upload(owner, b"\xef\xbb\xbf")


def test_bad_rows_are_told_by_number_and_reason_and_stop_nothing(owner: User) -> None:
    made = bring(
        owner,
        "email,birth_year,comment\n"
        "good@example.test,1985,fine\n"
        "nobody,1985,\n"
        "\n"
        "late@example.test,3000,\n"
        ",,no address\n"
        "shifted@example.test,1985,one,two\n"
        'quoted@example.test,1985,"a"b\n'
        "nul@example.test,,a\0b\n"
        "short@example.test\n",
    )
    assert counts(made) == (2, 0, 0, 6)
    bad = bad_rows_of(made)
    assert [(row.number, row.email) for row in bad] == [
        (3, "nobody"),
        (5, "late@example.test"),
        (6, ""),
        (7, "shifted@example.test"),
        (8, ""),
        (9, "nul@example.test"),
    ]
    for row, word in zip(bad, ["usable", "1900", "Write an", "more values", "quotation", "control"], strict=True):
        assert word in row.reason


def test_reasons_are_in_the_language_of_whoever_asked(owner: User) -> None:
    made = imports.create(owner, io.BytesIO("почта\nникто\n".encode()), "клиенты.csv", "ru")
    imports.start_as_guessed(made, SKIP)
    [bad] = bad_rows_of(take_all(made))
    assert "адрес" in bad.reason


def test_a_quote_that_never_ends_swallows_nothing(owner: User) -> None:
    made = bring(owner, 'email,comment\na@example.test,x\nb@example.test,"oops\nc@example.test,y\n')
    assert counts(made) == (2, 0, 0, 1)
    assert [(row.number, row.reason) for row in bad_rows_of(made)] == [
        (3, "The quotation marks in this row don't match.")
    ]


def test_letters_that_could_not_be_decoded_are_told(owner: User) -> None:
    made = bring(owner, "email,имя\na@example.test,Анна\n".encode("windows-1251") + b"b@example.test,\x98\n")
    assert counts(made) == (1, 0, 0, 1)
    assert "could not be read" in bad_rows_of(made)[0].reason


def test_what_is_read_in_the_wrong_encoding_is_told_and_every_byte_is_counted(owner: User) -> None:
    made = upload(owner, "email,name\na@example.test,Анна\nb@example.test,Bob\n", "windows-1251")
    seen = imports.preview(made, imports.Layout("utf-8", ",", 0), True)
    imports.start(made, seen, ["email", "first_name"], SKIP)
    assert counts(take_all(made)) == (1, 0, 0, 1)
    assert made.position == made.size


def test_a_byte_that_belongs_to_no_letter_ends_a_file_too(owner: User) -> None:
    assert bring(owner, "email\na@example.test\n".encode("utf-16-le") + b"x").status is ImportStatus.DONE
    made = bring(owner, b"email\nb@example.test\n" + b"\xd0")
    assert made.status is ImportStatus.DONE
    assert made.added == 1


def test_a_binary_file_brings_nobody_and_ends(owner: User) -> None:
    made = upload(owner, bytes(range(256)) * 20_000)
    imports.start(made, imports.preview(made, imports.Layout("cp1252", ",", 0), False), ["email"], SKIP)
    assert take_all(made).is_finished
    assert not clients_of(owner)


def test_a_line_without_end_is_no_table(owner: User) -> None:
    made = upload(owner, "email\n" + "x" * (imports.PORTION_BYTES + 10) + "\nb@example.test\n" * 2)
    imports.start_as_guessed(made, SKIP)
    assert "no table" in take_all(made).fault


def test_apostrophes_against_formulas_are_taken_off_again(owner: User) -> None:
    bring(owner, "email,first name\n'+tag@example.test,'=1+1\no'neil@example.test,'tHooft\n")
    first, second = clients_of(owner)
    assert (first.email, first.first_name) == ("+tag@example.test", "=1+1")
    assert (second.email, second.first_name) == ("o'neil@example.test", "'tHooft")


def test_more_rows_than_allowed_are_not_taken(owner: User, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.config, "SETTINGS", app.config["SETTINGS"].model_copy(update={"import_max_rows": 7}))
    monkeypatch.setattr(imports, "PORTION_ROWS", 5)
    made = bring(owner, "email\n" + "".join(f"c{n}@example.test\n" for n in range(20)))
    assert (made.status, made.rows) == (ImportStatus.DONE, 7)
    assert "more than 7 rows" in made.fault


def test_too_many_tags_are_a_wrong_column(owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "MOST_TAGS_OF_OWNER", 10)
    made = bring(owner, "email,tags\n" + "".join(f"c{n}@example.test,t{n}\n" for n in range(20)))
    assert made.status is ImportStatus.FAILED
    assert "tags" in made.fault
    assert not clients_of(owner)


# ── Who is known already ──


KNOWN = "email,first_name,last_name,birth_year,tags\nANNA@example.test,New,,1990,x\nboris@example.test,First,,,y\n"


@pytest.fixture
def anna(owner: User) -> Client:
    client = make.client(
        owner, "anna@example.test", first_name="Old", last_name="Kept", status=ClientStatus.UNSUBSCRIBED
    )
    db.session.commit()
    return client


def test_who_is_there_already_is_skipped(owner: User, stranger: User, anna: Client) -> None:
    assert counts(bring(owner, KNOWN)) == (1, 0, 1, 0)
    anna, boris = clients_of(owner)
    assert (anna.first_name, anna.birth_year, anna.tags) == ("Old", None, [])
    assert (boris.first_name, tags_of(boris)) == ("First", ["y"])
    assert not clients_of(stranger)
    assert counts(bring(stranger, KNOWN)) == (2, 0, 0, 0)


def test_who_is_there_already_is_updated_but_not_by_empty_cells(owner: User, anna: Client) -> None:
    assert counts(bring(owner, KNOWN, known=UPDATE)) == (1, 1, 0, 0)
    anna, _boris = clients_of(owner)
    assert (anna.first_name, anna.last_name, anna.birth_year) == ("New", "Kept", 1990)
    assert tags_of(anna) == ["x"]
    assert anna.status is ClientStatus.UNSUBSCRIBED
    assert counts(bring(owner, KNOWN, known=UPDATE)) == (0, 0, 2, 0)


def test_gaps_are_filled(owner: User, anna: Client) -> None:
    assert counts(bring(owner, KNOWN, known=FILL)) == (1, 1, 0, 0)
    anna, _boris = clients_of(owner)
    assert (anna.first_name, anna.birth_year) == ("Old", 1990)
    assert anna.status is ClientStatus.UNSUBSCRIBED
    assert counts(bring(owner, KNOWN, known=FILL)) == (0, 0, 2, 0)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (SKIP, {"city": "Tver", "a": "1"}),
        (FILL, {"city": "Tver", "a": "1", "b": "2"}),
        (UPDATE, {"city": "Omsk", "a": "1", "b": "2"}),
    ],
)
def test_attributes_are_kept_filled_or_updated_one_by_one(
    owner: User, known: KnownClients, expected: dict[str, str]
) -> None:
    make.client(owner, "anna@example.test", attributes={"city": "Tver", "a": "1"})
    for _again in range(2):
        made = upload(owner, "email,city,b\nanna@example.test,Omsk,2\n")
        imports.start(made, imports.preview(made), ["email", "attribute:city", "attribute:b"], known)
        take_all(made)
    assert clients_of(owner)[0].attributes == expected
    assert made.updated == 0


@pytest.mark.parametrize("portion", [1, 2, 100])
@pytest.mark.parametrize("known", KnownClients)
def test_the_second_row_of_an_address_meets_a_known_client_wherever_portions_end(
    owner: User, monkeypatch: pytest.MonkeyPatch, known: KnownClients, portion: int
) -> None:
    monkeypatch.setattr(imports, "PORTION_ROWS", portion)
    text = (
        "email,first_name,birth_year,tags\nboris@example.test,First,,y\nBORIS@example.test,Second,1990,z\n"
        "boris@example.test,,,\n"
    )
    expected = {
        SKIP: ((1, 0, 2, 0), ("First", None, ["y"])),
        FILL: ((1, 1, 1, 0), ("First", 1990, ["y", "z"])),
        UPDATE: ((1, 1, 1, 0), ("Second", 1990, ["y", "z"])),
    }
    counted = counts(bring(owner, text, known=known))
    [boris] = clients_of(owner)
    assert (counted, (boris.first_name, boris.birth_year, tags_of(boris))) == expected[known]


def test_tags_for_all_go_to_those_who_are_taken(owner: User, anna: Client) -> None:
    for known, of_anna in ((SKIP, []), (UPDATE, ["autumn", "x"])):
        made = upload(owner, KNOWN)
        imports.start(made, imports.preview(made), imports.preview(made).columns, known, ["autumn"])
        take_all(made)
        anna, boris = clients_of(owner)
        assert tags_of(anna) == of_anna
        assert tags_of(boris) == ["autumn", "y"]


# ── Portions, kills, cancels ──


def rows(count: int) -> str:
    return "email,comment\n" + "".join(f'c{n}@example.test,"Заказ №{n},\nsecond line"\n' for n in range(count))


@pytest.mark.parametrize("encoding", ["utf-8", "windows-1251", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("size", [300, 301, 997])
def test_portions_may_end_within_letters_lines_and_rows(
    owner: User, monkeypatch: pytest.MonkeyPatch, encoding: str, size: int
) -> None:
    monkeypatch.setattr(imports, "PIECE_BYTES", 101)
    monkeypatch.setattr(imports, "PORTION_BYTES", size)
    text = rows(60).replace("№", "").replace("\n", "\r\n")
    made = bring(owner, text + "nobody,x", encoding)
    assert counts(made) == (60, 0, 0, 1)
    assert [client.comment for client in clients_of(owner)] == [f"Заказ {n},\nsecond line" for n in range(60)]
    assert bad_rows_of(made)[0].number == 62


@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_what_is_killed_goes_on_where_it_was(
    owner: User, monkeypatch: pytest.MonkeyPatch, run_jobs: Callable[[], None], moment: str
) -> None:
    monkeypatch.setattr(imports, "PORTION_ROWS", 10)
    made = upload(owner, rows(35))
    imports.start_as_guessed(made, SKIP)
    db.session.commit()
    reader = RowReader(made.columns)
    assert take_portion(made, reader)
    portion = imports.read_portion(made, reader, 1000)
    if moment != "before":
        assert imports.take(made.id, portion)
    if moment == "after":
        db.session.commit()
    db.session.rollback()  # the database's side of a kill
    before = db.session.scalar(select(func.count()).select_from(Client))
    assert before == (20 if moment == "after" else 10)
    assert made.rows == before

    monkeypatch.setattr(imports, "LOST_AFTER", -imports.LOST_AFTER)
    db.session.commit()
    jobs.tend_imports()
    run_jobs()
    db.session.expire_all()
    assert counts(made) == (35, 0, 0, 0)
    assert made.status is ImportStatus.DONE
    assert db.session.scalar(select(func.count()).select_from(ImportPiece)) == 0
    # A job that comes late finds nothing to do, and a portion that comes late is not taken.
    enqueue(jobs.run_import, made.id)
    run_jobs()
    assert imports.take(made.id, portion) is False
    assert len(clients_of(owner)) == 35


def test_a_slice_that_is_over_leaves_the_rest_to_the_next_one(owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "PORTION_ROWS", 10)
    made = upload(owner, rows(35))
    imports.start_as_guessed(made, SKIP)
    db.session.commit()
    for taken in (10, 20, 30):
        assert jobs.take_rows(made.id, is_over=lambda: True)
        db.session.expire_all()
        assert (made.rows, made.status) == (taken, ImportStatus.RUNNING)
    assert not jobs.take_rows(made.id, is_over=lambda: True)
    db.session.expire_all()
    assert (made.rows, made.status) == (35, ImportStatus.DONE)


def test_of_two_workers_with_one_portion_one_is_too_late(owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "PORTION_ROWS", 10)
    made = upload(owner, rows(35))
    imports.start_as_guessed(made, SKIP)
    db.session.commit()
    one, other = (imports.read_portion(made, RowReader(made.columns), 1000) for _ in range(2))
    assert imports.take(made.id, one)
    db.session.commit()
    assert not imports.take(made.id, other)
    db.session.commit()
    assert (made.added, made.skipped) == (10, 0)


def test_what_is_cancelled_takes_nothing_more_and_keeps_what_it_took(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "PORTION_ROWS", 10)
    made = upload(owner, rows(35))
    imports.start_as_guessed(made, SKIP)
    db.session.commit()
    reader = RowReader(made.columns)
    assert take_portion(made, reader)
    portion = imports.read_portion(made, reader, 1000)
    imports.cancel(made)
    db.session.commit()
    assert not imports.take(made.id, portion)
    db.session.commit()
    jobs.run_import(made.id)
    db.session.expire_all()
    assert (made.status, counts(made)) == (ImportStatus.CANCELLED, (10, 0, 0, 0))
    assert db.session.scalar(select(func.count()).select_from(ImportPiece)) == 0
    with pytest.raises(RuleBroken):
        imports.cancel(made)


def test_what_fails_for_a_reason_of_ours_is_given_up_in_the_end(owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    made = upload(owner, rows(3))
    imports.start_as_guessed(made, SKIP)
    db.session.commit()

    def break_down(*_arguments: Any) -> bool:
        raise OSError("no luck")

    monkeypatch.setattr(imports, "take", break_down)
    for _try in range(imports.MOST_FAILURES):
        assert made.status is ImportStatus.RUNNING
        with pytest.raises(OSError, match="no luck"):
            jobs.run_import(made.id)
        db.session.expire_all()
    assert made.status is ImportStatus.FAILED


def test_old_ones_are_forgotten_and_the_others_not(owner: User) -> None:
    never_begun, waiting, done, recent = (upload(owner, rows(2)) for _ in range(4))
    for made in (done, recent):
        imports.start_as_guessed(made, SKIP)
        take_all(made)
    never_begun.created_at -= imports.KEPT_UNSTARTED
    done.finished_at -= imports.KEPT_REPORTS
    db.session.commit()
    kept = [waiting.id, recent.id]
    jobs.tend_imports()
    assert sorted(db.session.scalars(select(Import.id))) == kept
    assert set(db.session.scalars(select(ImportPiece.import_id))) == {waiting.id}


def test_one_owner_has_only_a_few_open_at_once(owner: User) -> None:
    for _ in range(imports.MOST_OPEN):
        upload(owner, rows(1))
    with pytest.raises(RuleBroken, match="not finished"):
        upload(owner, rows(1))


def test_what_runs_is_not_discarded_and_others_find_nothing(owner: User, stranger: User) -> None:
    made = upload(owner, rows(1))
    with pytest.raises(NotFound):
        imports.get_import(stranger, made.id)
    imports.start_as_guessed(made, SKIP)
    with pytest.raises(RuleBroken):
        imports.discard(made)
    with pytest.raises(RuleBroken):
        imports.start_as_guessed(made, SKIP)
    take_all(made)
    imports.discard(made)
    assert db.session.scalar(select(func.count()).select_from(Import)) == 0
    assert len(clients_of(owner)) == 1


def test_a_big_file_is_taken_whole(owner: User) -> None:
    text = "".join(f"client{n}@example.test;Иванов;Пётр;{1950 + n % 50};tag{n % 7}\n" for n in range(50_000))
    assert counts(bring(owner, "почта;фамилия;имя;год рождения;теги\n" + text)) == (50_000, 0, 0, 0)
    assert db.session.scalar(select(func.count()).select_from(Client)) == 50_000
    assert db.session.scalar(select(func.count()).select_from(Tag)) == 7
    assert len(service.tags_named(owner.id, ["TAG1"])) == 1


# How many rows PostgreSQL reads for a file: a plan that compares all with all takes minutes. SQLite has no such plans.

ROWS = 20_000  # fewer than the clients of the many


@pytest.mark.parametrize("books", [100, 24_000])
def test_the_first_big_file_among_many_small_address_books(owner: User, books: int) -> None:
    if db.engine.dialect.name == "sqlite":
        return
    names = [f"somebody{number}@example.test" for number in range(books)]
    users = [{"email": name, "email_key": name, "role": owner.role, "password_hash": "-"} for name in names]
    ids = db.session.scalars(insert(User).returning(User.id), users).all()
    only = [{"owner_id": user_id, "email": name, "email_key": name} for user_id, name in zip(ids, names, strict=True)]
    db.session.execute(insert(Client), only)
    db.session.commit()
    count_clients()
    assert clients_read_for(owner, "client", ROWS) < 100 * ROWS


def test_a_first_big_file_after_a_small_one(owner: User) -> None:
    """PostgreSQL checks the tags' foreign keys by a plan that each connection makes once, and we keep connections."""
    if db.engine.dialect.name == "sqlite":
        return
    clients_read_for(owner, "few", 100)
    count_clients()
    clients_read_for(owner, "more", 10)
    assert clients_read_for(owner, "many", ROWS) < 100 * ROWS


def clients_read_for(owner: User, name: str, count: int) -> int:
    made = upload(owner, "email,tags\n" + "".join(f"{name}{number}@example.test,vip\n" for number in range(count)))
    imports.start_as_guessed(made, SKIP)
    db.session.commit()
    imports.take(made.id, imports.read_portion(made, RowReader(made.columns), 10**6))
    assert made.added == count
    statistics = text("SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'client'")
    seen: int = db.session.scalars(statistics).one()
    db.session.commit()
    return seen


def count_clients() -> None:
    """As autovacuum would, sooner or later."""
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE client"))
