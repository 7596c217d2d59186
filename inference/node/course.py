"""How each model did in the last hour, in steps of half a minute: what the model's page draws.

Noted by the pool at the end of each request. It lives with the node and ends with it.
"""

import math
import time
from collections import deque
from dataclasses import dataclass, field

from inference import wire

STEP_S = 30.0
STEPS = 120  # an hour
SAMPLES = 256  # of one step whose times are kept; of more, the newest
MODELS = 500  # whose course is kept, those that were asked last


def _samples() -> "deque[float]":
    return deque(maxlen=SAMPLES)


@dataclass(slots=True)
class _Step:
    number: int
    requests: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_s: "deque[float]" = field(default_factory=_samples)
    rates: "deque[float]" = field(default_factory=_samples)  # tokens/s of single answers


class Courses:
    def __init__(self) -> None:
        self.since = time.time()
        self._steps: dict[str, deque[_Step]] = {}

    def note(self, name: str, timing: wire.Timing | None, usage: wire.Usage, at: float) -> None:
        """Note the end of a request; without times it failed."""
        step = self._step(name, int(at // STEP_S))
        step.requests += 1
        if timing is None:
            step.failures += 1
            return
        step.prompt_tokens += usage.prompt_tokens
        step.completion_tokens += usage.completion_tokens
        step.first_s.append(timing.queue_s + timing.first_s)
        writing_s = timing.total_s - timing.first_s
        if usage.completion_tokens > 1 and writing_s > 0:  # the first one came with `first_s`
            step.rates.append((usage.completion_tokens - 1) / writing_s)

    def _step(self, name: str, number: int) -> _Step:
        steps = self._steps.pop(name, None) or deque(maxlen=STEPS)
        self._steps[name] = steps  # it is the newest now
        if len(self._steps) > MODELS:
            del self._steps[next(iter(self._steps))]
        if not steps or steps[-1].number < number:
            steps.append(_Step(number))
        return steps[-1]

    def of(self, name: str, now: float) -> wire.Course:
        oldest = int(now // STEP_S) - STEPS + 1
        steps = [step for step in self._steps.get(name, ()) if step.number >= oldest]
        return wire.Course(
            since=self.since,
            step_s=STEP_S,
            steps=[_shown(step.number * STEP_S, [step]) for step in steps],
            whole=_shown(oldest * STEP_S, steps),
        )


def _shown(at: float, steps: list[_Step]) -> wire.CourseStep:
    first = sorted(value for step in steps for value in step.first_s)
    rates = sorted(value for step in steps for value in step.rates)
    return wire.CourseStep(
        at=at,
        requests=sum(step.requests for step in steps),
        failures=sum(step.failures for step in steps),
        prompt_tokens=sum(step.prompt_tokens for step in steps),
        completion_tokens=sum(step.completion_tokens for step in steps),
        first_p50_s=_percentile(first, 0.5),
        first_p95_s=_percentile(first, 0.95),
        tokens_per_s=_percentile(rates, 0.5),
    )


def _percentile(ordered: list[float], part: float) -> float | None:
    """Nearest rank: a value that was really seen."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else None
