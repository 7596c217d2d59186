"""What a process that works on a stranger's files may take: it takes the bounds on itself, first of all.

Set by `preparation` in HUB_BOUNDS; nothing runs between fork and exec of a process with threads.
"""

import os
import resource

VARIABLE = "HUB_BOUNDS"
NICENESS = 10  # serving goes first


def take() -> None:
    """Call before anything of the stranger's is read."""
    os.nice(NICENESS)
    cpu_s, data_bytes, file_bytes = map(int, os.environ[VARIABLE].split())
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_DATA, data_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
    ):
        resource.setrlimit(kind, (most, most))
