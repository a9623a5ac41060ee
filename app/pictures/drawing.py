"""Pictures made anew: for articles in the sizes that screens ask for, for letters in one that mail programs show."""

from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any

from PIL import ExifTags, Image, ImageCms, ImageOps

from app.images import opened
from app.pictures.models import PictureFormat

STEPS = (480, 960, 1440, 1920)  # pixels: from a telephone to a wide screen of double density
WIDEST_IN_LETTER = 1200  # pixels: the 600 of a letter, at double density
TALLEST_IN_LETTER = 4000
QUALITY = 82
QUALITY_IN_LETTER = 85
MOST_BYTES = 10 * 1024 * 1024
MOST_PIXELS = 40_000_000
LONGEST_SIDE = 16_000  # pixels; WebP holds 16,383
TURNED = (5, 6, 7, 8)  # EXIF orientations in which width and height change places


@dataclass(frozen=True)
class Made:
    """A picture as we keep it."""

    width: int  # pixels, of the largest size
    height: int
    images: dict[int, bytes]  # by width in pixels
    format: PictureFormat = PictureFormat.WEBP


def make_sizes(file: IO[bytes]) -> Made:
    """The picture upright, in sRGB, without its metadata, in all widths up to its own; of an animation the first frame.

    Raises:
        BadPicture
    """
    whole = _read(file, STEPS[-1])
    height_at = whole.height / whole.width
    images = {width: _webp(whole, width, max(1, round(width * height_at))) for width in widths_of(whole.width)}
    return Made(whole.width, whole.height, images)


def make_for_letter(file: IO[bytes]) -> Made:
    """The same in one size of at most WIDEST_IN_LETTER pixels, as JPEG or PNG: Outlook and others know nothing newer.

    What is transparent becomes PNG, for nobody knows what colour it will lie on; else whichever is lighter.

    Raises:
        BadPicture
    """
    whole = _read(file, WIDEST_IN_LETTER, TALLEST_IN_LETTER)
    jpeg = _encoded(whole, "JPEG", quality=QUALITY_IN_LETTER, optimize=True) if whole.mode == "RGB" else None
    png = _encoded(whole, "PNG")
    if jpeg is not None and len(jpeg) < len(png):
        return Made(whole.width, whole.height, {whole.width: jpeg}, PictureFormat.JPEG)
    return Made(whole.width, whole.height, {whole.width: png}, PictureFormat.PNG)


def widths_of(width: int) -> list[int]:
    """The widths, in pixels, in which we keep a picture that is `width` wide: none is wider than itself."""
    return [*(step for step in STEPS if step < width), min(width, STEPS[-1])]


def _read(file: IO[bytes], widest: int, tallest: int = LONGEST_SIDE) -> Image.Image:
    with opened(file, most_bytes=MOST_BYTES, most_pixels=MOST_PIXELS, longest_side=LONGEST_SIDE) as picture:
        return _upright(picture, widest, tallest)


def _upright(picture: Image.Image, widest: int, tallest: int) -> Image.Image:
    """At most that wide and tall, in pixels; smaller before anything makes a second copy of all its pixels."""
    if picture.mode not in ("RGB", "L"):
        picture = _plain(picture)
    is_turned = picture.getexif().get(ExifTags.Base.Orientation) in TURNED
    picture.thumbnail((tallest, widest) if is_turned else (widest, tallest))
    return _in_srgb(ImageOps.exif_transpose(picture))


def _plain(picture: Image.Image) -> Image.Image:
    """Without a palette, for that can't be made smaller smoothly; transparency stays."""
    exif, profile = picture.getexif(), picture.info.get("icc_profile")
    if picture.mode == "CMYK":
        return picture  # its profile tells how to print it: see _in_srgb
    plain = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    plain.info = {"icc_profile": profile} if profile else {}
    plain.getexif().update(exif)
    return plain


def _in_srgb(picture: Image.Image) -> Image.Image:
    """With colours that a browser shows as they were meant, once the colour profile is gone with the metadata."""
    profile = picture.info.get("icc_profile")
    if profile and picture.mode in ("RGB", "CMYK"):
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(picture, source, target, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            converted = None  # a broken profile: as if there were none
        picture = converted or picture
    result = picture if picture.mode == "RGBA" else picture.convert("RGB")
    result.info = {}  # Pillow would write some of it into the new file
    return result


def _webp(whole: Image.Image, width: int, height: int) -> bytes:
    sized = whole if width == whole.width else whole.resize((width, height), Image.Resampling.LANCZOS)
    return _encoded(sized, "WEBP", quality=QUALITY, method=4)


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    out = BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()
