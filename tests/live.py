"""All of Golub as in production: gunicorn, workers, scheduler, Redis, each a process of its own."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests

from app.config import ROOT
from dev import servers, tied
from tests.make import PASSWORD
from tests.smtp import RecordingSmtp
from tests.waiting import PATIENCE_SECONDS, wait_until


@contextmanager
def running(database_url: str, mail_server: RecordingSmtp, folder: Path) -> Iterator[str]:
    """Start it on this database, which is empty, and this mail server; gives its address.

    At the end no process may have left a traceback in its log, nor a password.
    """
    port = servers.free_port()
    base_url = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        redis = stack.enter_context(servers.start_redis(folder, socket=None, port=None, persistent=False))
        environment = os.environ | {
            "APP_ENV": "production",
            "INSTANCE_PATH": str(folder / "instance"),
            "SECRET_KEY": "only-for-this-test-and-long-enough",
            "DATABASE_URL": database_url,
            "REDIS_URL": redis.url,
            "BASE_URL": base_url,
            "MAIL_SERVER": "127.0.0.1",
            "MAIL_PORT": str(mail_server.port),
            "MAIL_DEFAULT_SENDER": "golub@golub.test",
        }
        log = stack.enter_context((folder / "log").open("wb"))

        def start(*command: str) -> tied.Tied:
            return tied.start([sys.executable, *command], folder=ROOT, environment=environment, output=log)

        with start("-m", "flask", "db", "upgrade") as upgrade:
            assert upgrade.wait(PATIENCE_SECONDS) == 0, (folder / "log").read_text()
        for command in (
            ("-m", "gunicorn", "wsgi:app", "--bind", f"127.0.0.1:{port}", "--threads", "4"),
            ("worker.py", "--count", "2"),
            ("scheduler.py",),
        ):
            stack.enter_context(start(*command))
        wait_until(lambda: _is_ready(base_url))
        yield base_url
    text = (folder / "log").read_text()
    assert "Traceback" not in text, text
    assert PASSWORD not in text


def _is_ready(base_url: str) -> bool:
    try:
        return requests.get(f"{base_url}/readyz", timeout=5).status_code == 200
    except requests.RequestException:
        return False
