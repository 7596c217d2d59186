"""Tiny LoRA adapters with random weights that change their base's answers, and what peft says of them."""

from pathlib import Path
from typing import Any

import peft
import torch

from inference import wire

from .tiny_models import Reference

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make(folder: Path, base: Path, seed: int = 1, **changes: Any) -> wire.Adapter:
    """Save an adapter for this base."""
    model = Reference(base).model
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ALL, **changes})
    adapted = peft.get_peft_model(model, config)
    torch.manual_seed(seed)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)
    adapted.save_pretrained(str(folder))
    return wire.Adapter(name=folder.name, path=str(folder), version=f"v{seed}")


def reference(base: Path, adapter: wire.Adapter, merged: bool = False) -> Reference:
    """Give peft's own model of base and adapter."""
    own = Reference(base)
    model: Any = peft.PeftModel.from_pretrained(own.model, adapter.path)
    own.model = model.merge_and_unload() if merged else model.eval()
    return own
