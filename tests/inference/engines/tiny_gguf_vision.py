"""A tiny LLaVA as llama.cpp takes it: the weights of transformers' own model, in two GGUF files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from gguf import GGUFWriter

from . import tiny_vision

MODEL, PROJECTOR = "tiny-llava-f32.gguf", "mmproj-tiny-llava-f32.gguf"
LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
EYE_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
    "layer_norm1": "ln1",
    "layer_norm2": "ln2",
}
CONTROL, NORMAL = 3, 1  # Source: llama.h, llama_token_attr as stored in tokenizer.ggml.token_type


def make(folder: Path) -> Path:
    """Save a model of transformers in `hf`, and beside it the same in GGUF."""
    folder.mkdir(parents=True, exist_ok=True)
    auto: Any = transformers.AutoModelForImageTextToText
    model = auto.from_pretrained(tiny_vision.make(folder / "hf", "llava"), dtype=torch.float32)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    place = folder / "gguf"
    place.mkdir()
    write_model(place / MODEL, model.config.text_config, weights)
    write_projector(place / PROJECTOR, model.config, weights)
    return place


def write_model(file: Path, config: Any, weights: dict[str, Any]) -> None:
    writer = GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_file_type(0)
    _add_vocabulary(writer)
    for name, value in weights.items():
        if named := _language_name(name):
            writer.add_tensor(named, _turned(named, value, config))
    _write(writer)


def _add_vocabulary(writer: GGUFWriter) -> None:
    tokenizer = tiny_vision.tokenizer()
    special = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    texts = [tokenizer.convert_ids_to_tokens(at) for at in range(len(tokenizer))]
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(texts)
    writer.add_token_types([CONTROL if text in special else NORMAL for text in texts])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tiny_vision.PARTS)


def _language_name(name: str) -> str | None:
    _, _, inner = name.partition("language_model.")
    if name == "lm_head.weight":
        return "output.weight"
    whole = {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}
    if not inner.startswith("layers."):
        return whole.get(inner)
    _, number, module = inner.split(".", 2)
    return f"blk.{number}.{LAYER[module.removesuffix('.weight')]}.weight"


def _turned(name: str, value: Any, config: Any) -> Any:
    """Source: llama.cpp's converter: its rotation takes neighbours, transformers' takes halves."""
    heads = {
        "attn_q.weight": config.num_attention_heads,
        "attn_k.weight": config.num_key_value_heads,
    }.get(name.split(".", 2)[-1])
    if heads is None:
        return value
    halves = value.reshape(heads, 2, value.shape[0] // heads // 2, *value.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(value.shape)


def write_projector(file: Path, config: Any, weights: dict[str, Any]) -> None:
    """Write the vision tower and what brings its vectors to the language model's width."""
    eye = config.vision_config
    writer = GGUFWriter(file, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_file_type(0)
    for key, value in {
        "image_size": eye.image_size,
        "patch_size": eye.patch_size,
        "embedding_length": eye.hidden_size,
        "feed_forward_length": eye.intermediate_size,
        "projection_dim": config.text_config.hidden_size,
        "block_count": eye.num_hidden_layers,
        "attention.head_count": eye.num_attention_heads,
    }.items():
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", eye.layer_norm_eps)
    pixels: Any = transformers.CLIPImageProcessorPil()
    writer.add_array("clip.vision.image_mean", [float(mean) for mean in pixels.image_mean])
    writer.add_array("clip.vision.image_std", [float(std) for std in pixels.image_std])
    for name, value in weights.items():
        if named := _eye_name(name):
            writer.add_tensor(named, value)
    _write(writer)


def _eye_name(name: str) -> str | None:
    if "multi_modal_projector." in name:
        return "mm." + name.partition("linear_")[2].replace("1.", "0.")
    _, found, inner = name.partition("vision_tower.")
    inner = inner.removeprefix("vision_model.")
    if not found:
        return None
    whole = {
        "embeddings.class_embedding": "v.class_embd",
        "embeddings.patch_embedding.weight": "v.patch_embd.weight",
        "embeddings.position_embedding.weight": "v.position_embd.weight",
    }
    if not inner.startswith("encoder."):
        return whole.get(inner) or _first_norm(inner)
    _, _, number, module = inner.split(".", 3)
    module, _, kind = module.rpartition(".")
    return f"v.blk.{number}.{EYE_LAYER[module]}.{kind}"


def _first_norm(inner: str) -> str | None:
    """The last norm comes after the layer that a LLaVA looks at."""
    return inner.replace("pre_layrnorm", "v.pre_ln") if "pre_layrnorm" in inner else None


def _write(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
