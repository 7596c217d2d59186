"""Opening a model folder: only safetensors, only local files, never code of the folder's own.

Chooses number format, decoder and end tokens. Used by the transformers engines.
"""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    GenerationConfig,
    PreTrainedConfig,
)

from inference.engines import complete, llama_decoder, quantized
from inference.engines.build import Build
from inference.engines.decoder import Decoder
from inference.engines.hf_decoder import HfDecoder
from inference.engines.llama_decoder import LlamaDecoder
from inference.errors import LoadFailed

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
WHOLE = "model.safetensors"
# What the libraries raise for a folder that is not what it says.
BROKEN = (OSError, ValueError, KeyError, TypeError, ImportError, SafetensorError)
BF16_CUDA_CAPABILITY = (8, 0)  # Ampere
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Checkpoint:
    """A folder that may be loaded."""

    folder: Path
    config: PreTrainedConfig
    files: list[Path]

    @classmethod
    def open(cls, path: str) -> "Checkpoint":
        """Raises: LoadFailed."""
        folder = Path(path)
        if not (folder / "config.json").is_file():
            raise LoadFailed(f"{folder.name} has no config.json: it is not a model folder")
        files = _weight_files(folder)
        try:
            config = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LoadFailed(f"the config of {folder.name} cannot be used: {error}") from error
        _refuse_packed(folder, config)
        return cls(folder, config, files)

    @property
    def total_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.files)

    @property
    def context_tokens(self) -> int:
        """The model's own limit; 0 if the config does not say."""
        text = self.config.get_text_config()
        return int(getattr(text, "max_position_embeddings", 0) or 0)

    def end_tokens(self, tokenizer_end: int | None) -> frozenset[int]:
        """Give every token that ends an answer."""
        found: set[int] = set() if tokenizer_end is None else {tokenizer_end}
        for settings in (self._generation(), self.config.get_text_config()):
            value = getattr(settings, "eos_token_id", None)
            found.update(value if isinstance(value, list) else [] if value is None else [value])
        return frozenset(found)

    def _generation(self) -> GenerationConfig | None:
        try:
            return GenerationConfig.from_pretrained(self.folder, local_files_only=True)
        except (OSError, ValueError):
            return None

    def decoder(
        self,
        dtype: torch.dtype,
        device: torch.device,
        progress: Progress,
        build: Build = Build(),  # noqa: B008 (frozen)
    ) -> Decoder:
        """Place the weights, quantized while they are read. Raises: LoadFailed."""
        total = self.total_bytes
        progress(0, total)
        try:
            if llama_decoder.can_serve(self.config) and not build.by_library:
                made: Decoder = self._llama(dtype, device, progress, build.quantization)
            else:
                made = HfDecoder(self._language_model(dtype, device, build))
        except BROKEN as error:
            raise LoadFailed(f"{self.folder.name} cannot be loaded: {error}") from error
        progress(total, total)
        return made

    def _llama(
        self, dtype: torch.dtype, device: torch.device, progress: Progress, mode: quantized.Mode
    ) -> LlamaDecoder:
        total = self.total_bytes

        def placed(done: int) -> None:
            progress(min(done, total), total)

        with ExitStack() as stack:
            weights = _Weights(self.files, stack)
            return LlamaDecoder(self.config, weights, dtype, device, placed, mode)

    def image_text_model(self, dtype: torch.dtype, device: torch.device, progress: Progress) -> Any:
        """Give the whole model, vision included. Raises: LoadFailed."""
        total = self.total_bytes
        progress(0, total)
        try:
            model = self._model(AutoModelForImageTextToText, dtype, device)
        except BROKEN as error:
            raise LoadFailed(f"{self.folder.name} cannot be loaded: {error}") from error
        progress(total, total)
        return model

    def _language_model(self, dtype: torch.dtype, device: torch.device, build: Build) -> Any:
        attention = build.library_attention
        model = self._model(AutoModelForCausalLM, dtype, device, attention)
        if build.quantization != "none":
            quantized.replace(model, build.quantization)
        if build.torch_compile:
            model.compile(dynamic=True)
        return model

    def _model(
        self, auto: Any, dtype: torch.dtype, device: torch.device, attention: str | None = None
    ) -> Any:
        return complete.load(
            auto,
            self.folder,
            config=self.config,
            dtype=dtype,
            attn_implementation=attention,
            device_map={"": device},
        )


class _Weights:
    """Tensors by name over all files of a checkpoint, mapped into memory and not read before use."""

    def __init__(self, files: list[Path], stack: ExitStack) -> None:
        self._of: dict[str, Any] = {}
        for file in files:
            opened = stack.enter_context(safe_open(file, framework="pt"))
            self._of.update(dict.fromkeys(opened.keys(), opened))

    def __call__(self, name: str) -> Tensor | None:
        source = self._of.get(name)
        if source is None:
            return None
        tensor: Tensor = source.get_tensor(name)
        return tensor


def _refuse_packed(folder: Path, config: PreTrainedConfig) -> None:
    """Raises: LoadFailed for weights that were quantized in a way that nothing here computes."""
    packed: Any = getattr(config, "quantization_config", None) or {}
    method = packed.get("quant_method") if isinstance(packed, dict) else str(packed)
    if packed and method != "bitsandbytes":
        raise LoadFailed(
            f"{folder.name} is quantized as {method or 'something unknown'}, which this engine does not"
            " compute; serve it by llm_vllm on a GPU, or take the model's plain weights"
        )


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        found = sorted(folder.glob("*.safetensors"))
        if folder / WHOLE in found:  # others repeat it in another layout
            return [folder / WHOLE]
        if not found:
            raise LoadFailed(
                f"{folder.name} has no safetensors weights; pickled weights are never loaded"
            )
        return found
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError) as error:
        raise LoadFailed(f"{index.name} cannot be read: {error}") from error
    missing = sorted(n for n in names if Path(n).name != n or not (folder / n).is_file())
    if missing:
        raise LoadFailed(f"{folder.name} lacks the weight files {missing}")
    return [folder / name for name in sorted(names)]


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Give the number format; `auto` is bfloat16 where the hardware computes in it.

    Raises: LoadFailed for a name that is not known.
    """
    if name in DTYPES:
        return DTYPES[name]
    if name != "auto":
        raise LoadFailed(f"dtype {name!r} is not known; use auto or one of {sorted(DTYPES)}")
    return torch.bfloat16 if _has_bf16(device) else torch.float32


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= BF16_CUDA_CAPABILITY
    if device.type != "cpu":
        return False
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)
