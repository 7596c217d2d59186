"""Tiny image-text models with random weights, made from configs: plumbing, not sight."""

import io
import json
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
QWEN = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
EXTRA = [*QWEN, "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
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
VISION_QWEN: dict[str, Any] = {
    "depth": 2,
    "num_heads": 4,
    "patch_size": 7,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "initializer_range": 0.3,
}


@cache
def tokenizer() -> Any:
    made = small_tokenizers.byte_level.__wrapped__(None)
    made.add_special_tokens({"additional_special_tokens": EXTRA + ROWS})
    return made


def vocabulary() -> Vocabulary:
    return Vocabulary(tokenizer())


def _text(config: Any = transformers.LlamaConfig, **changes: Any) -> Any:
    sizes = {
        "vocab_size": len(tokenizer()),
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
    return int(tokenizer().convert_tokens_to_ids("<image>"))


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
        tokenizer(),
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
        tokenizer(),
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
    return config, transformers.Idefics3Processor(pixels, tokenizer(), image_seq_len=4)


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
    return config, _any.Idefics3Processor(pixels, tokenizer(), image_seq_len=4)


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
    return config, _any.PaliGemmaProcessor(pixels, tokenizer())


class Qwen:
    """Qwen-VL's processor as far as images go: its own wants a video library."""

    image_token, chat_template = "<|image_pad|>", ""

    def __init__(self, pixels: Any) -> None:
        self._pixels = pixels

    def save_pretrained(self, folder: Path) -> None:
        own = tokenizer()
        own.chat_template, kept = self.chat_template, own.chat_template
        own.save_pretrained(folder)
        own.chat_template = kept
        self._pixels.save_pretrained(folder)

    def __call__(self, text: list[str], images: Any = ((),), **named: Any) -> dict[str, Any]:
        found = self._pixels(images=list(images[0]), return_tensors="pt") if images[0] else {}
        for grid in found.get("image_grid_thw", ()):
            text = [text[0].replace(self.image_token, "@" * (int(grid.prod()) // 4), 1)]
        whole = tokenizer()([text[0].replace("@", self.image_token)], **named)
        kinds = (whole["input_ids"] == tokenizer().convert_tokens_to_ids(self.image_token)).long()
        return {**whole, **found, "mm_token_type_ids": kinds}


def _qwen(config: Any, vision: dict[str, Any]) -> tuple[Any, Any]:
    """Models whose images have positions in height and width."""
    named = ("vision_start", "vision_end", "image", "video")
    ids = tokenizer().convert_tokens_to_ids(QWEN)
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1]}
    made = config(
        vision_config={**VISION_QWEN, **vision},
        text_config={**_text().to_dict(), "model_type": None, "rope_parameters": rope},
        tie_word_embeddings=False,
        **{f"{name}_token_id": number for name, number in zip(named, ids, strict=True)},
    )
    pixels = _any.Qwen2VLImageProcessorPil(
        patch_size=7, merge_size=2, size={"shortest_edge": 28 * 28, "longest_edge": 56 * 56}
    )
    return made, Qwen(pixels)


def _qwen2() -> tuple[Any, Any]:
    return _qwen(_any.Qwen2VLConfig, {"embed_dim": 32, "mlp_ratio": 2, "hidden_size": 32})


def _qwen25() -> tuple[Any, Any]:
    own = {"out_hidden_size": 32, "window_size": 28, "fullatt_block_indexes": [1]}
    return _qwen(_any.Qwen2_5_VLConfig, {"hidden_size": 32, "intermediate_size": 48, **own})


def _qwen3() -> tuple[Any, Any]:
    own = {"out_hidden_size": 32, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
    return _qwen(_any.Qwen3VLConfig, {"hidden_size": 32, "intermediate_size": 48, **own})


def _named(**tokens: str) -> Any:
    """Give a tokenizer that knows its image tokens by name."""
    backend = tokenizer().backend_tokenizer
    ends = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
    return _any.PreTrainedTokenizerFast(
        tokenizer_object=backend, extra_special_tokens=tokens, **ends
    )


def _gemma3() -> tuple[Any, Any]:
    """A model whose image tokens see each other in both directions, some layers through a window."""
    ends = {"boi_token": "<|vision_start|>", "eoi_token": "<|vision_end|>"}
    begin, end = tokenizer().convert_tokens_to_ids([*ends.values()])
    kinds = ["sliding_attention", "full_attention"]
    own = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 12, "layer_types": kinds}
    text = _text(transformers.Gemma3TextConfig, **own)
    config = _any.Gemma3Config(
        vision_config={**VISION, "model_type": "siglip_vision_model"},
        text_config=text.to_dict(),
        mm_tokens_per_image=4,
        image_token_id=_image_id(),
        boi_token_index=begin,
        eoi_token_index=end,
    )
    named = _named(image_token="<image>", **ends)
    pixels = _any.Gemma3ImageProcessorPil(size=SIDE)
    return config, _any.Gemma3Processor(pixels, named, image_seq_length=4)


class Intern(_any.InternVLProcessor):  # type: ignore[misc] # its types are not those of its classes
    """InternVL's processor, which takes a missing video library for a wrong argument."""

    def check_argument_for_proper_class(self, _name: str, argument: Any) -> Any:
        return type(argument)

    def save_pretrained(self, folder: Path) -> None:
        own = self.tokenizer
        own.chat_template = self.chat_template
        own.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)
        named = {"processor_class": "InternVLProcessor", "image_seq_length": self.image_seq_length}
        (folder / "processor_config.json").write_text(json.dumps(named))


def _internvl() -> tuple[Any, Any]:
    """A model whose images are cut into pieces between two tokens of their own."""
    own = {"image_size": [28, 28], "patch_size": [7, 7], "layer_scale_init_value": 0.5}
    config = _any.InternVLConfig(
        vision_config={**VISION, **own},
        text_config=_text(transformers.Qwen2Config).to_dict(),
        image_token_id=_image_id(),
        image_seq_length=4,
    )
    named = _named(
        context_image_token="<image>",
        start_image_token="<|vision_start|>",
        end_image_token="<|vision_end|>",
        video_token="<|video_pad|>",
    )
    pixels = _any.GotOcr2ImageProcessorPil(size=SIDE)
    return config, Intern(pixels, named, None, image_seq_length=4)


UNSERVED = {"paligemma": _paligemma}
KINDS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava": _llava,
    "llava_next": _llava_next,
    "idefics3": _idefics3,
    "smolvlm": _smolvlm,
    "qwen2_vl": _qwen2,
    "qwen2_5_vl": _qwen25,
    "qwen3_vl": _qwen3,
    "internvl": _internvl,
    "gemma3": _gemma3,
}
PUBLISHED = {  # the processor that a folder names, which wants a video library
    "smolvlm": "SmolVLMProcessor",
    "qwen2_vl": "Qwen2VLProcessor",
    "qwen2_5_vl": "Qwen2_5_VLProcessor",
    "qwen3_vl": "Qwen3VLProcessor",
}


def written(processor: Any) -> str:
    """Give what stands for an image in a prompt."""
    if isinstance(processor, Qwen):
        return f"<|vision_start|>{processor.image_token}<|vision_end|>"
    return str(processor.image_token)


def make(folder: Path, kind: str, template: str | None = PARTS) -> Path:
    """Save a model of this kind with its processor."""
    torch.manual_seed(len(kind))
    config, processor = (KINDS | UNSERVED)[kind]()
    auto: Any = transformers.AutoModelForImageTextToText
    model = auto.from_config(config)
    model.generation_config.eos_token_id = None
    for name, parameter in model.named_parameters():
        if name.endswith(("bias", "projection_weight")):  # those that begin as zeros
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    processor.chat_template = template and template.replace("<image>", written(processor))
    processor.save_pretrained(folder)
    if kind in PUBLISHED:
        names = ("processor_config.json", "preprocessor_config.json")
        file = next(folder / name for name in names if (folder / name).is_file())
        named = json.loads(file.read_text()) | {"processor_class": PUBLISHED[kind]}
        file.write_text(json.dumps(named))
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
        self.processor = (KINDS | UNSERVED)[self.model.config.model_type]()[1]

    def inputs(self, text: str, files: list[bytes]) -> Any:
        images = [Image.open(io.BytesIO(data)).convert("RGB") for data in files]
        given = {"images": [images]} if images else {}
        text = text.replace("<image>", written(self.processor))
        return self.processor(text=[text], **given, return_tensors="pt", add_special_tokens=False)

    @torch.inference_mode()
    def greedy(self, text: str, files: list[bytes], count: int) -> tuple[list[int], list[int]]:
        """Give the prompt's tokens and the answer's."""
        inputs = self.inputs(text, files)
        prompt: list[int] = inputs["input_ids"][0].tolist()
        out = self.model.generate(**inputs, max_new_tokens=count, do_sample=False, pad_token_id=0)
        return prompt, out[0, len(prompt) :].tolist()
