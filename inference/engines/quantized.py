"""Projections whose weights are kept in 8 or 4 bits; what goes in and comes out stays as it was.

`int8`: one scale for each output, rounded to nearest. `nf4`: blocks of 64 weights on the quantiles of a
normal distribution, their scales quantized again (QLoRA, Dettmers et al. 2023), by bitsandbytes.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from inference.errors import LoadFailed

Mode = Literal["none", "int8", "nf4"]
MODES: tuple[Mode, ...] = ("none", "int8", "nf4")
FEW_ROWS = 16  # up to here the packed kernel beats unpacking first on a CPU; see docs/decisions.md
INT8_LIMIT = 127
REACH = 0.8  # of the inner weights: below it a mode would promise memory that it does not save
Linear = Callable[[Tensor], Tensor]


def mode_of(options: dict[str, Any]) -> Mode:
    """Raises: LoadFailed for a mode that is not offered."""
    asked = options.get("quantization", "none")
    for mode in MODES:
        if asked == mode:
            return mode
    raise LoadFailed(f"quantization {asked!r} is not offered; use one of {', '.join(MODES)}")


def linear(weight: Tensor, bias: Tensor | None, mode: Mode) -> tuple[Linear, int]:
    """Give the projection by `weight` (outputs, inputs), and the bytes that it keeps."""
    return _int8(weight, bias) if mode == "int8" else _nf4(weight, bias)


class Projection(nn.Module):
    """Stands in a whole model of transformers for one of its linear layers."""

    def __init__(self, layer: nn.Linear, mode: Mode) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        bias: Tensor | None = layer.bias
        kept = None if bias is None else bias.detach()
        self._run, self.kept_bytes = linear(layer.weight.detach(), kept, mode)

    def forward(self, hidden: Tensor) -> Tensor:
        rows = self._run(hidden.flatten(0, -2))
        return rows.reshape(*hidden.shape[:-1], rows.shape[-1])


def replace(model: nn.Module, mode: Mode) -> None:
    """Quantize the linear layers of a whole model, but for its head.

    Raises: LoadFailed where most of its weights lie elsewhere, as a mixture's experts do.
    """
    head = getattr(model, "get_output_embeddings", lambda: None)()
    found = [(n, m) for n, m in model.named_modules() if type(m) is nn.Linear and m is not head]
    reached = sum(layer.weight.numel() for _name, layer in found)
    if reached < REACH * _inner_weights(model, head):
        raise LoadFailed(
            f"{mode} would reach too few of this architecture's weights to save memory; load it with none"
        )
    for name, layer in found:
        model.set_submodule(name, Projection(layer, mode))


def kept_bytes(model: nn.Module) -> int:
    packed = sum(m.kept_bytes for m in model.modules() if isinstance(m, Projection))
    return packed + sum(p.numel() * p.element_size() for p in model.parameters())


def _inner_weights(model: nn.Module, head: nn.Module | None) -> int:
    """Count the weights but for embeddings and head."""
    outer = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding) or m is head}
    return sum(p.numel() for p in model.parameters() if id(p) not in outer)


def _int8(weight: Tensor, bias: Tensor | None) -> tuple[Linear, int]:
    top = weight.float().abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny)
    scale = (top / INT8_LIMIT).to(weight.dtype)
    codes = (weight.float() / scale.float()[:, None]).round().clamp(-INT8_LIMIT, INT8_LIMIT)
    packed = codes.to(torch.int8).contiguous()
    on_cpu = weight.device.type == "cpu"

    def run(hidden: Tensor) -> Tensor:
        if on_cpu and hidden.shape[0] <= FEW_ROWS:
            out: Tensor = torch._weight_int8pack_mm(hidden, packed, scale)  # noqa: SLF001 (no public name)
            return out if bias is None else out + bias
        out = F.linear(hidden, packed.to(hidden.dtype)).mul_(scale)
        return out if bias is None else out.add_(bias)

    return run, packed.nbytes + scale.nbytes


def _nf4(weight: Tensor, bias: Tensor | None) -> tuple[Linear, int]:
    import bitsandbytes  # noqa: PLC0415  200 ms that only this mode pays

    functional: Any = bitsandbytes.functional
    codes, state = functional.quantize_4bit(
        weight.contiguous(), quant_type="nf4", compress_statistics=True
    )

    def run(hidden: Tensor) -> Tensor:
        # Its own product wants widths of whole blocks, and is no faster without a GPU.
        return F.linear(hidden, functional.dequantize_4bit(codes, state), bias)

    kept: int = codes.nbytes + state.absmax.nbytes + state.state2.absmax.nbytes
    return run, kept
