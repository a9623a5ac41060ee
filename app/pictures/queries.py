"""Reads of pictures."""

from sqlalchemy import Select, select

from app.auth.models import User
from app.pictures.models import Picture, PictureFormat, PictureSize


def of_articles() -> Select[Picture]:
    """The pictures that articles may show: they belong to the blog, whoever gave them."""
    return select(Picture).where(Picture.format == PictureFormat.WEBP)


def of_letters_by(user: User) -> Select[Picture]:
    """What the user has uploaded for their letters."""
    return select(Picture).where(Picture.author_id == user.id, Picture.format != PictureFormat.WEBP)


def image(key: str, picture_format: PictureFormat, width: int | None = None) -> Select[bytes]:
    """The bytes of the picture in that format, in the size of so many pixels; None is the only one that there is."""
    found = (
        select(PictureSize.image)
        .join(Picture, Picture.id == PictureSize.picture_id)
        .where(Picture.key == key.replace("\0", ""), Picture.format == picture_format)
    )
    return found if width is None else found.where(PictureSize.width == width)
