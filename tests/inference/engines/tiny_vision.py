"""Tiny image-text models with random weights, made from configs: plumbing, not sight."""

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from inference.engines.vocabulary import Vocabulary

from . import small_tokenizers

_any: Any = transformers  # its types are not those of its classes
EXTRA = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
ROWS = [f"<row_{row}_col_{column}>" for row in (1, 2, 3) for column in (1, 2, 3)]
PARTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 7,
    "initializer_range": 0.3,
}
SIDE = {"height": 28, "width": 28}


@cache
def _tokenizer() -> Any:
    tokenizer = small_tokenizers.byte_level.__wrapped__(None)
    tokenizer.add_special_tokens({"additional_special_tokens": EXTRA + ROWS})
    return tokenizer


def vocabulary() -> Vocabulary:
    return Vocabulary(_tokenizer())


def _text(config: Any = transformers.LlamaConfig, **changes: Any) -> Any:
    sizes = {
        "vocab_size": len(_tokenizer()),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "initializer_range": 0.6,
        "bos_token_id": 0,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    return config(**{**sizes, **changes})


def _image_id() -> int:
    return int(_tokenizer().convert_tokens_to_ids("<image>"))


def _clip_pixels(kind: Any, **own: Any) -> Any:
    return kind(size={"shortest_edge": 28}, crop_size=SIDE, **own)


def _llava() -> tuple[Any, Any]:
    config = _any.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**VISION),
        text_config=_text(),
        image_token_id=_image_id(),
    )
    processor = _any.LlavaProcessor(
        _clip_pixels(transformers.CLIPImageProcessorPil),
        _tokenizer(),
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return config, processor


def _llava_next() -> tuple[Any, Any]:
    grid = [[28, 56], [56, 28], [56, 56]]
    config = _any.LlavaNextConfig(
        vision_config=transformers.CLIPVisionConfig(**VISION),
        text_config=_text(transformers.MistralConfig, sliding_window=None),
        image_token_id=_image_id(),
        image_grid_pinpoints=grid,
    )
    processor = _any.LlavaNextProcessor(
        _clip_pixels(transformers.LlavaNextImageProcessorPil, image_grid_pinpoints=grid),
        _tokenizer(),
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return config, processor


def _idefics3() -> tuple[Any, Any]:
    config = transformers.Idefics3Config(
        vision_config={**VISION, "model_type": "idefics3_vision"},
        text_config=_text(),
        image_token_id=_image_id(),
        scale_factor=2,
    )
    pixels = transformers.Idefics3ImageProcessorPil(
        size={"longest_edge": 56}, max_image_size={"longest_edge": 28}
    )
    return config, transformers.Idefics3Processor(pixels, _tokenizer(), image_seq_len=4)


def _smolvlm() -> tuple[Any, Any]:
    """Its own processor wants a video library; the one of Idefics3 says the same of images."""
    config = transformers.SmolVLMConfig(
        vision_config={**VISION, "model_type": "smolvlm_vision"},
        text_config=_text(),
        image_token_id=_image_id(),
        scale_factor=2,
    )
    pixels = _any.SmolVLMImageProcessorPil(
        size={"longest_edge": 56}, max_image_size={"longest_edge": 28}
    )
    return config, _any.Idefics3Processor(pixels, _tokenizer(), image_seq_len=4)


def _paligemma() -> tuple[Any, Any]:
    """A model whose text sees the image in both directions."""
    config = transformers.PaliGemmaConfig(
        vision_config={**VISION, "model_type": "siglip_vision_model"},
        text_config={**_text(transformers.GemmaConfig, head_dim=8).to_dict()},
        image_token_index=_image_id(),
        projection_dim=32,
        hidden_size=32,
    )
    pixels = _any.SiglipImageProcessorPil(size=SIDE)
    pixels.image_seq_length = 16
    return config, _any.PaliGemmaProcessor(pixels, _tokenizer())


UNSERVED = {"paligemma": _paligemma}
KINDS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava": _llava,
    "llava_next": _llava_next,
    "idefics3": _idefics3,
    "smolvlm": _smolvlm,
}


def make(folder: Path, kind: str, template: str | None = PARTS) -> Path:
    """Save a model of this kind with its processor."""
    torch.manual_seed(len(kind))
    config, processor = (KINDS | UNSERVED)[kind]()
    auto: Any = transformers.AutoModelForImageTextToText
    model = auto.from_config(config)
    model.generation_config.eos_token_id = None
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    processor.chat_template = template
    processor.save_pretrained(folder)
    if kind == "smolvlm":  # as published
        file = folder / "processor_config.json"
        file.write_text(file.read_text().replace("Idefics3Processor", "SmolVLMProcessor"))
    return folder


def picture(seed: int, size: tuple[int, int] = (64, 40)) -> bytes:
    """Give a PNG of large coloured squares."""
    squares = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(squares).resize(size, Image.Resampling.NEAREST)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


class Reference:
    """What transformers itself says, with its own processor and its own loop."""

    def __init__(self, folder: Path) -> None:
        auto: Any = transformers.AutoModelForImageTextToText
        self.model = auto.from_pretrained(folder, dtype=torch.float32)
        self.processor = KINDS[self.model.config.model_type]()[1]

    def inputs(self, text: str, files: list[bytes]) -> Any:
        images = [Image.open(io.BytesIO(data)).convert("RGB") for data in files]
        given = {"images": [images]} if images else {}
        return self.processor(text=[text], **given, return_tensors="pt", add_special_tokens=False)

    @torch.inference_mode()
    def greedy(self, text: str, files: list[bytes], count: int) -> tuple[list[int], list[int]]:
        """Give the prompt's tokens and the answer's."""
        inputs = self.inputs(text, files)
        prompt: list[int] = inputs["input_ids"][0].tolist()
        out = self.model.generate(**inputs, max_new_tokens=count, do_sample=False, pad_token_id=0)
        return prompt, out[0, len(prompt) :].tolist()
