"""`python -m training.datasets options.json`: one file in a process of its own, under limits.

Prints nothing; the report is a file in the output folder. Exit code 0: read, whatever was found;
1: the base model cannot be read, or the disk is full; the reason is on standard error.
"""

import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from inference.engines.confine import confine
from inference.errors import HubError
from training.datasets import lean, validation

if TYPE_CHECKING:
    from training.datasets.measuring import Measurer

MEMORY_BYTES = 2 * 2**30  # of address space beyond what the libraries map


def main(path: Path) -> int:
    options = msgspec.json.decode(path.read_bytes(), type=validation.Options, dec_hook=_path)
    if options.parent:
        confine(options.parent)
    try:
        measure = _measurer(options)
        report = validation.run(options, measure)
        if measure is not None:
            report.lengths = measure.lengths()
            report.rendered = [measure.coloured(row) for row in report.samples]
        validation.save(report, options.output)
    except (HubError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _measurer(options: validation.Options) -> "Measurer | None":
    """The libraries of models take seconds to import: only where tokens are counted."""
    if options.base is None:
        return None
    lean.without_torch()
    from training.datasets.measuring import Measurer  # noqa: PLC0415

    return Measurer(options.base, options.max_length)


def _path(kind: type, value: str) -> Path:
    if kind is not Path:
        raise NotImplementedError
    return Path(value)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    sys.exit(main(Path(sys.argv[1])))
