"""Whether an engine lives: by what it says and, while it says nothing, by what its processes do.

Used by `running.Running`, asked by the pool's clock. A stopped process says nothing and takes no time
of a core; a long prefill takes time; a process that gets none on a loaded machine still wants to run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inference.node import devices

IDLE_SHARE = 0.02  # of a core: the worker's own thread needs less to say that it is there
BUSY_FACTOR = 12.0  # so many times longer may one step of an engine that computes take
LOAD_FACTOR = 3.0
LOOK_EVERY_S = 1.0
ABSENT_S = 3.0  # the node itself stood still for longer: what engines did meanwhile, nobody heard
TICKS_PER_S = 100.0  # Source: proc(5), USER_HZ, 100 on every Linux of today
WANTS_TO_RUN = frozenset("RD")  # running or runnable; waiting for a disk


@dataclass(frozen=True, slots=True)
class Activity:
    """What an engine's processes have done so far, and want to do now."""

    cpu_s: float
    wants_to_run: bool
    io_bytes: int = 0  # read and written so far


def activity(pid: int) -> Activity:
    """Read /proc of an engine and of all that it has started."""
    family = devices.family(pid)
    threads = [fields for one in family for fields in _threads(one)]
    ticks = sum(int(fields[11]) + int(fields[12]) for fields in threads)
    wants_to_run = any(fields[0] in WANTS_TO_RUN for fields in threads)
    return Activity(ticks / TICKS_PER_S, wants_to_run, sum(map(_io_bytes, family)))


def _io_bytes(pid: int) -> int:
    """Add up the counters of `io`. Source: proc(5)."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.partition(":")[2]) for line in lines)


def _threads(pid: int) -> list[list[str]]:
    """Give the fields behind the name of each thread's `stat`: state first, utime and stime 11 on."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            found.append(file.read_text().rpartition(")")[2].split())
        except OSError:
            continue
    return found


@dataclass(slots=True)
class Life:
    """`silent`: for `hang_s` nothing came and nothing was computed. `stuck`: it says that it is there,
    but gets on with nothing: for twice `hang_s` while it does not compute either, else much longer.
    """

    progress_at: float = 0.0
    sign_at: float = 0.0
    _idle_since: float = 0.0
    _looked_at: float = 0.0
    _cpu_s: float = 0.0

    def progressed(self, now: float) -> None:
        """A part of an answer came, or the engine's counters grew."""
        self.progress_at = self.sign_at = self._idle_since = now

    def spoke(self, now: float) -> None:
        """Some frame came: the process is there."""
        self.sign_at = now

    def excuse(self, gap_s: float, now: float) -> None:
        """The node itself stood still for so long."""
        self.progress_at = min(now, self.progress_at + gap_s)
        self.sign_at = min(now, self.sign_at + gap_s)
        self._idle_since = min(now, self._idle_since + gap_s)

    def verdict(self, hang_s: float, now: float, look: Callable[[], Activity]) -> str:
        """Say what is wrong with an engine that has work; empty where nothing is."""
        doubted = now - self.sign_at >= hang_s / 2 or now - self.progress_at >= hang_s
        if doubted and now - self._looked_at >= min(LOOK_EVERY_S, hang_s / 8):
            self._look(now, look())
        if now - self.sign_at >= hang_s:
            return "silent"
        stuck_s = now - self.progress_at
        idle = now - self._idle_since >= hang_s and stuck_s >= 2 * hang_s
        return "stuck" if idle or stuck_s >= BUSY_FACTOR * hang_s else ""

    def _look(self, now: float, found: Activity) -> None:
        """Two looks make a rate; the first one, or one long ago, says nothing."""
        used_s, passed_s = found.cpu_s - self._cpu_s, now - self._looked_at
        self._looked_at, self._cpu_s = now, found.cpu_s
        if found.wants_to_run or (used_s > 0 and passed_s <= 2 * LOOK_EVERY_S):
            self.sign_at = now
        if found.wants_to_run or used_s > IDLE_SHARE * passed_s:
            self._idle_since = now


@dataclass(slots=True)
class LoadLife:
    """A load says little and may wait long for a disk, but a frozen one does nothing at all."""

    moved_at: float
    _seen: Activity | None = None
    _looked_at: float = 0.0

    def spoke(self, now: float) -> None:
        self.moved_at = now

    def excuse(self, gap_s: float, now: float) -> None:
        self.moved_at = min(now, self.moved_at + gap_s)

    def is_frozen(self, hang_s: float, now: float, look: Callable[[], Activity]) -> bool:
        """Tell whether for `LOAD_FACTOR` times `hang_s` nothing came, was computed, read or written."""
        if now - self.moved_at >= hang_s and now - self._looked_at >= min(LOOK_EVERY_S, hang_s / 8):
            found, seen = look(), self._seen
            self._looked_at, self._seen = now, found
            if found.wants_to_run or (seen is not None and found != seen):
                self.moved_at = now
        return now - self.moved_at >= LOAD_FACTOR * hang_s
