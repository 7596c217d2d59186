"""Limits of memory that the kernel itself holds, one for each engine process. Used by the fleet.

Where the node was given a cgroup of its own (version 2), each engine runs in one below it: `memory.max`.
Elsewhere the size of its data is limited (`RLIMIT_DATA`): what passes that is refused inside the engine, which goes on.
"""

import contextlib
import logging
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ENGINE = "hub-engine-"
# Source: measured, node/DESIGN.md: stacks and arenas that are never filled.
UNTOUCHED_BYTES = 1 << 30
THREAD_BYTES = 16 * 1024 * 1024  # the same for each thread that computes

log = logging.getLogger(__name__)


class NoCgroup(OSError):
    """The message says what is wrong with the one that was named."""


class KernelLimits(Protocol):
    def hold(self, pid: int, size: int, *, on_gpu: bool) -> None:
        """Let this process and what it starts hold so many bytes; again when they are others."""

    def has_ended(self, pid: int) -> bool:
        """Tell whether the kernel ended it for passing its limit."""

    def forget(self, pid: int) -> None:
        """It has ended."""


@dataclass(frozen=True, slots=True)
class DataLimits:
    """Counts what is set aside, not what is filled: so `size` is given room. Children each have as much.

    A GPU's driver sets aside far more than is ever filled: what computes there is not limited.
    """

    threads: int

    def hold(self, pid: int, size: int, *, on_gpu: bool) -> None:
        if on_gpu:
            return
        room = UNTOUCHED_BYTES + self.threads * THREAD_BYTES
        with contextlib.suppress(OSError):  # it has just ended
            _, most = resource.prlimit(pid, resource.RLIMIT_DATA)
            resource.prlimit(pid, resource.RLIMIT_DATA, (size + room, most))

    def has_ended(self, pid: int) -> bool:
        del pid
        return False  # it is refused memory, not ended

    def forget(self, pid: int) -> None:
        del pid


@dataclass(frozen=True, slots=True)
class Cgroups:
    """Counts what is filled, of an engine and all that it started, and ends them together."""

    folder: Path

    def hold(self, pid: int, size: int, *, on_gpu: bool) -> None:
        del on_gpu
        own = self._of(pid)
        try:
            if not own.exists():
                own.mkdir()
                (own / "memory.oom.group").write_text("1")
                (own / "cgroup.procs").write_text(str(pid))
            (own / "memory.max").write_text(str(size))
        except OSError as error:
            log.warning("the kernel does not limit the memory of engine %s: %s", pid, error)

    def has_ended(self, pid: int) -> bool:
        try:
            lines = (self._of(pid) / "memory.events").read_text().splitlines()
        except OSError:
            return False
        return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines)

    def forget(self, pid: int) -> None:
        with contextlib.suppress(OSError):
            self._of(pid).rmdir()

    def _of(self, pid: int) -> Path:
        return self.folder / f"{ENGINE}{pid}"


def find(threads: int, folder: str) -> KernelLimits:
    """Choose by whether the node was given a cgroup. Raises: NoCgroup."""
    if not folder:
        return DataLimits(threads)
    given = Path(folder)
    try:
        (given / "cgroup.subtree_control").write_text("+memory")
    except OSError as error:
        raise NoCgroup(
            f"AI_HUB_CGROUP is {folder}, where memory cannot be limited ({error.strerror}): name a cgroup"
            " of version 2 that was delegated to this user, has the memory controller and holds no process"
        ) from error
    return Cgroups(given)
