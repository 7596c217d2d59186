"""A CLIP that is really trained, on scikit-learn's handwritten digits: tiny, but it sees.

Trained once per machine into the test cache. `python -m tests.digits_clip open_clip FOLDER` trains one
in open_clip's layout, in a process of its own because of its torchvision.
"""

import fcntl
import io
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "tests"
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEMPLATES = ["{}", "the digit {}", "a photo of the number {}"]
TRAINED = 1_500  # of 1,797; the rest is never seen in training
STEPS, BATCH = 700, 64
RECIPE = 3  # raise to train anew
SIDE = 16
Encode = Callable[[Any], Tensor]


@cache
def digits() -> tuple[list[Image.Image], list[int]]:
    """Give all images, 32 pixels a side, and what they show."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  slow to import

    found = load_digits()
    scaled = np.kron(found.images, np.ones((4, 4))) * (255 / 16)
    return [Image.fromarray(each.astype(np.uint8)).convert("RGB") for each in scaled], [
        int(label) for label in found.target
    ]


def held_out() -> tuple[list[Image.Image], list[int]]:
    images, labels = digits()
    return images[TRAINED:], labels[TRAINED:]


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def hugging_face() -> Path:
    return _trained("hf", _train_hugging_face)


def open_clip() -> Path:
    command = [sys.executable, "-m", "tests.digits_clip", "open_clip"]
    return _trained(
        "open", lambda folder: subprocess.run([*command, str(folder)], cwd=ROOT, check=True)
    )


def _trained(name: str, train: Callable[[Path], object]) -> Path:
    folder = CACHE / f"digits-clip-{name}-{RECIPE}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            draft = folder.with_suffix(".draft")
            draft.mkdir(exist_ok=True)
            train(draft)
            draft.rename(folder)
    return folder


def _fit(
    model: torch.nn.Module, pixels: Tensor, image: Encode, texts: Callable[[int], Tensor]
) -> None:
    """Pull each image to the text of its class; `texts(template)` gives (classes, dimensions)."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    labels = torch.tensor(digits()[1][:TRAINED])
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    scale: Any = model.logit_scale
    model.train()
    for step in range(STEPS):
        picked = torch.randint(0, TRAINED, (BATCH,))
        seen = torch.nn.functional.normalize(image(pixels[picked]), dim=-1)
        read = torch.nn.functional.normalize(texts(step % len(TEMPLATES)), dim=-1)
        loss: Any = torch.nn.functional.cross_entropy(scale.exp() * seen @ read.T, labels[picked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()


def _train_hugging_face(folder: Path) -> None:
    import transformers  # noqa: PLC0415

    from tests.inference.engines import small_tokenizers  # noqa: PLC0415

    any_: Any = transformers
    tokenizer = _with_end(small_tokenizers.byte_level.__wrapped__(None))
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4}
    text = {**sizes, "vocab_size": len(tokenizer), "max_position_embeddings": 32}
    text |= {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    vision = {**sizes, "image_size": SIDE, "patch_size": 4}
    torch.manual_seed(0)
    config = any_.CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)
    model = any_.CLIPModel(config)
    square = {"height": SIDE, "width": SIDE}
    processor = any_.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=square)
    pixels = processor(images=digits()[0][:TRAINED], return_tensors="pt")["pixel_values"]
    prompts = [template.format(word) for template in TEMPLATES for word in WORDS]
    ids = tokenizer(prompts, padding=True, return_tensors="pt")

    def texts(template: int) -> Tensor:
        part = slice(template * len(WORDS), (template + 1) * len(WORDS))
        found: Tensor = model.get_text_features(
            input_ids=ids["input_ids"][part], attention_mask=ids["attention_mask"][part]
        ).pooler_output
        return found

    _fit(model, pixels, lambda some: model.get_image_features(some).pooler_output, texts)
    for part in (model, tokenizer, processor):
        part.save_pretrained(folder)


def _with_end(tokenizer: Any) -> Any:
    """Put an end token behind every text: CLIP reads a text there.

    One of its own: transformers takes an end token of number 2 for an old config's mistake.
    """
    from tokenizers.processors import TemplateProcessing  # noqa: PLC0415

    end = "<|end|>"
    tokenizer.add_special_tokens({"eos_token": end})
    made: Any = TemplateProcessing
    tokenizer.backend_tokenizer.post_processor = made(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    tokenizer.pad_token = end
    return tokenizer


def _train_open_clip(folder: Path) -> None:
    from inference.engines.clip_open import import_open_clip  # noqa: PLC0415

    tower = {"width": 64, "layers": 2}
    config = {
        "model_cfg": {
            "embed_dim": 32,
            "vision_cfg": {**tower, "image_size": SIDE, "patch_size": 4, "head_width": 16},
            "text_cfg": {**tower, "heads": 4, "context_length": 16, "vocab_size": 49_408},
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    library = import_open_clip()
    name = f"local-dir:{folder}"
    torch.manual_seed(0)
    model = library.create_model(name, load_weights=False)
    model.token_embedding.requires_grad_(requires_grad=False)  # 49,408 rows, of which few are used
    tokenizer = library.get_tokenizer(name)
    settings = library.transform.PreprocessCfg(**model.visual.preprocess_cfg)
    transform = library.transform.image_transform_v2(settings, is_train=False)
    pixels = torch.stack([transform(image) for image in digits()[0][:TRAINED]])
    ids = tokenizer([template.format(word) for template in TEMPLATES for word in WORDS])

    def texts(template: int) -> Tensor:
        found: Tensor = model.encode_text(ids[template * len(WORDS) :][: len(WORDS)])
        return found

    _fit(model, pixels, model.encode_image, texts)
    from safetensors.torch import save_file  # noqa: PLC0415

    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


if __name__ == "__main__":
    _train_open_clip(Path(sys.argv[2]))
