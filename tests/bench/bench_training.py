"""Training beside plain TRL: CPU seconds a step, with the same flags, batches and losses.

CPU seconds, not the clock: other programs of the machine take time, and do not change them much.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests.bench import report
from tests.bench.trainings import THREADS, job
from training import contract

ROUNDS, STEPS = 3, 4
GOALS = {"float32": 0.70, "bfloat16": 0.75}
SAME_LOSS = {"float32": 1e-4, "bfloat16": 2e-2}


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
        sides = [run(made, plain=plain) for plain in (at % 2 == 0, at % 2 == 1)]
        plain_first = at % 2 == 0
        own, peer = (sides[1], sides[0]) if plain_first else (sides[0], sides[1])
        ours.append(statistics.mean(own.seconds))
        theirs.append(statistics.mean(peer.seconds))
        gap = max(gap, *(abs(a - b) for a, b in zip(own.losses, peer.losses, strict=True)))
    return ours, theirs, gap


def run(made: contract.Job, plain: bool) -> Timed:
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


def main(base: Path) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
    with tempfile.TemporaryDirectory(prefix="training-") as made:
        table = list(step_rows(base, Path(made)))
    notes = [
        f"SmolLM2-135M, rank 16 on q and v, batch 4 of some 120 tokens of which a quarter is learned, {THREADS} thread, "
        "no gradient checkpointing. The peer is TRL's SFTTrainer with the same flags over the same batches, in the "
        f"same process, {ROUNDS} rounds of {STEPS} steps in turn; its loss projects every position and measures "
        "entropy and accuracy. Ours projects the learned positions. User and system CPU seconds of the process."
    ]
    report.save("2c-training", "Training beside plain TRL", table, notes)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
