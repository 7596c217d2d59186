"""What keeps an engine within its memory, and what its end is called. Used by the fleet.

The node looks at the private memory of each engine a few times a second. Pages of files do not count:
the kernel takes them back by itself.
"""

from dataclasses import dataclass
from pathlib import Path

from inference import sizes
from inference.errors import (
    NO_MEMORY,
    AnswerInterrupted,
    EngineFailed,
    EngineOutOfMemory,
)
from inference.node import devices
from inference.node.running import Running

SLACK = 1.5  # of the claim: a formula may err, a leak does not stop there
SPARE_BYTES = 128 * 1024 * 1024
LEARNT_MOST = 2.0  # of what the formula says: what leaks must not end in "it does not fit"
FRESH_S = 2.0  # so long after the kernel killed somebody an engine's end is taken for that
RETRY_AFTER_S = 1.0
LAST_WORDS = (  # what libraries in C++ say before they end their process
    *NO_MEMORY,
    *("insufficient memory", "mem_buffer != null", "resource temporarily unavailable"),
)
LAST_LINES = 10


def allowed_bytes(running: Running) -> int:
    """Give what the process may hold. On its way to a GPU a model may pass through main memory."""
    placement = running.order.placement
    passing = placement.weights_bytes if placement.device != "cpu" else 0
    return int((running.given_bytes + passing) * SLACK) + SPARE_BYTES


def is_over(running: Running) -> bool:
    """Tell whether it passed its limit, and note with how much."""
    if running.process is None or not running.process.alive or running.stopping:
        return False
    used = devices.private_memory(running.process.pid)
    if used <= allowed_bytes(running):
        return False
    running.overrun_bytes = used
    return True


@dataclass(slots=True)
class OomWatch:
    """Tells whether the kernel killed somebody just now for want of memory."""

    seen: int = -1
    changed_at: float = float("-inf")

    def look(self, count: int, now: float) -> None:
        if self.seen >= 0 and count > self.seen:
            self.changed_at = now
        self.seen = count

    def is_fresh(self, now: float) -> bool:
        return now - self.changed_at <= FRESH_S


def oom_kills() -> int:
    """Count what the kernel has killed since the machine was started; 0 where it does not tell."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def cause(running: Running, *, killed_by_kernel: bool) -> EngineFailed:
    """Name the end of an engine that nobody asked to end."""
    who = f"the engine of {running.name}"
    if running.overrun_bytes:
        used, given = sizes.text(running.overrun_bytes), sizes.text(running.given_bytes)
        text = f"{who} used {used} of main memory, was given {given}, and was ended"
        return EngineOutOfMemory(text, retry_after_s=RETRY_AFTER_S)
    if killed_by_kernel and not running.hung:
        text = f"the machine ran out of memory, and the system ended {who}"
        return EngineOutOfMemory(text, retry_after_s=RETRY_AFTER_S)
    if not running.hung and _ran_out(running):
        given = sizes.text(allowed_bytes(running))
        text = f"{who} asked for more main memory than the {given} that it may take, and ended"
        return EngineOutOfMemory(text, retry_after_s=RETRY_AFTER_S)
    how = "hung and was ended" if running.hung else "ended unexpectedly"
    return AnswerInterrupted(f"{who} {how}", retry_after_s=RETRY_AFTER_S)


def _ran_out(running: Running) -> bool:
    """Tell by its last words: libraries in C++ end a process that is refused memory, and name it."""
    lines = list(running.process.lines)[-LAST_LINES:] if running.process else []
    return any(word in line.lower() for line in lines for word in LAST_WORDS)
