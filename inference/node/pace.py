"""How fast a model answers, by the service times seen last: what a place in its queue takes at least. Pure."""

import math
import statistics
from collections import deque
from dataclasses import dataclass, field

SEEN, ENOUGH = 32, 8  # answers that are kept; fewer than that say nothing
FRESH_S = 600.0  # older answers say nothing of now
SURE, STILL_SURE = 2.0, 1.0  # deviations under the mean: to begin refusing, to go on with it


@dataclass(frozen=True, slots=True)
class Estimate:
    mean_s: float
    spread_s: float
    seen: int

    def least_s(self, answers: int, slots: int, sureness: float = SURE) -> float:
        """Give what so many answers one after another in the slots take at least, almost surely.

        The spread of their sum, and of a mean that was estimated from as many answers as were seen.
        """
        count = max(0, answers)
        spread_s = self.spread_s * math.sqrt(count * (1 + count / self.seen))
        return max(0.0, count * self.mean_s - sureness * spread_s) / slots


@dataclass(slots=True)
class Pace:
    refuses: bool = False  # a queue that was too long is so until it is clearly shorter
    _took: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=SEEN))

    def count(self, took_s: float, now: float) -> None:
        self._took.append((now, took_s))

    def estimate(self, now: float) -> Estimate | None:
        """Give None where too little was seen of late."""
        took = [took_s for at, took_s in self._took if now - at <= FRESH_S]
        if len(took) < ENOUGH:
            return None
        return Estimate(statistics.fmean(took), statistics.stdev(took), len(took))

    @property
    def sureness(self) -> float:
        return STILL_SURE if self.refuses else SURE
