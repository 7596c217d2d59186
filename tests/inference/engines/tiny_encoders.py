"""Tiny sentence encoders with random weights, made from configs: plumbing, not meaning."""

from pathlib import Path
from typing import Any

import torch
import transformers

from . import small_tokenizers

SIZES: dict[str, Any] = {
    "vocab_size": len(small_tokenizers.byte_level()),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
KINDS: dict[str, Any] = {
    "bert": transformers.BertConfig,
    "mpnet": transformers.MPNetConfig,
    "xlm-roberta": transformers.XLMRobertaConfig,
    "modernbert": transformers.ModernBertConfig,
}


def make(folder: Path, kind: str, **changes: int) -> Path:
    """Save an encoder of this kind with its tokenizer."""
    torch.manual_seed(list(KINDS).index(kind) + 1)
    auto: Any = transformers.AutoModel
    auto.from_config(KINDS[kind](**{**SIZES, **changes})).save_pretrained(folder)
    small_tokenizers.byte_level(None).save_pretrained(folder)
    return folder


@torch.inference_mode()
def mean(folder: Path, text: str) -> torch.Tensor:
    """Give the mean of what transformers says for each token."""
    auto: Any = transformers.AutoModel
    model = auto.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([small_tokenizers.byte_level(None).encode(text)])
    hidden: torch.Tensor = model(input_ids=ids).last_hidden_state[0]
    return hidden.mean(0)
