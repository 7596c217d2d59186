"""The installed TRL, PEFT and transformers still are what the trainer leans on."""

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
import transformers

from training.recipes.recipe import Recipe
from training.run import libraries
from training.run.preference import Preference
from training.run.trainer import JobTrainer, Supervised

OF_TRL: list[Any] = [libraries.SFTTrainer, libraries.DPOTrainer]
CONFIGS: list[Any] = [libraries.sft_config, libraries.dpo_config]
# Where files go, what is reported to whom, other machines, what is off: none of these changes a weight.
NAMES = """
accelerator_config activation_checkpointing activation_checkpointing_kwargs
batch_eval_metrics bf16_full_eval chat_template_path dataloader_in_order
dataloader_multiprocessing_context dataloader_persistent_workers dataloader_prefetch_factor
dataset_num_proc dataset_text_field ddp_broadcast_buffers ddp_bucket_cap_mb ddp_static_graph
ddp_timeout debug deepspeed discopop_tau do_eval do_predict do_train enable_jit_checkpoint
eos_token eval_accumulation_steps eval_delay eval_do_concat_batches eval_on_start
eval_packing eval_steps eval_use_gather_object f_alpha_divergence_coef fp16_full_eval fsdp
fsdp_config greater_is_better hub_always_push hub_model_id hub_private_repo hub_revision
hub_strategy hub_token include_for_metrics include_num_input_tokens_seen label_names
length_column_name liger_kernel_config local_rank log_level log_level_replica
log_on_each_node logging_first_step metric_for_best_model packing_strategy pad_token
parallelism_config per_device_eval_batch_size precompute_ref_batch_size prediction_loss_only
project ref_model_mixup_alpha ref_model_sync_steps restore_callback_states_from_checkpoint
run_name save_on_each_node save_only_model save_steps save_total_limit skip_memory_metrics
torch_compile_backend torch_compile_mode trackio_bucket_id trackio_space_id
trackio_static_space_id train_sampling_strategy
"""
NOT_OURS = frozenset(NAMES.split())


@pytest.mark.parametrize("trainer", OF_TRL)
def test_what_we_replace_is_there(trainer: Any) -> None:
    for name in libraries.REPLACED:
        assert callable(getattr(trainer, name)), name
        ours = inspect.signature(getattr(JobTrainer, name)).parameters
        theirs = inspect.signature(getattr(trainer, name)).parameters
        assert len(ours) == len(theirs), name


def test_pairs_are_not_prepared_by_trl() -> None:
    for name in ("_prepare_dataset", "_precompute_ref_logps"):
        assert callable(getattr(libraries.DPOTrainer, name))
        assert name in vars(Preference)


def test_ours_come_first() -> None:
    for own in (Supervised, Preference):
        for name in libraries.REPLACED:
            assert getattr(own, name) is getattr(JobTrainer, name)


@pytest.mark.parametrize("config", CONFIGS)
def test_what_is_said_is_what_is_set(config: Any, tmp_path: Path) -> None:
    """TRL turns bf16 and gradient checkpointing on by itself, and cuts at 1024 tokens."""
    recipe = Recipe(max_length=77, learning_rate=0.03, warmup_steps=3, schedule="cosine")
    made = config(recipe, tmp_path, 5, on_cpu=True)
    assert (made.bf16, made.fp16, made.gradient_checkpointing) == (False, False, False)
    assert (made.max_length, made.learning_rate, made.seed) == (77, 0.03, 5)
    assert (made.warmup_steps, made.lr_scheduler_type, made.report_to) == (3, "cosine", [])
    assert made.optim == "adamw_torch"
    assert made.save_strategy == "no"


@pytest.mark.parametrize("config", CONFIGS)
def test_no_default_of_trl_is_left_that_changes_the_training(config: Any, tmp_path: Path) -> None:
    """A new field of a new release appears here, to be decided on."""
    made = config(Recipe(), tmp_path, 0, on_cpu=True)
    said, own = libraries.arguments(Recipe(), tmp_path, 0, on_cpu=True), inspect.getsource(config)
    fields = [field.name for field in dataclasses.fields(made)]
    left = [name for name in fields if name not in said and f"{name}=" not in own]
    assert [name for name in left if name not in NOT_OURS] == []


def test_the_trainers_state_is_read_from_where_we_write_it() -> None:
    assert transformers.trainer.TRAINER_STATE_NAME == libraries.TRAINER_STATE


def test_the_scheduler_keeps_what_we_keep() -> None:
    import torch  # noqa: PLC0415

    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight])
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 1, 4)  # type: ignore[no-untyped-call]
    assert {"last_epoch", "_step_count", "_last_lr"} <= schedule.state_dict().keys()
