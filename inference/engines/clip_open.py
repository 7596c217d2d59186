"""CLIP models in open_clip's layout. Used by `embed_clip`.

open_clip wants torchvision, which exists for this torch as a CUDA build only and, where it can be
imported, breaks transformers unless two operators are declared first. So it lies in a folder of its
own (deploy/bootstrap.py puts it there) that only this process looks into.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from inference.engines.clip_encoder import ClipEncoder
from inference.engines.sentence_encoder import DTYPES
from inference.errors import LoadFailed

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "model.safetensors")
TORCHVISION = Path(sys.prefix) / "extra" / "clip"
OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# What a config may say of its tokenizer: the rest would reach code or the network.
TOKENIZER_SETTINGS = frozenset({"clean", "strip_sep_token", "language"})
BROKEN = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError)
_libraries: list[Any] = []  # a declaration lives as long as its library


class OpenClip(ClipEncoder):
    def __init__(self, folder: Path, device: str, dtype: str) -> None:
        """Raises: LoadFailed."""
        _check(folder)
        library = import_open_clip()
        name = f"local-dir:{folder}"
        try:
            self.model = library.create_model(
                name, load_weights=False, pretrained_text=False, precision="fp32", device=device
            )
            self.model.load_state_dict(load_file(_weights(folder), device=device))
            self._tokenizer: Any = library.get_tokenizer(name)
            settings = library.transform.PreprocessCfg(**self.model.visual.preprocess_cfg)
            self._transform: Any = library.transform.image_transform_v2(settings, is_train=False)
        except BROKEN as error:
            raise LoadFailed(f"{folder.name} cannot be loaded: {error}") from error
        if dtype not in {"auto", *DTYPES}:
            raise LoadFailed(f"dtype {dtype!r} is not one of auto, {', '.join(DTYPES)}")
        self.model.eval().to(DTYPES.get(dtype, torch.float32))
        self._special = _special_tokens(self._tokenizer)
        self.window_tokens = int(self._tokenizer.context_length)
        self.dimensions = self.probe()

    def tokens(self, text: str) -> list[int]:
        plain = self._special.sub(lambda found: " ".join(found.group()), text)
        count = self._count(plain)
        if count > self.window_tokens:
            return [0] * count  # refused by its length
        row: list[int] = self._tokenizer([plain])[0].tolist()
        return row

    def _count(self, text: str) -> int:
        """Count the tokens before they are cut."""
        hf = getattr(self._tokenizer, "tokenizer", None)
        if hf is None:
            return len(self._tokenizer.encode(text)) + 2
        return len(hf(self._tokenizer.clean_fn(text)).input_ids)

    def pixels(self, image: Image.Image) -> Tensor:
        made: Tensor = self._transform(image)
        return made

    def text_features(self, rows: list[list[int]]) -> Tensor:
        found: Tensor = self.model.encode_text(torch.tensor(rows, device=self.device))
        return found

    def image_features(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.model.encode_image(pixels)
        return found


def import_open_clip() -> Any:
    """Import it with its torchvision. Raises: LoadFailed."""
    if not TORCHVISION.is_dir():
        raise LoadFailed("open_clip needs torchvision in a folder of its own: run `make setup`")
    if str(TORCHVISION) not in sys.path:
        sys.path.append(str(TORCHVISION))
        _declare_operators()
    try:
        import open_clip  # noqa: PLC0415  its import needs what was done above
    except (ImportError, RuntimeError) as error:
        raise LoadFailed(f"open_clip cannot be imported: {error}") from error
    return open_clip


def _declare_operators() -> None:
    """Only where torchvision's own extension, a CUDA build, cannot do it."""
    if torch.version.cuda is not None:
        return
    make: Any = torch.library.Library
    library = make("torchvision", "FRAGMENT")
    for operator in OPERATORS:
        library.define(operator)
    _libraries.append(library)


def _check(folder: Path) -> None:
    """Refuse what would fetch or run something. Raises: LoadFailed."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        text = config["model_cfg"].get("text_cfg") or {}
        settings = set(text.get("tokenizer_kwargs") or {})
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise LoadFailed(f"{CONFIG} of {folder.name} cannot be used: {error!r}") from error
    if settings - TOKENIZER_SETTINGS:
        raise LoadFailed(f"{CONFIG} sets {sorted(settings - TOKENIZER_SETTINGS)} of its tokenizer")
    _weights(folder)


def _weights(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise LoadFailed(f"{folder.name} has no {WEIGHTS[0]}; pickled weights are never loaded")


def _special_tokens(tokenizer: Any) -> re.Pattern[str]:
    """Match the texts that the tokenizer would turn into control tokens."""
    hf = getattr(tokenizer, "tokenizer", None)
    if hf is None:
        texts = [tokenizer.decoder[token] for token in tokenizer.all_special_ids]
    else:
        texts = list(hf.all_special_tokens)
    return re.compile("|".join(map(re.escape, filter(None, texts))) or "(?!)", re.IGNORECASE)
