"""All tests, in two processes. A few that failed there are tried once more, alone, and named.

Two suites full of servers, kills and browsers share two cores, and a stall of one fails the other.
What fails alone too fails the run, as does more than a few. Called by `make test`.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

A_FEW = 5
FAILED = Path(__file__).parent.parent / ".pytest_cache/v/cache/lastfailed"


def run(*options: str) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *options], check=False).returncode


def main(options: list[str]) -> int:
    FAILED.unlink(missing_ok=True)
    code = run(*options)
    if code != pytest.ExitCode.TESTS_FAILED:
        return code
    names = sorted(json.loads(FAILED.read_text()))
    if len(names) > A_FEW:
        return code
    sys.stdout.write("\nFailed beside others, tried once more alone:\n")
    sys.stdout.write("".join(f"  {name}\n" for name in names))
    sys.stdout.flush()
    return run(*names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
