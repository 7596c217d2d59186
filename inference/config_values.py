"""Whether the values of a model's config.json are possible ones, whatever its weights. Pure.

An engine would find out after it has read the weights, or at the first request. Called by `agreement`.
Source of the names: transformers 5.23 (`ACT2FN`, `ROPE_INIT_FUNCTIONS`, `ALLOWED_LAYER_TYPES`); a test
compares.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from inference.errors import UnsafeModel

ACTIVATIONS = frozenset(
    {
        *("gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "xielu"),
        *("gelu_python_tanh", "gelu_pytorch_tanh", "quick_gelu", "relu", "relu2", "relu6", "silu"),
        *("hardswish", "laplace", "leaky_relu", "linear", "mish", "prelu", "sigmoid", "swish"),
        *("sqrtsoftplus", "tanh"),
    }
)
ROPES = frozenset({"default", "dynamic", "linear", "llama3", "longrope", "proportional", "yarn"})
OTHER_ROPES = frozenset({"axial", "mrope", "su"})  # of pictures, and names of before
LAYERS = frozenset(
    {
        *("full_attention", "sliding_attention", "chunked_attention", "window_attention"),
        *("indexed_attention", "compressed_sparse_attention", "heavily_compressed_attention"),
        *("minimax_m3_sparse", "conv", "moe", "hybrid", "hybrid_sliding"),
        *("reference_sliding_attention", "linear_attention", "sparse", "dense"),
        *("mamba", "attention", "deepseek_sparse_attention", "qwen_sparse_attention"),  # of before
    }
)
DTYPES = frozenset({"auto", "float64", "float32", "float16", "bfloat16"})
ACTIVATION_KEYS = ("hidden_act", "hidden_activation", "activation_function")
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")
POSITIVE_KEYS = ("rope_theta", "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon")
TOKEN_KEYS = ("bos_token_id", "eos_token_id", "pad_token_id")
SHARE_KEYS = ("attention_dropout", "hidden_dropout", "embd_pdrop", "attn_pdrop", "resid_pdrop")
SWITCH_KEYS = ("attention_bias", "mlp_bias", "tie_word_embeddings", "use_sliding_window")
EXPERT_KEYS = ("num_local_experts", "num_experts", "n_routed_experts")
ROPE_KEYS = ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
MOST_PARTS, MOST = 100, 2**63


def check(config: Mapping[str, Any]) -> None:
    """Raises: UnsafeModel naming the key."""
    for part in _parts(config):
        for key in CONTEXT_KEYS:
            _check_whole(key, part.get(key))
        for key in POSITIVE_KEYS:
            _check_positive(key, part.get(key))
        for key in ACTIVATION_KEYS:
            _check_known(key, part.get(key), ACTIVATIONS)
        for key in ("dtype", "torch_dtype"):
            _check_known(key, _plain(part.get(key)), DTYPES)
        for key in SHARE_KEYS:
            _check_range(key, part.get(key), 1)
        for key in ("sliding_window", "initializer_range"):
            _check_range(key, part.get(key), MOST)
        for key in SWITCH_KEYS:
            _check_switch(key, part.get(key))
        _check_experts(part)
        _check_layers(part.get("layer_types"))
        _check_rope(part)
        for key in TOKEN_KEYS:
            _check_tokens(key, part.get(key))


def _parts(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Give the config and those of its parts, the language model's among them."""
    yield config
    named = [v for k, v in config.items() if k.endswith("_config") and isinstance(v, dict)]
    yield from named[:MOST_PARTS]


def _check_whole(key: str, value: object) -> None:
    if value is not None and not (_positive(value) and value % 1 == 0):
        raise UnsafeModel(f"config.json has {key} {_shown(value)}: it is a whole number above zero")


def _check_positive(key: str, value: object) -> None:
    if value is not None and not isinstance(value, dict | list) and not _positive(value):
        raise UnsafeModel(f"config.json has {key} {_shown(value)}: it is a number above zero")


def _check_range(key: str, value: object, most: int) -> None:
    if value is not None and value != 0 and not (_positive(value) and value <= most):
        bounds = f"between 0 and {most}" if most < MOST else "of 0 or more"
        raise UnsafeModel(f"config.json has {key} {_shown(value)}: it is a number {bounds}")


def _check_switch(key: str, value: object) -> None:
    if value is not None and not isinstance(value, bool):
        raise UnsafeModel(f"config.json has {key} {_shown(value)}: it is true or false")


def _check_experts(part: Mapping[str, Any]) -> None:
    """Each token goes to some of the experts that there are."""
    key = "num_experts_per_tok"
    each, there = part.get(key), next((part[k] for k in EXPERT_KEYS if part.get(k)), None)
    if there is None or each is None:
        return
    _check_whole(key, each)
    if _positive(there) and each > there:
        raise UnsafeModel(f"config.json has {key} {each}, but {there} experts")


def _check_layers(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, list):
        raise UnsafeModel(f"config.json has layer_types {_shown(value)}: it is a list")
    for kind in {str(one) for one in value}:
        _check_known("layer_types", kind, LAYERS)


def _check_tokens(key: str, value: object) -> None:
    tokens = value if isinstance(value, list) else [value]
    if any(type(token) is not int for token in tokens if token is not None):
        raise UnsafeModel(f"config.json has {key} {_shown(value)}: it is a token's number")


def _check_known(key: str, value: object, known: frozenset[str]) -> None:
    if value is None or (isinstance(value, str) and value in known):
        return
    names = ", ".join(sorted(known))
    raise UnsafeModel(f"config.json has {key} {_shown(value)}, which no engine knows: {names}")


def _check_rope(part: Mapping[str, Any]) -> None:
    """Newer files keep one set of values for each type of layer."""
    for key in ("rope_parameters", "rope_scaling"):
        found = part.get(key)
        if found is None:
            continue
        if not isinstance(found, dict):
            raise UnsafeModel(f"config.json has {key} {_shown(found)}: it is an object")
        sets = [one for one in found.values() if isinstance(one, dict)]
        for one in (found, *sets[:MOST_PARTS]):
            kind = one.get("rope_type", one.get("type"))
            if not isinstance(kind, dict):
                _check_known(f"{key}.rope_type", kind, ROPES | OTHER_ROPES)
            for name in ("rope_theta", *ROPE_KEYS):
                _check_positive(f"{key}.{name}", one.get(name))


def _positive(value: object) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < MOST  # not so for "not a number"


def _plain(value: object) -> object:
    return value.removeprefix("torch.") if isinstance(value, str) else value


def _shown(value: object) -> str:
    return f"{value!r}"[:60]
