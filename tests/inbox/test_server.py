"""`python -m app.inbox` as a process of its own, over a real socket."""

import asyncio
import os
import signal
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from app.config import ROOT
from app.inbox.server import Keeper
from app.inbox.store import Store

pytestmark = pytest.mark.one_database

LETTER = b"Subject: Hello\r\n\r\nSecret words\r\n"
PRODUCTION = {
    "APP_ENV": "production",
    "SECRET_KEY": "x" * 40,
    "DATABASE_URL": "sqlite://",
    "REDIS_URL": "redis://127.0.0.1:1",
    "BASE_URL": "https://golub.test",
    "MAIL_SERVER": "127.0.0.1",
    "MAIL_DEFAULT_SENDER": "golub@golub.example",
}


def start(**environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "app.inbox"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connect(port: int) -> smtplib.SMTP:
    deadline = time.monotonic() + 60
    while True:
        try:
            return smtplib.SMTP("127.0.0.1", port, timeout=60)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the inbox does not come up"
            time.sleep(0.05)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def server(tmp_path: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    process = start(APP_ENV="development", INSTANCE_PATH=str(tmp_path), INBOX_PORT=str(port), MAIL_SERVER="")
    with process:
        yield process
        process.kill()


def test_it_keeps_what_it_takes_and_logs_one_line_without_the_text(
    server: subprocess.Popen[str], port: int, store: Store
) -> None:
    with connect(port) as smtp:
        smtp.sendmail("from@golub.test", ["one@golub.test", "two@golub.test"], LETTER)
    server.terminate()
    output, errors = server.communicate(timeout=60)
    assert server.returncode == 0
    assert errors == ""
    [letter] = store.letters()
    assert letter.sender == "from@golub.test"
    assert letter.recipients == ["one@golub.test", "two@golub.test"]
    assert store.letter(letter.id) == (letter, LETTER)
    [line] = [line for line in output.splitlines() if "from@golub.test" in line]
    assert "one@golub.test, two@golub.test" in line
    assert "Hello" in line
    assert "Secret" not in output


def test_it_takes_unicode_addresses_eight_bits_and_large_letters(
    server: subprocess.Popen[str], port: int, store: Store
) -> None:
    large = "Subject: Привет\r\n\r\n".encode() + b"\xff" * 60 + b"\r\n" + (b"x" * 98 + b"\r\n") * 310_000
    with connect(port) as smtp:
        smtp.ehlo()
        assert smtp.esmtp_features["size"] == str(32 * 1024 * 1024)
        smtp.sendmail("голубь@почта.test", ["анна@почта.test"], large, mail_options=["SMTPUTF8", "BODY=8BITMIME"])
        with pytest.raises(smtplib.SMTPSenderRefused, match="552"):
            smtp.sendmail("a@golub.test", ["b@golub.test"], large + large)
    [letter] = store.letters()
    assert (letter.sender, letter.recipients) == ("голубь@почта.test", ["анна@почта.test"])
    assert letter.subject == "Привет"
    assert letter.size == len(large)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_though_somebody_is_connected(
    server: subprocess.Popen[str], port: int, number: int
) -> None:
    smtp = connect(port)
    smtp.ehlo()
    server.send_signal(number)
    _output, errors = server.communicate(timeout=60)
    smtp.close()
    assert server.returncode == 0
    assert errors == ""


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(APP_ENV="development", INSTANCE_PATH=str(tmp_path), INBOX_PORT=str(port), MAIL_SERVER="")
        _output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    [line] = errors.splitlines()
    assert f"127.0.0.1:{port}" in line


@pytest.mark.parametrize("environment", [PRODUCTION, {"APP_ENV": "development", "MAIL_SERVER": "mail.golub.test"}])
def test_it_refuses_outside_of_development_and_beside_a_mail_server(
    environment: dict[str, str], tmp_path: Path
) -> None:
    process = start(INSTANCE_PATH=str(tmp_path), **environment)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("The inbox is for development")
    assert len(errors.splitlines()) == 1
    assert output == ""


async def hand_over(keeper: Keeper, content: bytes) -> str:
    envelope = Envelope()
    envelope.mail_from, envelope.rcpt_tos, envelope.content = "a@a.test", ["b@b.test"], content
    loop = asyncio.get_running_loop()
    return await keeper.handle_DATA(SMTP(keeper, loop=loop), Session(loop), envelope)


def test_only_the_newest_letters_are_kept(store: Store) -> None:
    old = [store.save("a@a.test", ["b@b.test"], LETTER).id for _ in range(4)]
    keeper = Keeper(store, kept=3)
    assert store.ids() == old[1:]
    asyncio.run(hand_over(keeper, LETTER))
    assert len(store.ids()) == 3
    assert store.ids()[:2] == old[2:]


def test_letters_deleted_meanwhile_don_t_cost_newer_ones(store: Store) -> None:
    keeper = Keeper(store, kept=3)
    for _ in range(3):
        asyncio.run(hand_over(keeper, LETTER))
    store.delete_all()
    for count in (1, 2, 3, 3):
        asyncio.run(hand_over(keeper, LETTER))
        assert len(store.ids()) == count


def test_a_full_disk_is_a_temporary_answer(store: Store) -> None:
    keeper = Keeper(store)
    store.folder.parent.joinpath("inbox").write_text("a file where the folder should be")
    assert asyncio.run(hand_over(keeper, LETTER)).startswith("452 4.3.1 ")


def test_what_a_killed_server_left_unfinished_is_removed(store: Store) -> None:
    store.save("a@a.test", ["b@b.test"], LETTER)
    (store.folder / "half.tmp").write_bytes(b"half")
    Keeper(store)
    assert [path.suffix for path in store.folder.iterdir()] == [".eml"]
