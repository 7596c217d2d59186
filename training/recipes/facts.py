"""What "auto" is decided by: the base's files, the data's statistics, the machine. Pure, no torch."""

from pathlib import Path

import msgspec

from inference.node import headers

MAX_CONFIG_BYTES = 1 << 20
BF16_CAPABILITY = (8, 0)  # Ampere; Source: CUDA C++ Programming Guide, compute capabilities


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of a model, from its config.json and the headers of its weights."""

    parameters: int
    plain_parameters: int  # embeddings and head, which no quantization touches
    hidden: int
    intermediate: int
    layers: int
    kv_width: int  # of keys, and as much of values, in elements a token and layer
    vocabulary: int
    context_tokens: int


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """Of the training data; for pairs, the longer answer counts."""

    rows: int
    tokens: int
    longest_tokens: int
    supervised_tokens: int
    longest_why: str = ""  # where the longest was not counted by the base's vocabulary


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    device: str = "cpu"  # or "cuda"
    bfloat16: bool = False  # computed by the hardware
    bfloat16_why: str = ""  # where that is not so, and more is known than the processor's flags
    memory_bytes: int | None = None  # that a job may take


def cuda_machine(capability: tuple[int, int] | None, memory_bytes: int | None = None) -> Machine:
    """Older cards, and those that nobody can ask, train in float32: they only emulate bfloat16."""
    why = "nobody could ask this GPU for its compute capability"
    if capability is not None:
        told = ".".join(map(str, capability))
        why = f"this GPU has compute capability {told}, and bfloat16 begins at 8.0"
    can = capability is not None and capability >= BF16_CAPABILITY
    return Machine(
        device="cuda", bfloat16=can, bfloat16_why="" if can else why, memory_bytes=memory_bytes
    )


def read_base(folder: Path) -> Base:
    """Raises: UnreadableModel, OSError."""
    shape = headers.read(str(folder))
    with (folder / "config.json").open("rb") as file:
        config = headers.bounded_json(file.read(MAX_CONFIG_BYTES))
    config = config.get("text_config") or config
    hidden = _size(config, "hidden_size", "n_embd")
    heads = _size(config, "num_attention_heads", "n_head") or 1
    head_width = _size(config, "head_dim") or hidden // heads
    intermediate = _size(config, "intermediate_size", "n_inner") or 4 * hidden
    element = shape.floats_bytes / shape.floats if shape.floats else 2
    return Base(
        parameters=shape.floats or shape.weights_bytes // 2,
        plain_parameters=int(shape.plain_bytes / element),
        hidden=hidden,
        intermediate=intermediate,
        layers=_size(config, "num_hidden_layers", "n_layer") or 1,
        kv_width=(_size(config, "num_key_value_heads") or heads) * head_width,
        vocabulary=shape.vocab_tokens or _size(config, "vocab_size"),
        context_tokens=shape.context_tokens or 1024,
    )


def _size(config: dict[str, object], *names: str) -> int:
    return next((n for n in (headers.whole(config.get(name)) for name in names) if n), 0)
