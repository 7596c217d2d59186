"""Counts a checked file's tokens with a base: `python -m training.datasets.counting BASE FILE MAX_LENGTH PARENT`.

For data that was checked without this base: what is too long is told before the training starts. One line of JSON.
"""

import json
import sys
from pathlib import Path

import msgspec

from inference.engines.confine import confine
from inference.errors import HubError
from training.datasets import lean
from training.datasets.report import Counted


def count(base: Path, file: Path, max_length: int) -> Counted:
    """Raises: LoadFailed, OSError."""
    from training.datasets.measuring import Measurer  # noqa: PLC0415  its libraries take seconds

    measure, found = Measurer(base, max_length), {"too_long": 0, "nothing_left": 0}
    with file.open("rb") as lines:
        for line in lines:
            for defect in measure(json.loads(line)):
                if defect.code in found:
                    found[defect.code] += 1
    lengths = measure.lengths()
    return Counted(lengths=lengths, cut=found["too_long"], dropped=found["nothing_left"])


def main(base: str, file: str, max_length: str, parent: str) -> int:
    confine(int(parent))
    lean.without_torch()
    try:
        counted = count(Path(base), Path(file), int(max_length))
    except (HubError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(counted) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
