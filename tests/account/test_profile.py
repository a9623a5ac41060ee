"""Name, telephone, country, zone, language, and the picture."""

import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image
from sqlalchemy import select

from app.account import pictures
from app.auth.models import Avatar, User
from app.extensions import db

FORM = {"name": "Vera", "phone": "+7 912 345-67-89", "country": "RU", "timezone": "Europe/Moscow", "locale": "ru"}
HTMX = {"HX-Request": "true"}


def user(app, person):
    with app.app_context():
        return db.session.get(User, person.id)


def picture(kind="PNG", size=(400, 300), color="red", **options):
    out = BytesIO()
    Image.new("RGB", size, color).save(out, kind, **options)
    return out.getvalue()


def upload(client, data, name="me.png"):
    return client.post("/account/avatar", data={"picture": (BytesIO(data), name)})


@pytest.mark.parametrize("person", ["owner", "manager", "editor", "admin"])
def test_everybody_has_a_profile(app, request, person):
    client = request.getfixturevalue(f"{person}_client")
    assert client.post("/account/", data=FORM).location == "/account/"
    saved = user(app, request.getfixturevalue(person))
    assert {key: getattr(saved, key) for key in FORM} == FORM
    assert "Профиль" in client.get("/account/").text


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "x" * 151}, "name"),
        ({"phone": "call me"}, "phone"),
        ({"phone": "1" * 31}, "phone"),
        ({"country": "XX"}, "country"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"locale": "tlh"}, "locale"),
    ],
)
@pytest.mark.parametrize("headers", [{}, HTMX])
def test_bad_input_is_said_at_its_field(app, owner, owner_client, wrong, *, field, headers):
    answer = owner_client.post("/account/", data=FORM | wrong, headers=headers)
    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text
    assert ("<html" in answer.text) is not bool(headers)
    assert user(app, owner).name == ""


def test_a_name_is_one_line_of_text(app, owner, owner_client):
    owner_client.post("/account/", data=FORM | {"name": "Vera\r\nBcc: x\0 <script>alert(1)</script>", "locale": "en"})
    assert user(app, owner).name == "Vera Bcc: x <script>alert(1)</script>"
    page = owner_client.get("/overview").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_nobody_makes_themself_an_administrator(app, owner, owner_client):
    owner_client.post("/account/", data=FORM | {"role": "admin", "verified_at": "", "email": "x@example.test"})
    assert (user(app, owner).role, user(app, owner).email) == (owner.role, owner.email)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_picture_is_made_anew(app, owner, owner_client, kind):
    assert upload(owner_client, picture(kind)).status_code == 303
    page = owner_client.get("/account/").text
    path = f"/account/avatar/{owner.id}?v={user(app, owner).avatar_version}"
    assert path in page
    answer = owner_client.get(path)
    assert answer.mimetype == "image/webp"
    assert "private" in answer.headers["Cache-Control"]
    with Image.open(BytesIO(answer.data)) as shown:
        assert (shown.format, shown.size) == ("WEBP", (pictures.SIDE, pictures.SIDE))


def test_of_the_file_nothing_is_kept_but_its_looks(app, owner_client):
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    exif[0x0112] = 6  # turned by 90 degrees
    data = picture("JPEG", exif=exif) + b"<script>alert(1)</script>"
    assert b"taken at home" in data
    upload(owner_client, data)
    with app.app_context():
        kept = db.session.scalar(select(Avatar.image))
    assert b"taken at home" not in kept
    assert b"script" not in kept
    assert not Image.open(BytesIO(kept)).getexif()


@pytest.mark.parametrize("size", [(1, 10_001), (10_001, 1), (5001, 5001)])
def test_a_small_file_may_not_claim_much_memory(owner_client, size):
    answer = upload(owner_client, picture(size=size, kind="PNG"))
    assert answer.status_code == 422
    assert "25 million" in answer.text


def bomb():
    """A PNG of a few bytes that claims 60,000 × 60,000 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no picture"),
        (b"no picture at all", "no picture"),
        (SVG, "no picture"),
        (b"%PDF-1.7", "no picture"),
        (picture()[:60], "no picture"),
        (picture("TIFF"), "no picture"),
        (bomb(), "25 million"),
    ],
    ids=["empty", "text", "svg", "pdf", "half", "tiff", "bomb"],
)
def test_what_is_no_picture_is_refused(app, owner_client, data, why):
    answer = upload(owner_client, data)
    assert answer.status_code == 422
    assert why in answer.text
    with app.app_context():
        assert db.session.scalar(select(Avatar)) is None


def test_no_file_is_said_too(owner_client):
    assert "Choose a picture first." in owner_client.post("/account/avatar", data={}).text


def test_a_picture_of_too_many_bytes_is_refused(owner_client, monkeypatch):
    assert pictures.MOST_BYTES == 5 * 1024 * 1024
    monkeypatch.setattr(pictures, "MOST_BYTES", 1000)
    assert "larger than 0 MB" in upload(owner_client, picture() + b"x" * 1000).text


def test_more_than_any_request_may_have_is_413(app, owner_client, monkeypatch):
    assert app.config["MAX_CONTENT_LENGTH"] == 16 * 1024 * 1024
    monkeypatch.setitem(app.config, "MAX_CONTENT_LENGTH", 1000)
    for path in ("/account/avatar", "/messages/new"):
        assert owner_client.post(path, data={"picture": (BytesIO(b"x" * 2000), "me.png")}).status_code == 413


def test_a_picture_can_be_replaced_and_taken_away(app, owner, owner_client):
    upload(owner_client, picture())
    first = user(app, owner).avatar_version
    upload(owner_client, picture(color="blue"))
    assert user(app, owner).avatar_version not in ("", first)
    assert owner_client.post("/account/avatar/delete").status_code == 303
    assert user(app, owner).avatar_version == ""
    assert owner_client.get(f"/account/avatar/{owner.id}").status_code == 404


def test_a_picture_is_seen_by_its_owner_and_the_staff(owner, owner_client, stranger_client, manager_client, client):
    upload(owner_client, picture())
    path = f"/account/avatar/{owner.id}"
    statuses = [browser.get(path).status_code for browser in (owner_client, manager_client, stranger_client, client)]
    assert statuses == [200, 200, 404, 302]
