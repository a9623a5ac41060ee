"""The clock is set forward by an hour, and back, while they send."""

import os
from pathlib import Path

import pytest

from app.config import ROOT
from tests.chaos.conftest import NewWorld
from tests.chaos.world import CONNECTIONS, WORKERS

THINKS_SECONDS = 0.005
SHIFTED = Path(__file__).with_name("shifted")


@pytest.mark.chaos_full
@pytest.mark.parametrize("steps", [(3600, 0), (-3600, 0)], ids=["forward and back", "back and forward"])
def test_the_clock_steps_by_an_hour_while_they_send(
    new_world: NewWorld, tmp_path: Path, steps: tuple[int, int]
) -> None:
    shift = tmp_path / "shift"
    shift.write_text("0")
    variables = {"PYTHONPATH": os.pathsep.join(map(str, (SHIFTED, ROOT))), "SHIFT": str(shift)}
    with new_world(variables=variables) as world:
        world.mail.behave(delay=THINKS_SECONDS)
        planted = world.plant(2000)
        for part, step in enumerate(steps, start=1):
            world.wait_for_accepted(planted, planted.count * part // 4)
            (tmp_path / "new").write_text(str(step))
            (tmp_path / "new").rename(shift)
        world.finish(planted, 200)
        # Claims seem to be of dead workers then, who find themselves shut out in mid-sentence.
        world.verdict(planted, unknown_at_most=len(steps) * WORKERS * CONNECTIONS)
