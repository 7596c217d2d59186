"""The engine around another server: jobs become tasks of one event loop on a thread of its own.

`remote_openai` and `llm_vllm` say where the server is and what it is sent.
"""

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

from inference import wire
from inference.engines.base import Engine, Job, failure_of
from inference.engines.upstream_client import VIA, Upstream
from inference.errors import EngineFailed, HubError, UnsupportedModel

CLOSE_S = 5.0
UNLOADED = EngineFailed("the model is being unloaded")


class UpstreamEngine(Engine):
    """Invariant: `_tasks` holds every job that has not had its last frame; the loop's thread owns it."""

    _upstream: Upstream

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream", daemon=True)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._closing = False
        self._prompt = self._completion = self._cached = self._steps = self._cancelled = 0

    # --- contract -------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        self._loop.call_soon_threadsafe(self._begin, job)

    def cancel(self, stream: int) -> None:
        self._loop.call_soon_threadsafe(self._cancel, stream)

    def stats(self) -> wire.Stats:
        return wire.Stats(
            running=len(self._tasks),
            steps_total=self._steps,
            prompt_tokens_total=self._prompt,
            completion_tokens_total=self._completion,
            cached_tokens_total=self._cached,
            cancelled_total=self._cancelled,
        )

    def close(self) -> None:
        if self._thread.is_alive():
            self.wait(self._shut(), CLOSE_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    # --- for engines ----------------------------------------------------------------------------

    def wait(self, work: Coroutine[Any, Any, Any], limit_s: float | None = None) -> Any:
        """Run on the loop's thread and wait for the result."""
        if not self._thread.is_alive():
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(limit_s)

    async def prepared(self, body: wire.Generate) -> wire.Generate:
        """Change what is sent, where the server is not to see it as it came. Raises: HubError."""
        return body

    def shown(self, delta: wire.Delta) -> wire.Delta:
        """Change what is passed on, where the server does not say it as the wire does."""
        return delta

    async def probe(self) -> None:
        """Find out whether the server lives; tokens of others may cost money. Raises: HubError."""
        await self._upstream.models()

    # --- the loop's thread ------------------------------------------------------------------------

    def _begin(self, job: Job) -> None:
        if self._closing:
            job.emit(failure_of(UNLOADED))
            return
        self._tasks[job.stream] = self._loop.create_task(self._serve(job))

    def _cancel(self, stream: int) -> None:
        if task := self._tasks.get(stream):
            self._cancelled += 1
            task.cancel()

    async def _serve(self, job: Job) -> None:
        """Invariant: exactly one last frame, also after a cancel."""
        run = _Run(job)
        VIA.set(getattr(job.body, "via", ""))  # of this task alone
        last: wire.Done | wire.Failure
        try:
            last = await self._answer(run)
        except asyncio.CancelledError:
            last = failure_of(UNLOADED) if self._closing else run.cancelled()
        except HubError as error:
            last = failure_of(error)
        except Exception as error:  # noqa: BLE001 (one request's fault is its own)
            last = failure_of(EngineFailed(f"{type(error).__name__}: {error}"))
        self._tasks.pop(job.stream, None)
        job.emit(last)

    async def _answer(self, run: "_Run") -> wire.Done:
        match run.job.body:
            case wire.Generate() as body:
                used = await self._upstream.generate(await self.prepared(body), self._seen(run))
                return run.done(self._count(used))
            case wire.Probe():
                await self.probe()
                return run.done(wire.Usage())
            case wire.Embed() as body:
                vectors, used = await self._upstream.embed(body)
                run.emit(vectors)
                return run.done(self._count(used))
            case wire.Transcribe() as body:
                return await self._transcribe(run, body)
        raise UnsupportedModel("this engine cannot do that")

    async def _transcribe(self, run: "_Run", body: wire.Transcribe) -> wire.Done:
        found = await self._upstream.transcribe(body)
        for segment in found.frames():
            run.emit(segment)
        used = self._count(wire.Usage(audio_s=found.duration))
        return run.done(used, language=found.language, duration_s=found.duration)

    def _seen(self, run: "_Run") -> Any:
        def emit(delta: wire.Delta) -> None:
            self._steps += 1
            run.emit(self.shown(delta))

        return emit

    def _count(self, used: wire.Usage) -> wire.Usage:
        self._prompt += used.prompt_tokens
        self._completion += used.completion_tokens
        self._cached += used.cached_tokens
        return used

    async def _shut(self) -> None:
        self._closing = True
        for task in [*self._tasks.values()]:
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._upstream.close()


class _Run:
    """One job on its way, with its times."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.tokens = 0
        self._started_s = time.monotonic()
        self._first_s = 0.0

    def emit(self, frame: wire.Any) -> None:
        self._first_s = self._first_s or time.monotonic() - self._started_s
        if isinstance(frame, wire.Delta):
            self.tokens += frame.tokens
        self.job.emit(frame)

    def cancelled(self) -> wire.Done:
        return self.done(wire.Usage(completion_tokens=self.tokens))

    def done(self, used: wire.Usage, **more: Any) -> wire.Done:
        total_s = time.monotonic() - self._started_s
        timing = wire.Timing(first_s=self._first_s or total_s, total_s=total_s)
        return wire.Done(usage=used, timing=timing, **more)
