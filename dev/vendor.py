"""`make vendor`: fetch the scripts and styles of app/static/vendor again; `--check` verifies those committed.

Golub asks no other host for anything, so what a browser needs stands in the repository. To move to a newer
version, change the table below (`npm view NAME@VERSION dist.integrity` says the integrity) and run it.
"""

import base64
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

STATIC = Path(__file__).resolve().parent.parent / "app" / "static" / "vendor"
MANIFEST = "vendor.json"

MIT = """The MIT License (MIT)

{copyright}

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in
all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN
THE SOFTWARE.
"""

# The names of https://tabler.io/icons, outline. {{ icon("mail") }} draws one; a new one is added here first.
ICONS = """
    activity address-book alert-circle alert-triangle align-center align-justified align-left align-right
    archive arrow-back-up arrow-forward-up arrow-left arrow-right article ban bold bolt braces calendar-event
    calendar-repeat chart-bar check chevron-down chevron-left chevron-right chevron-up circle-check circle-x
    clear-formatting clock code copy device-desktop dots-vertical download external-link eye eye-off file-export
    file-import file-text filter h-2 h-3 heartbeat help-circle history hourglass inbox indent-decrease
    indent-increase info-circle italic key language layout-dashboard link list list-details list-numbers lock
    login logout mail mail-forward mail-off mail-opened mail-x menu-2 message moon news pencil photo
    player-pause player-play player-stop plus printer quote refresh report rotate search send server settings share
    shield-check source-code star strikethrough sun tag tags template trash underline upload user user-circle
    user-cog user-plus users world x
""".split()  # noqa: SIM905 - a hundred names read better without their quotes


@dataclass(frozen=True)
class Package:
    """One npm package: what to take from it, as {name in app/static/vendor/<folder>: path in the package}."""

    name: str
    version: str
    integrity: str
    licence: str
    folder: str
    files: dict[str, str]
    copyright: str = ""
    """Stands in for the LICENSE file of an MIT package that ships none."""
    icons: list[str] = field(default_factory=list)
    """Outline icons that go into one sprite.svg, so that a page draws any number of them for one request."""


PACKAGES = [
    Package(
        name="htmx.org",
        version="4.0.1",
        integrity="sha512-oF7JgXhDW9UXCy/k1ZYFUQgzu/rm19ORWPSPNL91vPluB2PB9+MV55tyQdH/w7o2EAbTYUG5SDW1R60mdkdqGg==",
        licence="0BSD",
        folder="htmx",
        files={"htmx.min.js": "dist/htmx.min.js", "LICENSE": "LICENSE"},
    ),
    Package(
        name="@tabler/core",
        version="1.6.1",
        integrity="sha512-lgmR9gcxRp5JlLxcmRi9Rz85JrEvH6Bz71KnlcPVSa97wtwQNjgSs3g3fxwbAlulHyRMghhIV04QUuW3pqDsIg==",
        licence="MIT",
        folder="tabler",
        files={"tabler.min.css": "dist/css/tabler.min.css", "tabler.min.js": "dist/js/tabler.min.js"},
        copyright="Copyright 2018-2026 The Tabler Authors\nCopyright 2018-2026 codecalm.net Paweł Kuna",
    ),
    Package(
        name="@tabler/icons",
        version="3.51.0",
        integrity="sha512-0pinvPZz7YeX+OSfxuEAbnEPWbocVXW5iU8h5lh41pYG8sZuQfpWECC980lxOT0clGIcNGn8xsBr+zKaRGdA/g==",
        licence="MIT",
        folder="tabler-icons",
        files={"LICENSE": "LICENSE"},
        icons=ICONS,
    ),
    # Without a theme: the toolbar is ours, and its words are translated.
    Package(
        name="quill",
        version="2.0.3",
        integrity="sha512-xEYQBqfYx/sfb33VJiKnSJp8ehloavImQ2A6564GAbqG55PGw1dAWUn1MUbQB62t0azawUS2CZZhWCjO8gRvTw==",
        licence="BSD-3-Clause",
        folder="quill",
        files={"quill.js": "dist/quill.js", "quill.core.css": "dist/quill.core.css", "LICENSE": "LICENSE"},
    ),
    Package(
        name="uplot",
        version="1.6.32",
        integrity="sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
        licence="MIT",
        folder="uplot",
        files={"uplot.min.js": "dist/uPlot.iife.min.js", "uplot.min.css": "dist/uPlot.min.css", "LICENSE": "LICENSE"},
    ),
]


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        faults = check()
        print("\n".join(faults) or "app/static/vendor is what vendor.json says.")
        return 1 if faults else 0
    for package in PACKAGES:
        print(f"{package.name} {package.version}")
        write(package, fetch(package))
    _manifest_path().write_text(json.dumps(describe(), indent=2) + "\n")
    return 0


def fetch(package: Package) -> dict[str, bytes]:
    """The package's files by path; ValueError where its archive is not the one that the table names."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["npm", "pack", "--silent", "--pack-destination", folder, f"{package.name}@{package.version}"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (archive,) = Path(folder).glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if f"sha512-{digest}" != package.integrity:
            raise ValueError(f"{package.name} {package.version}: its archive has sha512-{digest}")
        with tarfile.open(archive) as tar:
            return {
                member.name.partition("/")[2]: content.read()
                for member in tar
                if (content := tar.extractfile(member)) is not None
            }


def write(package: Package, contents: dict[str, bytes]) -> None:
    """Replace the package's folder by what the table wants of `contents`."""
    folder = STATIC / package.folder
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, source in package.files.items():
        (folder / name).write_bytes(without_source_map(contents[source]))
    if package.copyright:
        (folder / "LICENSE").write_text(MIT.format(copyright=package.copyright))
    if package.icons:
        drawings = {name: contents[f"icons/outline/{name}.svg"].decode() for name in package.icons}
        (folder / "sprite.svg").write_text(sprite(drawings))


def without_source_map(content: bytes) -> bytes:
    """The maps are not vendored, and a developer's browser should not ask for what is not there."""
    return re.sub(rb"\n?(//|/\*)# sourceMappingURL=\S+( \*/)?\s*$", b"\n", content)


def sprite(drawings: dict[str, str]) -> str:
    """One SVG with a <symbol id="tabler-NAME"> for each drawing; colour and line width come from the page."""
    symbols = []
    for name, svg in sorted(drawings.items()):
        paths = re.findall(r"<(?!svg|/)[^>]+/>", svg)
        shapes = "".join(path for path in paths if 'd="M0 0h24v24H0z"' not in path)
        symbols.append(f'<symbol id="tabler-{name}" viewBox="0 0 24 24">{shapes}</symbol>\n')
    attributes = 'fill="none" stroke="currentColor" stroke-linecap="round" stroke-linejoin="round"'
    body = "".join(symbols).replace("<symbol ", f"<symbol {attributes} ")
    return f'<svg xmlns="http://www.w3.org/2000/svg">\n{body}</svg>\n'


def describe() -> list[dict[str, object]]:
    """What vendor.json says: every package with its licence and the sha256 of each file."""
    return [
        {
            "name": package.name,
            "version": package.version,
            "licence": package.licence,
            "integrity": package.integrity,
            "files": {
                f"{package.folder}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted((STATIC / package.folder).iterdir())
            },
        }
        for package in PACKAGES
    ]


def check() -> list[str]:
    """What differs between the table, vendor.json and the files; empty when nothing does."""
    written = json.loads(_manifest_path().read_text())
    faults = [
        f"{package.name} is {package.version} in dev/vendor.py, not in vendor.json: run `make vendor`"
        for package in PACKAGES
        if (package.name, package.version) not in {(entry["name"], entry["version"]) for entry in written}
    ]
    expected = {name: digest for entry in written for name, digest in entry["files"].items()}
    present = {
        path.relative_to(STATIC).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in STATIC.rglob("*")
        if path.is_file() and path != _manifest_path()
    }
    faults += [f"{name} is missing" for name in sorted(expected.keys() - present.keys())]
    faults += [f"{name} is not in vendor.json" for name in sorted(present.keys() - expected.keys())]
    faults += [
        f"{name} was changed by hand"
        for name in sorted(expected.keys() & present.keys())
        if expected[name] != present[name]
    ]
    return faults


def _manifest_path() -> Path:
    return STATIC / MANIFEST


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
