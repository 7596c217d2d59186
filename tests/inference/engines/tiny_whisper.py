"""A Whisper of Hugging Face layout, tiny and random: its files are real, its words are not."""

import json
import shutil
from pathlib import Path

import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from tests import models

ENGLISH_TOKENS = 51_864


def make(folder: Path) -> Path:
    """Write the model with the tokenizer of the real whisper-tiny.en."""
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=ENGLISH_TOKENS,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        bos_token_id=50256,
        eos_token_id=50256,
        pad_token_id=50256,
        decoder_start_token_id=50257,
    )
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    shutil.copyfile(models.whisper_tiny_en() / "tokenizer.json", folder / "tokenizer.json")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
