"""The engine against the usual ways to send in Python, with the same mail server, in turns."""

import time
from statistics import median

from bench.baselines import Way, rate
from bench.figures import Figure
from bench.sinks import Sink, best_sink, delay_proxy
from bench.world import World, children, cpu_seconds, world

MESSAGES = 20_000
ROUNDS = 3
BASELINE_MESSAGES = {Way.SMTPLIB: 10_000, Way.FLASK_MAIL: 2_000, Way.CONNECTION_PER_MESSAGE: 5_000}
FAR_MESSAGES = 8_000
FAR_BASELINE_MESSAGES = 150
FAR_CONNECTIONS = 8
DELAY_MS = 20
GOALS = {Way.SMTPLIB: "≥ 2.5", Way.FLASK_MAIL: "≥ 10", Way.CONNECTION_PER_MESSAGE: "≥ 12"}
NAMES = {way: f"engine_vs_{way.value}" for way in Way}
KEYS = (*NAMES.values(), "worker_cpu_us_per_message")
FAR_KEYS = ("engine_vs_smtplib_20ms",)
SQLITE_KEYS = ("engine_sqlite_vs_smtplib",)
LETTER = "personalised multipart messages of 8 kB, ledger, attempts and journal included"


def measure() -> dict[str, Figure]:
    """The engine on PostgreSQL with one worker process, next to three usual ways, round after round."""
    ratios: dict[Way, list[float]] = {way: [] for way in Way}
    rates: dict[str, list[float]] = {"engine": [], **{way.value: [] for way in Way}}
    cpu = []
    with best_sink() as sink, world("postgresql", sink.port) as here, one_worker(here) as worker:
        engine_rate(here, sink, 2_000)  # everything is compiled and warm, as it is in a worker that has worked
        for _ in range(ROUNDS):
            before = cpu_seconds(worker)
            engine = engine_rate(here, sink, MESSAGES)
            cpu.append((cpu_seconds(worker) - before) / MESSAGES * 1e6)
            rates["engine"].append(engine)
            for way in Way:
                usual = rate(way, sink, BASELINE_MESSAGES[way])
                rates[way.value].append(usual)
                ratios[way].append(engine / usual)
    said = ", ".join(f"{name} {median(found):.0f}/s" for name, found in rates.items())
    detail = f"median of {ROUNDS} rounds: {said}; {LETTER}; PostgreSQL, one worker process; {sink.name}"
    figures = {NAMES[way]: Figure(round(median(ratios[way]), 2), GOALS[way], "×", detail) for way in Way}
    detail = f"user and system time of the worker process, median of {ROUNDS} rounds of {MESSAGES}; {LETTER}"
    return figures | {"worker_cpu_us_per_message": Figure(round(median(cpu), 1), "≤ 120", "µs", detail)}


def measure_far() -> dict[str, Figure]:
    """The same with a mail server whose every reply comes 20 ms later."""
    with (
        best_sink() as sink,
        delay_proxy(sink.port, DELAY_MS) as port,
        world("postgresql", port, deliver_connections=FAR_CONNECTIONS) as here,
        one_worker(here),
    ):
        engine_rate(here, sink, 200)
        engine = engine_rate(here, sink, FAR_MESSAGES)
        usual = rate(Way.SMTPLIB, sink, FAR_BASELINE_MESSAGES, port)
    detail = (
        f"engine {engine:.0f}/s on {FAR_CONNECTIONS} connections, smtplib {usual:.1f}/s on one; {DELAY_MS} ms added to "
        f"every reply; {LETTER}; {sink.name}"
    )
    return {"engine_vs_smtplib_20ms": Figure(round(engine / usual, 1), "≥ 25", "×", detail)}


def measure_sqlite() -> dict[str, Figure]:
    """The engine on SQLite, with one worker process."""
    ratios, engines, usuals = [], [], []
    with best_sink() as sink, world("sqlite", sink.port) as here, one_worker(here):
        engine_rate(here, sink, 2_000)
        for _ in range(ROUNDS):
            engines.append(engine_rate(here, sink, MESSAGES))
            usuals.append(rate(Way.SMTPLIB, sink, BASELINE_MESSAGES[Way.SMTPLIB]))
            ratios.append(engines[-1] / usuals[-1])
    detail = f"median of {ROUNDS} rounds: engine {median(engines):.0f}/s, smtplib {median(usuals):.0f}/s; {LETTER}"
    return {"engine_sqlite_vs_smtplib": Figure(round(median(ratios), 2), "≥ 1.5", "×", f"{detail}; {sink.name}")}


def one_worker(here: World) -> "Worker":
    return Worker(here)


class Worker:
    """`worker.py --count 1`; entering gives the id of the process that sends."""

    def __init__(self, here: World) -> None:
        self._here = here

    def __enter__(self) -> int:
        self._pool = self._here.start("worker.py", "--count", "1")
        ends = time.monotonic() + 30
        while "worker.started" not in self._here.log():
            if time.monotonic() > ends:
                raise RuntimeError(f"no worker after 30 s:\n{self._here.log()}")
            time.sleep(0.05)
        return children(self._pool.pid)[0]

    def __exit__(self, *_error: object) -> None:
        self._pool.stop()


def engine_rate(here: World, sink: Sink, messages: int) -> float:
    """Messages per second, from the run's beginning to its end in the ledger.

    Raises:
        RuntimeError: the ledger and the mail server don't agree, or not all were sent.
    """
    before = sink.accepted()
    run = here.wait_until_done(here.begin_run(here.owner_with_clients(messages)), 300)
    taken = sink.wait_for(before + messages) - before
    if not (run.sent == taken == messages) or run.finished_at is None or run.started_at is None:
        raise RuntimeError(f"{messages} planned, {run.sent} sent, {taken} taken by {sink.name}:\n{here.log()}")
    return messages / (run.finished_at - run.started_at).total_seconds()
