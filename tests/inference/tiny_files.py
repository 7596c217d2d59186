"""Files that are a model by their headers, of any size, without a library."""

import json
import struct
from pathlib import Path
from typing import Any


def safetensors(weights_bytes: int = 16) -> bytes:
    """One float32 tensor of zeros."""
    return header(weights_bytes) + bytes(weights_bytes)


def header(weights_bytes: int) -> bytes:
    shape = [weights_bytes // 4]
    tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, weights_bytes]}
    text = json.dumps({"model.embed_tokens.weight": tensor}).encode()
    return struct.pack("<Q", len(text)) + text


def config(**changes: Any) -> bytes:
    fields = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 4,
        "intermediate_size": 4,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "vocab_size": 4,
        "max_position_embeddings": 64,
    }
    return json.dumps({**fields, **changes}).encode()


def folder(place: Path, **changes: Any) -> Path:
    """Write a model folder; `changes` go into its config."""
    place.mkdir(parents=True)
    (place / "model.safetensors").write_bytes(safetensors())
    (place / "config.json").write_bytes(config(**changes))
    return place
