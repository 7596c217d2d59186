"""Serve models: the one process of a machine that owns its devices and its memory."""

import asyncio
import sys
from typing import Any

from django.conf import settings

from accounts.commands import HubCommand, refusal
from hub import config_watch
from inference.node import devices
from inference.node.server import BadAddress, NodeSettings, serve


class Command(HubCommand):
    help = __doc__ or ""

    def handle(self, *_args: Any, **_options: Any) -> None:
        try:
            devices.require(settings.HUB_DEVICE)
            config_watch.start()
            asyncio.run(serve(node_settings(), newest=node_settings))
        except (BadAddress, devices.NoGpu, OSError) as error:
            sys.exit(refusal([str(error)]))


def node_settings() -> NodeSettings:
    """Translate the hub's settings: the node itself reads no environment and no database."""
    policy = settings.HUB_CONFIG.model_config
    return NodeSettings(
        address=settings.HUB_NODE_ADDRESS,
        state_dir=settings.HUB_DATA / "node",
        device=settings.HUB_DEVICE,
        memory_limit_bytes=settings.HUB_MEMORY_LIMIT_BYTES,
        max_concurrent_models=policy.max_concurrent_models or 0,
        auto_unload_timeout_s=policy.auto_unload_timeout,
        priority_models=tuple(policy.priority_models),
        never_together=policy.never_together,
        always_together=policy.always_together,
        prefetch=policy.prefetch,
        standby=settings.HUB_STANDBY,
        hang_s=settings.HUB_HANG_TIMEOUT_S,
        cgroup=settings.HUB_CGROUP,
        vllm_python=settings.HUB_VLLM_PYTHON,
    )
