"""The node's clock: steps that are taken again and again, as long as it lives."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


async def every(seconds: float, step: Callable[[], Awaitable[None]]) -> None:
    """A step that fails is logged and tried again: a node without its clock would be dead."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await step()
        except Exception:
            log.exception("a step of the node's clock failed")
