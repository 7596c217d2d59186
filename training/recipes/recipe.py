"""A resolved recipe: every value a number, nothing left to a library's default. Pure."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Objective = Literal["sft", "pretrain", "dpo"]
Tuner = Literal["lora", "full"]
Precision = Literal["float32", "bfloat16"]
TrainOn = Literal["assistant", "last", "all"]

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.\-]{1,200}$")]
Part = Annotated[float, Meta(ge=0.0, lt=1.0)]


class Recipe(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What `training.run` obeys. The ranges here are those that `recipes.resolve` tells of."""

    objective: Objective = "sft"
    tuner: Tuner = "lora"

    # adapter
    rank: Annotated[int, Meta(ge=1, le=1024)] = 16
    alpha: Annotated[float, Meta(gt=0, le=4096)] = 32
    dropout: Part = 0.0
    target_modules: list[Name] = []  # empty: every linear layer but the head
    dora: bool = False
    rslora: bool = False

    # weights of the base
    quantization: Literal["none", "4bit"] = "none"
    nested_quantization: bool = True
    precision: Precision = "float32"

    # optimiser
    learning_rate: Annotated[float, Meta(gt=0, le=1)] = 2e-4
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    weight_decay: Annotated[float, Meta(ge=0, le=1)] = 0.0
    max_grad_norm: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    adam_beta1: Part = 0.9
    adam_beta2: Part = 0.999
    adam_epsilon: Annotated[float, Meta(gt=0, le=1)] = 1e-8

    # how much, and in which pieces
    epochs: Annotated[float, Meta(gt=0, le=1000)] = 3.0
    max_steps: Annotated[int, Meta(ge=0, le=10_000_000)] = 0  # 0: by epochs
    batch_size: Annotated[int, Meta(ge=1, le=1024)] = 4  # rows in one forward
    gradient_accumulation: Annotated[int, Meta(ge=1, le=4096)] = 1
    max_length: Annotated[int, Meta(ge=8, le=1_048_576)] = 1024
    packing: bool = False
    group_by_length: bool = True
    gradient_checkpointing: bool = False

    # objective
    train_on: TrainOn = "assistant"
    beta: Annotated[float, Meta(gt=0, le=10)] = 0.1  # of DPO

    # along the way
    save_every_steps: Annotated[int, Meta(ge=1, le=10_000_000)] = 50
    eval_every_steps: Annotated[int, Meta(ge=0, le=10_000_000)] = 0  # 0: at the end only
    keep_checkpoints: Annotated[int, Meta(ge=1, le=1000)] = 3

    @property
    def adapts(self) -> bool:
        """Whether the result is an adapter, not a model."""
        return self.tuner == "lora"
