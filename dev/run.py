"""`make run`: all of Golub on this machine, under one parent, with a Redis and an inbox if none is given."""

import contextlib
import fcntl
import http.client
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from dotenv import dotenv_values
from sqlalchemy import make_url

from app.config import ROOT, Settings, development_redis_socket, load_settings
from dev import servers
from dev.supervisor import Part, StepFailed, Supervisor

ENV_FILE = ROOT / ".env"
WEB_STARTS_SECONDS = 60
WORKERS = 2


class NotPossible(RuntimeError):
    """Golub can't be started here; the text says why and what to do, in one line."""


def main() -> int:
    try:
        port = web_port()
        # The defaults of the settings depend on it, here and in every child.
        os.environ |= {"APP_ENV": "development", "PORT": str(port)}
        settings = load_settings()
        with only_one(settings.instance_path):
            check_ports(settings, port)
            run(settings, port)
    except (NotPossible, StepFailed, servers.MissingServer) as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before there was anything to stop
        pass
    return 0


def run(settings: Settings, port: int) -> None:
    """Run everything until a signal asks to stop."""
    redis = own_redis(settings)
    with Supervisor(ROOT, os.environ | {"PYTHONUNBUFFERED": "1"}) as supervisor:
        if write_env_file(ENV_FILE):
            supervisor.say("Wrote .env with a new SECRET_KEY: `flask …` in another terminal sees the same settings.")
        if redis:
            supervisor.start(redis, ready=lambda: servers.redis_answers(settings.redis_url))
        if settings.inbox_enabled:
            inbox = Part("inbox", python("-m", "app.inbox"), inbox_address(settings, port))
            supervisor.start(inbox, ready=lambda: is_listening(settings.inbox_port))
        supervisor.run_step("database", python("-m", "flask", "db", "upgrade"))
        supervisor.run_step("demo", python("-m", "flask", "load-demo", "--if-empty"))
        supervisor.start(Part("web", web_command(port), f"http://127.0.0.1:{port}"))
        supervisor.start(Part("worker", python("worker.py", "--count", str(WORKERS)), f"{WORKERS} processes"))
        supervisor.start(Part("scheduler", python("scheduler.py")))
        answers = supervisor.wait_for(lambda: web_answers(port), WEB_STARTS_SECONDS)
        supervisor.show_table(table(supervisor, settings))
        supervisor.say("Golub is up." if answers else "The web application does not answer: see its lines above.")
        supervisor.say("Ctrl-C stops everything.")
        supervisor.watch()


def web_port() -> int:
    """PORT, from the environment or `.env`."""
    text = os.environ.get("PORT") or dotenv_values(ENV_FILE).get("PORT") or "5000"
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise NotPossible(f"PORT is {text!r}, and must be a number from 1 to 65535.")
    return int(text)


@contextlib.contextmanager
def only_one(instance: Path) -> Iterator[None]:
    """Hold the lock of this instance folder: two Golubs would share one Redis socket."""
    instance.mkdir(parents=True, exist_ok=True)
    with (instance / "run.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotPossible(f"Golub runs already from {instance}: stop it first (Ctrl-C where it runs).") from None
        yield


def check_ports(settings: Settings, port: int) -> None:
    wanted = [("the web application", "PORT", port)]
    if settings.inbox_enabled:
        wanted.append(("the inbox", "INBOX_PORT", settings.inbox_port))
    for who, name, number in wanted:
        if not is_free(number):
            raise NotPossible(
                f"Port {number} is taken, and {who} needs it. Choose another: {name}={number + 1} make run"
            )


def is_free(port: int) -> bool:
    # Both looks are needed: macOS lets us bind to 127.0.0.1 beside somebody who listens on every address.
    if is_listening(port):
        return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does: TIME_WAIT is no owner
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def own_redis(settings: Settings) -> Part | None:
    """Our own Redis, or None when REDIS_URL names another one, which has to answer then."""
    address = development_redis_socket(settings.instance_path)
    if settings.redis_url != f"unix://{address}?db=0":
        if not servers.redis_answers(settings.redis_url):
            where = without_password(settings.redis_url)
            raise NotPossible(f"No Redis answers at {where}: start it, or unset REDIS_URL for one of our own.")
        return None
    directory = settings.instance_path / "redis"
    for folder in (directory, address.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():  # in the temporary folder, anybody could have made it first
            raise NotPossible(f"{folder} belongs to somebody else: remove it, or set INSTANCE_PATH.")
    command = servers.redis_command(directory, socket=address, port=None, persistent=True)
    return Part("redis", command, str(address))


def write_env_file(path: Path) -> bool:
    """Write the first `.env`; False when there is one already."""
    try:
        path.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        return False
    path.write_text(
        "# Made by `make run`, for this machine only. .env.sample describes everything that can be set.\n"
        "APP_ENV=development\n"
        f"SECRET_KEY={secrets.token_hex(32)}\n"
        + "".join(f"{name}={os.environ[name]}\n" for name in ("PORT", "INBOX_PORT") if os.environ.get(name))
    )
    return True


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def web_command(port: int) -> list[str]:
    command = python("-m", "gunicorn", "wsgi:app", "--bind", f"127.0.0.1:{port}")
    # Its control socket would be one for the whole account, whichever Golub came last.
    return [*command, "--workers", "2", "--threads", "4", "--graceful-timeout", "5", "--no-control-socket"]


def web_answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def inbox_address(settings: Settings, port: int) -> str:
    return f"http://127.0.0.1:{port}/inbox (SMTP on 127.0.0.1:{settings.inbox_port})"


def table(supervisor: Supervisor, settings: Settings) -> list[tuple[str, str, str]]:
    """What runs where: our parts with their processes, and what we were told to use."""
    rows = [("part", "pid", "address")]
    pids = supervisor.pids()
    rows += [(part.name, str(pid or "down"), part.address) for part, pid in pids]
    rows.append(("database", "-", without_password(settings.database_url)))
    if not any(part.name == "redis" for part, _ in pids):
        rows.append(("redis", "external", without_password(settings.redis_url)))
    if not settings.inbox_enabled:
        rows.append(("mail", "external", f"{settings.mail_server}:{settings.mail_port}"))
    return rows


def without_password(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)


if __name__ == "__main__":
    sys.exit(main())
