"""`make test` and `make lint`: every check and every test, one summary, and nothing skipped in silence."""

import argparse
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "test-results"
TOOLS = Path(sys.executable).parent  # of the virtual environment that we run in, wherever it is
# What has nothing to do with the database is a part of its own: it mostly waits, for browsers and for processes.
PARTS = {
    "sqlite": ["--database", "sqlite", "-m", "not one_database"],
    "postgresql": ["--database", "postgresql"],
    "one_database": ["--database", "sqlite", "-m", "one_database and not browser"],
    "browser": ["--database", "sqlite", "-m", "browser and not crawl"],
    "crawl": ["--database", "sqlite", "-m", "crawl"],
}

NONE_CHOSEN = 5  # pytest's word for it, when arguments choose tests of other parts

LINT_STEPS: dict[str, list[str]] = {
    "ruff check": [str(TOOLS / "ruff"), "check", "."],
    "ruff format": [str(TOOLS / "ruff"), "format", "--check", "."],
    "mypy": [sys.executable, "-m", "mypy"],
    "import-linter": [str(TOOLS / "lint-imports")],
}


@dataclass
class Tally:
    """What a pytest run said of its tests. not_run: each skipped test and its reason."""

    passed: int = 0
    failed: int = 0
    not_run: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Step:
    name: str
    seconds: float
    ok: bool
    interrupted: bool = False
    tally: Tally | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.test", description=__doc__)
    parser.add_argument("--lint", action="store_true", help="only lint, types and layers")
    options, for_pytest = parser.parse_known_args(arguments)
    steps: list[Step] = []
    for name, command in LINT_STEPS.items():
        steps.append(run_step(name, command))
        if steps[-1].interrupted:
            break
    if not options.lint and not steps[-1].interrupted:
        steps += run_all_tests(for_pytest)
    print_steps(steps)
    if not options.lint:
        print_not_run(steps)
        print_closing_line(steps)
    something_ran = options.lint or any(step.tally and step.tally.passed for step in steps)
    return 0 if something_ran and all(step.ok for step in steps) else 1


def run_all_tests(for_pytest: Sequence[str]) -> list[Step]:
    """All parts at once: tests wait more than they compute. One is seen live, the others afterwards."""
    RESULTS.mkdir(exist_ok=True)
    first, *others = PARTS
    with ThreadPoolExecutor() as pool:
        logs = {part: RESULTS / f"pytest-{part}.log" for part in others}
        running = [pool.submit(run_tests, part, for_pytest, log) for part, log in logs.items()]
        steps = [run_tests(first, for_pytest), *(run.result() for run in running)]
    for part, log in logs.items():
        print(f"\n=== pytest on {part}\n{log.read_text(errors='replace')}", flush=True)
    return steps


def run_step(name: str, command: Sequence[str], log: Path | None = None) -> Step:
    """Run a command, with its output on the terminal or in `log`."""
    if log is None:
        print(f"\n=== {name}", flush=True)
        return _run(name, command, None)
    with log.open("wb") as output:
        return _run(name, command, output)


def _run(name: str, command: Sequence[str], output: IO[bytes] | None) -> Step:
    begun = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    interrupted = False
    try:
        process.wait()
    except KeyboardInterrupt:
        interrupted = True
        process.wait()  # Ctrl-C reached it too: it may still have something to report
    ok = process.returncode in (0, NONE_CHOSEN) and not interrupted
    return Step(name, time.monotonic() - begun, ok, interrupted)


def run_tests(part: str, for_pytest: Sequence[str], log: Path | None = None) -> Step:
    report = RESULTS / f"pytest-{part}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", *PARTS[part], f"--junit-xml={report}", *for_pytest]
    step = run_step(f"pytest on {part}", command, log)
    step.tally = read_report(report)
    if not step.ok and step.tally.failed == 0:
        step.tally.failed = 1  # pytest itself went wrong: a total without a failure would be a lie
    return step


def read_report(path: Path) -> Tally:
    """Count what a JUnit report of pytest holds; a missing report is one failure."""
    if not path.exists():
        return Tally(failed=1)
    tally = Tally()
    for case in ET.parse(path).iter("testcase"):  # noqa: S314  written by our own pytest a moment ago
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            tally.failed += 1
        elif skipped is not None:
            test = f"{case.get('classname', '')}::{case.get('name', '')}".removeprefix("::")
            tally.not_run.append((test, skipped.get("message") or "no reason given"))
        else:
            tally.passed += 1
    return tally


def print_steps(steps: Sequence[Step]) -> None:
    print("\n=== summary")
    for step in steps:
        counts = f"  {totals([step])}" if step.tally else ""
        print(f"  {'ok' if step.ok else 'FAILED':<6}  {step.name:<20}  {step.seconds:6.1f} s{counts}")


def print_not_run(steps: Sequence[Step]) -> None:
    """Every skipped test, under its reason, with the runs that skipped it."""
    runs_of: dict[tuple[str, str], list[str]] = defaultdict(list)
    for step in steps:
        for test, reason in step.tally.not_run if step.tally else ():
            runs_of[reason, test].append(step.name.removeprefix("pytest on "))
    print("\n=== not run here, and why")
    if not runs_of:
        print("  nothing: every test ran")
    for reason, how_many in Counter(reason for reason, _ in runs_of).items():
        print(f"  {reason} ({how_many})")
        for (its_reason, test), runs in runs_of.items():
            if its_reason == reason:
                print(f"    {test} [{', '.join(runs)}]")


def print_closing_line(steps: Sequence[Step]) -> None:
    print(f"\n{totals(steps)}", flush=True)


def totals(steps: Sequence[Step]) -> str:
    tallies = [step.tally for step in steps if step.tally]
    passed, failed = sum(tally.passed for tally in tallies), sum(tally.failed for tally in tallies)
    skipped = sum(len(tally.not_run) for tally in tallies)
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


if __name__ == "__main__":
    sys.exit(main())
