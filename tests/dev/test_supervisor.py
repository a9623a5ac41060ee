import io
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from dev.supervisor import Part, StepFailed, Supervisor
from tests.dev.processes import is_running, read_until, start_script
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.one_database

SUPERVISED = """
import os, sys
from pathlib import Path
from dev.supervisor import Part, Supervisor
with Supervisor(Path.cwd(), os.environ, first_delay_seconds=0.2, grace_seconds=1) as supervisor:
    for name, command in zip(("first", "second"), sys.argv[1:]):
        supervisor.start(Part(name, ["sh", "-c", command]))
    supervisor.say("all started")
    supervisor.watch()
"""
SAYS_ITS_END = "trap 'echo ends; exit' TERM; echo pid $$; while :; do sleep 0.05; done"
STUBBORN = "trap '' TERM; echo pid $$; while :; do sleep 0.05; done"
WITH_WORKER = "setsid sleep 60 & echo worker $!; echo pid $$; wait"


def supervise(out: io.StringIO, folder: Path) -> Supervisor:
    return Supervisor(folder, os.environ, out, grace_seconds=1, first_delay_seconds=0.1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all_parts_the_last_first(number: signal.Signals) -> None:
    with start_script(SUPERVISED, SAYS_ITS_END, SAYS_ITS_END) as parent:
        pids = [int(read_until(parent, r"pid (\d+)")[1]) for _ in range(2)]
        parent.send_signal(number)
        rest, _ = parent.communicate(timeout=PATIENCE_SECONDS)
    assert re.findall(r"(\w+) +\| ends", rest) == ["second", "first"]
    assert "Traceback" not in rest
    assert parent.returncode == 0
    assert not any(is_running(pid) for pid in pids)


def test_a_part_that_will_not_end_is_killed() -> None:
    with start_script(SUPERVISED, STUBBORN) as parent:
        pid = int(read_until(parent, r"pid (\d+)")[1])
        parent.terminate()
        parent.communicate(timeout=PATIENCE_SECONDS)
    assert parent.returncode == 0
    assert not is_running(pid)


def test_no_part_survives_a_supervisor_that_is_killed() -> None:
    with start_script(SUPERVISED, WITH_WORKER, STUBBORN) as parent:
        pids = [int(read_until(parent, r"(?:pid|worker) (\d+)")[1]) for _ in range(3)]
        parent.kill()
        wait_until(lambda: not any(is_running(pid) for pid in pids))


def test_a_killed_part_starts_again_and_leaves_no_worker_behind() -> None:
    with start_script(SUPERVISED, WITH_WORKER) as parent:
        worker = int(read_until(parent, r"worker (\d+)")[1])
        pid = int(read_until(parent, r"pid (\d+)")[1])
        os.kill(pid, signal.SIGKILL)
        read_until(parent, r"golub +\| first ended with SIGKILL; it starts again in 0.2 s")
        assert not is_running(worker)
        again = int(read_until(parent, r"pid (\d+)")[1])
        assert again != pid
        parent.terminate()
        parent.communicate(timeout=PATIENCE_SECONDS)
    assert not is_running(again)


def test_the_delay_grows_with_every_death(tmp_path: Path) -> None:
    out = io.StringIO()
    with supervise(out, tmp_path) as supervisor:
        supervisor.start(Part("short", ["false"]))
        supervisor.wait_for(lambda: "in 0.4 s" in out.getvalue(), 10)
    assert re.findall(r"in (\S+) s\.", out.getvalue()) == ["0.1", "0.2", "0.4"]


def test_the_delay_begins_anew_after_a_steady_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dev.supervisor.STEADY_SECONDS", 0)
    out = io.StringIO()
    with supervise(out, tmp_path) as supervisor:
        supervisor.start(Part("short", ["false"]))
        supervisor.wait_for(lambda: out.getvalue().count("again") == 3, 10)
    assert re.findall(r"in (\S+) s\.", out.getvalue()) == ["0.1", "0.1", "0.1"]


def test_every_line_stands_under_its_name(tmp_path: Path) -> None:
    out = io.StringIO()
    talk = "print('one'); print('\\u043f\\u0438\\u0441\\u044c\\u043c\\u043e', end=''); sys.stderr.write('!')"
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    with Supervisor(tmp_path, environment, out) as supervisor:
        supervisor.run_step("talker", [sys.executable, "-uc", f"import sys; {talk}"])
    assert out.getvalue() == "talker    | one\ntalker    | письмо!\n"


def test_a_failed_step_says_how_it_ended(tmp_path: Path) -> None:
    with (
        supervise(io.StringIO(), tmp_path) as supervisor,
        pytest.raises(StepFailed, match="'it' ended with exit code 7"),
    ):
        supervisor.run_step("it", ["sh", "-c", "exit 7"])


def test_a_part_that_does_not_get_ready_is_an_error(tmp_path: Path) -> None:
    with (
        supervise(io.StringIO(), tmp_path) as supervisor,
        pytest.raises(StepFailed, match="'slow' was not ready"),
    ):
        supervisor.start(Part("slow", ["sleep", "60"]), ready=lambda: False, seconds=0.2)


def test_a_part_that_closes_its_output_costs_no_time(tmp_path: Path) -> None:
    with supervise(io.StringIO(), tmp_path) as supervisor:
        supervisor.start(Part("mute", ["sh", "-c", "exec >&- 2>&-; sleep 60"]))
        supervisor.wait_for(lambda: False, 0.3)
        before = time.process_time()
        supervisor.wait_for(lambda: False, 0.5)
        assert time.process_time() - before < 0.2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_colour", "line"), [("", "\x1b[36mecho      |\x1b[0m hi\n"), ("1", "echo      | hi\n")])
def test_names_are_coloured_on_a_terminal_only_if_wanted(
    no_colour: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_colour)
    out = Terminal()
    with supervise(out, tmp_path) as supervisor:
        supervisor.run_step("echo", ["echo", "hi"])
    assert out.getvalue() == line
