"""Spare worker processes with the heavy imports done, so that a switch costs the weights only."""

import asyncio
import logging

from inference.node.process import EngineProcess, spawn

# Engine -> the modules whose import takes seconds. llama.cpp needs none.
PROFILES = {
    "llm_transformers": "torch,transformers",
    "embed_text": "torch,transformers",
}
REFILL_DELAY_S = 3.0

log = logging.getLogger(__name__)


class Standby:
    """Keeps at most one spare process; `count` 0 keeps none."""

    def __init__(self, count: int, threads: int) -> None:
        self._wanted = min(count, 1)
        self._threads = threads
        self._spare: EngineProcess | None = None
        self._refill: asyncio.Task[None] | None = None

    @property
    def memory_bytes(self) -> int:
        return self._spare.memory_bytes() if self._spare and self._spare.alive else 0

    def start(self, delay_s: float = 0.0) -> None:
        """Make a spare in the background, when there is none."""
        if self._wanted and self._refill is None:
            self._refill = asyncio.create_task(self._fill(delay_s))

    async def take(self, engine: str) -> EngineProcess:
        """Give a process for the engine: the spare if it fits, else a new one. Raises: OSError."""
        profile = PROFILES.get(engine, "")
        spare = self._spare if profile else None
        if spare is not None and spare.alive:
            self._spare = None
            self.start(REFILL_DELAY_S)
            return spare
        return await spawn(self._threads, profile)

    async def close(self) -> None:
        if self._refill is not None:
            self._refill.cancel()
        if self._spare is not None:
            await self._spare.stop(force=True)

    async def _fill(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        try:
            self._spare = await spawn(self._threads, PROFILES["llm_transformers"])
            self._logs = asyncio.create_task(self._spare.relay_logs())
        except OSError as error:
            log.warning("no standby process: %s", error)
        finally:
            self._refill = None
