"""Filling in what stands between a prompt and its suffix, with the tokens that code models have for it.

Pure; used by the prompt encoder of every engine that generates text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# What begins the prompt, its suffix and the answer. Sources: the tokenizers of CodeLlama; Qwen-Coder,
# Granite and CodeGemma; StarCoder and SantaCoder; DeepSeek-Coder.
NAMES = (
    ("\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>"),
    ("<PRE>", "<SUF>", "<MID>"),
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"),
)
# What ends what was filled in, beside the end of every answer. Source: llama.cpp, llama-vocab.cpp.
ENDS = ("\u2581<EOT>", "<EOT>", "<|fim_pad|>", "<|file_sep|>", "<file_sep>", "<|file_separator|>")
# Source: the keys of gguf-py, the newer ones first.
GGUF_KEYS = (
    ("fim_pre_token_id", "fim_suf_token_id", "fim_mid_token_id"),
    ("prefix_token_id", "suffix_token_id", "middle_token_id"),
)
LEAD = "\u263a"  # a text behind it has no space that a tokenizer puts before the first word
Encode = Callable[[str], list[int]]
TokenOf = Callable[[str], int | None]


@dataclass(frozen=True, slots=True)
class Infill:
    before: int
    after: int
    middle: int
    ends: frozenset[int] = frozenset()

    def tokens(self, text: str, suffix: str, encode: Encode) -> list[int]:
        """Ask for the middle: what is before, what is behind, and then the answer."""
        behind = _without_lead(suffix, encode)
        return [self.before, *encode(text), self.after, *behind, self.middle]


def find(token_of: TokenOf) -> Infill | None:
    """Look for the tokens by their names; None for a model that has none."""
    ends = frozenset(token for name in ENDS if (token := token_of(name)) is not None)
    for names in NAMES:
        before, after, middle = map(token_of, names)
        if before is not None and after is not None and middle is not None:
            return Infill(before, after, middle, ends)
    return None


def of_gguf(metadata: Mapping[str, Any], token_of: TokenOf) -> Infill | None:
    """Take the tokens that the header names, or look for their names."""
    for keys in GGUF_KEYS:
        before, after, middle = (metadata.get(f"tokenizer.ggml.{key}") for key in keys)
        if isinstance(before, int) and isinstance(after, int) and isinstance(middle, int):
            return Infill(before, after, middle)
    return find(token_of)


def _without_lead(text: str, encode: Encode) -> list[int]:
    """Encode without a space before the first word: it stands in the middle of a text."""
    lead, whole = encode(LEAD), encode(LEAD + text)
    return whole[len(lead) :] if whole[: len(lead)] == lead else encode(text)
