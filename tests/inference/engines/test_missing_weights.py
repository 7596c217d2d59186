"""A weight that is not in a model's files is said, and never made up."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import transformers
from safetensors.torch import load_file, save_file

from inference import wire
from inference.engines import worker
from inference.errors import LoadFailed
from tests import digits_clip

from . import tiny_encoders, tiny_models, tiny_vision
from .driving import Driver

Make = Callable[[Path], Path]
CASES: dict[str, tuple[Make, wire.Kind, str, str]] = {
    "gpt2": (
        lambda place: tiny_models.make(place, "gpt2"),
        "llm",
        "llm_transformers",
        "h.1.mlp.c_fc.bias",
    ),
    "llava": (
        lambda place: tiny_vision.make(place, "llava"),
        "vlm",
        "vlm_transformers",
        "multi_modal_projector.linear_1.weight",
    ),
    "modernbert": (
        lambda place: tiny_encoders.make(place, "modernbert"),
        "embed",
        "embed_text",
        "layers.1.mlp.Wi.weight",
    ),
    "clip": (
        lambda place: Path(shutil.copytree(digits_clip.hugging_face(), place)),
        "clip",
        "embed_clip",
        "vision_model.post_layernorm.weight",
    ),
    "open_clip": (
        lambda place: Path(shutil.copytree(digits_clip.open_clip(), place)),
        "clip",
        "embed_clip",
        "visual.ln_post.weight",
    ),
}


def load(folder: Path, kind: wire.Kind, engine: str) -> None:
    spec = wire.ModelSpec(name="m", kind=kind, engine=engine, path=str(folder), dtype="float32")
    Driver(worker.create(engine), spec).engine.close()


@pytest.mark.parametrize("case", CASES)
def test_the_load_fails_with_its_name(tmp_path: Path, case: str) -> None:
    make, kind, engine, name = CASES[case]
    folder = make(tmp_path / "m")
    (file,) = folder.glob("*.safetensors")
    weights = load_file(file)
    (lost,) = [key for key in weights if key.endswith(name)]
    save_file({key: weights[key] for key in weights if key != lost}, file, {"format": "pt"})
    with pytest.raises(LoadFailed, match=name.replace(".", r"\.")):
        load(folder, kind, engine)


def test_what_no_vector_needs_may_be_missing(tmp_path: Path) -> None:
    """As the pooler of an encoder that was trained on masked words."""
    folder = tiny_encoders.make(tmp_path, "bert")
    config = transformers.BertConfig(**tiny_encoders.SIZES)
    transformers.BertForMaskedLM(config).save_pretrained(folder)
    load(folder, "embed", "embed_text")
