"""Pictures of articles: made anew in the sizes that screens ask for."""

from dataclasses import dataclass
from io import BytesIO
from typing import IO

from PIL import ExifTags, Image, ImageCms, ImageOps

from app.blog.models import Picture
from app.images import opened

STEPS = (480, 960, 1440, 1920)  # pixels: from a telephone to a wide screen of double density
SHOWN = 960  # what is offered to browsers that know nothing of srcset
QUALITY = 82
MOST_BYTES = 10 * 1024 * 1024
MOST_PIXELS = 40_000_000
LONGEST_SIDE = 16_000  # pixels; WebP holds 16,383
TURNED = (5, 6, 7, 8)  # EXIF orientations in which width and height change places


@dataclass(frozen=True)
class Made:
    """A picture as we keep it."""

    width: int  # pixels, of the largest size
    height: int
    images: dict[int, bytes]  # WebP by width in pixels


def make_sizes(file: IO[bytes]) -> Made:
    """The picture upright, in sRGB, without its metadata, in all widths up to its own; of an animation the first frame.

    Raises:
        BadPicture
    """
    with opened(file, most_bytes=MOST_BYTES, most_pixels=MOST_PIXELS, longest_side=LONGEST_SIDE) as picture:
        whole = _upright(picture)
    height_at = whole.height / whole.width
    images = {width: _webp(whole, width, max(1, round(width * height_at))) for width in widths_of(whole.width)}
    return Made(whole.width, whole.height, images)


def widths_of(width: int) -> list[int]:
    """The widths, in pixels, in which we keep a picture that is `width` wide: none is wider than itself."""
    return [*(step for step in STEPS if step < width), min(width, STEPS[-1])]


def path_of(picture: Picture, width: int | None = None) -> str:
    """The address of its size in `width` pixels, which is one of `widths_of`; None is the largest."""
    return f"/blog/pictures/{picture.key}/{width or picture.width}.webp"


def shown_path_of(picture: Picture) -> str:
    """The address for whoever takes one size only."""
    return path_of(picture, next((width for width in widths_of(picture.width) if width >= SHOWN), None))


def srcset(key: str, widest: int) -> str:
    """The sizes of the picture with this key, whose largest is `widest` pixels wide."""
    return ", ".join(f"/blog/pictures/{key}/{width}.webp {width}w" for width in widths_of(widest))


def _upright(picture: Image.Image) -> Image.Image:
    """At most as wide as our largest size; smaller before anything makes a second copy of all its pixels."""
    if picture.mode not in ("RGB", "L"):
        picture = _plain(picture)
    is_turned = picture.getexif().get(ExifTags.Base.Orientation) in TURNED
    widest, any_height = STEPS[-1], LONGEST_SIDE
    picture.thumbnail((any_height, widest) if is_turned else (widest, any_height))
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
    out = BytesIO()
    sized = whole if width == whole.width else whole.resize((width, height), Image.Resampling.LANCZOS)
    sized.save(out, "WEBP", quality=QUALITY, method=4)
    return out.getvalue()
