"""A transformers encoder that turns token ids into sentence vectors; used by `embed_text` only."""

from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

from inference.engines import complete
from inference.engines.encoder_folder import EncoderFolder
from inference.engines.prompts import check_vectors
from inference.engines.text_limit import refuse_hopeless
from inference.errors import ContextLengthExceeded, InvalidValue, LoadFailed

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Tokenizer:
    """Texts and id lists -> ids with the model's special tokens around them, never cut."""

    def __init__(self, folder: EncoderFolder) -> None:
        slow = AutoTokenizer.from_pretrained(folder.path, local_files_only=True)
        fast = getattr(slow, "backend_tokenizer", None)
        if fast is None:
            raise LoadFailed(f"{folder.path.name} has no fast tokenizer")
        fast.no_truncation()
        fast.no_padding()
        fast.encode_special_tokens = True  # a special token in user text is text
        self._fast: Any = fast
        self._prefix = folder.prefix
        self.pad_id = int(slow.pad_token_id or 0)
        self.max_tokens = int(min(slow.model_max_length, 2**31))
        self._before, self._after = self._special_tokens()

    def _special_tokens(self) -> tuple[list[int], list[int]]:
        """Find what the tokenizer puts before and after a text."""
        bare = self._fast.encode("a", add_special_tokens=False).ids
        full = self._fast.encode("a").ids
        at = next(i for i in range(len(full)) if full[i : i + len(bare)] == bare)
        return full[:at], full[at + len(bare) :]

    def encode(self, inputs: list[str | list[int]], vocabulary: int) -> list[list[int]]:
        """Keep the order of `inputs`.

        Raises: InvalidValue for an id outside the vocabulary or an input without tokens.
        """
        texts = [self._prefix + item for item in inputs if isinstance(item, str)]
        encoded = iter(self._fast.encode_batch(texts))
        rows = [
            next(encoded).ids if isinstance(item, str) else self._around(item, vocabulary)
            for item in inputs
        ]
        if not all(rows):
            raise InvalidValue("an input is empty", param="input")
        for row in rows:
            check_vectors(row, vocabulary, "input")
        return rows

    def refuse_hopeless(self, text: str, window: int, number: int) -> None:
        """Raises: ContextLengthExceeded for what is far too long, without reading all of it."""
        refuse_hopeless([text], self._count, window, "input", f"input {number}")

    def _count(self, text: str) -> int:
        return len(self._fast.encode(text, add_special_tokens=False).ids)

    def _around(self, ids: list[int], vocabulary: int) -> list[int]:
        if not ids or not all(0 <= token < vocabulary for token in ids):
            raise InvalidValue(
                f"token ids must be a non-empty list of this model's own ids, 0 to {vocabulary - 1}",
                param="input",
            )
        before = [] if ids[: len(self._before)] == self._before else self._before
        after = [] if self._after and ids[-len(self._after) :] == self._after else self._after
        return [*before, *ids, *after]


class SentenceEncoder:
    """One loaded encoder; not thread-safe."""

    def __init__(self, folder: EncoderFolder, device: str, dtype: str, context_tokens: int) -> None:
        """Raises: LoadFailed."""
        self._folder = folder
        self._device = torch.device(device)
        self._tokenizer = Tokenizer(folder)
        self._model = _load(folder, self._device, dtype)
        config = self._model.config
        self._vocabulary = int(config.vocab_size)
        self.dimensions = int(config.hidden_size) * len(folder.pooling)
        self.window_tokens = self._window(context_tokens)

    @property
    def dtype(self) -> str:
        return str(self._model.dtype).removeprefix("torch.")

    @property
    def weights_bytes(self) -> int:
        return sum(weight.nbytes for weight in self._model.parameters())

    def _window(self, asked: int) -> int:
        """Tokens that one input may have: what was asked for, else the folder's word, within the positions."""
        positions = getattr(self._model.config, "max_position_embeddings", None)
        limit = min(self._tokenizer.max_tokens, positions or self._tokenizer.max_tokens)
        if getattr(self._model.config, "model_type", "") in {"roberta", "xlm-roberta", "camembert"}:
            limit -= int(self._model.config.pad_token_id) + 1  # positions start after the pad id
        return min(asked or self._folder.window_tokens or limit, limit)

    def encode(self, inputs: list[str | list[int]]) -> list[list[int]]:
        """Raises: InvalidValue; ContextLengthExceeded before anything is computed."""
        for number, item in enumerate(inputs):
            if isinstance(item, str):
                self._tokenizer.refuse_hopeless(item, self.window_tokens, number)
        rows = self._tokenizer.encode(inputs, self._vocabulary)
        for number, row in enumerate(rows):
            if len(row) > self.window_tokens:
                raise ContextLengthExceeded(
                    f"This model's maximum input is {self.window_tokens} tokens, but input "
                    f"{number} has {len(row)}. Please shorten it.",
                    param="input",
                )
        return rows

    @torch.inference_mode()
    def vectors(self, rows: list[list[int]]) -> torch.Tensor:
        """Compute (rows, dimensions) float32 on the CPU from rows of any lengths."""
        ids, mask = self._padded(rows)
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = torch.cat(
            [_POOL[mode](hidden.float(), mask) for mode in self._folder.pooling], dim=-1
        )
        if self._folder.normalize:
            pooled = torch.nn.functional.normalize(pooled, dim=-1)
        return pooled.cpu()

    def _padded(self, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and mask (B, T) on the device."""
        lengths = torch.tensor([len(row) for row in rows])
        width = int(lengths.max())
        ids = torch.full((len(rows), width), self._tokenizer.pad_id, dtype=torch.long)
        for row, tokens in zip(ids, rows, strict=True):
            row[: len(tokens)] = torch.tensor(tokens)
        mask = (torch.arange(width)[None] < lengths[:, None]).long()
        return ids.to(self._device), mask.to(self._device)


def _load(folder: EncoderFolder, device: torch.device, dtype: str) -> Any:
    if dtype not in {"auto", *DTYPES}:
        raise LoadFailed(f"dtype {dtype!r} is not one of auto, {', '.join(DTYPES)}")
    own = "auto" if device.type == "cuda" else torch.float32  # CPUs are slow in half precision
    try:
        model = complete.load(
            AutoModel, folder.path, dtype=own if dtype == "auto" else DTYPES[dtype]
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise LoadFailed(f"{folder.path.name} cannot be loaded: {error}") from error
    model.get_input_embeddings().weight.sum()  # mapped: read now, so that memory is measured with it
    return model.eval().to(device)


def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weight = mask[..., None].to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1)


def _first(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden[:, 0]


def _last(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]


def _max(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden.masked_fill(mask[..., None] == 0, -torch.inf).amax(1)


_POOL = {"mean": _mean, "cls": _first, "last": _last, "max": _max}  # (B, T, D), (B, T) -> (B, D)
