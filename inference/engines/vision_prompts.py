"""From messages with images to tokens: the model's own processor says what stands for an image.

Used by `vlm_transformers`, on the thread that encodes prompts. An image is looked at once, however
often its conversation comes back, as long as there is room to remember it.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import transformers
from PIL import Image
from torch import Tensor

from inference import images, wire
from inference.engines import templates
from inference.engines.gemma_images import GemmaImages
from inference.engines.intern_images import InternImages
from inference.engines.prompts import PROBE, PromptEncoder, render
from inference.engines.qwen_images import QwenImages
from inference.engines.vision_decoder import Seen, VisionDecoder
from inference.engines.vocabulary import Vocabulary
from inference.errors import InvalidMedia, InvalidRequest, LoadFailed

REMEMBERED_BYTES = 64 * 1024**2  # of image vectors
PROBE_SIZE = (80, 60)
# What a processor raises for an image that it cannot cut or scale (a side of one pixel, say).
_REFUSED = (ValueError, TypeError, RuntimeError, IndexError, ZeroDivisionError, KeyError)


# Those that want a video library even for images, and the one that says the same of an image.
IMAGE_ONLY = {"SmolVLMProcessor": "Idefics3Processor"}
QWEN = frozenset({"Qwen2VLProcessor", "Qwen2_5_VLProcessor", "Qwen3VLProcessor"})
INTERN = "InternVLProcessor"
GEMMA = "Gemma3Processor"
Room = Callable[[int], object]  # refuses a prompt of so many tokens


@dataclass
class _View:
    """An image with its size in tokens; either looked at already, or ready to be."""

    key: bytes
    tokens: int
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    seen: Seen | None = None


class Processor:
    """What the folder's processor makes of one image: its tokens, and what the vision tower takes."""

    def __init__(self, folder: Path, vocabulary: Vocabulary) -> None:
        """Raises: LoadFailed."""
        try:
            self._hf = _open(folder)
            self.image = str(self._hf.image_token)
        except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
            raise LoadFailed(
                f"the image processor in {folder.name} cannot be used: {error}"
            ) from error
        found: Any = vocabulary.hf.convert_tokens_to_ids(self.image)
        self.image_id = int(found)

    @property
    def template(self) -> str | None:
        found = getattr(self._hf, "chat_template", None)
        return found.get("default") if isinstance(found, dict) else found

    def __call__(self, picture: Image.Image) -> Mapping[str, Tensor]:
        """Raises: InvalidMedia."""
        try:
            made: Mapping[str, Tensor] = self._hf(
                text=[self.image],
                images=[[picture]],
                return_tensors="pt",
                add_special_tokens=False,
            )
        except _REFUSED as error:
            raise InvalidMedia(
                f"the model cannot take an image of {picture.width} x {picture.height} pixels",
                param="messages",
            ) from error
        return made


class VisionPrompts:
    def __init__(self, folder: Path, vocabulary: Vocabulary, decoder: VisionDecoder) -> None:
        """Raises: LoadFailed."""
        self._processor = Processor(folder, vocabulary)
        self._decoder = decoder
        self._remembered: OrderedDict[bytes, Seen] = OrderedDict()
        self.most_pixels = 0  # of a picture that was looked at
        self.encoder = self._encoder(vocabulary)
        decoder.check_image(self._processor(Image.linear_gradient("L").resize(PROBE_SIZE)))

    def _encoder(self, vocabulary: Vocabulary) -> PromptEncoder:
        plain = vocabulary.prompt_encoder()
        own = self._processor.template
        template = templates.compiled(own) or plain.template
        encoder = replace(plain, template=template, image=self._processor.image)
        return replace(encoder, in_parts=_takes_parts(encoder))

    def encode(
        self, messages: Sequence[wire.ChatMessage], context: int, room: Room
    ) -> tuple[list[int], list[Seen]]:
        """Give the tokens and the images behind them.

        Raises: InvalidRequest, InvalidMedia; what `room` raises, before an image is looked at.
        """
        tokens = self.encoder.encode(wire.ChatPrompt(messages=list(messages)), context)
        found = [image for message in messages for image in message.images]
        if tokens.count(self._processor.image_id) != len(found):
            raise InvalidRequest(
                "the model's chat template has no place for the images of these messages",
                param="messages",
            )
        views = [self._view(image) for image in found]
        room(len(tokens) + sum(view.tokens - 1 for view in views))
        seen = [self._look(view) for view in views]
        return self._filled(tokens, seen), seen

    def _filled(self, tokens: Sequence[int], seen: Sequence[Seen]) -> list[int]:
        left = iter(seen)
        filled: list[int] = []
        for token in tokens:
            filled += next(left).tokens if token == self._processor.image_id else [token]
        return filled

    def _view(self, image: wire.Image) -> _View:
        key = hashlib.sha256(image.detail.encode() + b"\0" + image.data).digest()
        if known := self._remembered.get(key):
            self._remembered.move_to_end(key)
            return _View(key, len(known.tokens), seen=known)
        inputs = self._processor(images.decode(image, param="messages"))
        self.most_pixels = max(self.most_pixels, images.pixels(image))
        return _View(key, inputs["input_ids"].shape[1], inputs=inputs)

    def _look(self, view: _View) -> Seen:
        if view.seen is None:
            view.seen = self._remembered.get(view.key) or self._decoder.look(view.inputs)
            self._remember(view.key, view.seen)
        return view.seen

    def _remember(self, key: bytes, seen: Seen) -> None:
        self._remembered[key] = seen
        while sum(other.nbytes for other in self._remembered.values()) > REMEMBERED_BYTES:
            self._remembered.popitem(last=False)


def _open(folder: Path) -> Any:
    """Give the folder's processor. Raises: what transformers raises."""
    library: Any = transformers
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    settings = _settings(folder)
    name = str(settings.get("processor_class"))
    if name not in IMAGE_ONLY and name not in QWEN and name != INTERN:
        own = library.AutoProcessor.from_pretrained(folder, **local)
        return GemmaImages(own) if name == GEMMA else own
    tokenizer = library.AutoTokenizer.from_pretrained(folder, **local)
    pixels = library.AutoImageProcessor.from_pretrained(folder, **local)
    template = settings.get("chat_template") or tokenizer.chat_template
    if name in QWEN:
        return QwenImages(pixels, tokenizer, template)
    if name == INTERN:
        return InternImages(pixels, tokenizer, template, int(settings.get("image_seq_length", 256)))
    sizes = {"image_seq_len": int(settings.get("image_seq_len", 64))}
    return getattr(library, IMAGE_ONLY[name])(pixels, tokenizer, chat_template=template, **sizes)


def _settings(folder: Path) -> dict[str, Any]:
    """Read what the folder says of its processor; a later file counts more."""
    found: dict[str, Any] = {}
    for name in ("preprocessor_config.json", "chat_template.json", "processor_config.json"):
        if (folder / name).is_file():
            found |= json.loads((folder / name).read_text(encoding="utf-8"))
    return found


def _takes_parts(encoder: PromptEncoder) -> bool:
    """Try whether a template takes content as a list of parts (else an image is put into the text)."""
    if encoder.template is None:
        return False
    probe = wire.ChatMessage("user", PROBE, parts=[wire.Image(b""), PROBE])
    try:
        text = render(encoder.template, [probe], encoder.variables)
    except InvalidRequest:
        return False
    written_out = f"'{PROBE}'" in text or f'"{PROBE}"' in text
    return PROBE in text and str(encoder.image) in text and not written_out
