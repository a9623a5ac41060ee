"""The pictures of accounts."""

from io import BytesIO
from typing import IO

from PIL import Image, ImageOps

from app.images import opened

SIDE = 256  # pixels of a square avatar: 128 on a display of double density
QUALITY = 85
MOST_BYTES = 5 * 1024 * 1024
MOST_PIXELS = 25_000_000  # a telephone's camera, and 100 MB of memory; a bomb of a few kilobytes claims far more
LONGEST_SIDE = 10_000  # pixels


def avatar_of(file: IO[bytes]) -> bytes:
    """A square WebP of SIDE × SIDE pixels from the middle of the picture, without its metadata.

    Raises:
        BadPicture
    """
    with opened(file, most_bytes=MOST_BYTES, most_pixels=MOST_PIXELS, longest_side=LONGEST_SIDE) as picture:
        picture.draft("RGB", (SIDE * 2, SIDE * 2))  # a JPEG may be unpacked smaller at once
        picture.thumbnail((SIDE * 4, SIDE * 4))  # before anything makes a second copy of all its pixels
        turned = ImageOps.exif_transpose(picture)
        flat = Image.new("RGB", turned.size, "white")
        shown = turned.convert("RGBA")
        flat.paste(shown, mask=shown)
        out = BytesIO()
        ImageOps.fit(flat, (SIDE, SIDE)).save(out, "WEBP", quality=QUALITY)
        return out.getvalue()
