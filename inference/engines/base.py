"""The contract of an engine: what `worker.py` may ask of it, and what it may answer.

Threads: `load`, `close` and everything that computes run on the engine's own thread(s). `submit` and
`cancel` are called from the worker's I/O thread and must only hand over (no computing, no waiting).
`Job.emit` may be called from any thread.
"""

import mmap
import resource
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from inference import wire
from inference.errors import NO_MEMORY, EngineFailed, EngineOutOfMemory, HubError, UnsupportedModel

NO_NUMBERS = (
    "the model computed what is no number (NaN or infinity): its weights are damaged, or its `dtype`"
    " is too narrow for them"
)
WITHOUT_MEMORY = (*NO_MEMORY, "out of memory", "can't start new thread")  # Python, of its stack


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
    devices: tuple[str, ...] = ()  # the GPUs that are its own
    is_alone: bool = False  # nobody else can reach its loopback


def failure_of(error: HubError) -> wire.Failure:
    return wire.Failure(
        code=error.code,
        message=error.message,
        param=error.param,
        retry_after_s=error.retry_after_s,
        prompt_tokens=error.prompt_tokens,
    )


def failed(error: Exception, what: str) -> EngineFailed:
    """Name what went wrong while computing `what`; libraries tell a want of memory in many ways."""
    if is_out_of_memory(error):
        told = f"there was not enough memory for {what}{may_take()}: {error}"
        return EngineOutOfMemory(told.removesuffix(": "))
    return EngineFailed(f"the engine failed in {what}: {error}")


def may_take() -> str:
    """Name the limit that the node had the kernel set, if there is one."""
    most, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if most == resource.RLIM_INFINITY:
        return ""
    return f" (its process may set aside {most / 1e9:.1f} GB)"


def can_take(size: int) -> bool:
    """Try, where a library does not say why it failed."""
    try:
        with mmap.mmap(-1, max(1, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS):
            return True
    except OSError:
        return False


def is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    told = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in told for words in WITHOUT_MEMORY)


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

    def detach(self, adapter: str) -> None:
        """Let go of an adapter by its name, once nobody answers with it; most engines have none."""
        del adapter

    def sleep(self) -> None:
        """Give the GPU back, keep the weights in main memory; blocks, and nothing runs. Raises: HubError."""
        raise UnsupportedModel("this engine cannot sleep")

    def wake(self) -> wire.Loaded:
        """Take the GPU again, and serve as before; blocks. Raises: HubError."""
        raise UnsupportedModel("this engine cannot sleep")

    @abstractmethod
    def stats(self) -> wire.Stats:
        """Counters since load; cheap, from any thread. `memory_bytes` may be 0: the node measures."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back; running jobs fail with EngineFailed."""
