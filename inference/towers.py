"""Which tensors models of two towers hold (CLIP, open_clip, Whisper), and encoders of text. Pure.

Each function gives names with sizes by a config; 0 is a size that the config does not say. Called by
`agreement`. Sources: the models of transformers and open_clip; the specifications of CTranslate2.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from inference.node.headers import whole

Config = Mapping[str, Any]
Expected = Iterator[tuple[str, list[int]]]
PARTS = ("q_proj", "k_proj", "v_proj", "out_proj")
ENCODERS = {  # queries, keys, values, what joins them, and the MLP, below a layer
    "bert": (
        "encoder.layer",
        *(f"attention.self.{part}" for part in ("query", "key", "value")),
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ),
    "mpnet": (
        "encoder.layer",
        *(f"attention.attn.{part}" for part in "qkvo"),
        "intermediate.dense",
        "output.dense",
    ),
    "distilbert": (
        "transformer.layer",
        *(f"attention.{part}_lin" for part in ("q", "k", "v", "out")),
        "ffn.lin1",
        "ffn.lin2",
    ),
}
ENCODERS |= dict.fromkeys(("roberta", "xlm-roberta", "camembert"), ENCODERS["bert"])
SIZES = frozenset({"width", "layers", "heads", "head_width", "mlp_ratio", "ls_init_value"})
USUAL = frozenset({"embed_dim", "quick_gelu", "vision_cfg", "text_cfg"})
USUAL_TEXT = SIZES | {"context_length", "vocab_size", "hf_tokenizer_name", "tokenizer_kwargs"}
USUAL_VISION = SIZES | {"image_size", "patch_size"}
WORDS = "embeddings.word_embeddings.weight"


def _size(config: Config, *names: str) -> int:
    return next((found for name in names if (found := whole(config.get(name)))), 0)


def _part(config: Config, name: str) -> Config:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _linear(name: str, outputs: int, inputs: int) -> Expected:
    yield f"{name}.weight", [outputs, inputs]
    yield f"{name}.bias", [outputs]


# --- encoders of text -------------------------------------------------------------------------------


def encoder(config: Config, names: Mapping[str, Any]) -> Expected:
    """Its prefix is that of its words: a model with a head has one."""
    prefix = next((name.removesuffix(WORDS) for name in names if name.endswith(WORDS)), "")
    stack, *linears = ENCODERS[str(config.get("model_type"))]
    hidden, inner = (
        _size(config, "hidden_size", "dim"),
        _size(config, "intermediate_size", "hidden_dim"),
    )
    positions = _size(config, "max_position_embeddings")
    yield f"{prefix}{WORDS}", [_size(config, "vocab_size"), hidden]
    yield f"{prefix}embeddings.position_embeddings.weight", [positions, hidden]
    for number in range(_size(config, "num_hidden_layers", "n_layers")):
        for at, name in enumerate(linears):
            outputs, inputs = {4: (inner, hidden), 5: (hidden, inner)}.get(at, (hidden, hidden))
            yield from _linear(f"{prefix}{stack}.{number}.{name}", outputs, inputs)


# --- CLIP and SigLIP in the library's layout --------------------------------------------------------


def clip(config: Config) -> Expected:
    text, vision = _part(config, "text_config"), _part(config, "vision_config")
    seen, read = _size(vision, "hidden_size"), _size(text, "hidden_size")
    embeddings = "text_model.embeddings"
    positions = _size(text, "max_position_embeddings")
    yield f"{embeddings}.token_embedding.weight", [_size(text, "vocab_size"), read]
    yield f"{embeddings}.position_embedding.weight", [positions, read]
    yield from _tower("text_model", text)
    patch, more = _size(vision, "patch_size"), 1 if config.get("model_type") == "clip" else 0
    squares = (_size(vision, "image_size") // patch) ** 2 if patch else 0
    yield "vision_model.embeddings.patch_embedding.weight", [seen, 0, patch, patch]
    positions = squares + more if squares else 0
    yield "vision_model.embeddings.position_embedding.weight", [positions, seen]
    yield from _tower("vision_model", vision)
    if config.get("model_type") == "clip":
        joined = _size(config, "projection_dim")
        yield "visual_projection.weight", [joined, seen]
        yield "text_projection.weight", [joined, read]


def _tower(name: str, config: Config) -> Expected:
    hidden, inner = _size(config, "hidden_size"), _size(config, "intermediate_size")
    for number in range(_size(config, "num_hidden_layers")):
        layer = f"{name}.encoder.layers.{number}"
        for part in PARTS:
            yield from _linear(f"{layer}.self_attn.{part}", hidden, hidden)
        yield from _linear(f"{layer}.mlp.fc1", inner, hidden)
        yield from _linear(f"{layer}.mlp.fc2", hidden, inner)


# --- open_clip --------------------------------------------------------------------------------------


def open_clip(config: Config) -> Expected:
    """A tower that is asked to be another than usual has other tensors: nothing is said of that."""
    model = _part(config, "model_cfg")
    text, vision = _part(model, "text_cfg"), _part(model, "vision_cfg")
    joined = _size(model, "embed_dim")
    if not model.keys() <= USUAL:
        return
    if text.keys() <= USUAL_TEXT:
        width = _size(text, "width")
        yield "token_embedding.weight", [_size(text, "vocab_size"), width]
        yield "positional_embedding", [_size(text, "context_length"), width]
        yield "text_projection", [width, joined]
        yield from _blocks("transformer", width, text)
    if vision.keys() <= USUAL_VISION and isinstance(vision.get("layers"), int):
        width, patch = _size(vision, "width"), _size(vision, "patch_size")
        squares = (_size(vision, "image_size") // patch) ** 2 if patch else 0
        yield "visual.conv1.weight", [width, 0, patch, patch]
        yield "visual.positional_embedding", [squares + 1 if squares else 0, width]
        yield "visual.proj", [width, joined]
        yield from _blocks("visual.transformer", width, vision)


def _blocks(name: str, width: int, config: Config) -> Expected:
    for number in range(_size(config, "layers")):
        block = f"{name}.resblocks.{number}"
        yield f"{block}.attn.in_proj_weight", [3 * width, width]
        yield from _linear(f"{block}.attn.out_proj", width, width)
        yield from _linear(f"{block}.mlp.c_fc", 0, width)
        yield from _linear(f"{block}.mlp.c_proj", width, 0)


# --- Whisper ----------------------------------------------------------------------------------------


def whisper(config: Config) -> Expected:
    width = _size(config, "d_model")
    yield "model.encoder.conv1.weight", [width, _size(config, "num_mel_bins"), 3]
    yield "model.encoder.conv2.weight", [width, width, 3]
    positions = _size(config, "max_source_positions"), _size(config, "max_target_positions")
    yield "model.encoder.embed_positions.weight", [positions[0], width]
    yield "model.decoder.embed_tokens.weight", [_size(config, "vocab_size"), width]
    yield "model.decoder.embed_positions.weight", [positions[1], width]
    for side, attentions in (
        ("encoder", ("self_attn",)),
        ("decoder", ("self_attn", "encoder_attn")),
    ):
        inner = _size(config, f"{side}_ffn_dim")
        for number in range(_size(config, f"{side}_layers")):
            layer = f"model.{side}.layers.{number}"
            for attention in attentions:
                for part in PARTS:
                    yield f"{layer}.{attention}.{part}.weight", [width, width]
            yield from _linear(f"{layer}.fc1", inner, width)
            yield from _linear(f"{layer}.fc2", width, inner)


BY_TYPE: dict[str, Callable[[Config], Expected]] = {
    "clip": clip,
    "siglip": clip,
    "whisper": whisper,
}


def whisper_ctranslate2(words: int, width: int, layers: Mapping[str, int]) -> Expected:
    """Its file has no config: it is compared with its vocabulary, and with itself."""
    yield "encoder/conv1/weight", [width, 0, 3]
    yield "encoder/conv2/weight", [width, width, 3]
    yield "encoder/position_encodings/encodings", [0, width]
    yield "decoder/embeddings/weight", [words, width]
    yield "decoder/position_encodings/encodings", [0, width]
    for side, attentions in (
        ("encoder", ("self_attention",)),
        ("decoder", ("self_attention", "attention")),
    ):
        for number in range(layers[side]):
            layer = f"{side}/layer_{number}"
            for attention in attentions:
                yield f"{layer}/{attention}/linear_0/weight", [0, width]
                yield f"{layer}/{attention}/linear_1/weight", [0, width]
            yield f"{layer}/ffn/linear_0/weight", [0, width]
            yield f"{layer}/ffn/linear_1/weight", [width, 0]
