"""What a process maps of files more than once: its resident size counts those pages each time.

llama.cpp maps a model again for each of its servers. Used by the node and by engines, for themselves.
"""

import re
from pathlib import Path

# Source: proc_pid_smaps(5). Address, rights, offset, device, inode.
MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ ([0-9a-f]+) (\S+) (\d+)")


def doubled_bytes(pid: int | str = "self") -> int:
    """Sum what is resident of a file's part beside its largest mapping. 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps").read_text(errors="replace").splitlines()
    except OSError:
        return 0
    total = 0
    largest: dict[tuple[str, ...], int] = {}
    part: tuple[str, ...] = ()
    for line in lines:
        if found := MAPPING.match(line):
            part = found.groups()
        elif line.startswith("Rss:") and part[2:] != ("0",):  # it is of a file
            size = int(line.split()[1]) * 1024
            total, largest[part] = total + size, max(size, largest.get(part, 0))
    return total - sum(largest.values())
