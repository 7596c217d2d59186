"""Serve models: the one process of a machine that owns its devices and its memory."""

import asyncio
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = __doc__ or ""

    def handle(self, *_args: Any, **_options: Any) -> None:
        server = import_module("inference.node.server")
        policy = settings.HUB_CONFIG.model_config
        asyncio.run(
            server.serve(
                server.NodeSettings(
                    address=settings.HUB_NODE_ADDRESS,
                    state_dir=settings.HUB_DATA / "node",
                    memory_limit_bytes=settings.HUB_MEMORY_LIMIT_BYTES,
                    device=settings.HUB_DEVICE,
                    max_concurrent_models=policy.max_concurrent_models or 0,
                    auto_unload_timeout_s=policy.auto_unload_timeout,
                    priority_models=policy.priority_models,
                )
            )
        )
