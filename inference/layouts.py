"""Which tensors the families of decoders hold, by the sizes in their config. Pure; used by `agreement`.

A size is a letter: v vocabulary, h hidden, m inside the MLP, g its gate and up as one, d of a head,
q of all queries, k of all keys, a of queries, keys and values as one, e experts. Sources: the models of
transformers; llama.cpp's gguf-py.
"""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

from inference.node.headers import whole

Sizes = Mapping[str, int]
NEEDED = {
    "vocab_size": "v",
    "hidden_size": "h",
    "intermediate_size": "m",
    "num_hidden_layers": "n",
    "num_attention_heads": "heads",
}
NORMS = {"input_layernorm.weight": "h", "post_attention_layernorm.weight": "h"}
ATTENTION = {
    "self_attn.q_proj.weight": "qh",
    "self_attn.k_proj.weight": "kh",
    "self_attn.v_proj.weight": "kh",
    "self_attn.o_proj.weight": "hq",
}
MLP = {"mlp.gate_proj.weight": "mh", "mlp.up_proj.weight": "mh", "mlp.down_proj.weight": "hm"}
BIASES = {"self_attn.q_proj.bias": "q", "self_attn.k_proj.bias": "k", "self_attn.v_proj.bias": "k"}
HEAD_NORMS = {"self_attn.q_norm.weight": "d", "self_attn.k_norm.weight": "d"}
OUTER_NORMS = {"pre_feedforward_layernorm.weight": "h", "post_feedforward_layernorm.weight": "h"}
LLAMA = NORMS | ATTENTION | MLP
PHI = {
    "input_layernorm.weight": "h",
    "input_layernorm.bias": "h",
    **{name: dims for name, dims in ATTENTION.items() if "o_proj" not in name},
    **BIASES,
    "self_attn.dense.weight": "hq",
    "self_attn.dense.bias": "h",
    "mlp.fc1.weight": "mh",
    "mlp.fc1.bias": "m",
    "mlp.fc2.weight": "hm",
    "mlp.fc2.bias": "h",
}
PHI3 = NORMS | {
    "self_attn.qkv_proj.weight": "ah",
    "self_attn.o_proj.weight": "hq",
    "mlp.gate_up_proj.weight": "gh",
    "mlp.down_proj.weight": "hm",
}
MOE = "block_sparse_moe"
EXPERT = {"w1.weight": "mh", "w2.weight": "hm", "w3.weight": "mh"}


@dataclass(frozen=True, slots=True)
class Family:
    """`tied`: its head is its embedding, unless its config says otherwise. `plain`: where its config does
    not say, a head is its part of the hidden size, and each has keys of its own."""

    layer: dict[str, str]
    tied: bool = False
    plain: bool = True
    norm: tuple[tuple[str, str], ...] = (("norm.weight", "h"),)
    head: tuple[tuple[str, str], ...] = (("lm_head.weight", "vh"),)
    experts: bool = False


FAMILIES = {
    "llama": Family(LLAMA),
    "mistral": Family(LLAMA),
    "ministral": Family(LLAMA),
    "qwen2": Family(LLAMA | BIASES),
    "qwen3": Family(LLAMA | HEAD_NORMS, plain=False),
    "smollm3": Family(LLAMA, tied=True),
    "mixtral": Family(NORMS | ATTENTION, experts=True),
    "gemma": Family(LLAMA, tied=True, plain=False),
    "gemma2": Family(LLAMA | OUTER_NORMS, tied=True, plain=False),
    "gemma3_text": Family(LLAMA | OUTER_NORMS | HEAD_NORMS, tied=True, plain=False),
    "phi": Family(
        PHI,
        norm=(("final_layernorm.weight", "h"), ("final_layernorm.bias", "h")),
        head=(("lm_head.weight", "vh"), ("lm_head.bias", "v")),
    ),
    "phi3": Family(PHI3),
}


def sizes(config: Mapping[str, object], family: Family) -> dict[str, int]:
    """Give each letter's size; 0 where the config does not say. Heads and layers: "heads", "n"."""
    found = {letter: whole(config.get(name)) for name, letter in NEEDED.items()}
    heads = found["heads"]
    part = found["h"] // heads if heads and family.plain else 0
    found["d"] = whole(config.get("head_dim")) or part
    keys = whole(config.get("num_key_value_heads")) or _as_many(config, family, heads)
    found["q"], found["k"] = heads * found["d"], keys * found["d"]
    found["a"] = found["q"] + 2 * found["k"] if found["k"] else 0
    found["g"], found["e"] = 2 * found["m"], whole(config.get("num_local_experts"))
    return found | {"kv_heads": keys}


def _as_many(config: Mapping[str, object], family: Family, heads: int) -> int:
    """An absent number has the library's default, which is not always that of the heads."""
    said = "num_key_value_heads" in config
    return heads if family.plain and (said or config.get("model_type") in {"llama", "phi"}) else 0


def tensors(
    config: Mapping[str, object], family: Family, known: Sizes, prefix: str, *, writes: bool
) -> Iterator[tuple[str, str]]:
    """Give the names of all tensors with the letters of their shapes, one after the other: a hostile
    config may claim more of them than memory holds."""
    yield f"{prefix}embed_tokens.weight", "vh"
    for number in range(known["n"]):
        for name, dims in _layer(config, family, known):
            yield f"{prefix}layers.{number}.{name}", dims
    for name, dims in family.norm:
        yield f"{prefix}{name}", dims
    if writes and not _is_tied(config, family):
        yield from family.head


def _is_tied(config: Mapping[str, object], family: Family) -> bool:
    said = config.get("tie_word_embeddings")
    return said if isinstance(said, bool) else family.tied


def _layer(config: Mapping[str, object], family: Family, known: Sizes) -> Iterator[tuple[str, str]]:
    yield from family.layer.items()
    if config.get("attention_bias") is True and family.layer.keys() >= ATTENTION.keys():
        yield from (BIASES | {"self_attn.o_proj.bias": "h"}).items()
    if not family.experts:
        return
    yield f"{MOE}.gate.weight", "eh"
    for number in range(known["e"]):
        for name, dims in EXPERT.items():
            yield f"{MOE}.experts.{number}.{name}", dims


# --- GGUF: the first size is the one that lies together ---------------------------------------------

GGUF_ATTENTION = {
    "attn_norm.weight": "h",
    "attn_q.weight": "hq",
    "attn_k.weight": "hk",
    "attn_v.weight": "hk",
    "attn_output.weight": "qh",
    "ffn_norm.weight": "h",
}
GGUF_PARTS = {
    name: dims for name, dims in GGUF_ATTENTION.items() if name[5:7] in {"q.", "k.", "v."}
}
GGUF_ONE = {"attn_qkv.weight": "ha"}
GGUF_MLP = {"ffn_gate.weight": "hm", "ffn_up.weight": "hm", "ffn_down.weight": "mh"}
GGUF_BIASES = {"attn_q.bias": "q", "attn_k.bias": "k", "attn_v.bias": "k"}
GGUF_HEAD_NORMS = {"attn_q_norm.weight": "d", "attn_k_norm.weight": "d"}
GGUF_OUTER_NORMS = {"post_attention_norm.weight": "h", "post_ffw_norm.weight": "h"}
GGUF_LLAMA = GGUF_ATTENTION | GGUF_MLP
GGUF_FAMILIES = {
    "llama": GGUF_LLAMA,
    "qwen2": GGUF_LLAMA | GGUF_BIASES,
    "qwen3": GGUF_LLAMA | GGUF_HEAD_NORMS,
    "gemma": GGUF_LLAMA,
    "gemma2": GGUF_LLAMA | GGUF_OUTER_NORMS,
    "gemma3": GGUF_LLAMA | GGUF_OUTER_NORMS | GGUF_HEAD_NORMS,
    "phi3": {
        "attn_norm.weight": "h",
        "attn_qkv.weight": "ha",
        "attn_output.weight": "qh",
        "ffn_norm.weight": "h",
        "ffn_up.weight": "hg",
        "ffn_down.weight": "mh",
    },
}


def _joined(layer: Mapping[str, str]) -> dict[str, str]:
    apart = GGUF_PARTS | GGUF_BIASES
    return {name: dims for name, dims in layer.items() if name not in apart} | GGUF_ONE


def _parted(layer: Mapping[str, str]) -> dict[str, str]:
    found = {name: dims for name, dims in layer.items() if name not in GGUF_ONE}
    return GGUF_PARTS | found


def gguf_sizes(values: Mapping[str, object], kind: str, vocab_tokens: int) -> dict[str, int]:
    """Give each letter's size; 0 where the header does not say, or says it layer by layer."""

    def number(key: str) -> int:
        return whole(values.get(f"{kind}.{key}"))

    heads, hidden = number("attention.head_count"), number("embedding_length")
    head = number("attention.key_length") or (hidden // heads if heads else 0)
    listed = f"{kind}.attention.head_count_kv count" in values
    keys = 0 if listed else number("attention.head_count_kv") or heads
    found = {"v": vocab_tokens, "h": hidden, "m": number("feed_forward_length"), "d": head}
    found |= {"n": number("block_count"), "heads": heads, "q": heads * head, "k": keys * head}
    value = number("attention.value_length")
    if value and value != head:  # values of a size of their own: what depends on it is not known
        found |= {"k": 0, "q": 0}
    found["a"] = found["q"] + 2 * found["k"] if found["q"] and found["k"] else 0
    return found | {"g": 2 * found["m"], "e": number("expert_count"), "kv_heads": keys}


def gguf_tensors(kind: str, known: Sizes, there: Container[str]) -> Iterator[tuple[str, str]]:
    """Give names and letters, as `tensors` does; experts are only counted among the layers.

    Any file may hold queries, keys and values as one, or apart, whatever its family usually does.
    """
    yield "token_embd.weight", "hv"
    layer = GGUF_ATTENTION if kind == "llama" and known["e"] else GGUF_FAMILIES[kind]
    layer = _joined(layer) if "blk.0.attn_qkv.weight" in there else _parted(layer)
    for number in range(known["n"]):
        for name, dims in layer.items():
            yield f"blk.{number}.{name}", dims
    yield "output_norm.weight", "h"
