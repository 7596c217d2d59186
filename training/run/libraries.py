"""Every name of TRL, PEFT and transformers' Trainer that the trainer leans on, in one place.

`tests/training/test_libraries.py` compares them with the installed versions, the private ones too.
"""

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from training.recipes.recipe import Recipe
from training.run import ranks

__all__ = [
    "DPOConfig",
    "DPOTrainer",
    "Dataset",
    "LoraConfig",
    "PeftModel",
    "SFTConfig",
    "SFTTrainer",
    "TrainerCallback",
    "TrainerControl",
    "TrainerState",
    "TrainingArguments",
    "get_peft_model_state_dict",
    "set_peft_model_state_dict",
    "set_seed",
]

TRAINER_STATE = "trainer_state.json"  # that `Trainer.train` reads from a checkpoint

# Methods of `Trainer` that ours replaces; the private ones could change with any release.
REPLACED = (
    "_load_from_checkpoint",
    "_load_optimizer_and_scheduler",
    "_load_rng_state",
    "_save_checkpoint",
    "compute_loss",
    "get_batch_samples",
    "get_train_dataloader",
    "log",
)


# What no recipe decides, said all the same: TRL's own defaults are others, and change with releases.
FIXED: dict[str, Any] = {
    "optim": "adamw_torch",
    "optim_args": None,
    "optim_target_modules": None,
    "lr_scheduler_kwargs": None,
    "fp16": False,
    "tf32": None,
    "average_tokens_across_devices": True,
    "ddp_find_unused_parameters": False,
    "logging_strategy": "steps",
    "logging_steps": 1,
    "logging_nan_inf_filter": False,
    "save_strategy": "no",  # ours decides, in the callback
    "eval_strategy": "no",
    "disable_tqdm": True,
    "push_to_hub": False,
    "dataloader_num_workers": 0,
    "dataloader_pin_memory": False,
    "dataloader_drop_last": False,
    "remove_unused_columns": False,
    "torch_compile": False,
    "torch_empty_cache_steps": None,
    "neftune_noise_alpha": None,
    "label_smoothing_factor": 0.0,
    "use_liger_kernel": False,
    "trust_remote_code": False,
    "router_aux_loss_coef": 0.0,  # experts are trained by the loss of the rows alone
    "model_init_kwargs": None,
    "pad_to_multiple_of": None,
    "truncation_mode": "keep_start",
    "auto_find_batch_size": False,
    "full_determinism": False,
    "ignore_data_skip": False,
    "load_best_model_at_end": False,
    "resume_from_checkpoint": None,
    "use_cache": False,
}


def arguments(recipe: Recipe, folder: Path, seed: int, on_cpu: bool) -> dict[str, Any]:
    """Give what both of TRL's configurations take."""
    return FIXED | {
        "output_dir": str(folder),
        "seed": seed,
        "data_seed": seed,
        "use_cpu": on_cpu,
        "per_device_train_batch_size": recipe.batch_size,
        "gradient_accumulation_steps": recipe.gradient_accumulation,
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.max_steps or -1,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": recipe.warmup_steps,
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "adam_beta1": recipe.adam_beta1,
        "adam_beta2": recipe.adam_beta2,
        "adam_epsilon": recipe.adam_epsilon,
        "bf16": recipe.precision == "bfloat16",
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "max_length": recipe.max_length,
        "ddp_backend": "gloo" if on_cpu and ranks.world() > 1 else None,
        "report_to": [],
    }


def sft_config(recipe: Recipe, folder: Path, seed: int, on_cpu: bool) -> SFTConfig:
    return SFTConfig(
        **arguments(recipe, folder, seed, on_cpu),
        dataset_kwargs={"skip_prepare_dataset": True},
        packing=False,  # ours packs, with positions
        padding_free=False,
        assistant_only_loss=False,
        completion_only_loss=False,
        loss_type="nll",
        shuffle_dataset=False,
        activation_offloading=False,
    )


def dpo_config(recipe: Recipe, folder: Path, seed: int, on_cpu: bool) -> DPOConfig:
    return DPOConfig(
        **arguments(recipe, folder, seed, on_cpu),
        beta=recipe.beta,
        loss_type=["sigmoid"],
        label_smoothing=0.0,
        f_divergence_type="reverse_kl",
        precompute_ref_log_probs=True,  # no second model in memory
        sync_ref_model=False,
        disable_dropout=False,
        loss_weights=None,
        ld_alpha=None,
        use_weighting=False,
        padding_free=False,
        activation_offloading=False,
    )


def lora_config(recipe: Recipe) -> LoraConfig:
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,  # type: ignore[arg-type]  # PEFT divides it, no more
        lora_dropout=recipe.dropout,
        target_modules=recipe.target_modules or "all-linear",
        use_dora=recipe.dora,
        use_rslora=recipe.rslora,
        bias="none",
        init_lora_weights=True,
    )


def load_base(folder: Path, recipe: Recipe, device: torch.device) -> PreTrainedModel:
    """Load the weights in the precision that they are computed in; full tuning keeps float32."""
    half = recipe.precision == "bfloat16" and recipe.adapts
    options: dict[str, Any] = {}
    if recipe.quantization == "4bit":
        options["quantization_config"] = quantization(recipe)
        options["device_map"] = {"": device}
    auto: Any = AutoModelForCausalLM
    model: PreTrainedModel = auto.from_pretrained(
        folder,
        dtype=torch.bfloat16 if half else torch.float32,
        attn_implementation="sdpa",
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        **options,
    )
    return model


def checkpoint_activations(model: Any) -> None:
    """As Trainer does at the start of `train`."""
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})


def quantization(recipe: Recipe) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=recipe.nested_quantization,
        bnb_4bit_compute_dtype=getattr(torch, recipe.precision),
    )
