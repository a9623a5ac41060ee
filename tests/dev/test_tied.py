import os
import signal
from pathlib import Path

import pytest

from dev import tied
from tests.dev.processes import is_running, look_up, read_until, start_script
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.one_database

# A parent that says the process ids of its child, and of a grandchild that went into a session of its own.
PARENT = r"""
import subprocess, sys, time
from pathlib import Path
from dev import tied
child = tied.start(["sh", "-c", sys.argv[1]], folder=Path.cwd())
sys.stdout.write(f"child {child.pid}\n")  # in one piece: the grandchild writes to the same pipe
time.sleep(60)
"""
WITH_GRANDCHILD = "setsid sleep 60 & echo grandchild $!; wait"
STUBBORN = "trap '' TERM; setsid sleep 60 & echo grandchild $!; while :; do sleep 0.1; done"


@pytest.mark.parametrize("command", [WITH_GRANDCHILD, STUBBORN])
def test_nothing_survives_a_parent_that_is_killed(command: str) -> None:
    with start_script(PARENT, command) as parent:
        pids = [int(read_until(parent, r"child (\d+)")[1]) for _ in range(2)]
        assert all(is_running(pid) for pid in pids)
        parent.kill()
        wait_until(lambda: not any(is_running(pid) for pid in pids))


def test_a_command_that_ends_takes_along_what_it_started(tmp_path: Path) -> None:
    child = tied.start(["sh", "-c", "setsid sleep 60 & echo $! > pid; exit 3"], folder=tmp_path)
    assert child.wait(PATIENCE_SECONDS) == 3
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_a_command_that_will_not_end_is_killed_after_its_grace(tmp_path: Path) -> None:
    child = tied.start(["sh", "-c", "trap '' TERM; touch up; sleep 60"], folder=tmp_path, grace_seconds=0.3)
    wait_until((tmp_path / "up").exists)
    assert tied.describe_end(child.stop()) == "SIGKILL"


def test_a_command_is_asked_to_end_once_only(tmp_path: Path) -> None:
    counting = "trap 'echo asked >> asked' TERM; touch up; while :; do sleep 0.05; done"
    child = tied.start(["sh", "-c", counting], folder=tmp_path, grace_seconds=0.5)
    wait_until((tmp_path / "up").exists)
    child.end()
    child.end()
    child.wait(PATIENCE_SECONDS)
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_it_is_ended_when_its_guard_is_killed(tmp_path: Path) -> None:
    child = tied.start(["sleep", "60"], folder=tmp_path)
    os.kill(int(look_up(child.pid, "ppid")), signal.SIGKILL)
    assert child.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    wait_until(lambda: not is_running(child.pid))


def test_a_missing_command_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="/no/such/program cannot be started: No such file"):
        tied.start(["/no/such/program"], folder=tmp_path)
