"""Keeping pictures, within what each user has room for, and letting them go."""

import re
import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import IO

from flask_babel import gettext as _
from sqlalchemy import ColumnElement, delete, func, select, update

from app import clock
from app.auth.models import User
from app.extensions import db
from app.images import BadPicture
from app.pictures import drawing
from app.pictures.models import Picture, PictureFormat, PictureSize

LONGEST_ALT = 300  # characters
UNUSED_FOR = timedelta(days=1)  # from then on a picture that no message was kept with is thrown away
_ADDRESS_IN_LETTER = re.compile(r"/pictures/([0-9a-f]{32})\.(?:jpg|png)\b")


def add_to_articles(author: User, file: IO[bytes], alt: str, room_mb: int) -> Picture:
    """Keep a picture for articles, in the sizes that screens ask for.

    room_mb: how much all pictures of the author may take together, in MB.

    Raises:
        BadPicture: when the file is none that we take, or there is no room for it.
    """
    return _keep(author, drawing.make_sizes(file), alt, room_mb)


def add_to_letters(author: User, file: IO[bytes], alt: str, room_mb: int) -> Picture:
    """The same for letters, in a format that mail programs know.

    One that no message was kept with within UNUSED_FOR makes room for the next.
    """
    made = drawing.make_for_letter(file)
    is_left = (Picture.author_id == author.id, _is_of_letters(), Picture.used_at.is_(None))
    db.session.execute(delete(Picture).where(*is_left, Picture.created_at < clock.now() - UNUSED_FOR))
    return _keep(author, made, alt, room_mb)


def _keep(author: User, made: drawing.Made, alt: str, room_mb: int) -> Picture:
    # Two uploads at the same moment must not both take the last room.
    db.session.execute(select(User.id).where(User.id == author.id).with_for_update())
    weight = sum(map(len, made.images.values()))
    if weight_of(author) + weight > room_mb * 2**20:
        raise BadPicture(_("Your pictures fill all of the %(most)s MB that you have room for.", most=room_mb))
    picture = Picture(
        key=secrets.token_hex(16),
        author_id=author.id,
        format=made.format,
        alt=tidy_alt(alt),
        width=made.width,
        height=made.height,
        weight=weight,
    )
    picture.sizes = [PictureSize(width=width, image=image) for width, image in made.images.items()]
    db.session.add(picture)
    db.session.flush()
    return picture


def weight_of(author: User) -> int:
    """Bytes that all pictures of this author take."""
    total = select(func.coalesce(func.sum(Picture.weight), 0)).where(Picture.author_id == author.id)
    return int(db.session.scalars(total).one())


def tidy_alt(alt: str) -> str:
    """What a picture shows, on one line of at most LONGEST_ALT characters."""
    return " ".join(alt.replace("\0", "").split())[:LONGEST_ALT]


def path_in_letter(picture: Picture) -> str:
    """The address of a letter's picture on this host."""
    return f"/pictures/{picture.key}.{picture.format}"


def keys_in(html: str) -> set[str]:
    """The keys of all pictures of letters that `html` may show."""
    return set(_ADDRESS_IN_LETTER.findall(html))


def keep_those_in(html: str) -> None:
    """From now on the pictures that this letter shows stay: it may be sent, and be read for years."""
    if keys := keys_in(html):
        is_new = (Picture.key.in_(keys), Picture.used_at.is_(None))
        db.session.execute(update(Picture).where(*is_new).values(used_at=clock.now()))


def forget_those_of(user_id: int, still_shown: Iterable[str]) -> None:
    """When an account is erased: its pictures of letters, but for those whose keys others' letters show."""
    is_theirs = (Picture.author_id == user_id, _is_of_letters(), Picture.key.not_in(list(still_shown)))
    db.session.execute(delete(Picture).where(*is_theirs))


def _is_of_letters() -> ColumnElement[bool]:
    return Picture.format != PictureFormat.WEBP
