"""CLIP, SigLIP and their like in Hugging Face layout; needs no torchvision. Used by `embed_clip`."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel

from inference.engines import complete
from inference.engines.clip_encoder import ClipEncoder, padded
from inference.engines.encoder_folder import EncoderFolder
from inference.engines.sentence_encoder import DTYPES, Tokenizer
from inference.errors import InvalidMedia, LoadFailed

FULL_WIDTH = frozenset({"siglip", "siglip2"})  # trained on texts padded to the end, without a mask
BROKEN = (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError, AttributeError)
_REFUSED = (ValueError, TypeError, RuntimeError, IndexError, ZeroDivisionError)


class HfClip(ClipEncoder):
    def __init__(self, folder: Path, device: str, dtype: str) -> None:
        """Raises: LoadFailed."""
        processor: Any = AutoImageProcessor
        try:
            self.model = _model(folder, dtype).eval().to(torch.device(device))
            self._processor: Any = processor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            self._tokenizer = Tokenizer(EncoderFolder(folder, (), False, 0, ""))
        except BROKEN as error:
            raise LoadFailed(f"{folder.name} cannot be loaded: {error}") from error
        config = self.model.config
        if not hasattr(self.model, "get_image_features") or not hasattr(config, "text_config"):
            raise LoadFailed(f"models of type {config.model_type} do not join images and texts")
        self._vocabulary = int(config.text_config.vocab_size)
        self._full = config.model_type in FULL_WIDTH
        positions = int(config.text_config.max_position_embeddings)
        self.window_tokens = min(positions, self._tokenizer.max_tokens)
        self.dimensions = self.probe()

    def tokens(self, text: str) -> list[int]:
        return self._tokenizer.encode([text], self._vocabulary)[0]

    def pixels(self, image: Image.Image) -> Tensor:
        try:
            made: Tensor = self._processor(images=image, return_tensors="pt")["pixel_values"][0]
        except _REFUSED as error:
            raise InvalidMedia(
                f"the model cannot take an image of {image.width} x {image.height} pixels",
                param="input",
            ) from error
        return made

    def text_features(self, rows: list[list[int]]) -> Tensor:
        width = self.window_tokens if self._full else 0
        ids = padded(rows, self._tokenizer.pad_id, width).to(self.device)
        if self._full:
            return _pooled(self.model.get_text_features(input_ids=ids))
        lengths = torch.tensor([len(row) for row in rows])[:, None]
        mask = (torch.arange(ids.shape[1])[None] < lengths).long().to(self.device)
        return _pooled(self.model.get_text_features(input_ids=ids, attention_mask=mask))

    def image_features(self, pixels: Tensor) -> Tensor:
        return _pooled(self.model.get_image_features(pixel_values=pixels))


def _pooled(out: Any) -> Tensor:
    found: Tensor = getattr(out, "pooler_output", out)
    return found


def _model(folder: Path, dtype: str) -> Any:
    if dtype not in {"auto", *DTYPES}:
        raise LoadFailed(f"dtype {dtype!r} is not one of auto, {', '.join(DTYPES)}")
    return complete.load(
        AutoModel, folder, dtype=torch.float32 if dtype == "auto" else DTYPES[dtype]
    )
