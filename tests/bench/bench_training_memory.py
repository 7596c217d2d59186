"""What preflight says of a training's memory, beside the peak of the whole job; each in a process of its own."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench import report, trainings

GOAL = 0.10
STEPS = 3
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "LoRA, batch 4": {},
    "LoRA, batch 8, bfloat16": {"batch_size": 8, "precision": "bfloat16"},
    "LoRA, gradient checkpointing": {"gradient_checkpointing": True},
    "QLoRA": {"quantization": "4bit"},
    "full": {"tuner": "full", "batch_size": 2},
    "DoRA, twice accumulated": {"dora": True, "batch_size": 2, "gradient_accumulation": 2},
}


def rows(base: Path, folder: Path) -> Iterator[report.Row]:
    for name, changes in CONFIGURATIONS.items():
        recipe = {"max_steps": STEPS, "batch_size": 4} | changes
        made = trainings.job(base, folder, name.replace(" ", "-"), 24, recipe)
        plan = trainings.run(made)
        peak = max(step.peak_bytes for step in trainings.steps(Path(made.output)))
        measured, formula = plan["peak_bytes"], plan["estimate_bytes"]
        yield report.Row(
            f"{name}, GB (formula before it: {formula / 1e9:.2f})",
            f"{measured / 1e9:.2f}",
            f"{peak / 1e9:.2f}",
            f"{measured / peak:.3f}",
            f"within {GOAL:.0%}",
            "yes" if abs(measured - peak) <= GOAL * peak else "no",
        )


def main(base: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="training-") as made:
        table = list(rows(base, Path(made)))
    notes = [
        f"SmolLM2-135M, rows of some 120 tokens. The hub's column is the step that preflight measures, the peer's the fullest of {STEPS} steps."
    ]
    report.save("2c-training-memory", "Memory of a training: preflight and peak", table, notes)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
