"""How long after its planned second a mailing leaves, on real processes, a real mail server and PostgreSQL."""

import time
from datetime import datetime, timedelta
from statistics import median, quantiles

from app import clock
from app.auth.models import User
from app.extensions import db
from app.mailings import jobs, service
from app.mailings.models import Audience
from app.mailings.schedule import Period, Schedule
from app.mailings.service import Draft
from bench.figures import Figure
from bench.world import World, world
from tests import make
from tests.smtp import RecordingSmtp

MAILINGS = 1000
RECIPIENTS = 3
SPREAD_SECONDS = 60
PLANNING_SECONDS = 45  # so far ahead is the first one: all of them are planned before it is due
WORKERS = 2
KEYS = ("lateness_p50_s", "lateness_p99_s", "early_count")


def measure() -> dict[str, Figure]:
    """Plan mailings as the form does, and compare the first accepted message of each with its planned second."""
    with RecordingSmtp() as mail_server, world("postgresql", mail_server.port) as here:
        late = _lateness(here, mail_server)
    detail = (
        f"{MAILINGS} mailings of {RECIPIENTS} recipients, planned for the {SPREAD_SECONDS} seconds of a minute, "
        f"{WORKERS} worker processes, scheduler and all on this machine; PostgreSQL"
    )
    return {
        "lateness_p50_s": Figure(round(median(late), 3), "≤ 0.6", "s", detail),
        "lateness_p99_s": Figure(
            round(quantiles(late, n=100)[-1], 3), "≤ 1.5", "s", f"{detail}; the latest {max(late):.3f} s"
        ),
        "early_count": Figure(sum(seconds < 0 for seconds in late), "= 0", "", detail),
    }


def _lateness(here: World, mail_server: RecordingSmtp) -> list[float]:
    """Seconds between the planned second of each mailing and the acceptance of its first message."""
    here.start("worker.py", "--count", str(WORKERS))
    here.start("scheduler.py")
    first = clock.now().replace(microsecond=0) + timedelta(seconds=PLANNING_SECONDS)
    planned = {f"Mailing {n}": first + timedelta(seconds=n * SPREAD_SECONDS // MAILINGS) for n in range(MAILINGS)}
    _plan(here, planned)
    if clock.now() > first - timedelta(seconds=2):
        raise RuntimeError("planning the mailings took too long")
    ends = first.timestamp() + SPREAD_SECONDS + 60
    while len(mail_server.letters) < MAILINGS * RECIPIENTS:
        if time.time() > ends:
            raise RuntimeError(f"{len(mail_server.letters)} messages a minute after the last mailing:\n{here.log()}")
        time.sleep(0.1)
    left_at: dict[str, float] = {}
    for letter in mail_server.letters:
        left_at.setdefault(str(letter.message["Subject"]), letter.at)
    return [left_at[subject] - start.timestamp() for subject, start in planned.items()]


def _plan(here: World, planned: dict[str, datetime]) -> None:
    owner_id = here.owner_with_clients(RECIPIENTS)
    with here.app.app_context():
        owner = db.session.get_one(User, owner_id)
        for subject, start in planned.items():
            message = make.message(owner, subject=subject)
            schedule = Schedule(start_at=start, end_at=None, period=Period.ONCE, timezone="UTC")
            mailing = service.create(owner, Draft(subject, message.id, Audience.ALL, None, (), schedule))
            db.session.commit()
            jobs.announce(mailing)
