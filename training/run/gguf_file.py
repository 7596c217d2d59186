"""A folder in Hugging Face layout as one GGUF file, in half precision. Used by `export`.

For the families whose layout is known here; others are refused by name. Source of names, permutation and
token types: llama.cpp's convert_hf_to_gguf.py.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors import safe_open

FAMILIES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2"}  # model_type -> architecture
PERMUTED = re.compile(r"\.(q|k)_proj\.(weight|bias)$")
# What a pre-tokenizer splits by -> llama.cpp's name of it.
SPLITS = {
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}": "llama-bpe",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|": "qwen2",
}


class NotWritable(Exception):
    """This model cannot become a GGUF file here; the message says why."""


def write(source: Path, target: Path, name: str) -> None:
    """Raises: NotWritable, OSError."""
    config = json.loads((source / "config.json").read_bytes())
    family = config.get("model_type")
    if family not in FAMILIES:
        raise NotWritable(f"models of type {family} cannot be written as GGUF; export them merged")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default":
        raise NotWritable(f"positions of type {rope['rope_type']} cannot be written as GGUF yet")
    writer = gguf.GGUFWriter(str(target), FAMILIES[family])
    _describe(writer, config, rope, name)
    _add_vocabulary(writer, source, config)
    for tensor, values in _tensors(source, config):
        writer.add_tensor(tensor, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: Any, config: dict[str, Any], rope: dict[str, Any], name: str) -> None:
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_name(name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


# --- vocabulary -----------------------------------------------------------------------------------


def _add_vocabulary(writer: Any, source: Path, config: dict[str, Any]) -> None:
    """Raises: NotWritable."""
    whole = json.loads((source / "tokenizer.json").read_bytes())
    model = whole["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise NotWritable("only byte-level BPE tokenizers can be written as GGUF")
    by_id = {number: token for token, number in model["vocab"].items()}
    types = dict.fromkeys(by_id, gguf.TokenType.NORMAL)
    for token in whole.get("added_tokens", []):
        by_id[token["id"]] = token["content"]
        kind = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        types[token["id"]] = kind
    count = range(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_pre(whole.get("pre_tokenizer") or {}))
    writer.add_token_list([by_id.get(at, f"[PAD{at}]") for at in count])
    writer.add_token_types([types.get(at, gguf.TokenType.UNUSED) for at in count])
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    writer.add_token_merges(merges)
    _add_specials(writer, source, config)


def _pre(steps: dict[str, Any]) -> str:
    """Name how text is split before BPE. Raises: NotWritable."""
    parts = steps.get("pretokenizers", [steps])
    kinds = [part.get("type") for part in parts]
    if kinds == ["ByteLevel"] and parts[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"]:
        return "smollm"
    pattern = next((p["pattern"].get("Regex", "") for p in parts if p.get("type") == "Split"), "")
    for start, name in SPLITS.items():
        if pattern.startswith(start):
            return name
    raise NotWritable(f"the tokenizer splits text in a way that is not known here ({kinds})")


def _add_specials(writer: Any, source: Path, config: dict[str, Any]) -> None:
    def first(value: Any) -> int | None:
        found = value[0] if isinstance(value, list) else value
        return found if isinstance(found, int) else None

    for name, add in (
        ("bos_token_id", writer.add_bos_token_id),
        ("eos_token_id", writer.add_eos_token_id),
        ("pad_token_id", writer.add_pad_token_id),
    ):
        number = first(config.get(name))
        if number is not None:
            add(number)
    writer.add_add_bos_token(False)
    file = source / "chat_template.jinja"
    named = json.loads((source / "tokenizer_config.json").read_bytes()).get("chat_template")
    template = file.read_text() if file.exists() else named
    if isinstance(template, str):
        writer.add_chat_template(template)


# --- tensors --------------------------------------------------------------------------------------


def _tensors(source: Path, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give names and values: matrices in half precision, vectors in float32. Raises: NotWritable."""
    family = FAMILIES[config["model_type"]]
    architecture = {v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[family]
    names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    for file in sorted(source.glob("*.safetensors")):
        with safe_open(file, framework="pt") as stream:
            for name in stream.keys():  # noqa: SIM118  it is no dict
                mapped = names.get_name(name, try_suffixes=(".weight", ".bias"))
                if mapped is None:
                    raise NotWritable(f"{name} has no place in a GGUF file")
                if name == "lm_head.weight" and config.get("tie_word_embeddings"):
                    continue
                values = stream.get_tensor(name).float()
                if family == "llama" and (found := PERMUTED.search(name)):
                    values = _permuted(values, config, found[1])
                yield mapped, _numbers(values)


def _permuted(values: torch.Tensor, config: dict[str, Any], which: str) -> torch.Tensor:
    """llama.cpp turns pairs of neighbours, transformers the two halves of a head."""
    heads = config["num_attention_heads"]
    if which == "k":
        heads = config.get("num_key_value_heads") or heads
    rows = values.shape[0]
    return (
        values.reshape(heads, 2, rows // heads // 2, *values.shape[1:])
        .transpose(1, 2)
        .reshape(values.shape)
    )


def _numbers(values: torch.Tensor) -> Any:
    made = values.numpy()
    return made if made.ndim == 1 else made.astype(np.float16)
