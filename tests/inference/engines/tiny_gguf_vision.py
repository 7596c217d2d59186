"""A tiny LLaVA as llama.cpp takes it: the weights of transformers' own model, in two GGUF files."""

from pathlib import Path
from typing import Any

import torch
import transformers
from gguf import GGUFWriter

from . import tiny_vision
from .tiny_gguf import finish, write_model

MODEL, PROJECTOR = "tiny-llava-f32.gguf", "mmproj-tiny-llava-f32.gguf"
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


def make(folder: Path) -> Path:
    """Save a model of transformers in `hf`, and beside it the same in GGUF."""
    folder.mkdir(parents=True, exist_ok=True)
    auto: Any = transformers.AutoModelForImageTextToText
    model = auto.from_pretrained(tiny_vision.make(folder / "hf", "llava"), dtype=torch.float32)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    place = folder / "gguf"
    place.mkdir()
    write_model(
        place / MODEL,
        model.config.text_config,
        weights,
        tiny_vision.tokenizer(),
        tiny_vision.PARTS,
    )
    write_projector(place / PROJECTOR, model.config, weights)
    return place


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
    finish(writer)


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
