"""What a measure gives."""

from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """One measured number and what it shall be: `goal` is «≤ 0.6», «≥ 2.5» or «= 0»."""

    value: float
    goal: str
    unit: str
    detail: str

    def is_reached(self) -> bool:
        sign, bound = self.goal.split()
        limit = float(bound)
        return {"≤": self.value <= limit, "≥": self.value >= limit, "=": self.value == limit}[sign]

    def as_json(self) -> dict[str, object]:
        return asdict(self)


Measure = Callable[[], dict[str, Figure]]
