"""The fast path for models of the Llama family, read straight from safetensors.

Fused projections, packed weights on CPU, keys and values in our own tables. Shapes: T tokens of a
step laid end to end, H heads, K key-value heads, D head dimension.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from inference.engines import quantized
from inference.engines.decoder import Decode, DecodeIndex, Decoder, Prefill, PrefillIndex
from inference.engines.kv_cache import Layout
from inference.engines.lora import Place, groups
from inference.engines.lora_file import NotAttachable

STATIC_ROPE = frozenset({"default", "linear", "llama3", "yarn"})
FAMILY = frozenset({"llama", "mistral", "qwen2", "qwen3"})
Weights = Callable[[str], Tensor | None]  # a tensor by its name in the checkpoint, or None
Linear = Callable[[Tensor], Tensor]
MODULE = re.compile(r"model\.layers\.(\d{1,5})\.(?:self_attn|mlp)\.([a-z]+)_proj")


def can_serve(config: PreTrainedConfig) -> bool:
    """Tell whether this config is computed truthfully here."""
    rope = getattr(config, "rope_parameters", None) or {}
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        config.model_type in FAMILY
        and getattr(config, "quantization_config", None) is None
        and rope.get("rope_type", "default") in STATIC_ROPE
        and (window is None or window >= config.max_position_embeddings)
        and kinds == {"full_attention"}
        and config.hidden_act == "silu"
    )


@dataclass(frozen=True, slots=True)
class _Layer:
    norm_in: Tensor
    qkv: Linear
    norm_q: Tensor | None
    norm_k: Tensor | None
    out: Linear
    norm_mlp: Tensor
    gate_up: Linear
    down: Linear


class LlamaDecoder(Decoder):
    def __init__(
        self,
        config: PreTrainedConfig,
        weights: Weights,
        dtype: torch.dtype,
        device: torch.device,
        on_layer: Callable[[int], None] = lambda _bytes: None,
        quantization: quantized.Mode = "none",
    ) -> None:
        """`on_layer` gets how many bytes of weights are placed so far.

        Raises: KeyError naming a tensor that the checkpoint lacks.
        """
        self._read = _Reader(weights, dtype, device, quantization)
        self._heads = config.num_attention_heads
        kv_heads = config.num_key_value_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // self._heads
        self.layout = Layout(config.num_hidden_layers, kv_heads, head_dim, head_dim, dtype, device)
        self._eps = float(config.rms_norm_eps)
        rotary: Any = LlamaRotaryEmbedding  # takes any config with rope_parameters
        self._rope = rotary(config=config).to(device)
        self._embedding = self._read.tensor("model.embed_tokens.weight")
        self._layers: list[_Layer] = []
        for at in range(config.num_hidden_layers):
            self._layers.append(self._read.layer(f"model.layers.{at}."))
            on_layer(self._read.read_bytes)
        self._norm = self._read.tensor("model.norm.weight")
        self._head = self._make_head(config)
        self._parts = _parts(config, self._heads * head_dim, kv_heads * head_dim)
        on_layer(self._read.read_bytes)
        self.vocab_tokens = self._embedding.shape[0]
        self.weights_bytes = self._read.nbytes
        del self._read

    def _make_head(self, config: PreTrainedConfig) -> Linear:
        if config.tie_word_embeddings:
            return self._read.pack(self._embedding, None)
        return self._read.head("lm_head")

    @torch.inference_mode()
    def step(self, decodes: Sequence[Decode], prefills: Sequence[Prefill]) -> Tensor:
        work = _Work(decodes, prefills, self.layout)
        hidden = F.embedding(work.tokens, self._embedding)
        cos, sin = self._rotation(work.positions)
        for at, layer in enumerate(self._layers):
            hidden = self._layer(at, layer, hidden, work, cos, sin)
        if work.picks is not None:
            hidden = hidden[work.picks]
        return self._head(F.rms_norm(hidden, self._norm.shape, self._norm, self._eps))

    def _rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Give cos and sin, (T, 1, D); the first half of sin is negated, for `roll`."""
        like = torch.empty(0, dtype=self.layout.dtype, device=self.layout.device)
        cos, sin = self._rope(like, positions[None])
        half = sin.shape[-1] // 2
        signed = torch.cat((-sin[..., :half], sin[..., half:]), -1)
        return cos[0, :, None], signed[0, :, None]

    def _layer(
        self, at: int, layer: _Layer, hidden: Tensor, work: "_Work", cos: Tensor, sin: Tensor
    ) -> Tensor:
        normed = F.rms_norm(hidden, layer.norm_in.shape, layer.norm_in, self._eps)
        qkv = work.adapted((at, "qkv"), normed, layer.qkv(normed))
        attended = work.attend(at, *self._rotate(layer, qkv, cos, sin))
        hidden = hidden + work.adapted((at, "o"), attended, layer.out(attended))
        normed = F.rms_norm(hidden, layer.norm_mlp.shape, layer.norm_mlp, self._eps)
        gate, up = work.adapted((at, "gate_up"), normed, layer.gate_up(normed)).chunk(2, -1)
        inner = F.silu(gate).mul_(up)
        return hidden + work.adapted((at, "down"), inner, layer.down(inner))

    def _rotate(
        self, layer: _Layer, projected: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give queries (T, H, D), keys and values (T, K, D), rotated to their positions."""
        heads, kv_heads, dim = self._heads, self.layout.kv_heads, self.layout.key_dim
        qkv = projected.view(-1, heads + 2 * kv_heads, dim)
        rotated = qkv[:, : heads + kv_heads]
        if layer.norm_q is not None and layer.norm_k is not None:
            queries = F.rms_norm(rotated[:, :heads], (dim,), layer.norm_q, self._eps)
            keys = F.rms_norm(rotated[:, heads:], (dim,), layer.norm_k, self._eps)
            rotated = torch.cat((queries, keys), 1)
        rotated = torch.addcmul(rotated * cos, rotated.roll(dim // 2, -1), sin)
        return rotated[:, :heads], rotated[:, heads:], qkv[:, heads + kv_heads :]

    def place(self, module: str) -> Place:
        found = MODULE.fullmatch(module)
        part = self._parts.get(found[2]) if found else None
        if found is None or part is None or int(found[1]) >= len(self._layers):
            raise NotAttachable(f"its base has no {module[:100]}")
        name, inputs, outputs, offset, width = part
        return Place((int(found[1]), name), inputs, outputs, offset, width)


def _parts(
    config: PreTrainedConfig, queries: int, keys: int
) -> dict[str, tuple[str, int, int, int, int]]:
    """Give each module's fused projection, inputs, outputs, where it begins there, and all outputs."""
    hidden, inner = config.hidden_size, config.intermediate_size
    fused = queries + 2 * keys
    return {
        "q": ("qkv", hidden, queries, 0, fused),
        "k": ("qkv", hidden, keys, queries, fused),
        "v": ("qkv", hidden, keys, queries + keys, fused),
        "o": ("o", queries, hidden, 0, hidden),
        "gate": ("gate_up", hidden, inner, 0, 2 * inner),
        "up": ("gate_up", hidden, inner, inner, 2 * inner),
        "down": ("down", inner, hidden, 0, hidden),
    }


class _Work:
    """One step's tokens laid end to end, and attention over each part's own keys and values."""

    def __init__(
        self, decodes: Sequence[Decode], prefills: Sequence[Prefill], layout: Layout
    ) -> None:
        self._decodes = [DecodeIndex(decode) for decode in decodes]
        self._prefills = [PrefillIndex(prefill) for prefill in prefills]
        tokens = [token for decode in decodes for token in decode.tokens]
        tokens.extend(token for prefill in prefills for token in prefill.tokens)
        positions = [length for decode in decodes for length in decode.lengths]
        for prefill in self._prefills:
            positions.extend(range(prefill.start, prefill.start + prefill.count))
        both = torch.tensor([tokens, positions], device=layout.device)
        self.tokens, self.positions = both[0], both[1]
        self.picks = _picks(self._decodes, prefills, layout.device)
        self._groups = layout.kv_heads
        spans = [(decode.lora(row), 1) for decode in decodes for row in range(len(decode.tokens))]
        spans += [(prefill.lora, len(prefill.tokens)) for prefill in prefills]
        self._adapted = groups(spans, layout.device)

    def adapted(self, key: tuple[int, str], hidden: Tensor, out: Tensor) -> Tensor:
        """Let adapters change their own rows of a projection's output."""
        for group in self._adapted:
            group.add(key, hidden, out)
        return out

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Give (T, H * D)."""
        parts: list[Tensor] = []
        at = 0
        for decode in self._decodes:
            span = slice(at, at + decode.rows)
            parts.append(self._decode(layer, decode, queries[span], keys[span], values[span]))
            at += decode.rows
        for prefill in self._prefills:
            span = slice(at, at + prefill.count)
            parts.append(self._prefill(layer, prefill, queries[span], keys[span], values[span]))
            at += prefill.count
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _decode(
        self, layer: int, index: DecodeIndex, queries: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        """Attend with the heads that share keys as if they were tokens: nothing is repeated."""
        all_keys, all_values = index.write(layer, keys, values)
        grouped = queries.reshape(index.rows, self._groups, -1, queries.shape[-1])
        out = F.scaled_dot_product_attention(grouped, all_keys, all_values, attn_mask=index.mask)
        return out.reshape(index.rows, -1)

    def _prefill(
        self, layer: int, index: PrefillIndex, queries: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        all_keys, all_values = index.write(
            layer, keys.transpose(0, 1)[None], values.transpose(0, 1)[None]
        )
        repeat = queries.shape[1] // self._groups
        out = F.scaled_dot_product_attention(
            queries.transpose(0, 1)[None],
            all_keys.repeat_interleave(repeat, 1),
            all_values.repeat_interleave(repeat, 1),
            attn_mask=index.mask,
            is_causal=index.mask is None,
        )
        return out[0].transpose(0, 1).reshape(index.count, -1)


def _picks(
    decodes: Sequence[DecodeIndex], prefills: Sequence[Prefill], device: torch.device
) -> Tensor | None:
    """Give which tokens get logits; None: all of them."""
    if not prefills:
        return None
    at = sum(decode.rows for decode in decodes)
    picks = list(range(at))
    for prefill in prefills:
        at += len(prefill.tokens)
        picks.extend(range(at - prefill.want, at))
    return torch.tensor(picks, dtype=torch.long, device=device)


class _Reader:
    """Places weights: fused, on the device, and packed where that is faster."""

    def __init__(
        self,
        weights: Weights,
        dtype: torch.dtype,
        device: torch.device,
        quantization: quantized.Mode,
    ) -> None:
        self._weights = weights
        self._dtype, self._device, self._quantization = dtype, device, quantization
        self.read_bytes = self.nbytes = 0  # nbytes: what is kept of it

    def _mapped(self, name: str) -> Tensor | None:
        """Give a tensor that may still be a view of the file."""
        found = self._weights(name)
        if found is None:
            return None
        size = found.numel() * self._dtype.itemsize
        self.nbytes, self.read_bytes = self.nbytes + size, self.read_bytes + size
        return found.to(device=self._device, dtype=self._dtype)

    def optional(self, name: str) -> Tensor | None:
        """Give a tensor of our own: a single view would keep the whole file in memory."""
        found = self._mapped(name)
        return None if found is None else found.clone()

    def tensor(self, name: str) -> Tensor:
        found = self.optional(name)
        if found is None:
            raise KeyError(name)
        return found

    def linear(self, *names: str) -> Linear:
        """Make one projection of several that have the same input."""
        weight, bias = self._joined(names)
        if self._quantization == "none":
            return self.pack(weight, bias)
        run, kept = quantized.linear(weight, bias, self._quantization)
        self.nbytes += kept - weight.nbytes
        return run

    def head(self, name: str) -> Linear:
        """Make the last projection, which stays as it is: its errors would reach every token."""
        return self.pack(*self._joined((name,)))

    def _joined(self, names: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """Raises: KeyError naming a tensor that is not there."""
        weights = [self._mapped(f"{name}.weight") for name in names]
        placed = [weight for weight in weights if weight is not None]
        if len(placed) < len(names):
            raise KeyError(f"{names[weights.index(None)]}.weight")
        weight = torch.cat(placed)
        biases = [self.optional(f"{name}.bias") for name in names]
        given = [bias for bias in biases if bias is not None]
        return weight, torch.cat(given) if given else None

    def pack(self, weight: Tensor, bias: Tensor | None) -> Linear:
        packed = _packed(weight, bias)
        return packed or (lambda hidden: F.linear(hidden, weight, bias))

    def layer(self, prefix: str) -> _Layer:
        attention, mlp = f"{prefix}self_attn.", f"{prefix}mlp."
        return _Layer(
            norm_in=self.tensor(f"{prefix}input_layernorm.weight"),
            qkv=self.linear(*(f"{attention}{part}_proj" for part in "qkv")),
            norm_q=self.optional(f"{attention}q_norm.weight"),
            norm_k=self.optional(f"{attention}k_norm.weight"),
            out=self.linear(f"{attention}o_proj"),
            norm_mlp=self.tensor(f"{prefix}post_attention_layernorm.weight"),
            gate_up=self.linear(f"{mlp}gate_proj", f"{mlp}up_proj"),
            down=self.linear(f"{mlp}down_proj"),
        )


def _packed(weight: Tensor, bias: Tensor | None) -> Linear | None:
    """Reorder a bf16 weight once into the layout that oneDNN computes in (a quarter faster)."""
    ops: Any = torch.ops.mkldnn
    if weight.device.type != "cpu" or weight.dtype != torch.bfloat16:
        return None
    if not torch._C._has_mkldnn or not hasattr(ops, "_reorder_linear_weight"):  # noqa: SLF001
        return None
    if not ops._is_mkldnn_bf16_supported():  # noqa: SLF001  a CPU without AVX-512: it would raise
        return None
    packed = ops._reorder_linear_weight(weight.contiguous(), 1)  # noqa: SLF001 (no public name)
    run = ops._linear_pointwise  # noqa: SLF001

    def linear(hidden: Tensor) -> Tensor:
        result: Tensor = run(hidden, packed, bias, "none", [], "")
        return result

    return linear
