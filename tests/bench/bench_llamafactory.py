"""Training beside LLaMA-Factory 0.9.5, which has an environment of its own: the same base, rows and recipe.

Its rows come in another order and with padding of its own, so losses are not compared step by step.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import bench_training, report, trainings
from tests.environments import python_of
from training import contract

ROUNDS, STEPS = 2, 3
PEER = Path(__file__).with_name("llamafactory_peer.py")
TEMPLATE = "smollm2"
COLUMNS = {
    "file_name": "chats.json",
    "formatting": "sharegpt",
    "columns": {"messages": "messages"},
    "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
    },
}


@dataclass(slots=True)
class Side:
    """Round by round: CPU seconds a step, and the peak of the memory."""

    step_s: list[float] = field(default_factory=list)
    peak_gb: list[float] = field(default_factory=list)


def options(made: contract.Job, folder: Path) -> dict[str, Any]:
    """Say in LLaMA-Factory's words what the job says; `folder` has its data."""
    recipe = made.recipe
    return {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": made.base,
        "finetuning_type": "lora",
        "lora_rank": recipe.rank,
        "lora_alpha": recipe.alpha,
        "lora_dropout": recipe.dropout,
        "lora_target": ",".join(recipe.target_modules),
        "dataset": "chats",
        "dataset_dir": str(folder),
        "template": TEMPLATE,
        "cutoff_len": recipe.max_length,
        "per_device_train_batch_size": recipe.batch_size,
        "gradient_accumulation_steps": recipe.gradient_accumulation,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.schedule,
        "max_grad_norm": recipe.max_grad_norm,
        "max_steps": recipe.max_steps,
        "optim": "adamw_torch",
        "bf16": recipe.precision == "bfloat16",
        "use_cpu": True,
        "disable_gradient_checkpointing": not recipe.gradient_checkpointing,
        "flash_attn": "sdpa",
        "seed": made.seed,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "output_dir": str(folder / "out"),
    }


def theirs(made: contract.Job, folder: Path) -> dict[str, Any]:
    """Train it with LLaMA-Factory. Raises: RuntimeError with its last words."""
    folder.mkdir()
    chats = [json.loads(line) for line in Path(made.data.train).read_text().splitlines()]
    (folder / "chats.json").write_text(json.dumps(chats))
    (folder / "dataset_info.json").write_text(json.dumps({"chats": COLUMNS}))
    (folder / "options.json").write_text(json.dumps(options(made, folder)))
    environment = {
        "OMP_NUM_THREADS": str(trainings.THREADS),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder),
    }
    done = subprocess.run(
        [str(python_of("peers-llamafactory")), str(PEER), str(folder / "options.json")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    told: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2])
    return told


def compare(base: Path, folder: Path, precision: str) -> tuple[Side, Side]:
    """Ours and theirs, in turn. The first step of each is left out as a warm-up."""
    ours, peer = Side(), Side()
    for at in range(ROUNDS):
        recipe = {"precision": precision, "max_steps": STEPS + 1}
        made = trainings.job(base, folder, f"{precision}-{at}", 4 * (STEPS + 1), recipe)
        told = theirs(made, folder / f"{precision}-{at}-peer")
        peer.step_s.append(statistics.mean(told["seconds"][1:]))
        peer.peak_gb.append(told["peak_bytes"] / 1e9)
        ours.step_s.append(statistics.mean(bench_training.run(made, plain=False).seconds))
    ours.peak_gb.append(own_peak_gb(base, folder, precision))
    return ours, peer


def own_peak_gb(base: Path, folder: Path, precision: str) -> float:
    """Of a job in a process of its own; memory does not differ from round to round."""
    recipe = {"precision": precision, "max_steps": 2}
    made = trainings.job(base, folder, f"{precision}-job", 8, recipe)
    trainings.run(made)
    return max(step.peak_bytes for step in trainings.steps(Path(made.output))) / 1e9


def rows(base: Path, folder: Path, precision: str) -> Iterator[report.Row]:
    ours, peer = compare(base, folder, precision)
    yield report.compare(f"LoRA step, {precision}, CPU s", ours.step_s, peer.step_s, digits=2)
    mine, theirs = ours.peak_gb[0], max(peer.peak_gb)
    what = f"memory at its most, {precision}, GB"
    yield report.Row(what, f"{mine:.2f}", f"{theirs:.2f}", f"{mine / theirs:.2f}")


def main(base: Path) -> None:
    """What was measured is kept after each precision."""
    os.environ.setdefault("OMP_NUM_THREADS", str(trainings.THREADS))
    notes = [
        f"LLaMA-Factory 0.9.5 with its own versions (transformers 5.6, peft 0.18), torch 2.13, {trainings.THREADS} thread. SmolLM2-135M, rank 16 "
        f"on q and v, batch 4 of some 120 tokens, no gradient checkpointing, {ROUNDS} rounds of {STEPS} steps in turn. Lower is better. "
        "Memory: ours from the first step on, the peer's of its whole life."
    ]
    table: list[report.Row] = []
    with tempfile.TemporaryDirectory(prefix="training-") as made:
        for precision in ("float32", "bfloat16"):
            table += rows(base, Path(made), precision)
            report.save("2c-training-llamafactory", "Training beside LLaMA-Factory", table, notes)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
