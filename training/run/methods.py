"""From a job and its rows to a trainer that is ready to run."""

from pathlib import Path
from typing import Any

import torch

from inference.errors import InvalidValue
from training import contract
from training.run import libraries, ranks
from training.run.batches import Row
from training.run.preference import Preference
from training.run.rendering import Pair, Renderer
from training.run.trainer import JobTrainer, Supervised, Work


def device_of(wanted: str) -> torch.device:
    if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()):
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def make(work: Work, renderer: Renderer) -> JobTrainer:
    """Load the base, put the adapter on it, and wrap both."""
    job, recipe = work.job, work.recipe
    device = device_of(job.device)
    libraries.set_seed(job.seed)
    base = libraries.load_base(Path(job.base), recipe, device)
    pairs = recipe.objective == "dpo"
    settings = libraries.dpo_config if pairs else libraries.sft_config
    kind: Any = Preference if pairs else Supervised
    _refuse_unknown_modules(base, recipe.target_modules)
    trainer: JobTrainer = kind(
        model=base,
        args=settings(recipe, work.output / contract.SCRATCH, job.seed, device.type == "cpu"),
        train_dataset=libraries.Dataset.from_list([_sample(work.rows[0])]),
        processing_class=renderer.vocabulary.hf,
        peft_config=libraries.lora_config(recipe) if recipe.adapts else None,
    )
    if trainer.accelerator.num_processes != ranks.world():
        raise RuntimeError(
            f"{ranks.world()} ranks were started, {trainer.accelerator.num_processes} met"
        )
    if recipe.gradient_checkpointing:  # Trainer does it in `train`: after preflight
        libraries.checkpoint_activations(trainer.model)
    if recipe.adapts:
        _in_full_precision(trainer.model)
    trainer.begin(work)
    if isinstance(trainer, Preference):
        trainer.learn_reference()
    return trainer


def _refuse_unknown_modules(base: Any, wanted: list[str]) -> None:
    """Raises: InvalidValue, with the names that there are."""
    there = {
        name.rsplit(".", 1)[-1] for name, part in base.named_modules() if not list(part.children())
    }
    if unknown := sorted(set(wanted) - there):
        known = ", ".join(sorted(name for name in there if name.endswith(("proj", "attn", "fc"))))
        raise InvalidValue(
            f"target_modules: the base has no {unknown[0]}; it has {known}", param="target_modules"
        )


def _sample(row: Row) -> dict[str, Any]:
    """TRL looks at a data set's first row; the rows themselves come from our own loader."""
    if isinstance(row, Pair):
        return {"prompt": "", "chosen": "", "rejected": ""}
    return {"input_ids": row.ids, "labels": row.labels}


def _in_full_precision(model: torch.nn.Module) -> None:
    """TRL keeps QLoRA's adapters in bfloat16, where small updates are lost."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
