"""Before the first step: what the formula says, then one real step on the longest batch, measured.

The step is taken with a learning rate of 0, which leaves every weight as it was, to the bit. The plan is
kept, so that a job that goes on does not measure again.
"""

import ctypes
import gc
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from training import contract
from training.recipes import facts, resolve
from training.recipes import memory as formula
from training.run import batches, checkpoints, memory
from training.run.rendering import Example
from training.run.trainer import JobTrainer

HOPELESS = 2.0  # the formula may be so far off before a job is refused unmeasured


class TooLarge(Exception):
    """The job does not fit: exit code 12. `detail` has what was seen and changes that would fit."""

    def __init__(self, message: str, detail: dict[str, Any]) -> None:
        super().__init__(message)
        self.detail = detail


def machine(job: contract.Job, device: torch.device) -> facts.Machine:
    there = job.limits.memory_bytes
    if there is None and device.type == "cuda":
        there = torch.cuda.get_device_properties(device).total_memory
    return facts.Machine(device=device.type, memory_bytes=there)


def rows_of(rows: Sequence[batches.Row]) -> facts.Rows:
    lengths = [batches.length(row) for row in rows]
    return facts.Rows(
        rows=len(rows),
        tokens=sum(lengths),
        longest_tokens=max(lengths),
        supervised_tokens=sum(_supervised(row) for row in rows),
    )


def refuse_hopeless(job: contract.Job, rows: Sequence[batches.Row], device: torch.device) -> None:
    """Before anything is loaded. Raises: TooLarge."""
    base, where = facts.read_base(Path(job.base)), machine(job, device)
    need = _need(job, base, rows, where)
    if where.memory_bytes is not None and need.total > where.memory_bytes * HOPELESS:
        raise too_large(job, rows, where, need.total, "it is estimated to need")


def _need(
    job: contract.Job, base: facts.Base, rows: Sequence[batches.Row], where: facts.Machine
) -> formula.Need:
    own = [rows[at] for at in _longest(job, rows)]
    longest = max(batches.length(row) for row in own)
    learned = max(1, sum(_supervised(row) for row in own) // len(own))
    return formula.need(base, job.recipe, longest, learned, where)


def too_large(
    job: contract.Job,
    rows: Sequence[batches.Row],
    where: facts.Machine,
    need_bytes: int,
    how: str,
) -> TooLarge:
    base = facts.read_base(Path(job.base))
    offers = resolve.changes_that_fit(job.recipe, base, rows_of(rows), where)
    detail = {"need_bytes": need_bytes, "limit_bytes": where.memory_bytes, "changes": offers}
    limit = (where.memory_bytes or 0) / 1e9
    hint = f"; {_said(offers[0]['change'])} would fit" if offers else "; choose a smaller base"
    return TooLarge(f"{how} {need_bytes / 1e9:.2f} GB of {limit:.2f} GB{hint}", detail)


def _said(change: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in change.items())


# --- one real step --------------------------------------------------------------------------------


def measure(trainer: JobTrainer) -> dict[str, Any]:
    """Give the plan, from the last attempt where nothing has changed since. Raises: TooLarge."""
    work = trainer.work
    file, mark = work.output / contract.PLAN, _mark(work.job, len(work.rows))
    plan = _kept(file, mark) or _measured(trainer, mark)
    where = machine(work.job, trainer.accelerator.device)
    if where.memory_bytes is not None and plan["peak_bytes"] > where.memory_bytes:
        raise too_large(work.job, work.rows, where, plan["peak_bytes"], "one step took")
    if trainer.leads:
        file.write_text(json.dumps(plan, indent=1))
    return plan


def _measured(trainer: JobTrainer, mark: str) -> dict[str, Any]:
    job, rows = trainer.work.job, trainer.work.rows
    chance = checkpoints.random_state()
    longest = _longest(job, rows)
    base = facts.read_base(Path(job.base))
    need = _need(job, base, rows, machine(job, trainer.accelerator.device))
    loaded_bytes = memory.used_bytes()
    seconds, peak_bytes = _step(trainer, longest)
    checkpoints.set_random_state(chance)
    steps, step_s = _time(trainer, longest, seconds)
    return {
        "mark": mark,
        "estimate_bytes": need.total,
        "estimate": msgspec.to_builtins(need),
        "loaded_bytes": loaded_bytes,
        "peak_bytes": peak_bytes,
        "longest_tokens": max(batches.length(rows[at]) for at in longest),
        "longest_step_s": round(seconds * job.recipe.gradient_accumulation, 4),
        "step_s": round(step_s, 4),
        "steps": steps,
        "eta_s": round(steps * step_s, 1),
        "trainable_parameters": sum(p.numel() for p in _trained(trainer)),
    }


def _step(trainer: JobTrainer, longest: Sequence[int]) -> tuple[float, int]:
    """Give the seconds of a micro-batch and the peak, with the optimiser's state in place."""
    optimizer = torch.optim.AdamW(_trained(trainer), lr=0.0, weight_decay=0.0)
    shortest = min(
        range(len(trainer.work.rows)), key=lambda at: batches.length(trainer.work.rows[at])
    )
    _compute(trainer, [shortest])  # warms the libraries up
    optimizer.step()
    optimizer.zero_grad()
    memory.count_anew()
    again = 2 if trainer.work.recipe.gradient_accumulation > 1 else 1
    began_s = time.perf_counter()
    for _ in range(again):
        _compute(trainer, longest)
    seconds = (time.perf_counter() - began_s) / again
    optimizer.step()
    peak_bytes = memory.peak_bytes()
    optimizer.zero_grad()
    del optimizer
    give_back()
    return seconds, peak_bytes


def _compute(trainer: JobTrainer, rows: Sequence[int]) -> None:
    made: Any = trainer
    batch: dict[str, Tensor] = made._prepare_inputs(  # noqa: SLF001  Trainer's, see `libraries`
        trainer.collate([(at, trainer.work.rows[at]) for at in rows])
    )
    trainer.model.train()
    with trainer.accelerator.autocast():
        loss = trainer.summed(trainer.model, batch) / max(trainer.items(batch), 1)
    loss.backward()  # type: ignore[no-untyped-call]


def _time(trainer: JobTrainer, longest: Sequence[int], seconds: float) -> tuple[int, float]:
    """Give the steps and their mean time: a batch takes as long as its padded tokens are many."""
    recipe, rows = trainer.work.recipe, trainer.work.rows
    sampler = trainer.sampler()
    widths = [len(batch) * max(batches.length(rows[at]) for at in batch) for batch in sampler]
    widest = len(longest) * max(batches.length(rows[at]) for at in longest)
    mean_s = seconds * sum(widths) / len(widths) / widest
    steps = resolve.steps(recipe, len(rows), trainer.accelerator.num_processes)
    return steps, mean_s * recipe.gradient_accumulation


def give_back() -> None:
    """Return freed memory to the system, so that the next peak is counted from the same ground."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _longest(job: contract.Job, rows: Sequence[batches.Row]) -> list[int]:
    lengths = [batches.length(row) for row in rows]
    return batches.Batches(lengths, job.recipe.batch_size, job.seed, grouped=True).longest()


def _trained(trainer: JobTrainer) -> list[torch.nn.Parameter]:
    return [p for p in trainer.model.parameters() if p.requires_grad]


def _supervised(row: batches.Row) -> int:
    if isinstance(row, Example):
        return row.supervised
    return (row.chosen.supervised + row.rejected.supervised) // 2


def _mark(job: contract.Job, rows: int) -> str:
    said = msgspec.json.encode([job.recipe, job.base, job.device, job.limits.threads, rows])
    return hashlib.sha256(said).hexdigest()


def _kept(file: Path, mark: str) -> dict[str, Any] | None:
    try:
        plan: dict[str, Any] = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return plan if plan.get("mark") == mark else None
