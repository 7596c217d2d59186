"""Stops loading a model whose engine ends again and again: closed, open, half open. Pure.

A row of the scheduler. Open, the model is refused at once; after a pause one request may try it (half open):
its answer closes the breaker, another crash opens it for twice as long. An operator's load closes it, too.
"""

from collections import deque
from dataclasses import dataclass, field

from inference import wire

CRASHES = 10
WINDOW_S = 300.0
PAUSE_FIRST_S, PAUSE_MAX_S = 30.0, 600.0
TRIAL_S = 1.0  # how soon to ask again while another request tries the model


@dataclass(slots=True)
class Breaker:
    crashes: deque[float] = field(default_factory=deque)  # when, within the window
    pause_s: float = 0.0  # 0: closed
    open_until: float = 0.0

    def state(self, now: float) -> wire.BreakerState:
        if not self.pause_s:
            return "closed"
        return "open" if now < self.open_until else "half_open"

    def crashed(self, now: float, limit: int) -> bool:
        """Count an engine that ended by itself; give whether the model is refused from now on."""
        self.crashes.append(now)
        while self.crashes[0] < now - WINDOW_S:
            self.crashes.popleft()
        if self.state(now) == "closed" and len(self.crashes) < limit:
            return False
        self.pause_s = min(2 * self.pause_s or PAUSE_FIRST_S, PAUSE_MAX_S)
        self.open_until = now + self.pause_s
        return True

    def answered(self) -> None:
        """An engine of this model lived to give an answer: that ends a trial, and no count."""
        if self.pause_s:
            self.close()

    def close(self) -> None:
        self.crashes.clear()
        self.pause_s = self.open_until = 0.0

    def wait_s(self, now: float, *, tried: bool) -> float:
        """Give how long a request is refused for; 0: it may go on. `tried`: another is under way."""
        state = self.state(now)
        if state == "open":
            return max(TRIAL_S, self.open_until - now)
        return TRIAL_S if state == "half_open" and tried else 0.0
