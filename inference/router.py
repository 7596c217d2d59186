"""From a spec to the node that serves it: opens answers, watches, loads and unloads.

Called by the API, by the dashboard and by commands. The connection is the lease: leaving
`open` before the end closes the socket, and the node stops the tokens.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import msgspec
from django.conf import settings

from inference import catalog, hops, node_pulse, wire
from inference.errors import (
    AnswerInterrupted,
    EngineFailed,
    HubError,
    NodeUnavailable,
    from_code,
)
from inference.node_client import Connection, Lost, connect, give_back, take

CONNECT_TRIES = 6
FRESH_TRIES = 3  # a request that ends its node is not sent to a fourth one
FIRST_PAUSE_S = 0.05  # doubled on each try: 1.5 s in all
RESTART_S = 30.0  # so long a request that waited already waits for the next node
RETRY_AFTER_S = 2.0
DEADLINE_S = 300.0
TICK_S = 1.0
SNAPSHOT_S = 5.0
RESTART_PAUSE_S = 0.25
LAST = wire.Done | wire.Failure | wire.Loaded | wire.Planned | wire.Lines | wire.Course
WAITS = wire.Submit | wire.Load | wire.Reserve  # these have a deadline
AWAY = wire.Progress(state="queued", reason="the model node is starting again")


class Answer:
    """The messages of one answer. Ends after `Done`; raises what a `Failure` names.

    A connection that dies before the answer begins is replaced, also by one to a node that is only
    starting again: until then a repetition harms nobody. What is left of the deadline goes with it.
    """

    def __init__(self, question: wire.Any, tick_s: float) -> None:
        self._question = question
        self._asked_s = time.monotonic()
        self._tick_s = tick_s
        self._fresh = 0
        self._begun = False
        self._lost_s: float | None = None
        self._patient = False  # tries again between batches, not while it connects
        self._patience_s = RESTART_S
        self._connection: Connection | None = None
        self._heard_s = self._asked_s
        self.ended = False

    async def begin(self) -> None:
        """Ask, or wait from the first batch on for a node that has just gone.

        Raises: NodeUnavailable.
        """
        patience_s = node_pulse.of(settings.HUB_NODE_ADDRESS).patience_s
        if not isinstance(self._question, WAITS) or not patience_s:
            await self.ask()
            return
        deadline_s = self._question.deadline_s
        self._patience_s = patience_s if deadline_s is None else min(patience_s, deadline_s)
        self._patient = True
        await self._again(FIRST_PAUSE_S)

    async def ask(self) -> Connection:
        """Send the question, on a pooled connection if one is alive. Raises: NodeUnavailable."""
        address: str = settings.HUB_NODE_ADDRESS
        if node_pulse.of(address).lost:
            raise _no_answer()
        self._connection = take(address)
        if self._connection is None:
            if self._fresh >= FRESH_TRIES:
                raise NodeUnavailable("the node hangs up", retry_after_s=RETRY_AFTER_S)
            self._fresh += 1
            self._connection = await self._connected(address)
        self._connection.write(wire.encode(self._left()))
        return self._connection

    async def _connected(self, address: str) -> Connection:
        connection = await (connect if self._patient else _connect)(address)
        node_pulse.of(address).found()
        return connection

    def _left(self) -> wire.Any:
        """Give the question with what is left of its deadline."""
        if self._lost_s is None or not isinstance(self._question, WAITS):
            return self._question
        if self._question.deadline_s is None:
            return self._question
        left_s = self._question.deadline_s - (time.monotonic() - self._asked_s)
        return msgspec.structs.replace(self._question, deadline_s=max(0.0, left_s))

    async def batches(self) -> AsyncIterator[list[wire.Any]]:
        """Yield what has arrived, all at once; an empty batch for each `tick_s` without any.

        Raises: HubError.
        """
        while not self.ended:
            batch = await self._next_batch()
            last = batch[-1] if batch else None
            self.ended = isinstance(last, LAST)
            if not isinstance(last, wire.Failure):
                yield batch
                continue
            if len(batch) > 1:
                yield batch[:-1]
            raise _error(last)

    async def __aiter__(self) -> AsyncIterator[wire.Any]:
        async for batch in self.batches():
            for message in batch:
                yield message

    def add(self, message: wire.Resize) -> None:
        """Send a correction of the question; one that finds no node is not repeated."""
        if self._connection is not None:
            self._connection.write(wire.encode(message))

    def finish(self, keep: bool) -> None:
        """Keep the connection for the next question, or close it, which cancels this one."""
        if self._connection is None:
            return
        if self.ended and keep:
            give_back(self._connection)
        else:
            self._connection.close()

    async def _next_batch(self) -> list[wire.Any]:
        while True:
            if self._connection is None and not await self._again():
                return [AWAY]
            assert self._connection is not None  # noqa: S101  for the type checker
            try:
                batch = await self._connection.next_batch(self._tick_s)
            except Lost as error:
                if self._begun:
                    raise _interrupted("the node went away in mid-answer") from error
                self._connection, self._patient = None, True
                self._patience_s = RESTART_S
                self._lost_s = self._lost_s or time.monotonic()
            else:
                self._begun = self._begun or any(type(m) is not wire.Progress for m in batch)
                self._mind_silence(silent=not batch)
                return batch

    def _mind_silence(self, silent: bool) -> None:
        """Raises: NodeUnavailable, EngineFailed, when the node answers nobody."""
        now_s = time.monotonic()
        if not silent:
            self._heard_s = now_s
        elif now_s - self._heard_s >= node_pulse.SILENT_S:
            pulse = node_pulse.of(settings.HUB_NODE_ADDRESS)
            pulse.feel()
            if pulse.lost:
                raise _interrupted("the node hangs in mid-answer") if self._begun else _no_answer()

    async def _again(self, pause_s: float = RESTART_PAUSE_S) -> bool:
        """Ask the next node; False while there is none. Raises: NodeUnavailable."""
        try:
            await self.ask()
        except OSError as error:
            self._fresh -= 1
            node_pulse.of(settings.HUB_NODE_ADDRESS).refused()
            self._lost_s = self._lost_s or self._asked_s
            if time.monotonic() - self._lost_s > self._patience_s:
                raise _no_node() from error
            await asyncio.sleep(min(self._tick_s, pause_s))
            return False
        return True


@asynccontextmanager
async def open(  # noqa: A001 (the room's contract: router.open)
    spec: wire.ModelSpec,
    body: wire.Body,
    *,
    request_id: str,
    deadline_s: float = DEADLINE_S,
    tick_s: float = TICK_S,
    repeated: bool = False,
    via: str = "",
) -> AsyncIterator[Answer]:
    """Ask the node for an answer. Raises: HubError; NodeUnavailable when there is no node.

    `via` is what the request said of the servers that it came through.
    """
    spec, body = _apart(spec, body)
    if spec.engine == "remote_openai":
        body = hops.onward(body, via)
    submit = wire.Submit(
        request_id=request_id,
        spec=spec,
        body=body,
        deadline_s=deadline_s,
        companions=await _companions(spec.name),
        repeated=repeated,
    )
    async with asking(submit, tick_s) as answer:
        yield answer


async def _companions(name: str) -> list[wire.ModelSpec]:
    """Describe those that must be in memory whenever this model is."""
    groups = settings.HUB_CONFIG.model_config.always_together
    names = {other for group in groups if name in group for other in group} - {name}
    if not names:
        return []
    known = {found.spec.name: found.spec for found in await catalog.available()}
    return [_base(known[name]) for name in sorted(names & known.keys())]


async def load(
    spec: wire.ModelSpec,
    *,
    deadline_s: float = DEADLINE_S,
    on_progress: Callable[[wire.Progress], None] | None = None,
) -> wire.Loaded:
    """Load a model without a request. Raises: HubError."""
    companions = await _companions(spec.name)
    question = wire.Load(spec=_base(spec), deadline_s=deadline_s, companions=companions)
    async with asking(question, TICK_S) as answer:
        async for message in answer:
            if isinstance(message, wire.Loaded):
                return message
            if isinstance(message, wire.Progress) and on_progress is not None:
                on_progress(message)
    raise NodeUnavailable("the node did not say whether the model was loaded")


async def unload(name: str, *, force: bool = False) -> None:
    """Drain and stop a model. Raises: HubError."""
    async with asking(wire.Unload(model=name, force=force), TICK_S) as answer:
        async for _ in answer:
            pass


async def forget(name: str) -> None:
    """Let the node know that a model is no more. Raises: HubError."""
    async with asking(wire.Forget(model=name), TICK_S) as answer:
        async for _ in answer:
            pass


async def revise(spec: wire.ModelSpec) -> None:
    """Let the node take settings that need no load. Raises: HubError."""
    async with asking(wire.Revise(spec=_base(spec)), TICK_S) as answer:
        async for _ in answer:
            pass


async def detach(base: str, adapter: str) -> None:
    """Let a base give an adapter's memory back. Raises: HubError."""
    async with asking(wire.Detach(model=base, adapter=adapter), TICK_S) as answer:
        async for _ in answer:
            pass


async def plan(spec: wire.ModelSpec) -> wire.Planned:
    """Say what loading this model now would do. Raises: HubError."""
    async with asking(wire.Plan(spec=_base(spec)), TICK_S) as answer:
        async for message in answer:
            if isinstance(message, wire.Planned):
                return message
    raise NodeUnavailable("the node did not say what would happen")


async def tail(name: str) -> list[str]:
    """Give the last lines that a model's engine wrote. Raises: HubError."""
    async with asking(wire.Tail(model=name), TICK_S) as answer:
        async for message in answer:
            if isinstance(message, wire.Lines):
                return message.lines
    raise NodeUnavailable("the node did not give the engine's lines")


async def course(name: str) -> wire.Course:
    """Give how a model did in the last hour, as far back as the node goes. Raises: HubError."""
    async with asking(wire.AskCourse(model=name), TICK_S) as answer:
        async for message in answer:
            if isinstance(message, wire.Course):
                return message
    raise NodeUnavailable("the node did not say how the model did")


async def snapshot() -> wire.Snapshot:
    """Give the node's state now. Raises: NodeUnavailable."""
    try:
        async with asyncio.timeout(SNAPSHOT_S), aclosing(watch(0)) as states:
            return await anext(states)
    except (TimeoutError, StopAsyncIteration, EngineFailed) as error:
        raise NodeUnavailable("the node gives no state", retry_after_s=RETRY_AFTER_S) from error


async def watch(interval_s: float) -> AsyncGenerator[wire.Snapshot, None]:
    """Yield the node's state at once and then every `interval_s`. Raises: NodeUnavailable."""
    async with asking(wire.Watch(interval_s=interval_s), TICK_S, keep=False) as answer:
        async for message in answer:
            if isinstance(message, wire.Snapshot):
                yield message


@asynccontextmanager
async def asking(question: wire.Any, tick_s: float, keep: bool = True) -> AsyncIterator[Answer]:
    answer = Answer(question, tick_s)
    try:
        await answer.begin()
        yield answer
    finally:
        answer.finish(keep)


async def _connect(address: str) -> Connection:
    pause_s = FIRST_PAUSE_S
    for _ in range(CONNECT_TRIES - 1):
        try:
            return await connect(address)
        except OSError:
            await asyncio.sleep(pause_s)
            pause_s *= 2
    try:
        return await connect(address)
    except OSError as error:
        raise _no_node() from error


def _apart(spec: wire.ModelSpec, body: wire.Body) -> tuple[wire.ModelSpec, wire.Body]:
    """Let the body name the adapter, so that one resident serves the base and all of its adapters."""
    if spec.adapter is not None and isinstance(body, wire.Generate):
        body = msgspec.structs.replace(body, adapter=spec.adapter)
    return _base(spec), body


def _base(spec: wire.ModelSpec) -> wire.ModelSpec:
    return spec if spec.adapter is None else msgspec.structs.replace(spec, adapter=None)


def _no_answer() -> NodeUnavailable:
    return NodeUnavailable(
        "the model node is there but does not answer; it may be overloaded or stopped",
        retry_after_s=RETRY_AFTER_S,
    )


def _interrupted(message: str) -> AnswerInterrupted:
    error = AnswerInterrupted(message, retry_after_s=RETRY_AFTER_S)
    error.may_repeat = True
    return error


def _no_node() -> NodeUnavailable:
    return NodeUnavailable(
        "the model node is not running or is restarting; try again in a moment",
        retry_after_s=RETRY_AFTER_S,
    )


def _error(failure: wire.Failure) -> HubError:
    error = from_code(
        failure.code,
        failure.message,
        param=failure.param,
        retry_after_s=failure.retry_after_s,
        details=failure.details,
    )
    error.prompt_tokens = failure.prompt_tokens
    error.may_repeat = failure.may_repeat
    return error
