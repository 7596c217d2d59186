"""One request on its way through a handler: who asks, which model, what it costs."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from accounts import limits
from accounts.principals import Principal
from inference import catalog, metrics, routes, wire
from inference.api import waiting
from inference.api.http import Reply, Request
from inference.catalog import Resolved
from inference.errors import HubError, ModelNotFound, RateLimited, UnsupportedModel
from inference.openai import bounded_json

log = logging.getLogger(__name__)

LARGE_BODY_BYTES = 256 * 1024  # reading one takes about 5 ms

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

    def used_tokens(self, computing: bool) -> int:
        """`computing`: an engine had the prompt when its client left."""
        if not self.done:
            begun = computing or self.first_s is not None
            return self.prompt_tokens + self.tokens if begun else 0
        counts = [done.usage.prompt_tokens + done.usage.completion_tokens for done in self.done]
        return sum(counts)

    def counts(self) -> dict[str, int]:
        """Give the tokens of prompt and answer; of an answer that broke off, those that were sent."""
        if not self.done:
            return {"completion_tokens": self.tokens} if self.tokens else {}
        used = [done.usage for done in self.done]
        return {
            "prompt_tokens": sum(one.prompt_tokens for one in used),
            "completion_tokens": sum(one.completion_tokens for one in used),
        }

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
    wait: waiting.Wait = field(init=False)
    opened: bool = False  # a part of the answer itself was sent
    left: int = 0  # targets that may still be asked

    def __post_init__(self) -> None:
        self.meter = Meter(self.request.started_s)
        self.wait = waiting.Wait(
            waiting.deadline_s(self.request.headers), self.principal.allows("status:read")
        )
        self.reply.late = self.wait.headers

    async def resolve(self, name: str, *kinds: wire.Kind) -> Resolved:
        """Find a model that this caller may use and that can do this.

        Raises: ModelNotFound; UnsupportedModel.
        """
        who = self.principal
        resolved = await catalog.resolve(name, user=who.user_id, allowed=who.models)
        if not who.allows_model(name, resolved.model):
            raise not_visible(name)
        self.model = resolved.model
        if resolved.spec.kind not in kinds:
            raise UnsupportedModel(
                f"The model `{name}` does not do this: it is for {KINDS[resolved.spec.kind]}.",
                param="model",
            )
        return resolved

    async def fields(self, limit_bytes: int) -> dict[str, Any]:
        """Read a JSON request; a route fills in what it leaves open. Raises: HubError."""
        body = await self.request.body(limit_bytes)
        if len(body) > LARGE_BODY_BYTES:  # others' requests go on meanwhile
            fields = await asyncio.to_thread(bounded_json.parse_object, body)
        else:
            fields = bounded_json.parse_object(body)
        name = fields.get("model")
        route = await catalog.route(name) if isinstance(name, str) else None
        return fields if route is None else routes.applied(route, fields)

    async def serve(self, resolved: Resolved, one: Callable[[Resolved], Awaitable[None]]) -> None:
        """Ask the targets of a route one after another until one answers. Raises: HubError."""
        kind, who = resolved.spec.kind, self.principal
        others = [other for other in resolved.others if other.spec.kind == kind]
        others = [other for other in others if who.allows_model(other.name, other.model)]
        self.left = len(others)
        for target in (resolved, *others):
            self.model = target.model
            try:
                await one(target)
            except HubError as error:
                if not self.passes_on(error):
                    raise
                self._pass_on(error)
            else:
                return

    def passes_on(self, error: HubError) -> bool:
        """Tell whether another target may answer instead: nothing of an answer was sent yet."""
        return self.left > 0 and not self.opened and error.code in routes.PASSED_ON

    def _pass_on(self, error: HubError) -> None:
        log.warning("passed on", extra={"model": self.model, "reason": error.message})
        metrics.PASSED_ON.labels(self.model, error.code).inc()
        self.left -= 1
        self.wait.again()
        self.meter = Meter(self.request.started_s, prompt_tokens=self.meter.prompt_tokens)

    @asynccontextmanager
    async def admitted(self, tokens: int) -> AsyncIterator[None]:
        """Hold a place within the caller's limits. Raises: RateLimited.

        Who leaves before the first token pays for the prompt, if an engine had it.
        """
        try:
            lease = await limits.admit(self.principal, self.model, tokens)
        except limits.LimitReached as error:
            self.reply.add(error.headers())
            raise _limited(error) from error
        self.reply.add(lease.headers())
        failed = False
        try:
            yield
        except HubError:
            failed = True
            raise
        finally:
            self.meter.report(self.model)
            computing = self.wait.over and not failed
            await lease.settle(self.meter.used_tokens(computing))


def _limited(reached: limits.LimitReached) -> RateLimited:
    """A request that alone is over the limit need not be tried again."""
    error = RateLimited(str(reached), retry_after_s=reached.retry_after_s)
    error.retryable = reached.retry_after_s is not None
    return error


def not_visible(name: str) -> ModelNotFound:
    """Say the same of a model that is not there and of one that the caller may not see."""
    return ModelNotFound(
        f"The model `{name}` does not exist or you do not have access to it.", param="model"
    )
