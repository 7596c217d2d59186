"""The contract of an engine: what `worker.py` may ask of it, and what it may answer.

Threads: `load`, `close` and everything that computes run on the engine's own thread(s). `submit` and
`cancel` are called from the worker's I/O thread and must only hand over (no computing, no waiting).
`Job.emit` may be called from any thread.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from inference import wire
from inference.errors import EngineFailed, EngineOutOfMemory

NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")


@dataclass(frozen=True, slots=True)
class Job:
    """One request inside an engine.

    `emit` sends a frame to whoever asked. The engine ends every job with exactly one `Done` or
    `Failure`, also after `cancel` (a `Done` with what was used so far).
    """

    stream: int
    body: wire.Body
    emit: Callable[[wire.Any], None]


@dataclass(frozen=True, slots=True)
class Setting:
    """What the node grants to an engine when it starts."""

    threads: int
    device: str  # cpu | cuda | cuda:0, already resolved
    memory_bytes: int  # 0: no limit
    progress: Callable[[int, int], None]  # loaded bytes, total bytes
    kv_bytes: int = 0  # of `memory_bytes`, for keys and values; 0: the engine decides


def failed(error: Exception, what: str) -> EngineFailed:
    """Name what went wrong while computing `what`; libraries tell a want of memory in many ways."""
    if is_out_of_memory(error):
        return EngineOutOfMemory(f"there was not enough memory for {what}: {error}")
    return EngineFailed(f"the engine failed in {what}: {error}")


def is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    told = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in told for words in NO_MEMORY)


class Engine(ABC):
    """One loaded model."""

    @abstractmethod
    def load(self, spec: wire.ModelSpec, setting: Setting) -> wire.Loaded:
        """Load and warm up; blocks.

        Raises: HubError (LoadFailed, OutOfMemory, InvalidRequest) with a message for the operator.
        """

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Take a request; every failure is emitted, never raised."""

    @abstractmethod
    def cancel(self, stream: int) -> None:
        """Stop a request within one step; unknown streams are ignored."""

    @abstractmethod
    def stats(self) -> wire.Stats:
        """Counters since load; cheap, from any thread. `memory_bytes` may be 0: the node measures."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back; running jobs fail with EngineFailed."""
