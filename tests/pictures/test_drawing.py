"""Pictures: what is kept of what was uploaded."""

import zlib
from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from app.images import BadPicture
from app.pictures import drawing as pictures

pytestmark = [pytest.mark.one_database, pytest.mark.usefixtures("context")]


def file(picture: Image.Image, kind: str = "JPEG", **options: Any) -> BytesIO:
    out = BytesIO()
    picture.save(out, kind, **options)
    return BytesIO(out.getvalue())


def plain(width: int, height: int, mode: str = "RGB", color: Any = (200, 30, 30)) -> Image.Image:
    return Image.new(mode, (width, height), color)


def sizes(made: pictures.Made) -> dict[int, Image.Image]:
    return {width: Image.open(BytesIO(image)) for width, image in made.images.items()}


@pytest.mark.parametrize(
    ("width", "widths"),
    [
        (300, [300]),
        (480, [480]),
        (500, [480, 500]),
        (1440, [480, 960, 1440]),
        (1920, [480, 960, 1440, 1920]),
        (4000, [480, 960, 1440, 1920]),
    ],
)
def test_it_is_kept_in_all_widths_up_to_its_own(width: int, widths: list[int]) -> None:
    made = pictures.make_sizes(file(plain(width, width // 2)))
    assert list(made.images) == widths
    assert (made.width, made.height) == (widths[-1], widths[-1] // 2)
    for expected, picture in sizes(made).items():
        assert (picture.format, picture.width, picture.height) == ("WEBP", expected, expected // 2)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_the_kind_is_found_in_the_content(kind: str) -> None:
    assert pictures.make_sizes(file(plain(40, 30), kind)).width == 40


def test_no_metadata_stays() -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET description"
    exif.get_ifd(0x8825)[1] = "N"
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "SECRET comment")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for upload in (
        file(plain(600, 300), exif=exif, comment=b"SECRET", icc_profile=profile),
        file(plain(600, 300), "PNG", pnginfo=text, exif=exif, icc_profile=profile),
        file(plain(600, 300), "WEBP", exif=exif, xmp=b"<x>SECRET</x>"),
    ):
        assert b"SECRET" in upload.getvalue()
        made = pictures.make_sizes(upload)
        for image in made.images.values():
            assert b"SECRET" not in image
            assert not set(Image.open(BytesIO(image)).info) & {"exif", "icc_profile", "xmp", "comment"}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_stands_upright(orientation: int) -> None:
    """A red left half: after turning it is where a viewer would have shown it."""
    picture = plain(2400, 1200, color=(0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, 600, 1200))
    exif = Image.Exif()
    exif[0x0112] = orientation
    made = pictures.make_sizes(file(picture, exif=exif))
    largest = sizes(made)[made.width].convert("RGB")
    if orientation < 5:
        assert (made.width, made.height) == (1920, 960)
        red_at = (10, 480) if orientation in (1, 4) else (1910, 480)
    else:
        assert (made.width, made.height) == (1200, 2400)
        red_at = (600, 10) if orientation in (5, 6) else (600, 2390)
    red, _green, blue = largest.getpixel(red_at)  # type: ignore[misc]
    assert (red > 200, blue < 60) == (True, True)


def test_transparency_stays_and_a_palette_is_smoothed() -> None:
    for upload in (
        file(plain(900, 300, "RGBA", (0, 0, 0, 0)), "PNG"),
        file(plain(900, 300, "RGBA", (0, 0, 0, 0)).convert("P"), "PNG", transparency=0),
    ):
        made = pictures.make_sizes(upload)
        assert sizes(made)[480].mode == "RGBA"


def test_of_an_animation_the_first_frame_is_kept() -> None:
    frames = [plain(50, 50, color=(0, 200, 0)), plain(50, 50, color=(200, 0, 0))]
    made = pictures.make_sizes(file(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    picture = sizes(made)[50]
    assert getattr(picture, "n_frames", 1) == 1
    assert picture.convert("RGB").getpixel((25, 25))[1] > 150  # type: ignore[index]


@pytest.mark.parametrize("mode", ["L", "LA", "1", "I;16", "CMYK"])
def test_every_kind_of_colour_is_taken(mode: str) -> None:
    upload = file(Image.new(mode, (60, 40)), "JPEG" if mode == "CMYK" else "PNG")
    assert pictures.make_sizes(upload).width == 60


def test_a_broken_colour_profile_is_as_none() -> None:
    assert pictures.make_sizes(file(plain(60, 40), icc_profile=b"nonsense")).width == 60


def test_colours_of_another_space_are_converted() -> None:
    """In a profile whose red is what sRGB calls blue, blue is meant."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red, blue = lab.index(b"rXYZ"), lab.index(b"bXYZ")
    swapped = bytearray(lab)
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    made = pictures.make_sizes(file(plain(60, 40, color=(255, 0, 0)), "PNG", icc_profile=bytes(swapped)))
    red_value, _green, blue_value = sizes(made)[60].convert("RGB").getpixel((5, 5))  # type: ignore[misc]
    assert blue_value > 200 > red_value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"GIF89a" + b"\xff" * 100,
        file(plain(60, 40)).getvalue()[:200],
        file(plain(600, 400), "PNG").getvalue()[:-300],
        file(plain(60, 40), "BMP").getvalue(),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(BadPicture, match="no picture"):
        pictures.make_sizes(BytesIO(data))


def test_too_many_bytes_are_refused_unread() -> None:
    with pytest.raises(BadPicture, match="10 MB"):
        pictures.make_sizes(BytesIO(b"x" * (pictures.MOST_BYTES + 1)))


@pytest.mark.parametrize(("width", "height"), [(8000, 6000), (16_500, 10), (50_000, 50_000)])
def test_a_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    """A few kilobytes that claim to be gigabytes: nothing is unpacked."""
    small = file(plain(1, 1, "L", 0), "PNG").getvalue()
    start = small.index(b"IHDR") + 4
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + small[start + 8 : start + 13]
    checksum = zlib.crc32(b"IHDR" + header).to_bytes(4, "big")
    bomb = small[:start] + header + checksum + small[start + 17 :]
    with pytest.raises(BadPicture, match="million pixels"):
        pictures.make_sizes(BytesIO(bomb))
