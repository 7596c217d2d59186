"""Folders of models that see are recognised by their headers."""

from pathlib import Path

import pytest

from inference import reading
from inference.errors import UnsafeModel
from tests import digits_clip
from tests.inference import tiny_files
from tests.inference.engines import tiny_vision


@pytest.mark.parametrize("kind", list(tiny_vision.KINDS))
def test_image_text_models(tmp_path: Path, kind: str) -> None:
    report = reading.inspect(tiny_vision.make(tmp_path, kind))
    assert (report.kind, report.engine) == ("vlm", "vlm_transformers")
    assert report.context_tokens == 1024


def test_both_layouts_of_clip() -> None:
    for folder in (digits_clip.hugging_face(), digits_clip.open_clip()):
        report = reading.inspect(folder)
        assert (report.kind, report.engine) == ("clip", "embed_clip")


def test_open_clip_weights_that_are_pickled_are_refused(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text("{}")
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UnsafeModel, match="safetensors"):
        reading.inspect(tmp_path)


def test_a_sentence_encoder_is_none_of_them(tmp_path: Path) -> None:
    folder = tiny_files.folder(tmp_path / "m")
    bert = tiny_files.config(architectures=["EsmModel"], model_type="esm")
    (folder / "config.json").write_bytes(bert)
    assert reading.inspect(folder).engine == "embed_text"
