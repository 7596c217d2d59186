"""When a model will be wanted again, learned from the gaps between its requests. Pure; kept per model.

Asked by the scheduler when it weighs whom to evict.
Source: the idle-time histogram of Shahrad et al., Serverless in the Wild, USENIX ATC 2020.
"""

import math
from dataclasses import dataclass, field

HORIZON_S = 60.0  # what is not wanted for so long was well evicted
FIRST_S, RATIO, BINS = 0.25, 1.3, 50  # the last bin begins after 27 hours
MEMORY = 0.98  # weight of a gap after each newer one
PRIOR_WEIGHT, PRIOR_RATE_PER_S = 1.0, 1 / 600.0  # of a model that is not known yet


@dataclass(slots=True)
class Usage:
    last_at: float = -math.inf
    _counts: list[float] = field(default_factory=lambda: [0.0] * BINS)

    def count(self, now: float) -> None:
        """Note a request."""
        gap_s = now - self.last_at
        if math.isfinite(gap_s):
            self._counts = [MEMORY * count for count in self._counts]
            self._counts[_bin(gap_s)] += 1.0
        self.last_at = now

    def chance(self, now: float, horizon_s: float = HORIZON_S) -> float:
        """Chance of a request within the horizon, given how long there was none."""
        idle_s = max(0.0, now - self.last_at)
        if not math.isfinite(idle_s):
            return 1 - math.exp(-PRIOR_RATE_PER_S * horizon_s)
        first, last = _bin(idle_s), _bin(idle_s + horizon_s)
        left = self._counts[first:]
        prior = 1 - math.exp(-horizon_s / max(idle_s, 1 / PRIOR_RATE_PER_S))
        soon = sum(left[: last - first + 1])
        return (soon + PRIOR_WEIGHT * prior) / (sum(left) + PRIOR_WEIGHT)


def _bin(gap_s: float) -> int:
    if gap_s <= FIRST_S:
        return 0
    return min(BINS - 1, 1 + int(math.log(gap_s / FIRST_S) / math.log(RATIO)))
