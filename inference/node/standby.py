"""Processes with the heavy imports already done, waiting to become an engine.

A switch to a torch model then costs its weights and not its imports. llama.cpp needs none.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Mapping

from inference.node.devices import process_memory
from inference.node.process import EngineProcess, spawn
from inference.node.residents import Model

PROFILES = {
    "llm_transformers": "torch",
    "vlm_transformers": "torch",
    "embed_text": "torch",
    "embed_clip": "torch",
    "asr_whisper": "whisper",
}
MODULES = {
    "torch": ("inference.engines.llm_transformers", "inference.engines.embed_text"),
    "whisper": ("inference.engines.asr_whisper",),
}
CALM_S = 3.0  # so long nothing was loading
USUAL_BYTES = {"torch": 450 * 1024 * 1024, "whisper": 200 * 1024 * 1024}

log = logging.getLogger(__name__)


class Standby:
    """At most one waiting process for each profile; `count` 0 keeps none."""

    def __init__(self, env: Mapping[str, str], *, count: int) -> None:
        self._env, self._off = env, count < 1
        self._ready: dict[str, EngineProcess] = {}
        self._starting: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._calm_at = time.monotonic() + CALM_S

    def take(self, engine: str) -> EngineProcess | None:
        """Give the process that has what this engine imports, if one waits."""
        self._forget_dead()
        return self._ready.pop(PROFILES.get(engine, ""), None)

    def keep_warm(self, profile: str, free_bytes: int) -> None:
        """Have a process ready for the next model of this profile, if its memory is there."""
        self._forget_dead()
        waits = profile in self._ready or profile in self._starting
        if self._off or self._closed or waits:
            return
        if free_bytes < USUAL_BYTES[profile]:
            return
        self._starting.add(profile)
        task = asyncio.ensure_future(self._start(profile))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def mind(self, models: Collection[Model], free_bytes: int, now: float) -> None:
        """Memory is for models first; a spare process comes back when all is calm."""
        if not all(m.instance is None or m.instance.state == "ready" for m in models):
            self._calm_at = now + CALM_S
        if short := [m for m in models if m.queue and m.instance is None and m.reason]:
            own = (PROFILES.get(m.spec.engine, "") for m in short)
            any(self.give_up_one(besides=profile) for profile in own)  # one at a time
        elif now >= self._calm_at:
            cold = {PROFILES.get(m.spec.engine, "") for m in models if m.instance is None}
            for profile in {"torch", *cold} - {""}:
                self.keep_warm(profile, free_bytes)

    def memory_bytes(self) -> dict[str, int]:
        """What the process of each profile takes, at least what it usually will."""
        ready = {
            profile: max(process_memory(process.pid), USUAL_BYTES[profile])
            for profile, process in self._ready.items()
        }
        return ready | {profile: USUAL_BYTES[profile] for profile in self._starting}

    def inherited(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Give what each engine would take over: of these `sizes`, that of the one ready for it."""
        return {engine: sizes[name] for engine, name in PROFILES.items() if name in self._ready}

    @property
    def processes(self) -> list[EngineProcess]:
        return [*self._ready.values()]

    def give_up_one(self, besides: str = "") -> bool:
        """Free memory for a real model, which may become one `besides`. Gives whether there was one."""
        profile = next((name for name in reversed(self._ready) if name != besides), None)
        if profile is None:
            return False
        task = asyncio.ensure_future(self._ready.pop(profile).stop())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def settled(self) -> None:
        """Wait until nothing is being started or ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        self._closed = True
        await self.settled()
        await asyncio.gather(*(process.stop() for process in self._ready.values()))
        self._ready.clear()

    def _forget_dead(self) -> None:
        self._ready = {name: spare for name, spare in self._ready.items() if spare.alive}

    async def _start(self, profile: str) -> None:
        try:
            process = await spawn(f"standby-{profile}", self._env, prepare=MODULES[profile])
        except OSError as error:
            log.warning("no standby process for %s: %s", profile, error)
        else:
            self._ready[profile] = process
        finally:
            self._starting.discard(profile)
