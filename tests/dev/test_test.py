from pathlib import Path

import pytest

from dev import test as runner

pytestmark = pytest.mark.one_database

REPORT = """<testsuites><testsuite tests="4">
<testcase classname="tests.test_a" name="test_good"/>
<testcase classname="tests.test_a" name="test_bad"><failure message="no"/></testcase>
<testcase classname="tests.test_a" name="test_broken"><error message="no"/></testcase>
<testcase classname="tests.test_a" name="test_elsewhere"><skipped message="needs a moon"/></testcase>
</testsuite></testsuites>"""


def test_a_report_is_counted_and_its_skipped_tests_keep_their_reasons(tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    path.write_text(REPORT)
    tally = runner.read_report(path)
    assert (tally.passed, tally.failed) == (1, 2)
    assert tally.not_run == [("tests.test_a::test_elsewhere", "needs a moon")]


def test_a_run_without_a_report_is_a_failure(tmp_path: Path) -> None:
    assert runner.read_report(tmp_path / "missing.xml").failed == 1


def test_what_did_not_run_is_listed_once_with_its_reason_and_its_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    skipped = runner.Tally(passed=2, not_run=[("tests.test_a::test_elsewhere", "needs a moon")])
    steps = [runner.Step(f"pytest on {name}", 1, ok=True, tally=skipped) for name in runner.PARTS]
    runner.print_not_run(steps)
    runner.print_closing_line(steps)
    lines = capsys.readouterr().out.splitlines()
    assert "  needs a moon (1)" in lines
    assert f"    tests.test_a::test_elsewhere [{', '.join(runner.PARTS)}]" in lines
    assert lines[-1] == f"{2 * len(runner.PARTS)} passed, 0 failed, {len(runner.PARTS)} skipped"


def test_steps_after_a_failed_one_still_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "LINT_STEPS", {"bad": ["false"], "good": ["true"]})
    assert runner.main(["--lint"]) == 1
    out = capsys.readouterr().out
    assert "FAILED  bad" in out
    assert "ok      good" in out
