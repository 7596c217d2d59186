"""What a Qwen-VL processor makes of an image; its own class wants a video library even for images.

Used by `vision_prompts`. Source: transformers, models/qwen2_vl/processing_qwen2_vl.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

IMAGE = "<|image_pad|>"


class QwenImages:
    def __init__(self, pixels: Any, tokenizer: Any, chat_template: str | None) -> None:
        """`pixels` is the folder's image processor."""
        self.chat_template = chat_template
        self.image_token = str(getattr(tokenizer, "image_token", None) or IMAGE)
        self._pixels = pixels
        self._image_id = int(tokenizer.convert_tokens_to_ids(self.image_token))

    def __call__(
        self, *, images: Sequence[Sequence[Image.Image]], **_named: Any
    ) -> Mapping[str, Tensor]:
        """Give one image's tokens and what the vision tower takes."""
        found = self._pixels(images=list(images[0]), return_tensors="pt")
        count = int(found["image_grid_thw"].prod()) // self._pixels.merge_size**2
        ids = torch.full((1, count), self._image_id)
        ones = torch.ones_like(ids)
        return {"input_ids": ids, "attention_mask": ones, "mm_token_type_ids": ones, **found}
