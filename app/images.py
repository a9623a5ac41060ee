"""Pictures that people upload: opened with care, and made anew, so that nothing of the file that came is kept."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO

from flask_babel import gettext as _
from PIL import Image, UnidentifiedImageError

from app.errors import RuleBroken

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")  # by their content, whatever the name says; no SVG: that is a program


class BadPicture(RuleBroken):
    """The file is no picture that we take; says why."""


@contextmanager
def opened(file: IO[bytes], *, most_bytes: int, most_pixels: int, longest_side: int) -> Iterator[Image.Image]:
    """The picture in `file`, not unpacked yet: what fails while the caller unpacks it is a BadPicture, too.

    Raises:
        BadPicture: when it is larger than that (bytes; pixels; pixels of one side), or no picture in our FORMATS.
    """
    data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise BadPicture(_("The picture is larger than %(most)s MB.", most=most_bytes // 2**20))
    too_large = BadPicture(_("The picture has more than %(most)s million pixels.", most=most_pixels // 10**6))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is the lower one
            with Image.open(BytesIO(data), formats=FORMATS) as picture:
                # Known from the header, before anything is unpacked.
                if picture.width * picture.height > most_pixels or max(picture.size) > longest_side:
                    raise too_large
                yield picture
    except Image.DecompressionBombError:
        raise too_large from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise BadPicture(_("This is no picture that we can read. Take a JPEG, PNG, WebP or GIF.")) from None
