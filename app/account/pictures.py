"""Pictures that people upload, made anew: nothing of the file that came is kept."""

import warnings
from io import BytesIO
from typing import IO

from flask_babel import gettext as _
from PIL import Image, ImageOps, UnidentifiedImageError

from app.errors import RuleBroken

SIDE = 256  # pixels of a square avatar: 128 on a display of double density
QUALITY = 85
MOST_BYTES = 5 * 1024 * 1024
MOST_PIXELS = 25_000_000  # a telephone's camera, and 100 MB of memory; a bomb of a few kilobytes claims far more
LONGEST_SIDE = 10_000  # pixels
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")  # no SVG: that is a program


class BadPicture(RuleBroken):
    """The file is no picture that we take; says why."""


def avatar_of(file: IO[bytes]) -> bytes:
    """A square WebP of SIDE × SIDE pixels from the middle of the picture, without its metadata.

    Raises:
        BadPicture
    """
    data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise BadPicture(_("The picture is larger than 5 MB."))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is the lower one
            return _square(data)
    except Image.DecompressionBombError:
        raise _too_large() from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise BadPicture(_("This is no picture that we can read. Take a JPEG, PNG, WebP or GIF.")) from None


def _too_large() -> BadPicture:
    return BadPicture(_("The picture has more than %(most)s million pixels.", most=MOST_PIXELS // 10**6))


def _square(data: bytes) -> bytes:
    with Image.open(BytesIO(data), formats=FORMATS) as picture:
        # Known from the header, before anything is unpacked.
        if picture.width * picture.height > MOST_PIXELS or max(picture.size) > LONGEST_SIDE:
            raise _too_large()
        picture.draft("RGB", (SIDE * 2, SIDE * 2))  # a JPEG may be unpacked smaller at once
        picture.thumbnail((SIDE * 4, SIDE * 4))  # before anything makes a second copy of all its pixels
        turned = ImageOps.exif_transpose(picture)
        flat = Image.new("RGB", turned.size, "white")
        shown = turned.convert("RGBA")
        flat.paste(shown, mask=shown)
        out = BytesIO()
        ImageOps.fit(flat, (SIDE, SIDE)).save(out, "WEBP", quality=QUALITY)
        return out.getvalue()
