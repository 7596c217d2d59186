"""What an InternVL processor makes of an image; its own class wants a video library even for images.

Used by `vision_prompts`. Source: transformers, models/internvl/processing_internvl.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor


class InternImages:
    def __init__(
        self, pixels: Any, tokenizer: Any, chat_template: str | None, piece_tokens: int
    ) -> None:
        """`pixels` is the folder's image processor, which cuts an image into pieces."""
        self.chat_template = chat_template
        self.image_token = str(tokenizer.context_image_token)
        self._pixels = pixels
        self._piece_tokens = piece_tokens
        named = (tokenizer.start_image_token, self.image_token, tokenizer.end_image_token)
        self._begin, self._image, self._end = map(int, tokenizer.convert_tokens_to_ids(named))

    def __call__(
        self, *, images: Sequence[Sequence[Image.Image]], **_named: Any
    ) -> Mapping[str, Tensor]:
        """Give one image's tokens and what the vision tower takes."""
        found = self._pixels(images=list(images[0]), crop_to_patches=True, return_tensors="pt")
        pixels = found["pixel_values"]
        inner = [self._image] * (len(pixels) * self._piece_tokens)
        ids = torch.tensor([[self._begin, *inner, self._end]])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}
