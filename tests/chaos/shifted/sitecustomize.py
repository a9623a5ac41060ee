"""Python loads this by itself from a folder on PYTHONPATH: the time is shifted by the seconds in the file SHIFT.

As on a machine whose clock is set while everything runs: what counts intervals (time.monotonic) does not notice.
"""

import os
import time
from datetime import datetime, timedelta
from pathlib import Path

from app import clock

SHIFT = Path(os.environ["SHIFT"])
true_time = time.time
true_now = clock.now


def shift() -> float:
    return float(SHIFT.read_text() or 0)


def shifted_time() -> float:
    return true_time() + shift()


def shifted_now() -> datetime:
    return true_now() + timedelta(seconds=shift())


time.time = shifted_time
clock.now = shifted_now
