"""Whether a model's tensors are those that its config, or its GGUF header, describes. Pure.

It is what an engine would find out while it loads, or never: a layer that is missing is filled with
noise. Called by `reading`.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from inference import config_values, layouts, towers
from inference.errors import UnsafeModel
from inference.layouts import Family, Sizes
from inference.node.headers import whole
from inference.tensors import Shape

Shapes = Mapping[str, Shape]
PACKED_TYPES = frozenset({"U8", "I8", "I32"})  # several weights in a number: sizes say nothing
KEEPING = frozenset({"bitsandbytes"})  # packs weights under their own names
EMBEDDING = re.compile(
    r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|tok_embeddings|embed_in|embeddings)\.weight$"
)
LAYER = re.compile(r"(.*?(?:^|\.)(?:layers|layer|h|blocks|block))\.(\d{1,8})\.")
GGUF_LAYER = re.compile(r"(?:^|\.)blk\.(\d{1,8})\.")
SENSES = re.compile(r"vision|visual|audio|image|speech|qformer")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
NARROW = (
    "hidden_size",
    "n_embd",
    "d_model",
    "dim",
    "embedding_size",
    "input_embedding_size",
    "embedding_rank",
    "word_embed_proj_dim",
)
SHARED = frozenset({"albert", "hrm_text"})  # one layer's weights serve for all
MORE_WORDS = frozenset(
    {"mllama", "molmo2", "moshi", "musicgen", "musicgen_melody"}
)  # than its config says
CONFIG, HEADER, OPEN_CLIP = "config.json", "its header", "open_clip_config.json"
SIDES, CT2_EMBEDDING = ("encoder", "decoder"), "decoder/embeddings/weight"
CT2_LAYER = re.compile(r"(encoder|decoder)/layer_(\d{1,4})/")


def check(config: Mapping[str, Any], shapes: Shapes, *, writes: bool) -> None:
    """`writes`: it is a language model, with a head. Raises: UnsafeModel naming tensor or key."""
    config_values.check(config)
    family = layouts.FAMILIES.get(str(config.get("model_type")))
    packed = config.get("quantization_config")
    if family is None or (packed and method(packed) not in KEEPING):
        _check_roughly(config, shapes)
        if not writes and not packed and config.get("model_type") in towers.ENCODERS:
            _fit_all(towers.encoder(config, shapes), shapes, CONFIG)
    else:
        _check_family(config, family, shapes, writes=writes)


def method(packed: object) -> str:
    """Name how weights were quantized, as `quantization_config` says it."""
    return str(packed.get("quant_method") if isinstance(packed, dict) else packed)[:40]


def check_gguf(values: Mapping[str, Any], shapes: Shapes, words: int) -> None:
    """`words`: in its vocabulary. Raises: UnsafeModel naming the tensor."""
    kind = str(values.get("general.architecture"))
    known = layouts.gguf_sizes(values, kind, words)
    expected: Iterable[tuple[str, str]] = [("token_embd.weight", "hv")]
    if kind in layouts.GGUF_FAMILIES:
        _check_said(known, {"h": "embedding_length", "n": "block_count"}, HEADER)
        expected = layouts.gguf_tensors(kind, known, shapes)
    _compare(expected, known, shapes, HEADER)
    if "output.weight" in shapes:
        _compare([("output.weight", "hv")], known, shapes, HEADER)
    layers = {int(found[1]) for found in map(GGUF_LAYER.search, shapes) if found}
    _check_layers(layers, known["n"], HEADER)


def check_towers(kind: str, config: Mapping[str, Any], shapes: Shapes) -> None:
    """Compare a model of images and texts, or of speech. Raises: UnsafeModel naming tensor or key."""
    if kind == "open_clip":
        _fit_all(towers.open_clip(config), shapes, OPEN_CLIP)
    elif known := towers.BY_TYPE.get(str(config.get("model_type"))):
        config_values.check(config)
        _fit_all(known(config), shapes, CONFIG)


def check_ctranslate2(shapes: Shapes, words: int) -> None:
    """`words`: in its vocabulary. Raises: UnsafeModel naming the variable."""
    embedding = shapes.get(CT2_EMBEDDING, ("", [0, 0]))[1]
    width = embedding[1] if len(embedding) == 2 else 0
    found = [match for match in map(CT2_LAYER.match, shapes) if match]
    layers = {
        side: 1 + max((int(m[2]) for m in found if m[1] == side), default=0) for side in SIDES
    }
    _fit_all(towers.whisper_ctranslate2(words, width, layers), shapes, "its vocabulary")


def _fit_all(expected: towers.Expected, shapes: Shapes, where: str) -> None:
    for name, wanted in expected:
        _fit(name, wanted, shapes, where)


def _check_family(
    config: Mapping[str, Any], family: Family, shapes: Shapes, *, writes: bool
) -> None:
    known = layouts.sizes(config, family)
    _check_said(known, {letter: name for name, letter in layouts.NEEDED.items()}, CONFIG)
    if known["kv_heads"] and known["heads"] % known["kv_heads"]:
        raise UnsafeModel(
            f"{CONFIG} shares {known['kv_heads']} heads of keys among {known['heads']} of queries"
        )
    prefix = "" if not writes and "embed_tokens.weight" in shapes else "model."
    expected = layouts.tensors(config, family, known, prefix, writes=writes)
    _compare(expected, known, shapes, CONFIG, packed=bool(config.get("quantization_config")))
    _check_biases(shapes)
    layers = {int(found[2]) for found in map(LAYER.match, shapes) if found}
    if layers and max(layers) >= known["n"]:
        raise UnsafeModel(
            f"its weights hold layer {max(layers)}, but {CONFIG} says that it has {known['n']}"
        )


def _check_said(known: Sizes, names: Mapping[str, str], where: str) -> None:
    for letter, name in names.items():
        if not known[letter]:
            raise UnsafeModel(f"{where} does not say {name}, or no possible one")


def _compare(
    expected: Iterable[tuple[str, str]],
    known: Sizes,
    shapes: Shapes,
    where: str,
    *,
    packed: bool = False,
) -> None:
    """A size that is not known is believed."""
    for name, letters in expected:
        if not (packed and name in shapes and shapes[name][0] in PACKED_TYPES):
            _fit(name, [known[letter] for letter in letters], shapes, where)


def _fit(name: str, wanted: list[int], shapes: Shapes, where: str) -> None:
    """Raises: UnsafeModel."""
    if name not in shapes:
        raise UnsafeModel(f"its weights lack {name}, which {where} describes")
    shape = shapes[name][1]
    if len(wanted) != len(shape) or any(
        want not in {0, size} for want, size in zip(wanted, shape, strict=True)
    ):
        raise UnsafeModel(
            f"{name} is {_product(shape)}, but {where} makes it {_product(wanted)};"
            " take files that belong together"
        )


def _product(shape: Collection[int]) -> str:
    return " x ".join(str(size) if size else "?" for size in shape) or "a single number"


def _check_biases(shapes: Shapes) -> None:
    """A bias that a config need not name has the outputs of its weight."""
    for name, (_, shape) in shapes.items():
        weight = shapes.get(f"{name.removesuffix('.bias')}.weight") if ".bias" in name else None
        if weight and weight[0] not in PACKED_TYPES and shape != weight[1][:1]:
            raise UnsafeModel(f"{name} is {_product(shape)}, its weight {_product(weight[1])}")


def _check_roughly(config: Mapping[str, Any], shapes: Shapes) -> None:
    """What holds of every model: its words have vectors, and its layers are all there."""
    text = _text_part(config)
    words, widths = whole(text.get("vocab_size")), {whole(text.get(name)) for name in NARROW}
    for name, (_, shape) in shapes.items():
        if not EMBEDDING.search(name) or SENSES.search(name) or len(shape) != 2:
            continue
        more = shape[0] > words and config.get("model_type") in MORE_WORDS
        if (words and shape[0] != words and not more) or (any(widths) and shape[1] not in widths):
            width = whole(text.get("hidden_size"))
            raise UnsafeModel(
                f"{name} is {_product(shape)}, but {CONFIG} makes it {_product((words, width))};"
                " take files that belong together"
            )
    if config.get("model_type") not in SHARED:
        count = next((n for name in LAYERS if (n := whole(text.get(name)))), 0)
        _check_layers(_longest(shapes), count, CONFIG)


def _text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give what is said of the language model; beside that, a config may speak of another part."""
    inner = config.get("text_config")
    if not isinstance(inner, dict):
        return config
    return inner if "vision_config" in config else {**config, **inner}


def _longest(shapes: Shapes) -> set[int]:
    """Give the numbers of the largest stack of layers."""
    stacks: dict[str, set[int]] = {}
    for name in shapes:
        if (found := LAYER.match(name)) and not SENSES.search(name):
            stacks.setdefault(found[1], set()).add(int(found[2]))
    return max(stacks.values(), key=len, default=set())


def _check_layers(layers: set[int], count: int, where: str) -> None:
    """Where no layer is recognised by its name, nothing is said of them."""
    missing = next((number for number in range(count) if number not in layers), None)
    if layers and missing is not None:
        raise UnsafeModel(f"the weights of layer {missing} are missing; {where} counts {count}")
