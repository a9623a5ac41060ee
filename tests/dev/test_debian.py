"""Fetching packages, from a repository of the test's own."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from dev import debian

pytestmark = pytest.mark.one_database

needs_apt = pytest.mark.skipif(
    shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None, reason="this is no Debian: there is no apt-get"
)


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither what this machine has kept nor what failed before counts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(debian, "_failed", {})


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What apt knows instead of this machine's sources. The machine has libgolub-feather already."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{folder} ./\n")
    installed = control("libgolub-feather") + "Status: install ok installed\n"
    (tmp_path / "status").write_text(installed)
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\n'
        'Dir::Etc::sourceparts "/dev/null";\n'
        f'Dir::State::status "{tmp_path}/status";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    (folder / "Packages").touch()
    return folder


def control(name: str, depends: str = "") -> str:
    lines = [f"Package: {name}", "Version: 1.5-2", "Architecture: all", "Maintainer: Nobody <nobody@golub.test>"]
    lines += [f"Depends: {depends}"] if depends else []
    return "\n".join([*lines, "Description: for a test", ""])


def publish(repository: Path, name: str, depends: str = "") -> None:
    tree = repository.parent / "trees" / name
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(control(name, depends))
    (tree / "usr/lib").mkdir(parents=True)
    (tree / "usr/lib" / name).write_text(f"This is {name}.")
    archive = repository / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--build", tree, archive], check=True, capture_output=True)
    with (repository / "Packages").open("a") as index:
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        place = f"Filename: ./{archive.name}\nSize: {archive.stat().st_size}\nSHA256: {digest}\n\n"
        index.write(control(name, depends) + place)


@pytest.fixture
def pigeon(repository: Path) -> str:
    publish(repository, "golub-pigeon", "libgolub-wing, libgolub-feather, golub-manual")
    publish(repository, "libgolub-wing")
    publish(repository, "libgolub-feather")
    publish(repository, "golub-manual")
    return "golub-pigeon"


@needs_apt
def test_a_package_comes_with_the_libraries_that_the_machine_lacks(pigeon: str, tmp_path: Path) -> None:
    debian.unpack(pigeon, tmp_path / "root")
    assert names_in(tmp_path / "root/usr/lib") == ["golub-pigeon", "libgolub-wing"]
    assert names_in(debian.cache() / pigeon) == [
        "golub-pigeon_1.5-2_all.deb",
        "libgolub-wing_1.5-2_all.deb",
    ]


@needs_apt
def test_what_is_kept_is_not_fetched_again(pigeon: str, repository: Path, tmp_path: Path) -> None:
    debian.fetch(pigeon)
    shutil.rmtree(repository)
    debian.unpack(pigeon, tmp_path / "root")
    assert (tmp_path / "root/usr/lib/golub-pigeon").read_text() == "This is golub-pigeon."


@needs_apt
def test_nothing_but_archives_is_left_behind(pigeon: str) -> None:
    debian.fetch(pigeon)
    assert names_in(debian.cache()) == [".lock", pigeon]


@needs_apt
def test_an_unknown_package_is_not_to_be_had(pigeon: str) -> None:
    with pytest.raises(debian.NoPackage, match="Unable to locate package golub-dove"):
        debian.fetch("golub-dove")
    debian.fetch(pigeon)


@needs_apt
def test_without_its_source_nothing_is_to_be_had_and_that_is_asked_once(
    pigeon: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "Packages").unlink()
    with pytest.raises(debian.NoPackage, match="apt-get failed"):
        debian.fetch(pigeon)
    monkeypatch.setattr(subprocess, "run", _no_program_may_run)
    with pytest.raises(debian.NoPackage, match="apt-get failed"):
        debian.fetch(pigeon)


def test_without_apt_nothing_is_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(debian.NoPackage, match="no Debian"):
        debian.fetch("postfix")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _no_program_may_run(*_arguments: object, **_more: object) -> None:
    raise AssertionError("a program was run")
