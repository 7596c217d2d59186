"""Which architectures the engines take, by the name that a model gives itself. Called by `reading`.

Tests compare the lists with the libraries' own: `transformers` and llama.cpp are too heavy for the
processes that inspect files.
"""

import json
from pathlib import Path

_LISTS: dict[str, list[str]] = json.loads(
    Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
)
CAUSAL = frozenset(_LISTS["causal"])  # transformers' AutoModelForCausalLM
IMAGE_TEXT = frozenset(_LISTS["image_text"])  # its AutoModelForImageTextToText
ENCODERS = frozenset(_LISTS["encoders"])  # for text encoding and masked words, beyond CAUSAL
JOINED = frozenset(_LISTS["joined"])  # those that make vectors of images and of texts
GGUF = frozenset(_LISTS["gguf"])  # llama.cpp's names
BY_KIND = {
    "llm": CAUSAL,
    "vlm": IMAGE_TEXT,
    "embed": ENCODERS | CAUSAL,
    "clip": JOINED,
    "asr": frozenset({"whisper"}),
}
# What `vlm_transformers` does not compute, of those that its library has.
BOTH_WAYS = frozenset({"paligemma"})
USUAL = {
    "llm": "llama, mistral, mixtral, qwen2, qwen3, gemma to gemma3_text, phi, phi3, gpt2",
    "vlm": "llava, llava_next, qwen2_vl, qwen2_5_vl, gemma3, internvl, idefics3, smolvlm",
    "embed": "bert, mpnet, roberta, xlm-roberta, distilbert, modernbert, qwen3",
    "clip": "clip, siglip, siglip2",
    "asr": "whisper",
    "gguf": "llama, qwen2, qwen3, gemma to gemma3, phi2, phi3",
}


def refusal(kind: str, name: object) -> str:
    """Say why no engine takes a model of this type; empty where one does."""
    known = GGUF if kind == "gguf" else BY_KIND[kind]
    if kind == "vlm" and isinstance(name, str) and name in BOTH_WAYS:
        return (
            f"models of type {name} look at an image in both directions, which no engine here computes;"
            " a GGUF of the model with its projector may be served by llm_gguf"
        )
    return "" if isinstance(name, str) and name in known else unknown(kind, name)


def unknown(kind: str, name: object) -> str:
    """Say which ones are known."""
    known = GGUF if kind == "gguf" else BY_KIND[kind]
    shown = ascii(name[:100]) if isinstance(name, str) and name else "without a name"
    return (
        f"no engine serves the architecture {shown}; served are {USUAL[kind]} and"
        f" {max(0, len(known) - USUAL[kind].count(',') - 1)} more, see docs/models.md"
    )
