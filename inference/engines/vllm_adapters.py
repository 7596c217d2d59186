"""The LoRA adapters that a vLLM server was told of: each at its first request, by its own endpoints.

Used by `llm_vllm` on its loop's thread. vLLM keeps as many in memory as it was started for.
"""

import asyncio
import logging

from inference import wire
from inference.engines.upstream_client import Upstream
from inference.errors import HubError, LoadFailed

log = logging.getLogger(__name__)


class VllmAdapters:
    def __init__(self, upstream: Upstream, most: int) -> None:
        self._upstream, self._most = upstream, most
        self._attached: dict[str, str] = {}  # key -> name
        self._lock = asyncio.Lock()  # two requests must not attach the same one twice

    @property
    def names(self) -> list[str]:
        return [*dict.fromkeys(self._attached.values())]

    async def need(self, adapter: wire.Adapter) -> None:
        """Raises: LoadFailed where the server does not take it."""
        if not self._most:
            raise LoadFailed(
                f"{adapter.name} cannot be attached: set `max_loras` of its base, or merge it"
            )
        async with self._lock:
            if adapter.key not in self._attached:
                await self._upstream.attach(adapter)
                self._attached[adapter.key] = adapter.name

    async def let_go(self, name: str) -> None:
        """Who is answering with it goes on to the end."""
        async with self._lock:
            for key in [key for key, of in self._attached.items() if of == name]:
                del self._attached[key]
                try:
                    await self._upstream.detach(key)
                except HubError as error:
                    log.warning("vLLM did not let go of %s: %s", name, error.message)
