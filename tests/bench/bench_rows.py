"""Checking large data sets: the most memory that the process of the check takes, by how many rows."""

import json
import os
import random
import resource
import subprocess
import sys
from pathlib import Path

from tests.bench import report

SEED = 1
WORDS = [f"word{number}" for number in range(2_000)]
GOAL_MIB = 300
ROOT = Path(__file__).parents[2]
WITHOUT, WITH = (10_000, 100_000), (2_000, 20_000)


def main(data: Path) -> None:
    base = Path(os.environ["AI_HUB_MODELS"]) / "smollm2-135m"
    checks = [(count, None) for count in WITHOUT] + [(count, base) for count in WITH]
    rows = [_row(count, base, _peak_mib(data, count, base)) for count, base in checks]
    report.save(
        "2f-rows",
        "Checking data sets",
        rows,
        [
            "Chats of some 60 words (100,000 are 60 MB), no row twice. The peak is that of the whole process."
            " With a base its tokens are counted with transformers' tokenizer, without torch."
        ],
    )


def _row(count: int, base: Path | None, peak_mib: float) -> report.Row:
    what = f"{count:,} rows{' with a base' if base else ''}: peak, MiB"
    met = "yes" if peak_mib < GOAL_MIB else "no"
    return report.Row(what, f"{peak_mib:.0f}", "", "", f"< {GOAL_MIB}", met)


def _peak_mib(data: Path, count: int, base: Path | None) -> float:
    """Check a file of so many rows in a process of its own. Raises: CalledProcessError."""
    options: dict[str, object] = {"file": str(_file(data, count)), "name": "rows.jsonl"}
    options |= {"output": str(data / f"out-{count}-{base is not None}")}
    options |= {"base": str(base)} if base else {}
    place = data / "options.json"
    place.write_text(json.dumps(options))
    shown = subprocess.run(
        [sys.executable, "-m", "tests.bench.bench_rows", str(place)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return int(shown.stdout) / 1024


def _file(data: Path, count: int) -> Path:
    chance, file = random.Random(SEED), data / f"{count}.jsonl"
    with file.open("w") as out:
        for number in range(count):
            asked = f"{number} {' '.join(chance.choices(WORDS, k=40))}"
            said = " ".join(chance.choices(WORDS, k=20))
            turns = [("user", asked), ("assistant", said)]
            row = {"messages": [{"role": role, "content": text} for role, text in turns]}
            out.write(json.dumps(row) + "\n")
    return file


def _one(options: str) -> int:
    """Run one check as a child of this process, and give the child's peak in KiB."""
    subprocess.run([sys.executable, "-m", "training.datasets", options], check=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


if __name__ == "__main__":
    sys.stdout.write(str(_one(sys.argv[1])))
