import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dev import run, servers
from tests.dev.processes import ROOT


def make_run(instance: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """`make run` that is expected to give up at once."""
    names = ("PORT", "INBOX_PORT", "REDIS_URL", "MAIL_SERVER")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [sys.executable, "-m", "dev.run"],
        cwd=ROOT,
        env=environment | {"INSTANCE_PATH": str(instance), "MAIL_SERVER": ""} | settings,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(("name", "who"), [("PORT", "the web application"), ("INBOX_PORT", "the inbox")])
def test_a_taken_port_is_one_clear_line(name: str, who: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ports = {"PORT": str(servers.free_port()), "INBOX_PORT": str(servers.free_port()), name: str(port)}
        done = make_run(tmp_path, **ports)
    assert done.returncode == 1
    assert done.stdout == ""
    wanted = f"Port {port} is taken, and {who} needs it. Choose another: {name}={port + 1} make run\n"
    assert done.stderr == wanted


def test_a_port_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    done = make_run(tmp_path, PORT="http")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "PORT is 'http', and must be a number from 1 to 65535.\n"


def test_it_runs_once_only_from_an_instance_folder(tmp_path: Path) -> None:
    with run.only_one(tmp_path):
        done = make_run(tmp_path, PORT=str(servers.free_port()))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(f"Golub runs already from {tmp_path}: stop it first.*\n", done.stderr)


def test_a_redis_that_is_named_and_away_is_one_clear_line(tmp_path: Path) -> None:
    url = f"redis://:secret@127.0.0.1:{servers.free_port()}/0"
    done = make_run(
        tmp_path, PORT=str(servers.free_port()), INBOX_PORT=str(servers.free_port()), REDIS_URL=url
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"No Redis answers at redis://:\*\*\*@127.0.0.1:\d+/0: start it.*\n", done.stderr)


def test_the_first_start_writes_settings_that_only_we_can_read(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert run.write_env_file(path)
    text = path.read_text()
    assert re.search(r"^APP_ENV=development\nSECRET_KEY=[0-9a-f]{64}$", text, re.MULTILINE)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not run.write_env_file(path)
    assert path.read_text() == text
