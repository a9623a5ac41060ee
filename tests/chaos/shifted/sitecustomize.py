"""Python loads this by itself from a folder on PYTHONPATH: the time is shifted by the seconds in the file SHIFT.

As on a machine whose clock is set while everything runs: what counts intervals (time.monotonic) does not notice.
"""

import os
import time
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import rq_scheduler.scheduler

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


def shifted_utcnow() -> datetime:
    return shifted_now().replace(tzinfo=None)


time.time = shifted_time
clock.now = shifted_now
# The only thing of the datetime module that rq-scheduler uses.
rq_scheduler.scheduler.datetime = SimpleNamespace(utcnow=shifted_utcnow)
