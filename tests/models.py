"""Where tests find the real starter models: AI_HUB_TEST_MODELS, else AI_HUB_MODELS of the tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TINY_EN_VOCABULARY_BYTES = 422_309  # tells it from the multilingual Whisper beside it


def _folders() -> list[Path]:
    named = os.environ.get("AI_HUB_TEST_MODELS") or os.environ.get("AI_HUB_MODELS")
    return [Path(named) if named else ROOT / ".cache" / "models"]


def _find(pattern: str) -> Path:
    """Skip the test where the model is not there; fail it under CI."""
    for folder in _folders():
        if found := sorted(folder.rglob(pattern)):
            return found[0]
    message = f"no {pattern} in {_folders()}: fetch the starter models or set AI_HUB_TEST_MODELS"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def smollm2_gguf() -> Path:
    return _find("SmolLM2-135M-Instruct*.gguf")


def minilm() -> Path:
    return _find("1_Pooling/config.json").parent.parent


def whisper_tiny_en() -> Path:
    """Return a CTranslate2 folder."""
    for file in _folders()[0].rglob("vocabulary.txt"):
        if file.stat().st_size == TINY_EN_VOCABULARY_BYTES:
            return file.parent
    return _find("whisper-tiny.en/model.bin").parent


def smollm2_folder() -> Path:
    """Return the safetensors folder."""
    return _find("smollm2-135m/config.json").parent
