"""From wire bodies to a reply: asks the node, merges several prompts, streams, ends early."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from inference import router, wire
from inference.api.call import Call
from inference.api.disconnect import UntilDisconnect
from inference.api.door import WhileAllowed
from inference.errors import HubError
from inference.openai import sse

GRACE_S = 5.0  # an error known by then still is an HTTP status
AWAY_GRACE_S = 12.0  # clients try a 503 again by themselves: a node that has gone is told as one
PING_S = 10.0
Batch = tuple[int, list[wire.Any]]  # number of the prompt, messages


class StreamEncoder(Protocol):
    """Turn messages into SSE bytes."""

    def start(self) -> bytes: ...
    def add(self, message: Any, prompt: int) -> bytes: ...
    def finish(self, done: list[wire.Done]) -> bytes: ...


class PlainEncoder(Protocol):
    """Gather messages into one document."""

    def add(self, message: Any, prompt: int) -> object: ...
    def finish(self, done: list[wire.Done]) -> bytes: ...


async def plain(
    call: Call, spec: wire.ModelSpec, bodies: Sequence[wire.Body], encoder: PlainEncoder
) -> bytes:
    """Wait for the whole answer. Raises: HubError; ClientLeft."""
    async with (
        UntilDisconnect(call.request.receive, call.reply),
        WhileAllowed(call.request, call.holds),
        _asked(call, spec, bodies) as batches,
    ):
        async for prompt, batch in batches:
            for message in batch:
                if not _is_control(call, message, prompt):
                    encoder.add(message, prompt)
        return encoder.finish(call.meter.done)


async def stream(
    call: Call, spec: wire.ModelSpec, bodies: Sequence[wire.Body], encoder: StreamEncoder
) -> None:
    """Send the answer as it comes. Raises: HubError before the first byte; ClientLeft."""
    async with UntilDisconnect(call.request.receive, call.reply):
        try:
            async with WhileAllowed(call.request, call.holds):
                await _Stream(call, encoder).run(spec, bodies)
        except HubError as error:
            if not call.reply.started or call.goes_on(error):
                raise
            call.failed = error.code
            await call.reply.end(sse.error(call.wait.told(error)))


class _Stream:
    """One SSE reply: when it starts, what is sent, when it pings."""

    def __init__(self, call: Call, encoder: StreamEncoder) -> None:
        self._call = call
        self._encoder = encoder
        self._opened = False
        self._sent_s = time.monotonic()

    async def run(self, spec: wire.ModelSpec, bodies: Sequence[wire.Body]) -> None:
        call = self._call
        async with _asked(call, spec, bodies) as batches:
            async for prompt, batch in batches:
                if data := self._encode(prompt, batch):
                    await self._send(data)
                else:
                    await self._idle()
            if not call.reply.started:
                await call.reply.start_events()
            await call.reply.end(self._encoder.finish(call.meter.done))

    def _encode(self, prompt: int, batch: list[wire.Any]) -> bytes:
        said = [message for message in batch if not _is_control(self._call, message, prompt)]
        return b"".join(self._encoder.add(message, prompt) for message in said)

    async def _send(self, data: bytes) -> None:
        reply = self._call.reply
        if not reply.started:
            await reply.start_events()
        if not self._opened:
            self._opened = self._call.opened = True
            data = self._encoder.start() + data
        self._sent_s = time.monotonic()
        await reply.chunk(data)

    async def _idle(self) -> None:
        """Start the reply once the grace is over; tell why nothing comes, now and then."""
        reply = self._call.reply
        quiet_s = time.monotonic() - self._sent_s
        away = self._call.wait.progress is router.AWAY
        grace_s = AWAY_GRACE_S if away else GRACE_S
        if quiet_s < (PING_S if reply.started else grace_s) - 0.5:
            return
        if not reply.started:
            await reply.start_events()
        self._sent_s = time.monotonic()
        await reply.chunk(self._call.wait.comment())


def _is_control(call: Call, message: wire.Any, prompt: int) -> bool:
    """Take note of what comes; tell whether it is no part of the answer itself."""
    call.wait.note(message)
    call.meter.note(message, prompt)
    return isinstance(message, wire.Done | wire.Progress)


@asynccontextmanager
async def _asked(
    call: Call, spec: wire.ModelSpec, bodies: Sequence[wire.Body]
) -> AsyncIterator[AsyncIterator[Batch]]:
    call.wait.begin()
    call.meter.prompts = len(bodies)
    if len(bodies) > 1:
        async with _many(call, spec, bodies) as batches:
            yield batches
    else:
        async with router.open(
            spec,
            bodies[0],
            request_id=call.request.id,
            deadline_s=call.wait.left_s,
            repeated=call.repeated,
            via=call.request.via,
        ) as answer:
            yield ((0, batch) async for batch in answer.batches())


@asynccontextmanager
async def _many(
    call: Call, spec: wire.ModelSpec, bodies: Sequence[wire.Body]
) -> AsyncIterator[AsyncIterator[Batch]]:
    """Ask for all prompts at once; the first failure ends them all."""
    arrived: asyncio.Queue[Batch | HubError | None] = asyncio.Queue(maxsize=64)

    async def ask(number: int, body: wire.Body) -> None:
        name = f"{call.request.id}-{number}"
        try:
            async with router.open(
                spec,
                body,
                request_id=name,
                deadline_s=call.wait.left_s,
                repeated=call.repeated,
                via=call.request.via,
            ) as answer:
                async for batch in answer.batches():
                    await arrived.put((number, batch))
        except HubError as error:
            await arrived.put(error)
        await arrived.put(None)

    tasks = [asyncio.create_task(ask(number, body)) for number, body in enumerate(bodies)]
    try:
        yield _merged(arrived, len(tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _merged(
    arrived: asyncio.Queue[Batch | HubError | None], running: int
) -> AsyncIterator[Batch]:
    while running:
        item = await arrived.get()
        if item is None:
            running -= 1
        elif isinstance(item, HubError):
            raise item
        else:
            yield item
