"""Whether the kernel ended a process because memory ran out. Called by `attempts`."""

import signal
from pathlib import Path

from training import contract

COUNTS = Path("/proc/vmstat")  # Source: proc(5), oom_kill; of the whole machine


def kills() -> int:
    """Count such ends since the machine's start; 0 where the kernel does not."""
    try:
        lines = COUNTS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def exit_code(code: int, kills_before: int) -> int:
    """Give the code that the process itself would have ended with, had it been asked."""
    is_for_memory = code == -signal.SIGKILL and kills() > kills_before
    return contract.OUT_OF_MEMORY if is_for_memory else code
