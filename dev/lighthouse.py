"""`make lighthouse`: Google's Lighthouse on the public pages of a freshly started Golub, as a phone on a slow network.

Needs node with npm, and Chromium. Lighthouse itself goes into `.lighthouse/`, which git ignores.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from app.config import ROOT
from dev import servers, tied

VERSION = "13.5.0"
FOLDER = ROOT / ".lighthouse"
PAGES = {"home": "/", "list": "/blog/", "post": "/blog/honest-ledger"}
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")
LEAST = 95  # of 100
ROUNDS = 3  # the median of them: one slow moment of the machine is not the page's
STARTS_SECONDS = 60
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class NotPossible(SystemExit):
    """It can't be measured here; the text says what is missing."""


def main() -> int:
    command, browser = lighthouse(), _found(*BROWSERS)
    with tempfile.TemporaryDirectory(prefix="golub-lighthouse-") as name, demo_service(Path(name)) as base_url:
        scores = {
            page: median_scores([measure(command, browser, base_url + path, Path(name)) for _ in range(ROUNDS)])
            for page, path in PAGES.items()
        }
    print("  " + "".join(f"{title:<16}" for title in ("page", *CATEGORIES)))
    for page, found in scores.items():
        print("  " + f"{page:<16}" + "".join(f"{found[category]:<16}" for category in CATEGORIES))
    missed = [page for page, found in scores.items() if min(found.values()) < LEAST]
    print(f"Below {LEAST}: {', '.join(missed)}" if missed else f"All are {LEAST} or more.")
    return 1 if missed else 0


def lighthouse() -> list[str]:
    """The command, installed if need be."""
    node, npm = _found("node"), _found("npm")
    package = FOLDER / "node_modules" / "lighthouse"
    manifest = package / "package.json"
    if not manifest.exists() or json.loads(manifest.read_text())["version"] != VERSION:
        print(f"Installing lighthouse {VERSION} into {FOLDER.name}/ …", flush=True)
        FOLDER.mkdir(exist_ok=True)
        options = ["--no-save", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run([npm, "install", *options, "--prefix", FOLDER, f"lighthouse@{VERSION}"], check=True)
    return [node, str(package / "cli" / "index.js")]


def _found(*names: str) -> str:
    if found := next(filter(None, map(shutil.which, names)), None):
        return found
    raise NotPossible(f"There is no {names[0]} on this machine: apt install nodejs npm chromium")


@contextlib.contextmanager
def demo_service(folder: Path) -> Iterator[str]:
    """Golub as in production on an empty SQLite with the demo in it; gives its address."""
    port = servers.free_port()
    base_url = f"http://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(servers.start_redis(folder, socket=None, port=None, persistent=False))
        environment = os.environ | {
            "APP_ENV": "production",
            "INSTANCE_PATH": str(folder / "instance"),
            "SECRET_KEY": "only-for-the-measurement-and-long-enough",
            "DATABASE_URL": f"sqlite:///{folder / 'golub.db'}",
            "REDIS_URL": redis.url,
            "BASE_URL": base_url,
            "MAIL_SERVER": "127.0.0.1",
            "MAIL_PORT": "1",
            "MAIL_DEFAULT_SENDER": "golub@golub.test",
        }
        for step in (("db", "upgrade"), ("load-demo", "--force")):
            _run_step(step, environment, folder / "log")
        web = ("-m", "gunicorn", "wsgi:app", "--bind", f"127.0.0.1:{port}", "--threads", "4", "--no-control-socket")
        log = stack.enter_context((folder / "log").open("ab"))
        process = tied.start([sys.executable, *web], folder=ROOT, environment=environment, output=log)
        stack.enter_context(process)
        _wait_for(f"{base_url}/healthz", folder / "log")
        yield base_url


def _run_step(step: tuple[str, ...], environment: Mapping[str, str], log: Path) -> None:
    command = [sys.executable, "-m", "flask", *step]
    with log.open("ab") as output:
        subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=output, check=True)


def _wait_for(address: str, log: Path) -> None:
    ends = time.monotonic() + STARTS_SECONDS
    while time.monotonic() < ends:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):  # noqa: S310  our own
            return
        time.sleep(0.1)
    raise NotPossible(f"Golub did not start:\n{log.read_text()[-2000:]}")


def measure(command: list[str], browser: str, address: str, folder: Path) -> dict[str, int]:
    """The page's scores of 0 to 100, by category, for a phone as Lighthouse simulates it."""
    report = folder / "report.json"
    flags = "--headless=new --no-sandbox --disable-gpu"
    options = ["--quiet", "--output=json", f"--output-path={report}", f"--chrome-flags={flags}"]
    only = f"--only-categories={','.join(CATEGORIES)}"
    subprocess.run(
        [*command, address, *options, only], env=os.environ | {"CHROME_PATH": browser}, cwd=folder, check=True
    )
    found = json.loads(report.read_text())["categories"]
    if folder_kept := os.environ.get("REPORTS"):
        shutil.copy(report, Path(folder_kept) / f"{address.rstrip('/').rpartition('/')[2]}.json")
    return {category: round(100 * found[category]["score"]) for category in CATEGORIES}


def median_scores(rounds: list[dict[str, int]]) -> dict[str, int]:
    return {category: round(median(each[category] for each in rounds)) for category in CATEGORIES}


if __name__ == "__main__":
    sys.exit(main())
