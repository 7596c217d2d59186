"""Weights on disk: an adapter in PEFT's form, or a whole model in its base's layout."""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.run.libraries import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict

ADAPTER, MODEL = "adapter_model.safetensors", "model"
SHARD_BYTES = 2 * 1024**3
BESIDE = (
    *("config.json", "generation_config.json", "tokenizer*", "*.jinja", "vocab.*", "merges.txt"),
    *("special_tokens_map.json", "added_tokens.json", "*.model", "LICENSE*"),
)


def write(model: Any, base: Path, folder: Path, dtype: torch.dtype | None = None) -> None:
    """`dtype` None: as it is computed, to the bit. Raises: OSError."""
    if isinstance(model, PeftModel):
        config = model.peft_config["default"]
        config.base_model_name_or_path = base.name
        config.inference_mode = True
        config.save_pretrained(str(folder))
        config.inference_mode = False
        state = get_peft_model_state_dict(model, save_embedding_layers=False)
        save_file(_plain(state, dtype), folder / ADAPTER, metadata={"format": "pt"})
        return
    _write_model(model, folder, dtype)
    for pattern in BESIDE:
        for file in base.glob(pattern):
            shutil.copyfile(file, folder / file.name)


def _write_model(model: Any, folder: Path, dtype: torch.dtype | None) -> None:
    state = model.state_dict()
    made = {k: v if dtype is None else v.to(dtype) for k, v in state.items()}
    model.save_pretrained(folder, state_dict=made, max_shard_size=SHARD_BYTES)


def read(model: Any, folder: Path) -> None:
    """Put a checkpoint's weights into the model. Raises: OSError, ValueError."""
    if isinstance(model, PeftModel):
        set_peft_model_state_dict(model, load_file(folder / ADAPTER))
        return
    for file in sorted(folder.glob("model*.safetensors")):
        _, unexpected = model.load_state_dict(load_file(file), strict=False)
        if unexpected:
            raise ValueError(f"{file} holds {unexpected[0]}, which the model has not")
    model.tie_weights()


def _plain(state: dict[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    return {
        name: (value if dtype is None else value.to(dtype)).detach().cpu().contiguous()
        for name, value in state.items()
    }
