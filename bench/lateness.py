"""How long after its planned second a mailing leaves, on real processes, a real mail server and PostgreSQL."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles

from bench.figures import Figure
from dev import servers
from tests.browsing import Person
from tests.live import running, wait_for
from tests.smtp import RecordingSmtp

MAILINGS = 20
KEYS = ("lateness_p50_s", "lateness_p95_s", "early_count")


def measure() -> dict[str, Figure]:
    """Plan mailings to one client over the pages, two seconds apart, and compare each letter with its second."""
    with (
        tempfile.TemporaryDirectory() as folder,
        RecordingSmtp() as mail_server,
        servers.start_postgres() as database,
        running(database.url, mail_server, Path(folder)) as base_url,
    ):
        late = sorted(_lateness(Person(base_url), mail_server))
    detail = f"{MAILINGS} mailings of one recipient, two seconds apart, two workers, idle machine, PostgreSQL"
    return {
        "lateness_p50_s": Figure(round(median(late), 3), "≤ 0.6", "s", detail),
        "lateness_p95_s": Figure(round(quantiles(late, n=20)[-1], 3), "≤ 1.5", "s", detail),
        "early_count": Figure(sum(seconds < 0 for seconds in late), "= 0", "", detail),
    }


def _lateness(person: Person, mail_server: RecordingSmtp) -> list[float]:
    person.sign_up("bench@golub.test", mail_server)
    person.fill_in("/clients/new", email="anna@example.test", first_name="Anna", status="active")
    # Far enough ahead for all of them to be planned before the first is due.
    first = datetime.now(UTC).replace(microsecond=0, tzinfo=None) + timedelta(seconds=15)
    planned = {f"Mailing {n}": first + timedelta(seconds=2 * n) for n in range(MAILINGS)}
    for subject, start in planned.items():
        person.plan(subject, person.write_message(subject), start, "once")
    wait_for(lambda: len(mail_server.letters) == 1 + MAILINGS, 15 + 2 * MAILINGS + 30)
    person.close()
    left_at = {str(letter.message["Subject"]): letter.at for letter in mail_server.letters}
    return [left_at[subject] - start.replace(tzinfo=UTC).timestamp() for subject, start in planned.items()]
