"""What files from spreadsheets become."""

import io
import time

import pytest
from sqlalchemy import func, select

from app.clients import queries
from app.clients.csv_import import BadRow, ImportReport, UnusableFile, import_csv
from app.clients.models import Client, Tag
from app.extensions import db
from tests import make

pytestmark = pytest.mark.usefixtures("context")


def bring(owner, text, encoding="utf-8"):
    return import_csv(owner, io.BytesIO(text.encode(encoding)))


def clients_of(owner):
    return db.session.scalars(queries.visible_to(owner).order_by(Client.id)).all()


ALL_COLUMNS = (
    "email,last_name,first_name,patronymic,birth_year,comment,tags\n"
    'Anna@Example.test,Petrova,Anna,Ivanovna,1985,"Likes tea,\nand cakes","VIP, new"\n'
    "boris@example.test,,Boris,,,,vip\n"
)


def test_all_columns_are_read(owner):
    assert bring(owner, ALL_COLUMNS) == ImportReport(added=2)
    anna, boris = clients_of(owner)
    assert (anna.email, anna.email_key, anna.full_name) == (
        "Anna@example.test",
        "anna@example.test",
        "Petrova Anna Ivanovna",
    )
    assert (anna.birth_year, anna.comment) == (1985, "Likes tea,\nand cakes")
    assert [tag.name for tag in anna.tags] == ["VIP", "new"]
    assert [tag.name for tag in boris.tags] == ["VIP"]
    assert (boris.status, boris.attributes, boris.birth_year) == ("active", {}, None)


RUSSIAN = (
    "Фамилия{0}Имя{0}Отчество{0}E-mail{0}Год рождения{0}Комментарий{0}Теги{0}Город\n"
    "Иванов{0}Пётр{0}Ильич{0}petr@почта.рф{0}1970{0}да, он{0}опт{0}Тверь\n"
)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "windows-1251", "utf-16"])
def test_russian_files_are_read_whatever_their_delimiter_and_encoding(owner, delimiter, encoding):
    text = RUSSIAN.replace("да, он", '"да, он"').format(delimiter)
    assert bring(owner, text, encoding) == ImportReport(added=1)
    (client,) = clients_of(owner)
    assert (client.full_name, client.email, client.birth_year, client.comment) == (
        "Иванов Пётр Ильич",
        "petr@почта.рф",
        1970,
        "да, он",
    )
    assert [tag.name for tag in client.tags] == ["опт"]


@pytest.mark.parametrize("header", ["почта", "Электронная почта", "EMAIL", " e-mail ", '"E-mail"', "Email address"])
def test_a_file_of_addresses_alone_is_enough(owner, header):
    assert bring(owner, f"{header}\r\na@example.test\r\nb@example.test").added == 2


def test_a_comma_in_a_text_does_not_pass_for_the_delimiter(owner):
    assert bring(owner, "email;comment\na@example.test;one, two, three\nb@example.test;four, five, six\n").added == 2
    assert clients_of(owner)[0].comment == "one, two, three"


@pytest.mark.parametrize("text", ["", "\n\n", "name,phone\nAnna,123\n", "a@example.test\nb@example.test\n", "\0\0"])
def test_a_file_without_a_column_of_addresses_is_refused_as_a_whole(owner, text):
    with pytest.raises(UnusableFile, match="email"):
        bring(owner, text)
    assert not clients_of(owner)


def test_bad_rows_are_told_by_number_and_reason_and_stop_nothing(owner):
    report = bring(
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
    assert report.added == 2
    assert [bad.number for bad in report.bad] == [3, 5, 6, 7, 8, 9]
    reasons = [bad.reason for bad in report.bad]
    for reason, word in zip(
        reasons, ["usable", "1900", "Write an", "more values", "quotation", "control"], strict=True
    ):
        assert word in reason


def test_a_quote_that_never_ends_swallows_nothing_in_silence(owner):
    report = bring(owner, 'email,comment\na@example.test,x\nb@example.test,"oops\nc@example.test,y\n')
    assert (report.added, report.bad) == (1, [BadRow(3, "The quotation marks in this row don't match.")])


def test_letters_that_could_not_be_decoded_are_told(owner):
    report = import_csv(
        owner, io.BytesIO("email,имя\na@example.test,Анна\n".encode("windows-1251") + b"b@example.test,\x98\n")
    )
    assert report.added == 1
    assert "could not be read" in report.bad[0].reason


def test_who_is_there_already_stays_as_they_are(owner, stranger):
    make.client(owner, "anna@example.test", first_name="Old")
    text = "email,first_name,tags\nANNA@example.test,New,x\nboris@example.test,First,y\nBORIS@example.test,Second,z\n"
    assert bring(owner, text) == ImportReport(added=1, skipped=2)
    anna, boris = clients_of(owner)
    assert (anna.first_name, anna.tags) == ("Old", [])
    assert (boris.first_name, [tag.name for tag in boris.tags]) == ("First", ["y"])
    assert not clients_of(stranger)
    assert bring(stranger, text) == ImportReport(added=2, skipped=1)


def test_it_does_not_commit_and_leaves_the_file_open(owner):
    stream = io.BytesIO(b"email\na@example.test\n")
    import_csv(owner, stream)
    assert not stream.closed
    db.session.rollback()
    assert not clients_of(owner)


def test_a_big_file_takes_seconds(owner):
    rows = "".join(f"client{n}@example.test;Иванов;Пётр;{1950 + n % 50};tag{n % 7}\n" for n in range(20_000))
    began = time.monotonic()
    report = bring(owner, "почта;фамилия;имя;год рождения;теги\n" + rows)
    assert time.monotonic() - began < 10
    assert report == ImportReport(added=20_000)
    assert db.session.scalar(select(func.count()).select_from(Client)) == 20_000
    assert db.session.scalar(select(func.count()).select_from(Tag)) == 7
