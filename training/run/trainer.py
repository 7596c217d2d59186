"""TRL's trainer with our loss, batches, checkpoints and events. Made by `methods`, run by `process`."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training import contract
from training.recipes.recipe import Recipe
from training.run import batches, checkpoints, libraries, loss, memory, saving
from training.run.batches import Row
from training.run.control import ORDER, Control
from training.run.rendering import IGNORED
from training.run.spool import Spool

OTHER = "another"  # what an adapter that is not ours is called while it is here

Evaluate = Callable[["JobTrainer", bool], float | None]


class Diverged(Exception):
    """The loss is no number any more; the message says at which step."""


class Cancelled(Exception):
    """The supervisor took the job back."""


@dataclass(slots=True)
class Progress:
    """What a checkpoint keeps beside weights and optimiser."""

    tokens: int = 0
    loss: float = math.nan
    held_out: float | None = None
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Work:
    """What a trainer needs to know of its job."""

    job: contract.Job
    rows: Sequence[Row]
    spool: Spool
    control: Control
    pad: int
    evaluate: Evaluate | None = None
    paused_for: str = ""

    @property
    def recipe(self) -> Recipe:
        return self.job.recipe

    @property
    def output(self) -> Path:
        return Path(self.job.output)


class JobTrainer:
    """Mixed into a trainer of TRL. The loss is the sum over the batch's items, by all ranks' items."""

    loss_is_scaled_for_ga: ClassVar[bool] = True  # Source: transformers.Trainer

    work: Work
    progress: Progress
    head: loss.Head

    # Told to the type checker; they are Trainer's.
    model: Any
    state: Any
    args: Any
    accelerator: Any
    optimizer: Any
    lr_scheduler: Any

    def begin(self, work: Work) -> None:
        """Call once after construction."""
        self.work, self.progress = work, Progress()
        self.head = loss.Head(self.plain_model)
        self._spread: dict[str, list[float]] = {}
        self._began_s = time.perf_counter()
        self.add_callback(_Steps(self))  # type: ignore[attr-defined]

    def began(self) -> None:
        """The first step is timed from here, and its memory counted."""
        memory.count_anew()
        self._began_s = time.perf_counter()

    @property
    def plain_model(self) -> Any:
        """The model without adapters' wrapper."""
        return self.model.get_base_model() if self.work_adapts else self.model

    @property
    def work_adapts(self) -> bool:
        return isinstance(self.model, libraries.PeftModel)

    @property
    def leads(self) -> bool:
        """Whether this process writes and tells; the others only compute."""
        return bool(self.accelerator.process_index == 0)

    def without_adapter(self) -> AbstractContextManager[Any]:
        return self.model.disable_adapter() if self.work_adapts else nullcontext()

    @contextmanager
    def another_adapter(self, folder: Path) -> Iterator[None]:
        """Answer with an adapter from a folder for a while. Raises: OSError, RuntimeError, ValueError."""
        own, device = self.model.active_adapter, str(self.accelerator.device)
        self.model.load_adapter(str(folder), OTHER, is_trainable=False, torch_device=device)
        self.model.set_adapter(OTHER)
        try:
            yield
        finally:
            self.model.set_adapter(own)
            self.model.delete_adapter(OTHER)

    # --- batches ----------------------------------------------------------------------------------

    def sampler(self) -> batches.Batches:
        return batches.Batches(
            [batches.length(row) for row in self.work.rows],
            self.work.recipe.batch_size,
            self.work.job.seed,
            self.work.recipe.group_by_length,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )

    def get_train_dataloader(self) -> batches.Loader:
        return batches.Loader(
            batches.Rows(self.work.rows), batch_sampler=self.sampler(), collate_fn=self.collate
        )

    def collate(self, rows: Sequence[tuple[int, Row]]) -> dict[str, Tensor]:
        return batches.collate_or_fill(rows, self.work.pad)

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Tensor]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], Tensor | None]:
        """Give the micro-batches of a step, and how many items they have on all ranks together."""
        found = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        if not found:
            return [], None
        own = [
            sum(self.items(batch) for batch in found),
            sum(_tokens(batch) for batch in found),
        ]
        counts = torch.tensor(own, device=device)
        items, tokens = self.accelerator.reduce(counts, "sum").tolist()
        self.progress.tokens += tokens
        return found, torch.tensor(max(items, 1), device=device)

    def items(self, batch: dict[str, Tensor]) -> int:
        """Count what the loss of a batch is divided by: here, learned tokens."""
        return int(batch["labels"].ne(IGNORED).sum())

    # --- loss -------------------------------------------------------------------------------------

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        """Scaled so that the mean over ranks, which DDP takes, is the mean over all items."""
        del return_outputs
        items = self.items(inputs) if num_items_in_batch is None else num_items_in_batch
        world = int(self.accelerator.num_processes)
        return self.summed(model, inputs) / items * world

    def summed(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        return loss.summed(self.head, model, inputs)

    def note(self, shown: dict[str, Tensor]) -> None:
        """Keep figures of single items; their mean is told with the step."""
        for name, values in shown.items():
            self._spread.setdefault(name, []).extend(values.tolist())

    # --- telling ----------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Called by Trainer after each step. Raises: Diverged."""
        del start_time
        if "loss" not in logs:
            return
        step, now_s = self.state.global_step, time.perf_counter()
        if not math.isfinite(logs["loss"]):
            raise Diverged(f"the loss of step {step} is {logs['loss']}; lower the learning rate")
        seconds, self._began_s = now_s - self._began_s, now_s
        self.progress.loss = logs["loss"]
        self.progress.seconds += seconds
        self.progress.metrics = {k: sum(v) / len(v) for k, v in self._spread.items() if v}
        self._spread = {}
        self._tell_step(logs, seconds)
        self._refuse_over_limit()
        self._evaluate_if_due()
        self._began_s = time.perf_counter()

    def _tell_step(self, logs: dict[str, float], seconds: float) -> None:
        if not self.leads:
            return
        step, steps, taken = self.state.global_step, self.state.max_steps, self.progress.seconds
        self.work.spool.step = step
        self.work.spool.emit(
            contract.StepEvent(
                step=step,
                steps=steps,
                epoch=round(self.state.epoch or 0.0, 6),
                loss=logs["loss"],
                learning_rate=logs["learning_rate"],
                grad_norm=logs.get("grad_norm", 0.0),
                tokens=self.progress.tokens,
                tokens_per_s=round(self.progress.tokens / max(taken, 1e-9), 2),
                memory_bytes=memory.used_bytes(),
                peak_bytes=memory.peak_bytes(),
                seconds=round(seconds, 4),
                eta_s=round((steps - step) * taken / max(step, 1), 1),
                metrics=self.progress.metrics,
            )
        )

    def _refuse_over_limit(self) -> None:
        """Raises: MemoryError."""
        limit, peak = self.work.job.limits.memory_bytes, memory.peak_bytes()
        if limit is not None and peak > limit:
            step = self.state.global_step
            raise MemoryError(f"step {step} took {peak / 1e9:.2f} GB of {limit / 1e9:.2f} GB")

    def _evaluate_if_due(self) -> None:
        every, step = self.work.recipe.eval_every_steps, self.state.global_step
        if self.work.evaluate and every and step % every == 0 and step < self.state.max_steps:
            self.progress.held_out = self.work.evaluate(self, False)

    # --- checkpoints ------------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Raises: DiskFull."""
        del model, trial
        randoms = self._all_randoms()
        if self.leads:
            target = checkpoints.path_of(self.work.output, self.state.global_step)
            with checkpoints.appearing(target) as folder:
                self.work.spool.keep()
                self._write(folder, randoms)
            self._tell_checkpoint(target)
            checkpoints.drop_old(self.work.output, self.work.recipe.keep_checkpoints)
        self.accelerator.wait_for_everyone()

    def _write(self, folder: Path, randoms: dict[str, Tensor]) -> None:
        self.write_weights(folder)
        checkpoints.save_optimizer(self.optimizer, folder)
        save_file(randoms, folder / checkpoints.RANDOM)
        self.state.log_history = []
        self.state.save_to_json(str(folder / libraries.TRAINER_STATE))
        kept = {
            "progress": {
                "tokens": self.progress.tokens,
                "loss": self.progress.loss,
                "held_out": self.progress.held_out,
                "seconds": self.progress.seconds,
            },
            "schedule": {
                name: self.lr_scheduler.state_dict()[name]
                for name in ("last_epoch", "_step_count", "_last_lr")
            },
            "rates": [group["lr"] for group in self.optimizer.param_groups],
        }
        (folder / checkpoints.STATE).write_text(json.dumps(kept))

    def write_weights(self, folder: Path) -> None:
        """An adapter in PEFT's form, or a whole model with its tokenizer."""
        saving.write(self.model, Path(self.work.job.base), folder)

    def _tell_checkpoint(self, target: Path) -> None:
        known = self.progress.held_out
        self.work.spool.emit(
            contract.CheckpointEvent(
                step=self.state.global_step,
                path=str(target),
                sha256=checkpoints.manifest_sha256(target),
                loss=self.progress.loss if known is None else known,
            )
        )

    def _all_randoms(self) -> dict[str, Tensor]:
        """Every rank draws its own chances: keep them all, by rank."""
        found: dict[str, Tensor] = {}
        for name, own in checkpoints.random_state().items():
            every = self.accelerator.gather(own[None].to(self.accelerator.device)).cpu()
            found |= {f"{rank}.{name}": row.contiguous() for rank, row in enumerate(every)}
        return found

    def _load_from_checkpoint(self, checkpoint: str, model: Any = None) -> None:
        saving.read(model or self.model, Path(checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        folder = Path(checkpoint)
        kept = json.loads((folder / checkpoints.STATE).read_bytes())
        checkpoints.load_optimizer(self.optimizer, folder)
        self.lr_scheduler.load_state_dict({**self.lr_scheduler.state_dict(), **kept["schedule"]})
        for group, rate in zip(self.optimizer.param_groups, kept["rates"], strict=True):
            group["lr"] = rate
        self.progress = Progress(**kept["progress"])

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        kept = load_file(Path(checkpoint) / checkpoints.RANDOM)
        mark = f"{self.accelerator.process_index}."
        own = {k.removeprefix(mark): v for k, v in kept.items() if k.startswith(mark)}
        checkpoints.set_random_state(own)


class Supervised(JobTrainer, libraries.SFTTrainer):  # type: ignore[misc]
    """SFT and continued pre-training."""


def _tokens(batch: dict[str, Tensor]) -> int:
    mask = batch.get("attention_mask")
    return batch["input_ids"].numel() if mask is None else int(mask.sum())


class _Steps(libraries.TrainerCallback):
    """Decides after each step whether to save and whether to go on; all ranks decide alike."""

    def __init__(self, trainer: JobTrainer) -> None:
        self._trainer = trainer
        self._end_s = math.inf
        if trainer.work.job.limits.duration_s is not None:
            self._end_s = time.monotonic() + trainer.work.job.limits.duration_s

    def on_train_begin(self, *_given: Any, **_more: Any) -> None:
        self._trainer.began()

    def on_step_end(
        self,
        args: libraries.TrainingArguments,
        state: libraries.TrainerState,
        control: libraries.TrainerControl,
        **_more: Any,
    ) -> None:
        del args
        wish = self._agreed()
        if wish == "cancel":
            raise Cancelled
        last = state.global_step >= state.max_steps
        due = state.global_step % self._trainer.work.recipe.save_every_steps == 0
        control.should_save = last or due or wish is not None
        if wish is not None:
            self._trainer.work.paused_for = self._trainer.work.paused_for or self._reason(wish)
            control.should_training_stop = True

    def _reason(self, wish: contract.Command) -> str:
        gone = self._trainer.work.control.supervisor_gone
        return "supervisor_gone" if wish == "pause" and gone else wish

    def _agreed(self) -> contract.Command | None:
        """The first rank hears the supervisor; the strongest wish holds for all."""
        work, accelerator = self._trainer.work, self._trainer.accelerator
        own = work.control.wish
        if own is None and time.monotonic() > self._end_s:
            own, work.paused_for = "pause", "duration"
        if accelerator.num_processes == 1:
            return own
        number = 0 if own is None else 1 + ORDER.index(own)
        shared = accelerator.gather(torch.tensor([number], device=accelerator.device)).max().item()
        return ORDER[int(shared) - 1] if shared else None
