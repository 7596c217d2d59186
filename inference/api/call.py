"""One request on its way through a handler: who asks, which model, what it costs."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from accounts import limits
from accounts.principals import Principal
from inference import catalog, metrics, wire
from inference.api.http import Reply, Request
from inference.catalog import Resolved
from inference.errors import ModelNotFound, RateLimited, UnsupportedModel

KINDS: dict[wire.Kind, str] = {
    "llm": "chat and completions",
    "vlm": "chat about images",
    "embed": "embeddings",
    "asr": "transcriptions",
    "clip": "image and text embeddings",
    "tts": "speech",
}


@dataclass(slots=True)
class Meter:
    """What one answer used and how fast it was, gathered on the way."""

    started_s: float
    first_s: float | None = None
    last_s: float = 0.0
    tokens: int = 0  # generated, as the deltas say
    prompt_tokens: int = 0  # estimated until an engine has counted
    done: list[wire.Done] = field(default_factory=list)

    def delta(self, tokens: int) -> None:
        self.last_s = time.perf_counter()
        self.tokens += tokens
        if self.first_s is None:
            self.first_s = self.last_s

    @property
    def used_tokens(self) -> int:
        if not self.done:
            return self.prompt_tokens + self.tokens if self.first_s is not None else 0
        counts = [done.usage.prompt_tokens + done.usage.completion_tokens for done in self.done]
        return sum(counts)

    def report(self, model: str) -> None:
        """Hand over to the metrics."""
        for done in self.done:
            metrics.count_usage(model, done.usage)
            metrics.QUEUE.labels(model).observe(done.timing.queue_s)
        if not self.done:
            metrics.TOKENS.labels(model, "completion").inc(self.tokens)
        if self.first_s is None:
            return
        metrics.FIRST_TOKEN.labels(model).observe(self.first_s - self.started_s)
        if self.tokens > 1:
            pace_s = (self.last_s - self.first_s) / (self.tokens - 1)
            metrics.PER_TOKEN.labels(model).observe(pace_s)


@dataclass(slots=True)
class Call:
    """What every handler gets. `model` is the catalog's name once it is known, for metrics."""

    request: Request
    reply: Reply
    principal: Principal
    model: str = metrics.NO_MODEL
    meter: Meter = field(init=False)

    def __post_init__(self) -> None:
        self.meter = Meter(self.request.started_s)

    async def resolve(self, name: str, *kinds: wire.Kind) -> Resolved:
        """Find a model that this caller may use and that can do this.

        Raises: ModelNotFound; UnsupportedModel.
        """
        resolved = await catalog.resolve(name)
        if not self.principal.allows_model(name, resolved.model):
            raise not_visible(name)
        self.model = resolved.model
        if resolved.spec.kind not in kinds:
            raise UnsupportedModel(
                f"The model `{name}` does not do this: it is for {KINDS[resolved.spec.kind]}.",
                param="model",
            )
        return resolved

    @asynccontextmanager
    async def admitted(self, tokens: int) -> AsyncIterator[None]:
        """Hold a place within the caller's limits. Raises: RateLimited."""
        try:
            lease = await limits.admit(self.principal, self.model, tokens)
        except limits.LimitReached as error:
            raise RateLimited(str(error), retry_after_s=error.retry_after_s) from error
        headers = lease.headers().items()
        self.reply.extra += [(name.encode(), value.encode()) for name, value in headers]
        try:
            yield
        finally:
            self.meter.report(self.model)
            await lease.settle(self.meter.used_tokens)


def not_visible(name: str) -> ModelNotFound:
    """Say the same of a model that is not there and of one that the caller may not see."""
    return ModelNotFound(
        f"The model `{name}` does not exist or you do not have access to it.", param="model"
    )
