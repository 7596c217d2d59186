"""A tiny Llama as llama.cpp takes it: the weights of transformers' own model, in a GGUF file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from gguf import GGUFWriter

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
CONTROL, NORMAL = 3, 1  # Source: llama.h, llama_token_attr as stored in tokenizer.ggml.token_type


def make(file: Path, folder: Path, tokenizer: Any, template: str = "", **changes: Any) -> Path:
    """Write what transformers saved in a folder; `changes` are tensors, by transformers' names."""
    auto: Any = transformers.AutoModelForCausalLM
    model = auto.from_pretrained(folder, dtype=torch.float32)
    weights = {name: value.numpy() for name, value in model.state_dict().items()} | changes
    write_model(file, model.config, weights, tokenizer, template)
    return file


def write_model(
    file: Path, config: Any, weights: dict[str, Any], tokenizer: Any, template: str = ""
) -> None:
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
    _add_vocabulary(writer, tokenizer)
    if template:
        writer.add_chat_template(template)
    for name, value in weights.items():
        if named := _language_name(name):
            writer.add_tensor(named, _turned(named, value, config))
    finish(writer)


def _add_vocabulary(writer: GGUFWriter, tokenizer: Any) -> None:
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


def _language_name(name: str) -> str | None:
    inner = name.removeprefix("model.").removeprefix("language_model.")
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


def finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
