"""Waiting for what other processes, threads and servers do."""

import time
from collections.abc import Callable

# Nothing takes so long; but the machine may be busy with all the other tests. Passing tests never wait for it to end.
PATIENCE_SECONDS = 60.0

# What takes a second or two alone takes no longer than this beside all the other tests; what never ends takes longer.
BUSY_SECONDS = 30.0


def wait_until(condition: Callable[[], object], explain: Callable[[], str] = lambda: "") -> None:
    """Return as soon as it is true. explain: what to show when it never is."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up, f"not within {PATIENCE_SECONDS:.0f} s: {explain()}"
        time.sleep(0.02)
