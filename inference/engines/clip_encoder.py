"""What every image-text encoder offers to `embed_clip`, whichever library computes it.

A row of a batch is token ids, or a `Picture`, which is decoded right before it is computed.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from inference import images, wire
from inference.engines.embed_loop import Matrix, check_sound
from inference.engines.text_limit import refuse_hopeless
from inference.errors import ContextLengthExceeded, LoadFailed

PROBE_SIZE = (80, 60)
DEFAULT_IMAGE_COST = 50  # tokens, of a vision tower that has no patches


@dataclass(eq=False)
class Picture:
    """One image of a request; it costs what its patches cost."""

    image: wire.Image
    cost: int
    pixels: Tensor | None = None  # (channels, height, width)

    def __len__(self) -> int:
        return self.cost


class ClipEncoder(ABC):
    """One loaded model; not thread-safe."""

    dimensions: int
    window_tokens: int
    model: Any

    @abstractmethod
    def tokens(self, text: str) -> list[int]:
        """Give a text's ids, special tokens included, never cut."""

    @abstractmethod
    def pixels(self, image: Image.Image) -> Tensor:
        """Scale, cut and normalise."""

    @abstractmethod
    def text_features(self, rows: list[list[int]]) -> Tensor: ...

    @abstractmethod
    def image_features(self, pixels: Tensor) -> Tensor: ...

    @property
    def device(self) -> torch.device:
        return self._weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self._weight.dtype

    @property
    def _weight(self) -> Tensor:
        first: Tensor = next(iter(self.model.parameters()))
        return first

    @property
    def weights_bytes(self) -> int:
        return sum(weight.nbytes for weight in self.model.parameters())

    def text(self, text: str, number: int, param: str) -> list[int]:
        """Raises: ContextLengthExceeded before anything is computed."""
        refuse_hopeless(
            [text],
            lambda piece: len(self.tokens(piece)),
            self.window_tokens,
            param,
            f"{param} {number}",
        )
        row = self.tokens(text)
        if len(row) > self.window_tokens:
            raise ContextLengthExceeded(
                f"This model's maximum input is {self.window_tokens} tokens, but {param} {number} "
                f"has {len(row)}. Please shorten it.",
                param=param,
            )
        return row

    def picture(self, image: wire.Image) -> Picture:
        return Picture(image, image_cost(self.model))

    def decode(self, picture: Picture) -> None:
        """Raises: InvalidMedia."""
        picture.pixels = self.pixels(images.decode(picture.image, param="input"))

    @torch.inference_mode()
    def vectors(self, rows: list[Any]) -> Matrix:
        """Compute rows of one kind: all texts, or all decoded pictures. Unit length, float32."""
        if isinstance(rows[0], Picture):
            pixels = torch.stack([row.pixels for row in rows])
            found = self.image_features(pixels.to(self.device, self.dtype))
        else:
            found = self.text_features(rows)
        unit: Matrix = torch.nn.functional.normalize(found.float(), dim=-1).cpu().numpy()
        return unit

    def probe(self) -> int:
        """Compute a text and a picture, and give their dimensions. Raises: LoadFailed."""
        grey = Picture(wire.Image(b""), 1, self.pixels(Image.new("RGB", PROBE_SIZE, "grey")))
        found = [self.vectors(rows) for rows in ([self.tokens("probe")], [grey])]
        if found[0].shape != found[1].shape:
            raise LoadFailed("the model makes vectors of texts and of images of different sizes")
        for vectors in found:
            check_sound(vectors)
        return int(found[0].shape[1])

    @torch.inference_mode()
    def probabilities(self, inputs: Matrix, labels: Matrix) -> Matrix:
        """Compare unit vectors as the model was trained to: softmax, or sigmoid where it has a bias."""
        scale = float(self.model.logit_scale.float().exp())
        bias = getattr(self.model, "logit_bias", None)
        logits = torch.from_numpy(inputs @ labels.T) * scale
        told = logits.softmax(-1) if bias is None else (logits + float(bias)).sigmoid()
        result: Matrix = told.numpy().astype(np.float32)
        return result


def image_cost(model: Any) -> int:
    """Count the tokens of one image in the vision tower."""
    vision = getattr(getattr(model, "config", None), "vision_config", None)
    if vision is None:
        vision = getattr(model, "visual", None)
    size, patch = (_side(getattr(vision, name, 0)) for name in ("image_size", "patch_size"))
    return (size // patch) ** 2 + 1 if size and patch else DEFAULT_IMAGE_COST


def _side(size: Any) -> int:
    return int(size[0]) if isinstance(size, list | tuple) else int(size or 0)


def padded(rows: list[list[int]], pad_id: int, width: int = 0) -> Tensor:
    """Give (rows, longest or `width`) ids."""
    width = width or max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = torch.tensor(tokens)
    return ids
