import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import run, servers
from tests.dev.processes import ROOT, is_running, read_until, start_script
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.one_database

# As `make run`, but with a `.env` of its own: the real one belongs to whoever works here.
MAKE_RUN = """
import sys
from pathlib import Path
from dev import run
run.ENV_FILE = Path(sys.argv[1])
sys.exit(run.main())
"""
PARTS = ("redis", "inbox", "web", "worker", "scheduler")


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


@pytest.fixture
def golub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[subprocess.Popen[str]]":
    """All of Golub, started by `make run` on free ports in an empty instance folder."""
    for name in ("DATABASE_URL", "REDIS_URL", "MAIL_SERVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INSTANCE_PATH", str(folder / "run"))
    monkeypatch.setenv("PORT", str(servers.free_port()))
    monkeypatch.setenv("INBOX_PORT", str(servers.free_port()))
    with start_script(MAKE_RUN, str(tmp_path / ".env")) as process:
        try:
            yield process
        finally:
            process.kill()
            shutil.rmtree(folder / "run", ignore_errors=True)


def read_table(golub: "subprocess.Popen[str]") -> dict[str, int]:
    """The process of every part, as the table says."""
    read_until(golub, r"^  part +pid +address")
    return {name: int(read_until(golub, rf"^  {name} +(\d+)")[1]) for name in PARTS}


def descendants(pids: list[int]) -> set[int]:
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], check=True, capture_output=True, text=True).stdout
    parents = [tuple(map(int, line.split())) for line in table.splitlines()]
    found, newest = set(pids), set(pids)
    while newest:
        newest = {pid for pid, parent in parents if parent in newest}
        found |= newest
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_it_runs_everything_and_leaves_nothing_behind(number: signal.Signals, golub: "subprocess.Popen[str]") -> None:
    pids = read_table(golub)
    web = http.client.HTTPConnection("127.0.0.1", int(os.environ["PORT"]), timeout=5)
    web.request("GET", "/readyz")
    assert web.getresponse().status == http.HTTPStatus.OK
    web.close()
    everything = descendants(list(pids.values()))
    assert len(everything) > len(pids)

    golub.send_signal(number)
    rest, _ = golub.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in rest
    assert golub.returncode == (-number if number == signal.SIGKILL else 0)
    wait_until(lambda: not any(is_running(pid) for pid in everything))


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
    done = make_run(tmp_path, PORT=str(servers.free_port()), INBOX_PORT=str(servers.free_port()), REDIS_URL=url)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"No Redis answers at redis://:\*\*\*@127.0.0.1:\d+/0: start it.*\n", done.stderr)


def test_the_first_start_writes_settings_that_only_we_can_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".env"
    monkeypatch.delenv("PORT", raising=False)
    monkeypatch.setenv("INBOX_PORT", "5026")
    assert run.write_env_file(path)
    text = path.read_text()
    assert re.search(r"^APP_ENV=development\nSECRET_KEY=[0-9a-f]{64}$", text, re.MULTILINE)
    assert text.endswith("\nINBOX_PORT=5026\n")  # `flask doctor` shall look for the inbox where it is
    assert path.stat().st_mode & 0o777 == 0o600
    assert not run.write_env_file(path)
    assert path.read_text() == text
