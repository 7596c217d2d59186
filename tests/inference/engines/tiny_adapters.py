"""Tiny LoRA adapters with random weights that change their base's answers, and what peft says of them."""

from pathlib import Path
from typing import Any

import peft
import torch

from inference import wire
from inference.engines import quantized

from .tiny_models import Reference

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make(folder: Path, base: Path, seed: int = 1, std: float = 0.3, **changes: Any) -> wire.Adapter:
    """Save an adapter for this base."""
    model = Reference(base).model
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ALL, **changes})
    adapted = peft.get_peft_model(model, config)
    torch.manual_seed(seed)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=std)
    adapted.save_pretrained(str(folder))
    return wire.Adapter(name=folder.name, path=str(folder), version=f"v{seed}")


def reference(
    base: Path, adapter: wire.Adapter, merged: bool = False, mode: quantized.Mode = "none"
) -> Reference:
    """Give peft's own model of the base, in 8 or 4 bits if asked, and the adapter."""
    own = Reference(base)
    if mode != "none":
        _pack(own.model, mode)
    model: Any = peft.PeftModel.from_pretrained(own.model, adapter.path)
    own.model = model.merge_and_unload() if merged else model.eval()
    return own


def _pack(model: Any, mode: quantized.Mode) -> None:
    """Let each linear layer compute with quantized weights, and stay one that peft knows."""
    for layer in model.modules():
        if type(layer) is torch.nn.Linear and layer is not model.get_output_embeddings():
            layer.forward = quantized.Projection(layer, mode).forward  # type: ignore[method-assign, assignment]
