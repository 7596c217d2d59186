"""How a transformers model is built: what an operator chose in its options. `Checkpoint` reads it."""

from dataclasses import dataclass
from typing import Any, Self

import torch

from inference.engines import quantized
from inference.errors import LoadFailed

ATTENTIONS = ("auto", "sdpa", "eager", "flash_attention_2")


@dataclass(frozen=True, slots=True)
class Build:
    quantization: quantized.Mode = "none"
    attention: str = "auto"
    torch_compile: bool = False

    @classmethod
    def of(cls, options: dict[str, Any], device: torch.device) -> Self:
        """Raises: LoadFailed for what is not offered on this device."""
        attention = options.get("attention", "auto")
        if attention not in ATTENTIONS:
            raise LoadFailed(f"attention {attention!r} is not one of {', '.join(ATTENTIONS)}")
        compiled = bool(options.get("torch_compile", False))
        if device.type != "cuda" and (compiled or attention == "flash_attention_2"):
            what = "torch_compile" if compiled else attention
            raise LoadFailed(f"{what} gains nothing without a GPU; it is offered on CUDA only")
        return cls(quantized.mode_of(options), attention, compiled)

    @property
    def by_library(self) -> bool:
        """Tell whether only the library's own model can do what was chosen."""
        return self.attention in ("eager", "flash_attention_2") or self.torch_compile

    @property
    def library_attention(self) -> str | None:
        return None if self.attention == "auto" else self.attention
