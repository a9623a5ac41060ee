"""The operator's commands: what they do, what they print, and how they refuse."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from rq import Queue, Worker
from rq_scheduler import Scheduler
from sqlalchemy import func, select, update

from app import clock, create_app, queue
from app.auth.models import User
from app.auth.roles import Role
from app.cli import accounts, sending
from app.clients.models import Client
from app.config import SAMPLE_SECRET_KEY, Settings
from app.delivery.breaker import Breaker
from app.delivery.models import Run, RunStatus
from app.extensions import db
from app.mailings.models import Mailing
from tests import make
from tests.smtp import RecordingSmtp

RunJobs = Callable[[], None]
NOWHERE = "127.0.0.1:1"  # nothing listens there
COMMANDS = (
    ["create-admin", "--email", "boss@golub.test", "--password", make.PASSWORD],
    ["set-role", "owner@golub.test", "admin"],
    ["load-demo"],
    ["load-demo", "--if-empty"],
    ["import-clients", "owner@golub.test", __file__],
    ["send-mailing", "1"],
    ["dispatch"],
    ["resend", "1", "--unknown"],
    ["report", "1"],
    ["report", "1", "--json"],
    ["runs"],
)


def prints(result: Result) -> str:
    """What a command that went well has printed."""
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def refusal(result: Result, code: int = 1) -> str:
    """The one line of a command that went wrong."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture
def mailing(app: Flask, owner: User) -> Mailing:
    """A mailing of the owner to three clients, planned for later."""
    with app.app_context():
        make.clients(owner, 3)
        made = make.mailing(owner, name="News")
        db.session.commit()
        db.session.refresh(made)
        db.session.expunge(made)
        return made


@pytest.fixture
def change(app: Flask) -> Callable[..., None]:
    """Change columns of the only row of a table."""

    def change(model: Any, **values: Any) -> None:
        with app.app_context():
            db.session.execute(update(model).values(**values))
            db.session.commit()

    return change


@pytest.fixture
def elsewhere(settings: Settings) -> Iterator[Callable[..., FlaskCliRunner]]:
    """The commands of an application with other settings."""
    apps = []

    def runner(**changes: Any) -> FlaskCliRunner:
        apps.append(create_app(settings.model_copy(update=changes)))
        return apps[-1].test_cli_runner()

    yield runner
    for app in apps:
        with app.app_context():
            db.engine.dispose()


@pytest.fixture(scope="module")
def empty_database(new_database: Callable[[str], str]) -> str:
    return new_database("cli_empty").replace("postgresql://", "postgresql+psycopg2://")


def count(app: Flask, model: Any) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(model)) or 0


# ── All of them ──


@pytest.mark.parametrize(
    "name", ["create-admin", "csu", "set-role", "load-demo", "import-clients", "send-mailing", "resend"]
)
def test_every_command_explains_itself(runner: FlaskCliRunner, name: str) -> None:
    text = prints(runner.invoke(args=[name, "--help"]))
    assert "Usage:" in text
    assert len(text.splitlines()) > 5


def test_all_commands_are_listed_with_what_they_do(runner: FlaskCliRunner) -> None:
    text = prints(runner.invoke(args=["--help"]))
    for name in sorted({"csu", "doctor", *(args[0] for args in COMMANDS)}):
        line = next(line for line in text.splitlines() if line.split()[:1] == [name])
        assert len(line.split()) > 4
        assert not line.endswith("...")


@pytest.mark.parametrize("args", COMMANDS)
def test_a_database_without_tables_is_one_line(
    elsewhere: Callable[..., FlaskCliRunner], empty_database: str, args: list[str]
) -> None:
    assert "flask doctor" in refusal(elsewhere(database_url=empty_database).invoke(args=args))


@pytest.mark.parametrize("args", COMMANDS)
def test_a_database_that_is_away_is_one_line(elsewhere: Callable[..., FlaskCliRunner], args: list[str]) -> None:
    runner = elsewhere(database_url=f"postgresql+psycopg2://golub:secret@{NOWHERE}/golub")
    line = refusal(runner.invoke(args=args))
    assert "flask doctor" in line
    assert "secret" not in line


@pytest.mark.parametrize(
    "args",
    [
        ["set-role", "owner@golub.test"],
        ["set-role", "owner@golub.test", "pope"],
        ["import-clients", "owner@golub.test", "there-is-no-such-file.csv"],
        ["import-clients", "owner@golub.test", "."],
        ["send-mailing", "first"],
        ["send-mailing", "0"],
        ["send-mailing", "9" * 30],
        ["send-mailing", "1", "--timeout", "soon"],
        ["resend"],
        ["resend", "1"],
        ["resend", "1", "--failed", "--unknown"],
        ["resend", "0", "--failed"],
        ["report"],
        ["report", "-1"],
        ["report", "1", "2"],
        ["runs", "--limit", "0"],
        ["runs", "--everything"],
        ["dispatch", "now"],
        ["doctor", "--xml"],
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(runner: FlaskCliRunner, args: list[str]) -> None:
    assert f"flask {args[0]} --help" in refusal(runner.invoke(args=args), code=2)


# ── create-admin ──


@pytest.mark.parametrize("name", ["create-admin", "csu"])
def test_an_administrator_is_made_and_can_log_in(runner: FlaskCliRunner, client: FlaskClient, name: str) -> None:
    args = [name, "--email", "Boss@golub.test", "--name", " The \t Boss", "--password", make.PASSWORD]
    assert "Boss@golub.test is an administrator now" in prints(runner.invoke(args=args))
    credentials = {"email": "boss@golub.test", "password": make.PASSWORD}
    assert client.post("/auth/login", data=credentials).status_code == 303
    with runner.app.app_context():
        boss = db.session.scalars(select(User)).one()
        assert (boss.name, boss.role) == ("The Boss", Role.ADMIN)


def test_without_a_terminal_the_password_comes_from_standard_input(runner: FlaskCliRunner, app: Flask) -> None:
    prints(runner.invoke(args=["create-admin", "--email", "boss@golub.test"], input=f"{make.PASSWORD}\n"))
    assert count(app, User) == 1


def test_the_password_may_come_from_the_environment(runner: FlaskCliRunner, app: Flask) -> None:
    environment = {"GOLUB_ADMIN_PASSWORD": make.PASSWORD}
    prints(runner.invoke(args=["create-admin", "--email", "boss@golub.test"], env=environment))
    assert count(app, User) == 1


def test_at_a_terminal_what_is_missing_is_asked_for(
    runner: FlaskCliRunner, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "_has_terminal", lambda: True)
    typed = ["The Boss", "boss@golub.test", "a slip of the fingers", make.PASSWORD, make.PASSWORD, make.PASSWORD]
    result = runner.invoke(args=["csu"], input="".join(f"{line}\n" for line in typed))
    assert result.exit_code == 0
    assert "do not match" in result.output
    assert make.PASSWORD not in result.output
    assert count(app, User) == 1


@pytest.mark.parametrize(
    ("args", "words", "code"),
    [
        (["--email", "boss@golub.test", "--password", "short"], "at least 10 characters", 1),
        (["--email", "boss@golub.test", "--password", "x" * 129], "at most 128 characters", 1),
        (["--email", "not an address", "--password", make.PASSWORD], "e-mail address", 1),
        (["--email", "boss@golub.test", "--name", "x" * 151, "--password", make.PASSWORD], "150 characters", 2),
        (["--email", "boss@golub.test"], "password is missing", 2),
        ([], "E-mail is missing", 2),
    ],
)
def test_an_administrator_is_refused_with_the_reason(
    runner: FlaskCliRunner, app: Flask, args: list[str], words: str, code: int
) -> None:
    assert words in refusal(runner.invoke(args=["create-admin", *args]), code)
    assert count(app, User) == 0


def test_an_address_that_has_an_account_is_refused(runner: FlaskCliRunner, owner: User) -> None:
    args = ["create-admin", "--email", "OWNER@golub.test", "--password", make.PASSWORD]
    assert "has an account already" in refusal(runner.invoke(args=args))


# ── set-role ──


@pytest.mark.parametrize("role", list(Role))
def test_a_role_is_given(runner: FlaskCliRunner, owner: User, role: Role) -> None:
    assert f"“{role}”" in prints(runner.invoke(args=["set-role", "Owner@golub.test", role.upper()]))
    with runner.app.app_context():
        assert db.session.get_one(User, owner.id).role is role


def test_an_unknown_role_names_the_choices(runner: FlaskCliRunner, owner: User) -> None:
    line = refusal(runner.invoke(args=["set-role", owner.email, "pope"]), code=2)
    assert all(role in line for role in Role)


@pytest.mark.parametrize("address", ["nobody@golub.test", "not an address", "", "\udcff@golub.test"])
def test_an_unknown_account_gets_no_role(runner: FlaskCliRunner, address: str) -> None:
    refusal(runner.invoke(args=["set-role", address, "admin"]))


def test_the_last_administrator_stays_one(runner: FlaskCliRunner, admin: User, owner: User) -> None:
    assert "last administrator" in refusal(runner.invoke(args=["set-role", admin.email, "user"]))
    prints(runner.invoke(args=["set-role", admin.email, "admin"]))
    prints(runner.invoke(args=["set-role", owner.email, "admin"]))
    prints(runner.invoke(args=["set-role", admin.email, "user"]))


def test_an_administrator_who_is_blocked_counts_for_nothing(
    runner: FlaskCliRunner, app: Flask, admin: User, owner: User
) -> None:
    with app.app_context():
        blocked = db.session.get_one(User, owner.id)
        blocked.role, blocked.blocked_at = Role.ADMIN, clock.now()
        db.session.commit()
    assert "last administrator" in refusal(runner.invoke(args=["set-role", admin.email, "user"]))


# ── import-clients ──


def test_clients_are_imported_and_bad_rows_named(
    runner: FlaskCliRunner, app: Flask, owner: User, tmp_path: Path
) -> None:
    rows = ["anna@example.test,Анна", "ANNA@example.test,Anna", *(f"bad{n},Nobody" for n in range(25))]
    file = tmp_path / "клиенты.csv"
    file.write_text("\n".join(["email,first name", *rows]))
    lines = prints(runner.invoke(args=["import-clients", owner.email, str(file)])).splitlines()
    assert lines[:3] == ["added: 1", "skipped: 1 (there already)", "bad: 25"]
    assert lines[3].startswith("  row 4: This is not a usable e-mail address")
    assert len(lines) == 3 + 20 + 1
    assert lines[-1] == "  and 5 more"
    assert count(app, Client) == 1
    again = prints(runner.invoke(args=["import-clients", owner.email, str(file)]))
    assert again.startswith("added: 0\nskipped: 2")


@pytest.mark.parametrize("text", ["", "email\n", "email\nnobody\n", "name\nAnna\n", "\x00\x01\x02"])
def test_a_file_without_a_single_client_is_refused(
    runner: FlaskCliRunner, app: Flask, owner: User, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "clients.csv"
    file.write_text(text)
    refusal(runner.invoke(args=["import-clients", owner.email, str(file)]))
    assert count(app, Client) == 0


def test_only_who_may_have_clients_gets_some(runner: FlaskCliRunner, manager: User, tmp_path: Path) -> None:
    file = tmp_path / "clients.csv"
    with file.open("w") as stream:
        csv.writer(stream).writerows([["email"], ["anna@example.test"]])
    assert "address book" in refusal(runner.invoke(args=["import-clients", manager.email, str(file)]))
    refusal(runner.invoke(args=["import-clients", "nobody@golub.test", str(file)]))


# ── send-mailing ──


def test_a_mailing_is_sent_by_hand(
    runner: FlaskCliRunner, mailing: Mailing, run_jobs: RunJobs, smtp: RecordingSmtp
) -> None:
    text = prints(runner.invoke(args=["send-mailing", str(mailing.id)]))
    assert f"flask report {mailing.id}" in text
    run_jobs()
    assert len(smtp.letters) == 3
    assert "done" in prints(runner.invoke(args=["report", str(mailing.id)]))


def test_waiting_ends_with_the_run(
    runner: FlaskCliRunner,
    mailing: Mailing,
    run_jobs: RunJobs,
    smtp: RecordingSmtp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "sleep", lambda _seconds: run_jobs())
    result = runner.invoke(args=["send-mailing", str(mailing.id), "--wait"])
    assert result.exit_code == 0
    assert "is done: planned 3, pending 0, sending 0, sent 3, failed 0, unknown 0, skipped 0." in result.stdout
    assert "No worker is alive" in result.stderr
    assert len(smtp.letters) == 3


def test_waiting_too_long_fails_and_says_how_far_it_came(runner: FlaskCliRunner, mailing: Mailing) -> None:
    result = runner.invoke(args=["send-mailing", str(mailing.id), "--wait", "--timeout", "0.2"])
    assert result.exit_code == 1
    assert "is not done after 0.2 s" in result.stderr.splitlines()[-1]


def test_waiting_says_what_keeps_the_run(
    runner: FlaskCliRunner, mailing: Mailing, change: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "sleep", lambda _seconds: change(Run, held_at=clock.now()))
    result = runner.invoke(args=["send-mailing", str(mailing.id), "--wait", "--timeout", "0.1"])
    assert "It is held" in result.stderr.splitlines()[-1]


def test_a_mailing_that_may_not_run_is_refused(
    runner: FlaskCliRunner, app: Flask, mailing: Mailing, change: Callable[..., None]
) -> None:
    args = ["send-mailing", str(mailing.id)]
    assert "no mailing" in refusal(runner.invoke(args=["send-mailing", str(mailing.id + 1)]))
    change(Mailing, paused_at=clock.now())
    assert "paused" in refusal(runner.invoke(args=args))
    change(Mailing, paused_at=None, disabled_at=clock.now())
    assert "disabled" in refusal(runner.invoke(args=args))
    change(Mailing, disabled_at=None, deleted_at=clock.now())
    assert "no mailing" in refusal(runner.invoke(args=args))
    change(Mailing, deleted_at=None)
    change(User, blocked_at=clock.now())
    assert "blocked" in refusal(runner.invoke(args=args))
    assert count(app, Run) == 0


def test_a_mailing_that_is_being_sent_is_not_sent_again(runner: FlaskCliRunner, app: Flask, mailing: Mailing) -> None:
    prints(runner.invoke(args=["send-mailing", str(mailing.id)]))
    assert "not finished" in refusal(runner.invoke(args=["send-mailing", str(mailing.id)]))
    assert count(app, Run) == 1


def test_without_redis_the_run_begins_and_waits_for_the_sweep(
    elsewhere: Callable[..., FlaskCliRunner], app: Flask, mailing: Mailing
) -> None:
    result = elsewhere(redis_url=f"redis://{NOWHERE}/0").invoke(args=["send-mailing", str(mailing.id)])
    assert result.exit_code == 0
    assert "the sweep will enqueue them again" in result.stderr
    assert count(app, Run) == 1


def test_waiting_without_redis_is_one_line_more(elsewhere: Callable[..., FlaskCliRunner], mailing: Mailing) -> None:
    result = elsewhere(redis_url=f"redis://{NOWHERE}/0").invoke(args=["send-mailing", str(mailing.id), "--wait"])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: Redis: ")


# ── dispatch ──


def test_dispatch_begins_what_is_due_and_nothing_else(
    runner: FlaskCliRunner,
    mailing: Mailing,
    change: Callable[..., None],
    run_jobs: RunJobs,
    smtp: RecordingSmtp,
) -> None:
    assert prints(runner.invoke(args=["dispatch"])) == "Runs begun: 0.\n"
    change(Mailing, next_run_at=clock.now(), start_at=clock.now() - timedelta(seconds=1))
    assert prints(runner.invoke(args=["dispatch"])) == "Runs begun: 1.\n"
    assert prints(runner.invoke(args=["dispatch"])) == "Runs begun: 0.\n"
    run_jobs()
    assert len(smtp.letters) == 3


# ── resend ──


@pytest.fixture
def run_id(runner: FlaskCliRunner, app: Flask, mailing: Mailing, run_jobs: RunJobs, smtp: RecordingSmtp) -> int:
    """A run of which one message failed and two arrived; the next try of all would be taken."""
    smtp.answer_rcpt = lambda address: "552 5.2.2 mailbox full" if address.startswith("client0") else None
    prints(runner.invoke(args=["send-mailing", str(mailing.id)]))
    run_jobs()
    smtp.reset()
    with app.app_context():
        return db.session.scalars(select(Run.id)).one()


def test_what_failed_is_sent_again(
    runner: FlaskCliRunner, run_id: int, mailing: Mailing, run_jobs: RunJobs, smtp: RecordingSmtp
) -> None:
    text = prints(runner.invoke(args=["resend", str(run_id), "--failed"]))
    assert text == (f"Messages of run {run_id} that are sent again, now: 1. Look at it: flask report {mailing.id}\n")
    run_jobs()
    assert [letter.recipients for letter in smtp.letters] == [["client0@example.test"]]
    assert "nothing to send again" in refusal(runner.invoke(args=["resend", str(run_id), "--failed"]))


def test_what_a_paused_mailing_sends_again_waits(
    runner: FlaskCliRunner, run_id: int, change: Callable[..., None], run_jobs: RunJobs, smtp: RecordingSmtp
) -> None:
    change(Mailing, paused_at=clock.now())
    assert "once its mailing is resumed: 1." in prints(runner.invoke(args=["resend", str(run_id), "--failed"]))
    run_jobs()
    assert not smtp.letters


@pytest.mark.parametrize("fields", [{"deleted_at": clock.now()}, {"disabled_at": clock.now()}])
def test_what_may_not_send_sends_nothing_again(
    runner: FlaskCliRunner, run_id: int, change: Callable[..., None], fields: dict[str, Any]
) -> None:
    change(Mailing, **fields)
    assert "mailing" in refusal(runner.invoke(args=["resend", str(run_id), "--failed"]))


def test_where_nothing_is_unknown_there_is_nothing_to_send_again(runner: FlaskCliRunner, run_id: int) -> None:
    assert "nothing to send again" in refusal(runner.invoke(args=["resend", str(run_id), "--unknown"]))


def test_no_run_can_not_be_sent_again(runner: FlaskCliRunner, app: Flask) -> None:
    assert "There is no run 7." in refusal(runner.invoke(args=["resend", "7", "--unknown"]))


# ── report and runs ──


def test_a_report_shows_each_run_and_the_sums(
    runner: FlaskCliRunner, mailing: Mailing, run_jobs: RunJobs, smtp: RecordingSmtp
) -> None:
    smtp.answer_rcpt = lambda address: "552 5.2.2 mailbox full" if address.startswith("client0") else None
    for _ in range(2):
        prints(runner.invoke(args=["send-mailing", str(mailing.id)]))
        run_jobs()
    lines = prints(runner.invoke(args=["report", str(mailing.id)])).splitlines()
    assert lines[0].startswith(f"Mailing {mailing.id}, “News”: completed")
    assert " ".join(lines[2].split()) == ("run scheduled for state planned pending sending sent failed unknown skipped")
    assert [line.split()[4:] for line in lines[3:5]] == [["done", "3", "0", "0", "2", "1", "0", "0"]] * 2
    assert lines[5].split() == ["all", "runs", "6", "0", "0", "4", "2", "0", "0"]
    assert len({line.rindex("0") for line in lines[3:]}) == 1  # aligned


def test_a_report_for_programs_is_a_list(runner: FlaskCliRunner, mailing: Mailing, run_jobs: RunJobs) -> None:
    args = ["report", str(mailing.id), "--json"]
    assert json.loads(prints(runner.invoke(args=args))) == []
    prints(runner.invoke(args=["send-mailing", str(mailing.id)]))
    run_jobs()
    (run,) = json.loads(prints(runner.invoke(args=args)))
    assert list(run) == [
        *("run", "mailing", "scheduled_for", "started_at", "finished_at", "status", "held", "missed", "fault"),
        *("planned", "pending", "sending", "sent", "failed", "unknown", "skipped"),
    ]
    assert (run["mailing"], run["status"], run["planned"], run["sent"]) == (mailing.id, "done", 3, 3)
    assert run["scheduled_for"].endswith("+00:00")


def test_the_ledger_of_a_deleted_mailing_can_still_be_read(
    runner: FlaskCliRunner, mailing: Mailing, change: Callable[..., None]
) -> None:
    change(Mailing, deleted_at=clock.now())
    text = prints(runner.invoke(args=["report", str(mailing.id)]))
    assert "deleted" in text
    assert "has not run yet" in text


def test_a_report_of_no_mailing_is_refused(runner: FlaskCliRunner) -> None:
    refusal(runner.invoke(args=["report", "1"]))
    refusal(runner.invoke(args=["report", str(2**63 - 1), "--json"]))


def test_runs_shows_what_is_unfinished(
    runner: FlaskCliRunner, mailing: Mailing, change: Callable[..., None], run_jobs: RunJobs
) -> None:
    assert "No unfinished runs" in prints(runner.invoke(args=["runs"]))
    assert "No runs yet" in prints(runner.invoke(args=["runs", "--all"]))
    prints(runner.invoke(args=["send-mailing", str(mailing.id)]))
    change(Run, held_at=clock.now(), fault="421 4.3.2\x1b[31m\nclosing")
    (_, line) = prints(runner.invoke(args=["runs"])).splitlines()
    assert "owner@golub.test" in line
    assert "preparing, held" in line
    assert line.endswith("421 4.3.2 [31m closing")
    change(Run, status=RunStatus.DONE)
    assert "No unfinished runs" in prints(runner.invoke(args=["runs"]))
    assert len(prints(runner.invoke(args=["runs", "--all"])).splitlines()) == 2


def test_runs_shows_no_more_than_asked_for(
    runner: FlaskCliRunner, mailing: Mailing, change: Callable[..., None]
) -> None:
    for _ in range(3):
        prints(runner.invoke(args=["send-mailing", str(mailing.id)]))
        change(Run, status=RunStatus.DONE)
    lines = prints(runner.invoke(args=["runs", "--all", "--limit", "2"])).splitlines()
    ids = [int(line.split()[0]) for line in lines[1:]]
    assert len(ids) == 2
    assert ids == sorted(ids, reverse=True)


# ── doctor ──


@pytest.fixture
def alive(app: Flask) -> Iterator[tuple[Worker, Scheduler]]:
    """A worker and a scheduler that say they live."""
    with app.app_context():
        worker = Worker([Queue(queue.QUEUE_NAME, connection=queue.connection())], connection=queue.connection())
        scheduler = Scheduler(queue.QUEUE_NAME, connection=queue.connection())
    worker.register_birth()
    scheduler.register_birth()
    yield worker, scheduler
    worker.register_death()
    scheduler.register_death()


def findings(runner: FlaskCliRunner) -> dict[str, str]:
    """What the doctor says of each part; and that its exit code and its JSON say the same."""
    result = runner.invoke(args=["doctor"])
    lines = result.stdout.splitlines()
    assert result.stderr == ""
    assert all(line.startswith(("ok: ", "FAILED: ")) for line in lines)
    assert all(" — " in line for line in lines if line.startswith("FAILED"))
    assert result.exit_code == any(line.startswith("FAILED") for line in lines)
    as_json = runner.invoke(args=["doctor", "--json"])
    checks = json.loads(as_json.stdout)
    assert as_json.exit_code == result.exit_code
    assert [check["ok"] for check in checks] == [line.startswith("ok") for line in lines]
    return {check["name"]: line for check, line in zip(checks, lines, strict=True)}


def failed(runner: FlaskCliRunner) -> dict[str, str]:
    return {name: line for name, line in findings(runner).items() if line.startswith("FAILED")}


def test_the_doctor_is_content_when_all_is_well(runner: FlaskCliRunner, alive: object) -> None:
    found = findings(runner)
    assert list(found) == [
        *("database", "migrations", "redis", "workers", "scheduler", "queue", "failed jobs", "smtp"),
        *("sending", "instance folder", "secret key"),
    ]
    assert found["workers"] == "ok: workers — 1 alive"
    assert found["queue"] == "ok: queue — jobs waiting: 0"
    assert not failed(runner)


def test_the_doctor_misses_workers_and_scheduler(runner: FlaskCliRunner) -> None:
    lines = failed(runner)
    assert list(lines) == ["workers", "scheduler"]
    assert "python worker.py" in lines["workers"]
    assert "python scheduler.py" in lines["scheduler"]


def test_who_said_good_bye_is_not_alive(runner: FlaskCliRunner, alive: tuple[Worker, Scheduler]) -> None:
    worker, scheduler = alive
    worker.register_death()
    scheduler.register_death()
    assert list(failed(runner)) == ["workers", "scheduler"]


def test_a_worker_of_another_queue_is_none_of_ours(runner: FlaskCliRunner, app: Flask) -> None:
    with app.app_context():
        connection = queue.connection()
    other = Worker([Queue("other", connection=connection)], connection=connection)
    other.register_birth()
    assert "workers" in failed(runner)
    other.register_death()


def test_the_doctor_says_why_nothing_is_sent(
    runner: FlaskCliRunner, app: Flask, settings: Settings, alive: object
) -> None:
    with app.app_context():
        Breaker(queue.connection(), settings.mail_account).open("535 5.7.8 authentication failed")
    [line] = failed(runner).values()
    assert line.startswith("FAILED: sending: stopped until ")
    assert "535 5.7.8 authentication failed" in line


def test_the_doctor_counts_what_waits(runner: FlaskCliRunner, mailing: Mailing, alive: object) -> None:
    prints(runner.invoke(args=["send-mailing", str(mailing.id)]))
    assert findings(runner)["queue"] == "ok: queue — jobs waiting: 1"


def test_the_doctor_tells_of_jobs_that_failed_just_now(runner: FlaskCliRunner, app: Flask, alive: object) -> None:
    with app.app_context():
        default = Queue(queue.QUEUE_NAME, connection=queue.connection())
        job = default.enqueue("app.there_is_no_such_job")
        default.remove(job)
        job.ended_at = clock.now()
        job.save()
        default.failed_job_registry.add(job, ttl=-1)
    line = failed(runner)["failed jobs"]
    assert "1 within the last hour" in line
    assert "rq requeue" in line
    with app.app_context():
        job.ended_at = clock.now() - timedelta(hours=2)
        job.save()
    assert findings(runner)["failed jobs"] == "ok: failed jobs — none within the last hour, 1 within the last week"


def test_the_doctor_misses_redis(elsewhere: Callable[..., FlaskCliRunner], app: Flask) -> None:
    lines = failed(elsewhere(redis_url=f"redis://{NOWHERE}/0"))
    assert list(lines) == ["redis", "workers", "scheduler", "queue", "failed jobs", "sending"]
    assert "REDIS_URL" in lines["redis"]


@pytest.mark.usefixtures("alive")
class TestOneThingWrong:
    def test_the_database_is_away(self, elsewhere: Callable[..., FlaskCliRunner]) -> None:
        lines = failed(elsewhere(database_url=f"postgresql+psycopg2://golub:secret@{NOWHERE}/golub"))
        assert list(lines) == ["database", "migrations"]
        assert "DATABASE_URL" in lines["database"]
        assert "secret" not in "".join(lines.values())

    def test_the_migrations_did_not_run(self, elsewhere: Callable[..., FlaskCliRunner], empty_database: str) -> None:
        lines = failed(elsewhere(database_url=empty_database))
        assert list(lines) == ["migrations"]
        assert "flask db upgrade" in lines["migrations"]

    def test_the_mail_server_is_away(self, elsewhere: Callable[..., FlaskCliRunner]) -> None:
        lines = failed(elsewhere(mail_port=1))
        assert list(lines) == ["smtp"]
        assert "MAIL_SERVER" in lines["smtp"]

    def test_the_mail_server_refuses_our_password(self, elsewhere: Callable[..., FlaskCliRunner]) -> None:
        lines = failed(elsewhere(mail_username="golub", mail_password="secret"))
        assert list(lines) == ["smtp"]
        assert "secret" not in lines["smtp"]

    def test_nothing_can_be_written(self, elsewhere: Callable[..., FlaskCliRunner], tmp_path: Path) -> None:
        folder = tmp_path / "instance"
        runner = elsewhere(instance_path=folder)
        shutil.rmtree(folder)
        lines = failed(runner)
        assert list(lines) == ["instance folder"]
        assert "INSTANCE_PATH" in lines["instance folder"]

    def test_the_secret_is_the_samples(self, elsewhere: Callable[..., FlaskCliRunner]) -> None:
        lines = failed(elsewhere(secret_key=SAMPLE_SECRET_KEY))
        assert list(lines) == ["secret key"]
