"""Scripts, styles and pictures of the pages: kept by browsers for a year, under an address that changes with them.

The address holds a digest of all static files, so that a new release is seen at once, and links between the files hold.
WhiteNoise serves them before the application is asked anything, compressed where a browser takes gzip. The plain
addresses `/static/…` stay, for what is bookmarked or configured elsewhere; they are asked for again each time.
"""

import hashlib
import re
import secrets
import shutil
from pathlib import Path

import structlog
from flask import Flask, Response, request
from flask.typing import ResponseReturnValue
from whitenoise import WhiteNoise
from whitenoise.compress import Compressor

from app import clock
from app.config import Settings

log = structlog.get_logger(__name__)

YEAR_SECONDS = 365 * 24 * 3600
KEPT_SECONDS = 7 * 24 * 3600
VERSION_LETTERS = 12
OF_SOME_RELEASE = re.compile(rf"[0-9a-f]{{{VERSION_LETTERS}}}/(?=.)")


def init_app(app: Flask, settings: Settings, headers: dict[str, str]) -> None:
    """headers: what every answer says to browsers."""
    source = Path(str(app.static_folder))
    version = version_of(source)
    app.config["STATIC_VERSION"] = version

    @app.url_defaults
    def name_the_version(endpoint: str, values: dict[str, object]) -> None:
        if endpoint == "static" and "filename" in values:
            values["filename"] = f"{version}/{values['filename']}"

    def serve(filename: str) -> ResponseReturnValue:
        # While servers are being renewed, one of them is asked for what the other's page names.
        response: Response = app.send_static_file(OF_SOME_RELEASE.sub("", filename, count=1))
        return response

    app.view_functions["static"] = serve
    icons = f"{app.static_url_path}/{version}/vendor/tabler-icons/sprite.svg"

    @app.template_global()
    def icons_url() -> str:
        """As url_for() gives it, for the hundreds of icons of a list."""
        return request.script_root + icons

    app.wsgi_app = WhiteNoise(  # type: ignore[method-assign]
        app.wsgi_app,
        root=str(_compressed(source, settings.instance_path / "static", version)),
        prefix=f"static/{version}/",
        max_age=YEAR_SECONDS,
        allow_all_origins=False,
        immutable_file_test=lambda _path, _url: True,
        add_headers_function=lambda answer, _path, _url: [answer.add_header(*header) for header in headers.items()],
    )


def version_of(folder: Path) -> str:
    """A word for the names and contents of all files in this folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\n{path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:VERSION_LETTERS]


def _compressed(source: Path, folder: Path, version: str) -> Path:
    """A copy of the files with a compressed one beside each; made once for each version, whoever comes first.

    Where nothing can be written, the files themselves: larger on the wire, and nothing else.
    """
    made = folder / version
    if made.is_dir():
        return made
    draft = folder / f"{version}.{secrets.token_hex(4)}"
    try:
        shutil.copytree(source, draft)
        compress = Compressor(use_brotli=False, quiet=True)
        for path in [path for path in draft.rglob("*") if path.is_file() and compress.should_compress(path.name)]:
            compress.compress(str(path))
        draft.rename(made)  # at once or not at all
        _tidy(folder)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        if not made.is_dir():
            log.warning("static.uncompressed", error=str(error))
            return source
    return made


def _tidy(folder: Path) -> None:
    """Releases of long ago. The one before this may still be served by a process that has not been renewed."""
    for path in folder.iterdir():
        if path.stat().st_ctime < clock.now().timestamp() - KEPT_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
