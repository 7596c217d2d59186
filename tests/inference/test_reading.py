"""Folders of models that see are recognised by their headers."""

import json
from pathlib import Path

import pytest

from inference import reading
from inference.errors import UnsafeModel
from inference.node import headers
from tests import digits_clip
from tests.inference import tiny_files
from tests.inference.engines import tiny_vision


@pytest.mark.parametrize("kind", list(tiny_vision.KINDS))
def test_image_text_models(tmp_path: Path, kind: str) -> None:
    report = reading.inspect(tiny_vision.make(tmp_path, kind))
    assert (report.kind, report.engine) == ("vlm", "vlm_transformers")
    assert report.context_tokens == 1024


@pytest.mark.parametrize("name", ["consolidated.safetensors", "model.fp16.safetensors"])
@pytest.mark.parametrize("indexed", [False, True])
def test_weights_in_two_layouts_count_once(tmp_path: Path, name: str, indexed: bool) -> None:
    folder = tiny_files.folder(tmp_path / "m")
    if indexed:
        shard, tensors = "model-00001-of-00001.safetensors", tiny_files.shapes()
        (folder / "model.safetensors").rename(folder / shard)
        index = {"weight_map": dict.fromkeys(tensors, shard)}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    before, alone = headers.read(str(folder)), reading.inspect(folder).parameters
    (folder / name).write_bytes(tiny_files.safetensors())
    assert (headers.read(str(folder)), reading.inspect(folder).parameters) == (before, alone)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_config_that_no_library_reads_is_refused(tmp_path: Path, encoding: str) -> None:
    folder = tiny_files.folder(tmp_path / "m")
    (folder / "config.json").write_bytes(tiny_files.config().decode().encode(encoding))
    with pytest.raises(UnsafeModel, match=r"config\.json is no JSON object"):
        reading.inspect(folder)


def test_what_cannot_be_printed_is_left_out_of_a_report(tmp_path: Path) -> None:
    folder = tiny_files.folder(tmp_path / "m")
    (folder / "config.json").write_bytes(tiny_files.config(architectures=["Llama\0\nForCausalLM"]))
    assert reading.inspect(folder).architecture == "LlamaForCausalLM"


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
