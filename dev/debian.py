"""Programs of Debian packages that are not installed: fetched by apt, kept, and unpacked side by side.

Packages that exclude each other on a system, such as mail servers, stand beside each other this way, and nothing of
the system changes: apt's lists and archives are in folders of our own.
"""

import fcntl
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

APT_SECONDS = 90
TO_INSTALL = re.compile(r"^Inst (\S+)", re.MULTILINE)


class NoPackage(RuntimeError):
    """A package can't be had here; the text says why."""


_failed: dict[tuple[str, ...], NoPackage] = {}  # once in a process is enough: without a network each try takes long


def fetch(*packages: str) -> None:
    """Have the archives of `packages`, and of the shared libraries that this machine lacks for them.

    They are kept; the folder of `cache()` may be deleted at any time, which also brings newer versions.

    Raises:
        NoPackage: there is no apt, no network, or no such package.
    """
    if packages in _failed:
        raise _failed[packages]
    try:
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise NoPackage("this is no Debian: there is no apt-get to fetch packages with")
        with _locked(cache() / ".lock"):
            if lacking := [name for name in packages if not (cache() / name).exists()]:
                _download(lacking)
    except NoPackage as error:
        _failed[packages] = error
        raise


def cache() -> Path:
    """Where archives are kept: for each release of Debian apart, because of the libraries."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown")
    folder = base / "golub" / "mail-servers" / f"{release}-{platform.machine()}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def unpack(package: str, folder: Path) -> None:
    """Lay the files of `package` and of its missing libraries out below `folder`. Raises NoPackage."""
    fetch(package)
    for archive in sorted((cache() / package).glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(archive), str(folder)])


def library_path(folder: Path, *more: str) -> str:
    """For LD_LIBRARY_PATH: where packages that were unpacked into `folder` have their libraries."""
    usual = sorted(path for base in ("lib", "usr/lib") for path in (folder / base).glob("*-linux-*") if path.is_dir())
    return ":".join(str(path) for path in (*(folder / name for name in more), *usual))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two test runs at once share the kept archives; one of them fetches."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(packages: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(dir=cache(), prefix=".fetching-") as scrap:
        folder = Path(scrap)
        for name in ("lists/partial", "cache/archives/partial", *packages):
            (folder / name).mkdir(parents=True)
        apt = ["apt-get", "-qq", *_options(folder)]
        _run([*apt, "update"])
        for package in packages:
            wanted = _run([*apt, "--simulate", "--no-install-recommends", "install", package])
            libraries = [name for name in TO_INSTALL.findall(wanted) if name.startswith("lib")]
            _run([*apt, "download", package, *libraries], folder / package)
            (folder / package).rename(cache() / package)


def _options(folder: Path) -> list[str]:
    settings = {
        "Dir::State::lists": f"{folder}/lists",
        "Dir::Cache": f"{folder}/cache",
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": "15",
        "Acquire::https::Timeout": "15",
        # apt's own account may not enter our folders.
        "APT::Sandbox::User": "root",
        # "update" says only so that a source did not answer, and goes on without it.
        "APT::Update::Error-Mode": "any",
    }
    return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]


def _run(command: list[str], folder: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=APT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise NoPackage(f"{Path(command[0]).name} took longer than {APT_SECONDS} s") from None
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise NoPackage(f"{Path(command[0]).name} failed: {words[-1] if words else done.returncode}")
    return done.stdout
