"""Which figures there are, and what one is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A measured number. goal: such as "≤ 2" or "≥ 2.5"; empty where none is set."""

    value: float
    unit: str
    goal: str = ""
    detail: Any = None

    @property
    def is_reached(self) -> bool:
        if not self.goal:
            return True
        sign, number = self.goal.split()
        return self.value <= float(number) if sign == "≤" else self.value >= float(number)

    def as_json(self) -> dict[str, Any]:
        return {"value": self.value, "goal": self.goal or None, "unit": self.unit, "detail": self.detail}


@dataclass(frozen=True)
class Measure:
    """Something that is done once and gives one figure for each of its keys."""

    keys: tuple[str, ...]
    take: Callable[[], dict[str, Figure]]


MEASURES: list[Measure] = []


def measures(*keys: str) -> Callable[[Callable[[], dict[str, Figure]]], Callable[[], dict[str, Figure]]]:
    """Register a function that measures these figures and returns them by key."""

    def register(take: Callable[[], dict[str, Figure]]) -> Callable[[], dict[str, Figure]]:
        MEASURES.append(Measure(keys, take))
        return take

    return register
