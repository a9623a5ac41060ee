"""`make bench`, or `make bench ONLY=KEY,…`: measure, print a table, and write bench/results.json."""

import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from bench import clients, dispatching, engine, home, lateness, lists, scale
from bench.figures import Figure, Measure

RESULTS = Path(__file__).parent / "results.json"
# Each measure gives several figures, which it names here; all of them come of one run.
MEASURES: dict[tuple[str, ...], Measure] = {
    engine.KEYS: engine.measure,
    engine.FAR_KEYS: engine.measure_far,
    engine.SQLITE_KEYS: engine.measure_sqlite,
    scale.PREPARE_KEYS: scale.measure_prepare,
    scale.DUE_KEYS: scale.measure_due,
    dispatching.KEYS: dispatching.measure,
    clients.IMPORT_KEYS: clients.measure_import,
    clients.EXPORT_KEYS: clients.measure_export,
    lists.KEYS: lists.measure,
    lateness.KEYS: lateness.measure,
    scale.MEMORY_KEYS: scale.measure_memory,
    home.KEYS: home.measure,
}
PACKAGES = ("flask", "sqlalchemy", "rq", "rq-scheduler", "redis", "psycopg2-binary", "gunicorn")


def main() -> int:
    only = {key for key in os.environ.get("ONLY", "").split(",") if key}
    known = {key for keys in MEASURES for key in keys}
    if unknown := only - known:
        print(
            f"There is no figure {', '.join(sorted(unknown))}. There are: {', '.join(sorted(known))}", file=sys.stderr
        )
        return 2
    figures = {key: figure for key, figure in _earlier().items() if key in known} if only else {}
    for keys, measure in MEASURES.items():
        if not only or only & set(keys):
            print(f"Measuring {', '.join(keys)} …", flush=True)
            figures |= {key: figure.as_json() for key, figure in measure().items()}
    _print_table(figures)
    results = {"machine": _machine(), "versions": _versions(), "figures": figures}
    RESULTS.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    return 0


def _earlier() -> dict[str, dict[str, object]]:
    return dict(json.loads(RESULTS.read_text())["figures"]) if RESULTS.exists() else {}


def _print_table(figures: dict[str, dict[str, object]]) -> None:
    for key, figure in figures.items():
        verdict = "reached" if Figure(**figure).is_reached() else "MISSED"  # type: ignore[arg-type]
        print(f"  {key:<34} {figure['value']!s:>10} {figure['unit']!s:<4} goal {figure['goal']!s:<8} {verdict}")


def _machine() -> dict[str, object]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "system": platform.system(),
        "cpu": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
    }


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


if __name__ == "__main__":
    sys.exit(main())
