"""The last five minutes of this node, for the dashboard. The pool notes a moment every two seconds."""

from collections import deque

from inference import wire

STEP_S = 2.0
MOMENTS = 150  # five minutes


class History:
    """Rates are differences of totals, so that what began and ended between two moments counts."""

    def __init__(self) -> None:
        self._moments: deque[wire.Moment] = deque(maxlen=MOMENTS)
        self._at = 0.0
        self._tokens = self._requests = self._most_running = 0

    def see_running(self, running: int) -> None:
        """Keep the peak: a short request is seldom there at the moment that is noted."""
        self._most_running = max(self._most_running, running)

    def note(self, state: wire.Snapshot, tokens_total: int) -> None:
        span_s = state.at - self._at if self._at else STEP_S
        requests_total = sum(model.requests_total for model in state.models)
        running = sum(model.running for model in state.models)
        self._moments.append(
            wire.Moment(
                at=state.at,
                tokens_per_s=(tokens_total - self._tokens) / max(span_s, 0.001),
                requests=requests_total - self._requests,
                running=max(running, self._most_running),
                waiting=sum(model.waiting for model in state.models),
                used_bytes=sum(device.used_bytes for device in state.devices),
            )
        )
        self._at, self._tokens, self._requests = state.at, tokens_total, requests_total
        self._most_running = running

    def after(self, at: float) -> list[wire.Moment]:
        """Give the moments later than `at`, oldest first."""
        return [moment for moment in self._moments if moment.at > at]
