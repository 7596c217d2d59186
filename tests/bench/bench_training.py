"""Training beside plain TRL: CPU seconds a step, with the same flags, batches and losses; and what preflight
says of the memory beside the peak of the whole job.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch

from tests.bench import report
from training import contract
from training.recipes.recipe import Recipe

ROUNDS, STEPS, THREADS = 3, 4, 1
GOALS = {"float32": 0.70, "bfloat16": 0.75}
SAME_LOSS = {"float32": 1e-4, "bfloat16": 2e-2}
MEMORY_GOAL = 0.10
WORDS = [
    "the",
    "keeper",
    "of",
    "the",
    "old",
    "lighthouse",
    "lights",
    "its",
    "lamp",
    "when",
    "fog",
    "comes",
    "over",
    "the",
    "northern",
    "sea",
]
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "LoRA, batch 4": {},
    "LoRA, batch 8, bfloat16": {"batch_size": 8, "precision": "bfloat16"},
    "LoRA, gradient checkpointing": {"gradient_checkpointing": True},
    "QLoRA": {"quantization": "4bit"},
    "full": {"tuner": "full", "batch_size": 2},
    "DoRA, twice accumulated": {"dora": True, "batch_size": 2, "gradient_accumulation": 2},
}


def rows(count: int) -> list[dict[str, Any]]:
    """Chats as support teams have them: a question of some 60 words, an answer of some 30."""
    made = []
    for at in range(count):
        asked = " ".join(WORDS[(at + word) % len(WORDS)] for word in range(50 + at % 20))
        said = " ".join(WORDS[(3 * at + word) % len(WORDS)] for word in range(25 + at % 10))
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
        made.append({"messages": turns})
    return made


def job(base: Path, folder: Path, name: str, count: int, recipe: dict[str, Any]) -> contract.Job:
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(count)))
    plain = {
        "target_modules": ["q_proj", "v_proj"],
        "learning_rate": 2e-4,
        "save_every_steps": 10_000,
    }
    return contract.Job(
        id=name,
        base=str(base),
        output=str(folder / name),
        data=contract.Data(format="chat", train=str(data)),
        recipe=msgspec.convert(plain | recipe, Recipe),
        limits=contract.Limits(threads=THREADS),
    )


# --- CPU seconds a step ---------------------------------------------------------------------------


@dataclass(slots=True)
class Timed:
    """Steps of one side: CPU seconds and losses, the first step left out as a warm-up."""

    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def compare_steps(
    base: Path, folder: Path, precision: str
) -> tuple[list[float], list[float], float]:
    """Give CPU seconds a step of ours and of TRL, round by round, and the largest gap of losses."""
    ours, theirs, gap = [], [], 0.0
    for at in range(ROUNDS):
        recipe = {"precision": precision, "max_steps": STEPS + 1}
        made = job(base, folder, f"{precision}-{at}", 4 * (STEPS + 1), recipe)
        sides = [_run(made, plain=plain) for plain in (at % 2 == 0, at % 2 == 1)]
        plain_first = at % 2 == 0
        own, peer = (sides[1], sides[0]) if plain_first else (sides[0], sides[1])
        ours.append(statistics.mean(own.seconds))
        theirs.append(statistics.mean(peer.seconds))
        gap = max(gap, *(abs(a - b) for a, b in zip(own.losses, peer.losses, strict=True)))
    return ours, theirs, gap


def _run(made: contract.Job, plain: bool) -> Timed:
    """Train from the same start; `plain`: TRL's own trainer over the same batches."""
    from training.run import libraries, methods  # noqa: PLC0415
    from training.run import rows as data  # noqa: PLC0415
    from training.run.control import Control  # noqa: PLC0415
    from training.run.rendering import Renderer  # noqa: PLC0415
    from training.run.spool import Quiet  # noqa: PLC0415
    from training.run.trainer import Work  # noqa: PLC0415

    torch.set_num_threads(THREADS)
    renderer = Renderer.load(Path(made.base))
    found = data.read(Path(made.data.train), "chat", renderer, made.recipe)
    timed = Timed()

    class Kept(Quiet):
        def emit(self, event: contract.Event) -> None:
            if isinstance(event, contract.StepEvent):
                timed.losses.append(event.loss)

    work = Work(made, found.examples, Kept(), Control(), renderer.vocabulary.hf.pad_token_id)
    trainer: Any = methods.make(work, renderer)
    if plain:
        trainer = _plain(trainer, made, renderer, libraries)
    trainer.add_callback(_clock(timed, libraries.TrainerCallback)())
    if not plain:
        trainer._save_checkpoint = lambda *_given: None
    trainer.train()
    timed.seconds = timed.seconds[1:]
    return timed


def _plain(ours: Any, made: contract.Job, renderer: Any, libraries: Any) -> Any:
    """TRL as it comes, with our loader, so that both see the same batches."""
    loader = ours.get_train_dataloader()

    class Plain(libraries.SFTTrainer):  # type: ignore[misc]
        def get_train_dataloader(self) -> Any:
            return loader

    folder, base = Path(made.output), Path(made.base)
    libraries.set_seed(made.seed)
    sample = {"input_ids": [1, 2], "labels": [1, 2]}
    return Plain(
        model=libraries.load_base(base, made.recipe, torch.device("cpu")),
        args=libraries.sft_config(made.recipe, folder / "plain", made.seed, on_cpu=True),
        train_dataset=libraries.Dataset.from_list([sample]),
        processing_class=renderer.vocabulary.hf,
        peft_config=libraries.lora_config(made.recipe),
    )


def _clock(timed: Timed, callback: Any) -> Any:
    class Clock(callback):  # type: ignore[misc]
        """CPU time of the whole process from the begin of a step to its end."""

        def on_step_begin(self, *_given: Any, **_more: Any) -> None:
            self.began_s = time.process_time()

        def on_step_end(self, *_given: Any, **_more: Any) -> None:
            timed.seconds.append(time.process_time() - self.began_s)

        def on_log(
            self, _args: Any, _state: Any, _control: Any, logs: Any = None, **_more: Any
        ) -> None:
            if logs and "loss" in logs:
                timed.losses.append(logs["loss"])

    return Clock


def step_rows(base: Path, folder: Path) -> Iterator[report.Row]:
    for precision, goal in GOALS.items():
        ours, theirs, gap = compare_steps(base, folder, precision)
        if gap > SAME_LOSS[precision]:
            raise RuntimeError(f"{precision}: losses differ by {gap}")
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        met = "yes" if statistics.median(ratios) <= goal else "no"
        yield report.Row(
            f"LoRA step, {precision}, CPU s (losses within {gap:.0e})",
            report.spread(ours, 2),
            report.spread(theirs, 2),
            report.spread(ratios, 2),
            f"<= {goal:.2f}",
            met,
        )


# --- memory ---------------------------------------------------------------------------------------


def memory_rows(base: Path, folder: Path) -> Iterator[report.Row]:
    """Each in a process of its own, as jobs run."""
    for name, changes in CONFIGURATIONS.items():
        recipe = {"max_steps": 5, "batch_size": 4} | changes
        made = job(base, folder, name.replace(" ", "-"), 24, recipe)
        estimate, measured, peak = _peaks(made)
        gap = abs(measured - peak) / peak
        yield report.Row(
            f"memory, {name}, GB: preflight beside the job's peak (formula {estimate / 1e9:.2f})",
            f"{measured / 1e9:.2f}",
            f"{peak / 1e9:.2f}",
            f"{measured / peak:.2f}",
            f"within {MEMORY_GOAL:.0%}",
            "yes" if gap <= MEMORY_GOAL else "no",
        )


def _peaks(made: contract.Job) -> tuple[int, int, int]:
    """Give bytes: of the formula, of preflight's step, and of the fullest step of the training."""
    made.evaluate.answers = 0
    output = Path(made.output)
    output.mkdir(parents=True)
    contract.write_job(made, output / contract.JOB)
    command = [sys.executable, "-m", "training.run", str(output / contract.JOB)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    plan = json.loads((output / contract.PLAN).read_bytes())
    steps = [e for e in contract.read_events(output) if isinstance(e, contract.StepEvent)]
    return plan["estimate_bytes"], plan["peak_bytes"], max(step.peak_bytes for step in steps)


def main(base: Path) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
    with tempfile.TemporaryDirectory(prefix="training-") as made:
        folder = Path(made)
        table = [*step_rows(base, folder), *memory_rows(base, folder)]
    notes = [
        f"SmolLM2-135M, rank 16 on q and v, batch 4 of some 120 tokens of which a third is learned, {THREADS} thread, "
        "no gradient checkpointing. The peer is TRL's SFTTrainer with the same flags over the same batches, in the "
        f"same process, {ROUNDS} rounds of {STEPS} steps in turn; its loss projects every position and measures "
        "entropy and accuracy. Ours projects the learned positions."
    ]
    report.save("2c-training", "Training beside plain TRL", table, notes)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
