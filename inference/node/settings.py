"""What the node is told when it starts, and which rules hold later. It reads no environment and no database of its own."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """0 means that the node decides, or that there is no limit.

    `standby` 1 keeps a process with the heavy imports done from the start on; 0 keeps none.
    """

    address: str  # unix:/path or tcp:host:port (loopback)
    state_dir: Path
    memory_limit_bytes: int = 0  # 0: what the machine or container has, less a reserve
    device: str = "auto"  # auto, cpu or cuda
    max_concurrent_models: int = 0  # 0: as many as fit
    auto_unload_timeout_s: float = 300.0  # 0: never
    priority_models: Collection[str] = ()
    never_together: Collection[Collection[str]] = ()
    always_together: Collection[Collection[str]] = ()
    prefetch: bool = True
    threads: int = 0  # of each engine; 0: cores - 1
    standby: int = 0
    cgroup: str = ""  # a folder of cgroup version 2 that is ours, for engines; empty: there is none
    vllm_python: str = ""  # the Python of vLLM's own environment; empty: there is none
    hang_s: float = 10.0  # how long an engine with work may show no sign of life
    crash_limit: int = 10  # deaths of a model's engine within five minutes, until it is refused
    min_residency_s: float = 1.0
    patience_s: float = 40.0


Newest = Callable[[], NodeSettings]  # gives what holds now: its rules are followed while it runs


class BadAddress(ValueError):
    """The node cannot listen there; the message says why."""
