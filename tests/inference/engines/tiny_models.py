"""Tiny models with random weights, made from configs: plumbing, not language."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from . import small_tokenizers

VOCAB = len(small_tokenizers.byte_level())
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.6,
    "bos_token_id": 0,
    "eos_token_id": None,
    "pad_token_id": None,
}


LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def _gpt2(**changes: Any) -> Any:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "initializer_range": 0.4}
    return transformers.GPT2Config(
        vocab_size=VOCAB, bos_token_id=0, eos_token_id=None, **{**sizes, **changes}
    )


def _bloom(**changes: Any) -> Any:
    sizes = {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.4}
    return transformers.BloomConfig(
        vocab_size=VOCAB, bos_token_id=0, eos_token_id=None, **{**sizes, **changes}
    )


def _of(config: Any, **own: Any) -> Callable[..., Any]:
    return lambda **changes: config(**{**SIZES, **own, **changes})


KINDS: dict[str, Callable[..., Any]] = {
    "llama": _of(transformers.LlamaConfig, tie_word_embeddings=True),
    "mistral": _of(transformers.MistralConfig, sliding_window=None, head_dim=16),
    "qwen2": _of(transformers.Qwen2Config),
    "qwen3": _of(transformers.Qwen3Config, head_dim=16),
    "windowed": _of(transformers.MistralConfig, sliding_window=12),
    "gemma2": _of(transformers.Gemma2Config, head_dim=8, sliding_window=12),
    "gpt2": _gpt2,
    "bloom": _bloom,
    "mixtral": _of(transformers.MixtralConfig, num_local_experts=4, sliding_window=None),
    "gemma": _of(transformers.GemmaConfig, head_dim=8),
    "gemma3": _of(transformers.Gemma3TextConfig, head_dim=8, sliding_window=12),
    "phi": _of(transformers.PhiConfig),
    "phi3": _of(transformers.Phi3Config),
    "llama3": _of(transformers.LlamaConfig, rope_parameters=LLAMA3_ROPE),
    "smollm3": _of(transformers.SmolLM3Config, tie_word_embeddings=True),
}


def make(folder: Path, kind: str, template: str | None = None, **changes: Any) -> Path:
    """Save a model of this kind with its tokenizer."""
    torch.manual_seed(list(KINDS).index(kind) + 1)
    auto: Any = transformers.AutoModelForCausalLM
    model = auto.from_config(KINDS[kind](**changes))
    model.generation_config.eos_token_id = None
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    small_tokenizers.byte_level(template or small_tokenizers.CHATML).save_pretrained(folder)
    return folder


class Reference:
    """What transformers itself says."""

    def __init__(self, folder: Path) -> None:
        auto: Any = transformers.AutoModelForCausalLM
        self.model = auto.from_pretrained(folder, dtype=torch.float32)

    @torch.inference_mode()
    def greedy(self, prompt: list[int], count: int) -> list[int]:
        ids = torch.tensor([prompt])
        out = self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
        tokens: list[int] = out[0, len(prompt) :].tolist()
        return tokens

    @torch.inference_mode()
    def logprobs(self, tokens: list[int]) -> torch.Tensor:
        """Give (T, V): at each position the log probabilities of the next token."""
        logits: torch.Tensor = self.model(torch.tensor([tokens])).logits[0]
        return logits.float().log_softmax(-1)
