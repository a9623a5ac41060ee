"""What the tests of `dev/` share: programs to run, and a look at which processes are there."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def look_up(pid: int, what: str) -> str:
    """One field of `ps` about a process; "" when it is not there."""
    command = ["ps", "-o", f"{what}=", "-p", str(pid)]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()


def is_running(pid: int) -> bool:
    """True for a process that is there; a zombie has ended."""
    state = look_up(pid, "stat")
    return state != "" and not state.startswith("Z")


def start_script(text: str, *arguments: str) -> "subprocess.Popen[str]":
    """A Python process of ours that runs `text` from the project's folder, to be killed as one likes."""
    return subprocess.Popen(
        [sys.executable, "-c", text, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(process: "subprocess.Popen[str]", pattern: str) -> "re.Match[str]":
    """Read its lines until one matches."""
    seen = ""
    assert process.stdout is not None
    for line in process.stdout:
        seen += line
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"no line matches {pattern!r} in:\n{seen}")
