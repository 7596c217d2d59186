"""One request on its way through a handler: who asks, which model, what it costs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from accounts import limits
from accounts.principals import Principal
from inference import catalog, metrics, routes, wire
from inference.api import door, excess, waiting
from inference.api.http import Reply, Request
from inference.api.meter import Meter, Served
from inference.catalog import Resolved
from inference.errors import (
    HubError,
    PermissionDenied,
    RateLimited,
    TokenBudgetExceeded,
    Unavailable,
    UnsupportedModel,
)
from inference.openai import bounded_json
from inference.openai.costs import Cost

log = logging.getLogger(__name__)

LARGE_BODY_BYTES = 256 * 1024  # reading one takes about 5 ms
LEARNED_S = 1.0  # a prompt whose bound was too low has another one when it comes again

KINDS: dict[wire.Kind, str] = {
    "llm": "chat and completions",
    "vlm": "chat about images",
    "embed": "embeddings",
    "asr": "transcriptions",
    "clip": "image and text embeddings",
    "tts": "speech",
}


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
    repeated: bool = False  # the last of them was asked twice
    scope: str = ""  # what the route needs
    args: dict[str, str] = field(default_factory=dict)  # parameters of the path
    asked: str = ""  # the name that the client used
    base: str = ""  # of the model, where that is an adapter
    cost: Cost = field(default_factory=lambda: Cost(0))
    budget: int | None = None  # tokens that were reserved; None: no limit counts them
    failed: str = ""  # the code of the error that ended an answer under way

    def __post_init__(self) -> None:
        self.meter = Meter(self.request.started_s)
        self.wait = waiting.Wait(
            waiting.deadline_s(self.request.headers),
            self.principal.allows("status:read"),
            lambda: catalog.hidden(self.principal),
        )
        self.reply.late = self.wait.headers

    async def resolve(self, name: str, *kinds: wire.Kind) -> Resolved:
        """Find a model that this caller may use and that can do this.

        Raises: ModelNotFound; UnsupportedModel.
        """
        resolved = await catalog.resolve(name, self.principal)
        self.asked, self.model, self.base = name, resolved.model, resolved.base
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
        route = await catalog.route(name, self.principal) if isinstance(name, str) else None
        return fields if route is None else routes.applied(route, fields)

    async def serve(self, resolved: Resolved, one: Callable[[Resolved], Awaitable[None]]) -> None:
        """Ask the targets of a route one after another until one answers. Raises: HubError."""
        kind = resolved.spec.kind
        others = [other for other in resolved.others if other.spec.kind == kind]
        self.left = len(others)
        for target in (resolved, *others):
            self.model, self.base = target.model, target.base
            try:
                async with self._admitted_beside(target, resolved):
                    await self._once_more(target, one)
            except HubError as error:
                if not self.passes_on(error):
                    raise
                self._pass_on(error)
            else:
                return

    async def _once_more(
        self, target: Resolved, one: Callable[[Resolved], Awaitable[None]]
    ) -> None:
        """Ask, and again where only a process ended under way and nobody else is left. Raises: HubError."""
        try:
            await one(target)
        except HubError as error:
            if not self.repeats(error):
                raise
            log.warning("asked again", extra={"model": self.model, "reason": error.message})
            self.repeated = True
            self._begin_anew(error)
            await one(target)

    async def holds(self, who: Principal) -> None:
        """Check the rights of a request under way, as they are now. Raises: HubError."""
        door.require(who, self.scope)
        if self.asked and not await catalog.is_there(self.asked, self.model, who):
            raise PermissionDenied(f"The model `{self.asked}` is no longer yours to use.")

    def passes_on(self, error: HubError) -> bool:
        """Tell whether another target may answer instead: nothing of an answer was sent yet."""
        return self.left > 0 and self._may_ask and error.code in routes.PASSED_ON

    def repeats(self, error: HubError) -> bool:
        """Tell whether the same target is asked once more."""
        return (
            error.may_repeat and not self.repeated and self._may_ask and not self.passes_on(error)
        )

    def goes_on(self, error: HubError) -> bool:
        """Tell whether an answer may still come."""
        return self.passes_on(error) or self.repeats(error)

    @property
    def _may_ask(self) -> bool:
        return self.wait.left_s > 0.0 and not self.opened

    def _pass_on(self, error: HubError) -> None:
        log.warning("passed on", extra={"model": self.model, "reason": error.message})
        metrics.PASSED_ON.labels(self.model, error.code).inc()
        self.left -= 1
        self._begin_anew(error)

    def _begin_anew(self, error: HubError) -> None:
        """Forget what came of an answer that ended: it is used by nobody, and paid by nobody."""
        self.wait.again(error)
        past = self.meter
        self.meter = Meter(past.started_s, prompt_tokens=past.prompt_tokens)
        self.meter.prompt_most = past.prompt_most

    def within(self, body: wire.Generate) -> wire.Generate:
        """Hold the answer to its only prompt to what was reserved for both."""
        if self.budget is None:
            return body
        room = self.cost.room(self.budget)
        sampling = msgspec.structs.replace(body.sampling, room=room)
        return msgspec.structs.replace(body, sampling=sampling, budget=self.budget)

    def _reserved(self) -> tuple[int, int, int]:
        """Give what limits are asked for: at least, at best, and alone."""
        return self.cost.tokens, self.cost.most, self.cost.least

    def _hold_to(self, lease: limits.Lease) -> None:
        if lease.granted.tokens is not None:
            reserved = lease.granted.reserved
            self.budget = reserved if self.budget is None else min(reserved, self.budget)
            self.meter.prompt_most = min(self.meter.prompt_most, self.budget)

    def _learn(self, refused: HubError) -> None:
        """Reserve more for the next prompt, where an engine counted more than the bound of this one."""
        over = refused.prompt_tokens > self.cost.prompt
        if over and excess.learn(self.model, self.cost, Served(refused.prompt_tokens)):
            refused.retryable, refused.retry_after_s = True, LEARNED_S

    async def counted(self) -> None:
        """Count a call that uses no model. Raises: RateLimited."""
        try:
            self.reply.add(await limits.count(self.principal))
        except limits.LimitReached as error:
            self.reply.add(error.headers())
            raise _limited(error) from error

    @asynccontextmanager
    async def _admitted_beside(self, target: Resolved, first: Resolved) -> AsyncIterator[None]:
        """Hold a place of another target's own limit, if it has one. Raises: RateLimited."""
        held = {first.model, first.base}  # a route may have two adapters of one base
        models = [name for name in (target.model, target.base) if name and name not in held]
        if not models:
            yield
            return
        try:
            lease = await limits.admit_beside(models, *self._reserved())
        except limits.LimitReached as error:
            raise _limited(error) from error
        except limits.Closed as error:
            raise _closed(error) from error
        if lease is not None:
            self._hold_to(lease)
        try:
            yield
        finally:
            if lease is not None:
                await lease.settle(self.meter.used_tokens(computing=False))

    @asynccontextmanager
    async def admitted(self, cost: Cost, target: Resolved) -> AsyncIterator[None]:
        """Hold a place within the caller's limits. Raises: RateLimited.

        Who leaves before the first token pays for the prompt, if an engine had it.
        """
        self.cost = excess.added(cost, self.model).within(_context(target))
        if any(one.spec.engine in wire.UPSTREAM for one in (target, *target.others)):
            self.cost = msgspec.structs.replace(self.cost, strict=True)
        self.meter.prompt_most = self.cost.prompt
        try:
            lease = await limits.admit(
                self.principal, self.model, *self._reserved(), base=self.base
            )
        except limits.LimitReached as error:
            self.reply.add(error.headers())
            raise _limited(error) from error
        except limits.Closed as error:
            raise _closed(error) from error
        self._hold_to(lease)
        self.reply.add(lease.headers())
        failed = False
        try:
            yield
        except HubError as error:
            failed = True
            self._learn(error)
            raise
        finally:
            self.meter.report(self.model)
            excess.learn(self.model, self.cost, self.meter.served())
            computing = self.wait.over and not failed
            await lease.settle(self.meter.used_tokens(computing))


def _context(resolved: Resolved) -> int:
    """Give the longest context of those who may answer; 0: one of them is not known."""
    found = [one.spec.context_tokens for one in (resolved, *resolved.others)]
    return max(found) if all(found) else 0


def _limited(reached: limits.LimitReached) -> HubError:
    """A request that alone is over the limit need not be tried again."""
    kind = TokenBudgetExceeded if reached.never else RateLimited
    return kind(str(reached), retry_after_s=reached.retry_after_s)


def _closed(error: limits.Closed) -> HubError:
    return Unavailable(str(error), retry_after_s=error.retry_after_s)
