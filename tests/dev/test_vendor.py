import re

import pytest

from dev import vendor

pytestmark = pytest.mark.one_database


def test_the_committed_files_are_what_the_manifest_says():
    assert vendor.check() == []


def test_a_changed_a_missing_and_a_stray_file_are_told(tmp_path, monkeypatch):
    for path in vendor.STATIC.rglob("*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(vendor.STATIC)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(vendor, "STATIC", tmp_path)
    (tmp_path / "htmx" / "htmx.min.js").write_text("alert(1)")
    (tmp_path / "tabler" / "tabler.min.js").unlink()
    (tmp_path / "tabler" / "stray.js").touch()

    assert vendor.check() == [
        "tabler/tabler.min.js is missing",
        "tabler/stray.js is not in vendor.json",
        "htmx/htmx.min.js was changed by hand",
    ]


def test_nothing_vendored_asks_another_host():
    style = (vendor.STATIC / "tabler" / "tabler.min.css").read_text()
    assert "@import" not in style
    assert set(re.findall(r"url\(\s*[\"']?([^\"')]{5})", style)) == {"data:"}


def test_every_icon_of_the_table_is_in_the_sprite():
    sprite = (vendor.STATIC / "tabler-icons" / "sprite.svg").read_text()
    drawn = re.findall(r'id="tabler-([a-z0-9-]+)"', sprite)
    assert drawn == sorted(vendor.ICONS)


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"a\n//# sourceMappingURL=a.js.map", b"a\n"),
        (b"a{}\n/*# sourceMappingURL=a.css.map */", b"a{}\n"),
        (b"a\n", b"a\n"),
    ],
)
def test_a_source_map_is_not_asked_for(content, kept):
    assert vendor.without_source_map(content) == kept
