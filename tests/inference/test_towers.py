"""Encoders, CLIP and Whisper are compared with their configs, tensor by tensor, before they are loaded."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from inference import preparation, reading, towers
from inference.errors import UnsafeModel
from tests import digits_clip
from tests.inference.engines import tiny_encoders, tiny_whisper


def refusal(place: Path) -> str:
    with pytest.raises(UnsafeModel) as refused:
        reading.inspect(place)
    return refused.value.message


def changed(folder: Path, name: str, **values: Any) -> Path:
    """Change a config, its `model_cfg` where it has one, or the part that is named `part`."""
    file = folder / name
    config = json.loads(file.read_bytes())
    inner, part = config.get("model_cfg", config), values.pop("part", "")
    (inner[part] if part else inner).update(values)
    file.write_text(json.dumps(config))
    return folder


def without(folder: Path, name: str) -> Path:
    (file,) = folder.glob("*.safetensors")
    weights = load_file(file)
    del weights[name]
    save_file(weights, file, {"format": "pt"})
    return folder


@pytest.mark.parametrize("kind", ["bert", "mpnet", "xlm-roberta"])
def test_an_encoder_of_text(tmp_path: Path, kind: str) -> None:
    folder = tiny_encoders.make(tmp_path / "m", kind)
    assert reading.inspect(folder).kind == "embed"
    config = json.loads((folder / "config.json").read_bytes())
    (file,) = folder.glob("*.safetensors")
    described = dict(towers.encoder(config, load_file(file)))
    assert len(described) == 2 + 2 * 6 * 2, "every linear layer of both layers, with its bias"
    for name in described:
        one = shutil.copytree(folder, tmp_path / "one", dirs_exist_ok=True)
        assert f"lack {name}," in refusal(without(one, name))
    assert "position_embeddings.weight is 128 x 32" in refusal(
        changed(folder, "config.json", max_position_embeddings=130)
    )
    wrong = changed(folder, "config.json", max_position_embeddings=128, intermediate_size=50)
    assert "48 x 32, but config.json makes it 50 x 32" in refusal(wrong)


CLIP = [
    ("text_config", {"vocab_size": 400}, "token_embedding.weight is 391 x 64"),
    ("text_config", {"num_hidden_layers": 3}, "lack text_model.encoder.layers.2."),
    ("text_config", {"max_position_embeddings": 77}, "position_embedding.weight is 32 x 64"),
    ("vision_config", {"patch_size": 8}, "patch_embedding.weight is 64 x 3 x 4 x 4"),
    ("vision_config", {"image_size": 224}, "vision_model.embeddings.position_embedding.weight"),
    ("vision_config", {"hidden_size": 32}, "patch_embedding.weight is 64"),
    ("", {"projection_dim": 64}, "visual_projection.weight is 32 x 64"),
    ("vision_config", {"hidden_act": "nope"}, "no engine knows"),
]


@pytest.mark.parametrize(("part", "change", "word"), CLIP)
def test_a_clip(tmp_path: Path, part: str, change: dict[str, Any], word: str) -> None:
    folder = shutil.copytree(digits_clip.hugging_face(), tmp_path / "m")
    assert reading.inspect(folder).kind == "clip"
    assert word in refusal(changed(folder, "config.json", part=part, **change))


OPEN_CLIP = [
    ("text_cfg", {"vocab_size": 400}, "token_embedding.weight is 49408 x 64"),
    ("text_cfg", {"layers": 3}, "lack transformer.resblocks.2."),
    ("text_cfg", {"context_length": 77}, "positional_embedding is 16 x 64"),
    ("vision_cfg", {"patch_size": 8}, "visual.conv1.weight is 64 x 3 x 4 x 4"),
    ("vision_cfg", {"width": 32}, "visual.conv1.weight is 64"),
    ("", {"embed_dim": 64}, "text_projection is 64 x 32"),
]


@pytest.mark.parametrize(("part", "change", "word"), OPEN_CLIP)
def test_an_open_clip(tmp_path: Path, part: str, change: dict[str, Any], word: str) -> None:
    folder = shutil.copytree(digits_clip.open_clip(), tmp_path / "m")
    assert reading.inspect(folder).kind == "clip"
    assert word in refusal(changed(folder, "open_clip_config.json", part=part, **change))


def test_of_an_open_clip_with_a_tower_of_its_own_nothing_is_said(tmp_path: Path) -> None:
    folder = shutil.copytree(digits_clip.open_clip(), tmp_path / "m")
    changed(folder, "open_clip_config.json", part="vision_cfg", timm_model_name="x", width=1)
    assert reading.inspect(folder).kind == "clip"


WHISPER = [
    ({"vocab_size": 100}, "embed_tokens.weight is 51864 x 16"),
    ({"d_model": 32}, "conv1.weight is 16 x 80 x 3"),
    ({"num_mel_bins": 128}, "conv1.weight is 16 x 80 x 3"),
    ({"encoder_layers": 2}, "lack model.encoder.layers.1."),
    ({"decoder_layers": 2}, "lack model.decoder.layers.1."),
    ({"decoder_ffn_dim": 17}, "model.decoder.layers.0.fc1.weight is 16 x 16"),
]


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper.make(tmp_path_factory.mktemp("whisper") / "m")


@pytest.mark.models
@pytest.mark.parametrize(("change", "word"), WHISPER)
def test_a_whisper(tmp_path: Path, whisper: Path, change: dict[str, Any], word: str) -> None:
    folder = shutil.copytree(whisper, tmp_path / "m")
    assert reading.inspect(folder).kind == "asr"
    assert word in refusal(changed(folder, "config.json", **change))


# --- CTranslate2 ------------------------------------------------------------------------------------

Spoil = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def converted(whisper: Path) -> Path:
    target = whisper.with_name("ct2")
    preparation.to_ctranslate2(whisper, target)
    assert reading.inspect(target).engine == "asr_whisper"
    return target


def renamed(old: str, new: str) -> Spoil:
    return lambda data: data.replace(old.encode(), new.encode())


COUNT_AT = 4 + 2 + len("WhisperSpec\0") + 4  # Source: `ModelSpec._serialize`
SPOILT: dict[str, tuple[Spoil, str]] = {
    "cut in the table": (lambda data: data[:30], "broken or cut off"),
    "cut in the weights": (lambda data: data[: len(data) // 2], "cut off"),
    "cut at its end": (lambda data: data[:-3], "broken or cut off"),
    "something behind": (lambda data: data + b"x", "holds more than its table"),
    "another count": (
        lambda data: data[:COUNT_AT] + struct.pack("<I", 2**31) + data[COUNT_AT + 4 :],
        "claims 2147483648 variables",
    ),
    "a weight that is missing": (
        renamed("encoder/conv2/weight", "encoder/conv9/weight"),
        "lack encoder/conv2/weight",
    ),
    "a layer that is missing": (
        renamed("decoder/layer_0/ffn", "decoder/layer_1/ffn"),
        "lack decoder/layer_0/ffn/linear_0/weight",
    ),
    "another name of nothing": (
        renamed("decoder/embeddings/weight", "decoder/embeddings/Weight"),
        "",
    ),
}


@pytest.mark.models
@pytest.mark.parametrize("what", SPOILT)
def test_a_whisper_of_ctranslate2(tmp_path: Path, converted: Path, what: str) -> None:
    folder, (spoil, word) = shutil.copytree(converted, tmp_path / "m"), SPOILT[what]
    file = folder / "model.bin"
    file.write_bytes(spoil(file.read_bytes()))
    assert word in refusal(folder)


@pytest.mark.models
def test_its_vocabulary_has_as_many_words_as_the_model(tmp_path: Path, converted: Path) -> None:
    folder = shutil.copytree(converted, tmp_path / "m")
    (folder / "vocabulary.json").write_text(json.dumps(["a", "b"]))
    assert "decoder/embeddings/weight is 51864 x 16, but its vocabulary makes it 2 x" in refusal(
        folder
    )
    (folder / "tokenizer.json").unlink()
    assert refusal(folder) == "tokenizer.json is missing"
