"""What a Gemma 3 processor makes of an image: the line breaks that it puts around one belong to the text.

Used by `vision_prompts`. A tokenizer may join them with their neighbours, so the chat template writes them.
Source: transformers, models/gemma3/processing_gemma3.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image
from torch import Tensor

AROUND = "\n\n"


class GemmaImages:
    def __init__(self, processor: Any) -> None:
        """`processor` is the folder's own."""
        self._hf = processor
        self.image_token = str(processor.boi_token)
        template = processor.chat_template
        around = f"{AROUND}{self.image_token}{AROUND}"
        self.chat_template = template and template.replace(self.image_token, around)
        ends = (self.image_token, str(processor.tokenizer.eoi_token))
        self._begin, self._end = map(int, processor.tokenizer.convert_tokens_to_ids(ends))

    def __call__(
        self, *, images: Sequence[Sequence[Image.Image]], **named: Any
    ) -> Mapping[str, Tensor]:
        """Give one image's tokens from its beginning to its end, and what the vision tower takes."""
        found = dict(self._hf(images=images, do_pan_and_scan=False, **named))
        ids = found["input_ids"][0].tolist()
        begin, end = ids.index(self._begin), ids.index(self._end) + 1
        for name in ("input_ids", "attention_mask", "token_type_ids"):
            found[name] = found[name][:, begin:end]
        return found
