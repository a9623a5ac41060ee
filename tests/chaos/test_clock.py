"""The clock is put forward by an hour, and back, while they send."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.conftest import NewWorld
from tests.chaos.world import CONNECTIONS, WORKERS

THINKS_SECONDS = 0.005
INSTALLED = "*/faketime/libfaketimeMT.so.1"


def find_libfaketime(folder: Path) -> Path:
    """It, installed or unpacked from Debian's package; skips the test where it can't be had."""
    if found := next(Path("/usr/lib").glob(INSTALLED), None):
        return found
    if sys.platform == "linux" and shutil.which("apt-get") and shutil.which("dpkg"):
        loaded = subprocess.run(["apt-get", "download", "libfaketime"], cwd=folder, capture_output=True, check=False)
        for package in folder.glob("libfaketime*.deb"):
            if loaded.returncode == 0:
                subprocess.run(["dpkg", "-x", package, folder], check=True)
    if found := next(folder.glob(f"usr/lib/{INSTALLED}"), None):
        return found
    pytest.skip("no libfaketime on this machine: apt install libfaketime")


@pytest.mark.chaos_full
@pytest.mark.timeout(300)
@pytest.mark.parametrize("steps", [("+3600", "+0"), ("-3600", "+0")], ids=["forward and back", "back and forward"])
def test_the_clock_steps_by_an_hour_while_they_send(
    new_world: NewWorld, tmp_path: Path, steps: tuple[str, str]
) -> None:
    shift = tmp_path / "shift"
    shift.write_text("+0\n")
    variables = {
        "LD_PRELOAD": str(find_libfaketime(tmp_path)),
        "FAKETIME_TIMESTAMP_FILE": str(shift),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
        "NO_FAKE_STAT": "1",
    }
    with new_world(variables=variables) as world:
        world.mail.behave(delay=THINKS_SECONDS)
        planted = world.plant(2000)
        for part, step in enumerate(steps, start=1):
            world.wait_for_accepted(planted, planted.count * part // 4)
            shift.write_text(f"{step}\n")
        world.finish(planted, 200)
        # Claims seem to be of dead workers then, who find themselves shut out in mid-sentence.
        world.verdict(planted, unknown_at_most=len(steps) * WORKERS * CONNECTIONS)
