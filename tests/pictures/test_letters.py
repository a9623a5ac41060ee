"""Pictures of letters: what is kept, who may have it, how much of it, and for how long."""

from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import func, select

from app import clock
from app.auth.models import User
from app.blog.models import Post
from app.extensions import db
from app.images import BadPicture
from app.messages import service as messages
from app.messages.service import MessageData
from app.pictures import service
from app.pictures.drawing import make_for_letter
from app.pictures.models import Picture, PictureFormat, PictureSize
from app.pictures.service import path_in_letter
from tests import make

ROOM = 500  # MB


@pytest.fixture
def author(context: None) -> User:
    user: User = make.user("author@golub.test")
    return user


def noise(width: int = 300, height: int = 200) -> BytesIO:
    """What a photograph is to an encoder."""
    out = BytesIO()
    Image.effect_noise((width, height), 80).convert("RGB").save(out, "PNG")
    return BytesIO(out.getvalue())


def drawn(mode: str, color: Any, size: tuple[int, int] = (300, 200)) -> BytesIO:
    out = BytesIO()
    Image.new(mode, size, color).save(out, "PNG")
    return BytesIO(out.getvalue())


def kept(author: User, file: BytesIO | None = None, room: int = ROOM) -> Picture:
    return service.add_to_letters(author, file or make.picture_file(), "A  dove\0 ", room)


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (noise(), PictureFormat.JPEG),
        (drawn("RGB", (255, 0, 0)), PictureFormat.PNG),
        (drawn("RGBA", (255, 0, 0, 40)), PictureFormat.PNG),
    ],
)
def test_it_becomes_what_every_mail_program_shows(file: BytesIO, expected: PictureFormat) -> None:
    made = make_for_letter(file)
    assert made.format == expected
    [(width, image)] = made.images.items()
    picture = Image.open(BytesIO(image))
    assert (width, picture.width) == (300, 300)
    assert picture.format == {"jpg": "JPEG", "png": "PNG"}[expected]


@pytest.mark.one_database
def test_what_is_transparent_stays_so() -> None:
    [image] = make_for_letter(drawn("RGBA", (255, 0, 0, 40))).images.values()
    assert Image.open(BytesIO(image)).getpixel((1, 1)) == (255, 0, 0, 40)


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("size", "expected"), [((4000, 2000), (1200, 600)), ((1200, 900), (1200, 900)), ((1000, 8000), (500, 4000))]
)
def test_it_is_no_larger_than_letters_need(size: tuple[int, int], expected: tuple[int, int]) -> None:
    made = make_for_letter(make.picture_file(*size))
    assert (made.width, made.height) == expected


@pytest.mark.one_database
@pytest.mark.parametrize("content", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.4", b"GIF89a"])
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(BadPicture):
        make_for_letter(BytesIO(content))


def test_everybody_may_have_it_and_keep_it_for_ever(app: Flask, client: FlaskClient, owner: User) -> None:
    with app.app_context():
        path = path_in_letter(kept(db.session.get_one(User, owner.id)))
        db.session.commit()
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.mimetype == {"jpg": "image/jpeg", "png": "image/png"}[path.rpartition(".")[2]]
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Set-Cookie" not in answer.headers
    assert client.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    other = path.replace(".jpg", ".png") if path.endswith("jpg") else path.replace(".png", ".jpg")
    for wrong in (other, path[:-4], path.replace(".", "x."), "/pictures/%00.png", f"/blog{path[:-4]}/600.webp"):
        assert client.get(wrong).status_code == 404


def test_there_is_room_for_so_much_and_no_more(author: User, monkeypatch: pytest.MonkeyPatch) -> None:
    first = kept(author)
    assert first.weight == db.session.scalar(select(func.length(PictureSize.image)))
    assert first.alt == "A dove"
    first.weight = 2**20 - 100
    db.session.flush()
    with pytest.raises(BadPicture, match="1 MB"):
        kept(author, noise(), room=1)
    kept(make.user("other@golub.test"), noise(), room=1)
    kept(author, noise(), room=2)


def test_articles_and_letters_share_the_room(author: User) -> None:
    article = service.add_to_articles(author, make.picture_file(), "", 1)
    assert article.weight > 0
    article.weight = 2**20
    db.session.flush()
    with pytest.raises(BadPicture):
        kept(author, room=1)


def test_what_no_message_was_kept_with_goes_after_a_day(author: User) -> None:
    old, used, article = kept(author), kept(author), service.add_to_articles(author, make.picture_file(), "", ROOM)
    fresh = kept(author)
    html = f'<p>Look: <img src="http://golub.test{path_in_letter(used)}" alt="x"></p>'
    message = messages.create(author, MessageData("With a picture", html))
    assert path_in_letter(used) in message.html
    for picture in (old, used, article):
        picture.created_at = clock.now() - timedelta(hours=25)
    # What is in no message any more may still be in a letter.
    messages.edit(message, MessageData("Without", "<p>Nothing</p>"))
    db.session.flush()
    kept(author)
    left = set(db.session.scalars(select(Picture.id)))
    assert old.id not in left
    assert {used.id, article.id, fresh.id} < left


def test_with_an_erased_account_go_those_that_nobody_elses_letter_shows(author: User) -> None:
    mine, shared = kept(author), kept(author)
    other = make.user("other@golub.test")
    messages.create(other, MessageData("Copied", f'<p>x<img src="http://golub.test{path_in_letter(shared)}"></p>'))
    foreign = kept(other)
    service.forget_those_of(author.id, messages.picture_keys())
    left = set(db.session.scalars(select(Picture.id)))
    assert left == {shared.id, foreign.id}
    assert mine.id not in left


class TestUploading:
    def upload(self, client: FlaskClient, file: BytesIO | None = None, **headers: str) -> Any:
        data = {"picture": (file or make.picture_file(900, 450), "dove.jpg"), "alt": 'A "dove"'}
        return client.post("/messages/pictures", data=data, headers=headers)

    def test_the_editor_gets_a_whole_address_and_half_the_width(self, owner_client: FlaskClient) -> None:
        answer = self.upload(owner_client, Accept="application/json")
        assert answer.status_code == 201
        assert answer.json["src"].startswith("http://golub.test/pictures/")
        assert (answer.json["width"], answer.json["alt"]) == (600, 'A "dove"')

    def test_it_hears_what_is_wrong(self, owner_client: FlaskClient) -> None:
        answer = self.upload(owner_client, BytesIO(b"no picture"), Accept="application/json")
        assert answer.status_code == 422
        assert "no picture that we can read" in answer.json["error"]
        nothing = owner_client.post("/messages/pictures", data={}, headers={"Accept": "application/json"})
        assert nothing.json == {"error": "Choose a picture first."}

    def test_without_a_script_it_is_a_page_with_what_to_copy(
        self, owner_client: FlaskClient, stranger_client: FlaskClient
    ) -> None:
        assert self.upload(owner_client).status_code == 303
        page = owner_client.get("/messages/pictures").text
        assert "&lt;img src=&#34;http://golub.test/pictures/" in page
        assert "alt=&#34;A &amp;quot;dove&amp;quot;&#34;" in page
        assert "http://golub.test/pictures/" not in stranger_client.get("/messages/pictures").text
        assert self.upload(owner_client, BytesIO(b"x")).status_code == 422

    def test_the_blog_shows_none_of_it(self, app: Flask, owner_client: FlaskClient, editor_client: FlaskClient) -> None:
        self.upload(owner_client)
        assert "No pictures yet" in editor_client.get("/blog/manage/pictures").text
        with app.app_context():
            number = db.session.scalar(select(Picture.id))
        data = {"title": "T", "html": "<p>x</p>", "cover_id": str(number), "locale": "en"}
        editor_client.post("/blog/manage/new", data=data)
        with app.app_context():
            assert db.session.scalars(select(Post.cover_id)).one() is None


def test_a_content_manager_has_the_same_room(app: Flask, editor_client: FlaskClient, monkeypatch: Any) -> None:
    settings = app.config["SETTINGS"]
    monkeypatch.setitem(app.config, "SETTINGS", settings.model_copy(update={"pictures_max_mb": 0}))
    data = {"picture": (make.picture_file(), "dove.jpg")}
    answer = editor_client.post("/blog/manage/pictures", data=data, headers={"Accept": "application/json"})
    assert answer.status_code == 422
    assert "fill all" in answer.json["error"]
