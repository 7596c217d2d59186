"""Folders that are a model by their headers, of any size, without a library: tensors of zeros."""

import json
import math
import struct
from pathlib import Path
from typing import Any

from inference import layouts

FIELDS: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4,
    "intermediate_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "vocab_size": 4,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}
WORD_BYTES = 16  # of a model's weights, for each word in its vocabulary


def config(**changes: Any) -> bytes:
    return json.dumps({**FIELDS, **changes}).encode()


def shapes(**changes: Any) -> dict[str, list[int]]:
    """Give every tensor that the config describes."""
    said = {**FIELDS, **changes}
    family = layouts.FAMILIES[said["model_type"]]
    known = layouts.sizes(said, family)
    named = layouts.tensors(said, family, known, "model.", writes=True)
    return {name: [known[letter] for letter in letters] for name, letters in named}


def header(tensors: dict[str, list[int]], kind: str = "F32", element_bytes: int = 4) -> bytes:
    entries, at = {}, 0
    for name, shape in tensors.items():
        end = at + math.prod(shape) * element_bytes
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


def data_bytes(tensors: dict[str, list[int]]) -> int:
    return sum(math.prod(shape) * 4 for shape in tensors.values())


def safetensors(**changes: Any) -> bytes:
    """Give the weights that `config` with the same changes describes."""
    tensors = shapes(**changes)
    return header(tensors) + bytes(data_bytes(tensors))


def tokenizer(*words: str) -> bytes:
    vocabulary = {word: number for number, word in enumerate(words)}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": words[0] if words else "?"}
    return json.dumps({"version": "1.0", "added_tokens": [], "model": model}).encode()


def files(**changes: Any) -> dict[str, bytes]:
    return {
        "model.safetensors": safetensors(**changes),
        "config.json": config(**changes),
        "tokenizer.json": tokenizer("a", "b"),
    }


def sparse(place: Path, **changes: Any) -> Path:
    """Write a model folder of any size that takes no room: its weights are a hole."""
    tensors = shapes(**changes)
    folder(place)
    (place / "config.json").write_bytes(config(**changes))
    with (place / "model.safetensors").open("wb") as stream:
        stream.write(header(tensors))
        stream.truncate(stream.tell() + data_bytes(tensors))
    return place


def folder(place: Path, **changes: Any) -> Path:
    """Write a model folder."""
    place.mkdir(parents=True)
    for name, content in files(**changes).items():
        (place / name).write_bytes(content)
    return place
