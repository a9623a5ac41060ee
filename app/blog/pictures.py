"""Where the pictures of articles are, in the sizes that screens ask for."""

from app.pictures.drawing import widths_of
from app.pictures.models import Picture

SHOWN = 960  # pixels, what is offered to browsers that know nothing of srcset


def path_of(picture: Picture, width: int | None = None) -> str:
    """The address of its size in `width` pixels, which is one of `widths_of`; None is the largest."""
    return f"/blog/pictures/{picture.key}/{width or picture.width}.webp"


def shown_path_of(picture: Picture) -> str:
    """The address for whoever takes one size only."""
    return path_of(picture, next((width for width in widths_of(picture.width) if width >= SHOWN), None))


def srcset(key: str, widest: int) -> str:
    """The sizes of the picture with this key, whose largest is `widest` pixels wide."""
    return ", ".join(f"/blog/pictures/{key}/{width}.webp {width}w" for width in widths_of(widest))
