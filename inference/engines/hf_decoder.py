"""The general path: any causal language model of transformers, with keys and values in our tables.

Running sequences of a table are computed together where the model allows it (it is tried at load
against the model's own answer), else one after the other.
"""

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer
from transformers.pytorch_utils import Conv1D

from inference.engines import quantized
from inference.engines.base import NO_NUMBERS
from inference.engines.decoder import Decode, DecodeIndex, Decoder, Prefill, PrefillIndex
from inference.engines.kv_cache import KvPool, Layout, Stage
from inference.engines.lora import Group, Lora, Place, groups
from inference.engines.lora_file import NotAttachable
from inference.engines.sampling import sound
from inference.errors import LoadFailed

TOLERANCE = {torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 2e-1}  # of the logits' scale


class _Index(Protocol):
    """Where one forward's keys and values go."""

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]: ...


class _Layer(DynamicLayer):
    """A layer of the model's cache that stands for rows of our tables."""

    def __init__(self, index: _Index, layer: int, past: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._index, self._layer, self._past = index, layer, past

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_named: Any
    ) -> tuple[Tensor, Tensor]:
        return self._index.write(self._layer, key_states, value_states)

    def get_seq_length(self) -> int:
        return self._past


class _Together:
    """A `DecodeIndex` for keys and values as models give them: (rows, kv_heads, 1, dim)."""

    def __init__(self, index: DecodeIndex) -> None:
        self._index = index

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return self._index.write(layer, keys[:, :, 0], values[:, :, 0])


class _Row:
    """One row of a table."""

    def __init__(self, decode: Decode, row: int) -> None:
        keys, values = decode.table.storage()
        self._keys, self._values = keys[:, row : row + 1], values[:, row : row + 1]
        self._at = decode.lengths[row]

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        end = self._at + 1
        own_keys, own_values = self._keys[layer], self._values[layer]
        own_keys[:, :, self._at : end], own_values[:, :, self._at : end] = keys, values
        return own_keys[:, :, :end], own_values[:, :, :end]


class HfDecoder(Decoder):
    def __init__(self, model: Any) -> None:
        """Raises: LoadFailed where the model keeps other state than keys and values."""
        self._model = model.eval()
        self._adapted: list[Group] = []  # of the forward at hand
        self._hooked: set[str] = set()  # modules that look at them
        self._device = next(model.parameters()).device
        named = inspect.signature(model.forward).parameters
        self._keeps = "logits_to_keep" in named
        self._places = "position_ids" in named
        self.vocab_tokens = int(model.config.get_text_config().vocab_size)
        self.weights_bytes = quantized.kept_bytes(model)
        self.layout = self._probe_layout()
        self.together = self._places and self._masks() is not None
        self._check()

    @torch.inference_mode()
    def step(self, decodes: Sequence[Decode], prefills: Sequence[Prefill]) -> Tensor:
        parts: list[Tensor] = []
        for decode in decodes:
            parts += [self._together(decode)] if self.together else self._one_by_one(decode)
        parts += [self._prefill(prefill) for prefill in prefills]
        return torch.cat(parts)

    # --- forwards ---------------------------------------------------------------------------------

    def _together(self, decode: Decode) -> Tensor:
        index = DecodeIndex(decode)
        positions = [decode.position(row) for row in range(index.rows)]
        three = torch.tensor([decode.tokens, decode.lengths, positions], device=self._device)
        given = {"attention_mask": self._mask(index, three[1]), "position_ids": three[2][:, None]}
        ids = {"input_ids": three[0][:, None]}
        self._adapt([(decode.lora(row), 1) for row in range(index.rows)])
        return self._forward(ids, _Together(index), index.span - 1, 1, given)[:, -1]

    def _one_by_one(self, decode: Decode) -> list[Tensor]:
        parts = []
        for row, token in enumerate(decode.tokens):
            self._adapt([(decode.lora(row), 1)])
            at = torch.tensor([[decode.position(row)]], device=self._device)
            parts.append(self._solo([token], _Row(decode, row), decode.lengths[row], 1, at))
        return parts

    def _prefill(self, prefill: Prefill) -> Tensor:
        want = prefill.want
        self._adapt([(prefill.lora, 1)])
        at = None if prefill.places is None else prefill.places[:, None].to(self._device)
        logits = self._solo(prefill.tokens, PrefillIndex(prefill), prefill.start, max(want, 1), at)
        return logits[len(logits) - want :]

    def _solo(
        self, tokens: Sequence[int], index: _Index, past: int, keep: int, at: Tensor | None
    ) -> Tensor:
        """Give the logits of the last `keep` tokens of one sequence; the model makes its own mask.

        `at` are its positions, where they are not just counted: (1, tokens) or (3, 1, tokens).
        """
        given = {}
        if self._places:
            counted = torch.arange(past, past + len(tokens), device=self._device)[None]
            given["position_ids"] = counted if at is None else at
        logits = self._forward(self._inputs(tokens, past), index, past, keep, given)[0]
        return logits[len(logits) - keep :]

    def _inputs(self, tokens: Sequence[int], past: int) -> dict[str, Tensor]:
        """Give what a forward of these tokens takes, behind `past` others."""
        del past
        return {"input_ids": torch.tensor([tokens], device=self._device)}

    def _forward(
        self,
        inputs: dict[str, Tensor],
        index: _Index,
        past: int,
        keep: int,
        given: dict[str, Any],
    ) -> Tensor:
        """Give logits (rows, >= keep, vocab)."""
        layers = [_Layer(index, at, past) for at in range(self.layout.layers)]
        if self._keeps:
            given["logits_to_keep"] = keep
        out = self._model(
            **inputs,
            past_key_values=Cache(layers=list(layers)),
            use_cache=True,
            return_dict=True,
            **given,
        )
        logits: Tensor = out.logits
        return logits

    # --- adapters ---------------------------------------------------------------------------------

    def place(self, module: str) -> Place:
        if hasattr(self._model, "_compiled_call_impl") and self._model._compiled_call_impl:  # noqa: SLF001
            raise NotAttachable("a compiled model takes none; set torch_compile to false")
        try:
            found = self._model.get_submodule(module)
        except AttributeError:
            found = None
        sizes = None if found is None else _sizes(found)
        if sizes is None:
            raise NotAttachable(f"its base has no linear {module[:100]}")
        return Place(module, *sizes, offset=0, width=sizes[1])

    def _adapt(self, spans: Sequence[tuple[Lora | None, int]]) -> None:
        """Say whose the rows of the next forward are."""
        self._adapted = groups(spans, self._device)
        for group in self._adapted:
            for name in group.lora.deltas:
                if isinstance(name, str) and name not in self._hooked:
                    self._hooked.add(name)
                    self._hook(name)

    def _hook(self, name: str) -> None:
        def add(_module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            for group in self._adapted:
                group.add(name, given[0], out)

        self._model.get_submodule(name).register_forward_hook(add)

    # --- masks ------------------------------------------------------------------------------------

    def _masks(self) -> dict[str, int | None] | None:
        """Give each kind of layer's window (None: no window); None where a kind is not known."""
        config = self._model.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or [])
        window = getattr(config, "sliding_window", None)
        if not kinds:
            return {"": window}
        if not kinds <= {"full_attention", "sliding_attention"}:
            return None
        return {kind: window if kind == "sliding_attention" else None for kind in kinds}

    def _mask(self, index: DecodeIndex, lengths: Tensor) -> Any:
        kinds = self._masks() or {}
        masks = {kind: _windowed(index.mask, lengths, window) for kind, window in kinds.items()}
        if "sliding_attention" in masks:
            return masks
        return next(iter(masks.values()))

    # --- what the model is like -------------------------------------------------------------------

    @torch.inference_mode()
    def _probe_layout(self) -> Layout:
        ids = torch.zeros((1, 2), dtype=torch.long, device=self._device)
        cache = self._model(input_ids=ids, use_cache=True, return_dict=True).past_key_values
        layers = getattr(cache, "layers", None) or []
        shapes = {
            (tuple(layer.keys.shape), tuple(layer.values.shape))
            for layer in layers
            if isinstance(layer, DynamicLayer)
            and layer.keys is not None
            and layer.values is not None
        }
        own = [layer for layer in layers if isinstance(layer, DynamicLayer)]
        if len(shapes) != 1 or len(own) != len(layers):
            kind = self._model.config.model_type
            raise LoadFailed(
                f"models of type {kind} keep more than plain keys and values; this engine cannot "
                "serve them: use the same model as GGUF"
            )
        (keys, values) = shapes.pop()
        dtype = layers[0].keys.dtype
        return Layout(len(layers), keys[1], keys[3], values[3], dtype, self._device)

    @torch.inference_mode()
    def _check(self) -> None:
        """Try two sequences of different length against the model's own answers.

        Raises: LoadFailed if even one sequence at a time comes out differently.
        """
        sequences = [[1, 5, 3, 7, 2], [4, 2, 6]]
        vocab = self.vocab_tokens
        sequences = [[token % vocab for token in sequence] for sequence in sequences]
        expected = torch.stack([self._plain(sequence) for sequence in sequences])
        if not sound(expected).all():
            raise LoadFailed(NO_NUMBERS)
        for together in (True, False) if self.together else (False,):
            self.together = together
            if close(self._decoded(sequences), expected, self.layout.dtype):
                return
        raise LoadFailed("the model's answers with cached keys and values differ from its own")

    def _plain(self, tokens: Sequence[int]) -> Tensor:
        ids = torch.tensor([tokens], device=self._device)
        logits: Tensor = self._model(input_ids=ids, use_cache=False, return_dict=True).logits
        return logits[0, -1]

    def _decoded(self, sequences: Sequence[Sequence[int]]) -> Tensor | None:
        """Give the last token's logits, computed as a running batch computes them."""
        pool = KvPool(self.layout, [16])
        try:
            for tokens in sequences:
                stage = Stage(self.layout, len(tokens) - 1)
                self.step([], [Prefill(stage, tokens[:-1], 0, 1)])
                pool.seat(stage, len(tokens) - 1)
            lengths = [len(tokens) - 1 for tokens in sequences]
            last = [tokens[-1] for tokens in sequences]
            return self.step([Decode(pool.tables[0], last, lengths)], [])
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError):
            return None  # a model that cannot take these masks says so in its own way


def _sizes(module: nn.Module) -> tuple[int, int] | None:
    """Give inputs and outputs of a linear layer; None for what is none."""
    if isinstance(module, nn.Linear | quantized.Projection):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        return module.nx, module.nf
    return None


def close(found: Tensor | None, expected: Tensor, dtype: torch.dtype) -> bool:
    if found is None:
        return False
    scale = expected.float().abs().max().clamp(min=1e-6)
    worst = (found.float() - expected.float()).abs().max() / scale
    return bool(worst <= TOLERANCE.get(dtype, 2e-1))


def _windowed(mask: Tensor, lengths: Tensor, window: int | None) -> Tensor:
    """Hide what a sliding window of so many tokens no longer sees."""
    if window is None:
        return mask
    columns = torch.arange(mask.shape[-1], device=mask.device)
    gone = columns[None, :] <= (lengths[:, None] - window)
    return mask.masked_fill(gone[:, None, None, :], float("-inf"))
