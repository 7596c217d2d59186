"""What one request used, prompt by prompt: gathered from what its engines say, told to metrics and ledger."""

import time
from dataclasses import dataclass, field

from inference import metrics, wire


@dataclass(slots=True)
class Part:
    """One prompt of a request, as far as its answer came."""

    prompt_tokens: int = 0  # 0: no engine has told
    cached_tokens: int = 0
    tokens: int = 0
    audio_s: float = 0.0
    ended: bool = False

    def grow(self, delta: wire.Delta) -> None:
        self.tokens += delta.tokens
        self.prompt_tokens = max(self.prompt_tokens, delta.prompt_tokens)
        self.cached_tokens = max(self.cached_tokens, delta.cached_tokens)

    def hear(self, segment: wire.Segment) -> None:
        self.tokens += len(segment.tokens)

    def end(self, usage: wire.Usage) -> None:
        self.prompt_tokens, self.cached_tokens = usage.prompt_tokens, usage.cached_tokens
        self.tokens, self.audio_s = usage.completion_tokens, usage.audio_s
        self.ended = True


@dataclass(frozen=True, slots=True)
class Served:
    """`estimated`: an engine computed a prompt and did not say how long it is."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    audio_s: float = 0.0
    estimated: bool = False


@dataclass(slots=True)
class Meter:
    """What one answer used and how fast it was, gathered on the way."""

    started_s: float
    first_s: float | None = None
    last_s: float = 0.0
    tokens: int = 0  # generated, as the deltas say
    prompt_tokens: int = 0  # of all prompts, estimated until an engine has counted
    prompt_most: int = 0  # what no engine counts for them
    prompts: int = 1
    done: list[wire.Done] = field(default_factory=list)
    parts: dict[int, Part] = field(default_factory=dict)

    def note(self, message: wire.Any, prompt: int) -> None:
        """Take in what came for one of the prompts."""
        if isinstance(message, wire.Delta):
            self._tick(message.tokens)
            self._part(prompt).grow(message)
        elif isinstance(message, wire.Segment):
            self._part(prompt).hear(message)
        elif isinstance(message, wire.Done):
            self.done.append(message)
            self._part(prompt).end(message.usage)

    def served(self) -> Served:
        """Sum up: of an answer that broke off what came of it."""
        parts = self.parts.values()
        untold = sum(not (part.ended or part.prompt_tokens) for part in parts)
        return Served(
            sum(part.prompt_tokens for part in parts) + self.prompt_tokens * untold // self.prompts,
            sum(part.tokens for part in parts),
            sum(part.cached_tokens for part in parts),
            sum(part.audio_s for part in parts),
            estimated=bool(untold),
        )

    def used_tokens(self, computing: bool) -> int:
        """`computing`: an engine had the prompt when its client left."""
        served = self.served()
        used = served.prompt_tokens + served.completion_tokens
        return self.prompt_most if computing and not self.parts else used

    def counts(self) -> dict[str, int]:
        """Give the tokens of prompt and answer for the log; nothing where nothing came."""
        if not self.parts:
            return {}
        served = self.served()
        told = {} if served.estimated else {"prompt_tokens": served.prompt_tokens}
        return {**told, "completion_tokens": served.completion_tokens}

    def report(self, model: str) -> None:
        """Hand over to the metrics."""
        served = self.served()
        for done in self.done:
            metrics.QUEUE.labels(model).observe(done.timing.queue_s)
        if self.parts:
            metrics.count_usage(
                model,
                wire.Usage(
                    prompt_tokens=served.prompt_tokens,
                    completion_tokens=served.completion_tokens,
                    cached_tokens=served.cached_tokens,
                    audio_s=served.audio_s,
                ),
            )
        if self.first_s is None:
            return
        metrics.FIRST_TOKEN.labels(model).observe(self.first_s - self.started_s)
        if self.tokens > 1:
            pace_s = (self.last_s - self.first_s) / (self.tokens - 1)
            metrics.PER_TOKEN.labels(model).observe(pace_s)

    def _tick(self, tokens: int) -> None:
        self.last_s = time.perf_counter()
        self.tokens += tokens
        if self.first_s is None:
            self.first_s = self.last_s

    def _part(self, prompt: int) -> Part:
        return self.parts.setdefault(prompt, Part())
