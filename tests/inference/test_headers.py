"""Model files are read by their headers, and no header is believed that does not fit its file."""

import json
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy import zeros

from inference import layouts, reading, tensors
from inference.errors import UnsafeModel
from inference.node.headers import read
from tests import models
from tests.inference import tiny_files
from tests.inference.engines import tiny_gguf_vision

WIDTH, WORDS = 8, 2
BOTH: dict[str, Any] = {"vision_config": {}, "text_config": {}}
SIZES = layouts.gguf_sizes(
    {
        "llama.embedding_length": WIDTH,
        "llama.feed_forward_length": WIDTH,
        "llama.block_count": 1,
        "llama.attention.head_count": 1,
    },
    "llama",
    WORDS,
)
GGUF = {
    name: [SIZES[letter] for letter in letters]
    for name, letters in layouts.gguf_tensors("llama", SIZES, ())
}


def gguf_file(file: Path, tensors: Mapping[str, list[int]] = GGUF, kind: str = "llama") -> Path:
    writer = GGUFWriter(file, kind)
    writer.add_context_length(64)
    writer.add_block_count(1)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(1)
    writer.add_file_type(0)
    writer.add_license("mit")
    writer.add_token_list(["a", "b"])
    for name, shape in tensors.items():
        writer.add_tensor(name, zeros(shape[::-1], "float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def raw(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: Any = "F32", shape: Any = (4,), span: Any = (0, 16)) -> dict[str, Any]:
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": span}}


@pytest.mark.models
def test_it_knows_the_models_at_hand() -> None:
    found = reading.inspect(models.smollm2_gguf())
    assert (found.engine, found.quantization, found.context_tokens) == ("llm_gguf", "Q4_1", 8192)
    assert (found.parameters, found.licence) == (134_515_008, "apache-2.0")
    minilm = reading.inspect(models.minilm())
    assert (minilm.kind, minilm.engine, minilm.parameters) == ("embed", "embed_text", 22_713_728)
    whisper = reading.inspect(models.whisper_tiny_en())
    assert (whisper.kind, whisper.engine, whisper.warnings) == ("asr", "asr_whisper", [])


@pytest.mark.parametrize(
    ("config", "engine"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "llm_transformers"),
        ({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}, "llm_transformers"),
        (
            {
                "architectures": ["LlavaForConditionalGeneration"],
                "model_type": "llava",
                "vision_config": {},
            },
            "vlm_transformers",
        ),
        ({"architectures": ["AlignModel"], "model_type": "align", **BOTH}, "embed_clip"),
        ({"architectures": ["EsmModel"], "model_type": "esm"}, "embed_text"),
    ],
)
def test_it_names_the_engine(tmp_path: Path, config: dict[str, Any], engine: str) -> None:
    folder = tiny_files.folder(tmp_path / "m")
    (folder / "config.json").write_bytes(tiny_files.config(**config))
    found = reading.inspect(folder)
    count = tiny_files.data_bytes(tiny_files.shapes()) // 4
    assert (found.engine, found.parameters, found.quantization) == (engine, count, "F32")


def test_it_reads_gguf_to_the_last_tensor(tmp_path: Path) -> None:
    file = gguf_file(tmp_path / "a.gguf")
    found = reading.inspect(file)
    count = sum(math.prod(shape) for shape in GGUF.values())
    assert (found.parameters, found.quantization, found.licence) == (count, "F32", "mit")
    content = file.read_bytes()
    for size in (0, 10, 100, len(content) // 2, len(content) - 32):
        file.write_bytes(content[:size])
        with pytest.raises(UnsafeModel):
            reading.inspect(file)


@pytest.mark.parametrize(
    ("entries", "word"),
    [
        ([(b"a", 0), (b"a", 32)], "appears twice"),
        ([(b"a\0\n", 0)], "no name"),
        ([(b"a", 0), (b"b", 0)], "overlap"),
        ([(b"a", 4096)], "cut off"),
    ],
)
def test_gguf_tensors_have_names_and_places_of_their_own(
    tmp_path: Path, entries: list[tuple[bytes, int]], word: str
) -> None:
    said = [
        struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, 8, 0, offset)
        for name, offset in entries
    ]
    file = tmp_path / "a.gguf"
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, len(said), 0) + b"".join(said) + bytes(128))
    with pytest.raises(UnsafeModel, match=word):
        reading.inspect(file)


LIES = st.dictionaries(
    st.sampled_from([*json.loads(tiny_files.config()), "head_dim", "text_config"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    ),
    min_size=1,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lies=LIES)
def test_what_passes_is_read_alike_by_the_node(tmp_path: Path, lies: dict[str, Any]) -> None:
    folder = tmp_path / "m"
    if not folder.exists():
        tiny_files.folder(folder)
    (folder / "config.json").write_bytes(tiny_files.config(**lies))
    if not _refusal(folder):
        shape = read(str(folder))
        assert shape.weights_bytes == tiny_files.data_bytes(tiny_files.shapes())
        assert min(shape.kv_token_bytes, shape.context_tokens) >= 0


def test_a_language_model_and_its_projector_are_one(tmp_path: Path) -> None:
    folder = tiny_gguf_vision.make(tmp_path)
    found = reading.inspect(folder)
    model, eyes = folder / tiny_gguf_vision.MODEL, folder / tiny_gguf_vision.PROJECTOR
    assert (found.kind, found.engine, found.architecture) == ("vlm", "llm_gguf", "llama")
    assert (found.path, found.projector) == (model.name, eyes.name)
    assert found.size_bytes == model.stat().st_size + eyes.stat().st_size
    assert found.parameters == sum(tensors.gguf(file).parameters for file in (model, eyes))
    alone = reading.inspect(model)
    assert (alone.kind, alone.projector) == ("llm", "")
    assert alone.warnings == [
        f"{eyes.name} beside it is not taken: give a folder of the two, and the model sees"
    ]
    with pytest.raises(UnsafeModel, match="only lets a language model see"):
        reading.inspect(eyes)
    eyes.write_bytes(eyes.read_bytes()[:-64])
    with pytest.raises(UnsafeModel, match="cut off"):
        reading.inspect(folder)
    gguf_file(eyes)
    with pytest.raises(UnsafeModel, match="named like a projector"):
        reading.inspect(folder)
    model.unlink()
    with pytest.raises(UnsafeModel, match="missing beside it"):
        reading.inspect(folder)


def test_a_split_gguf_needs_all_its_parts(tmp_path: Path) -> None:
    names = [*GGUF]
    halves = [{name: GGUF[name] for name in names[at::2]} for at in (0, 1)]
    first = gguf_file(tmp_path / "a-00001-of-00002.gguf", halves[0])
    with pytest.raises(UnsafeModel, match=r"a-00002-of-00002\.gguf is missing"):
        reading.inspect(first)
    gguf_file(tmp_path / "a-00002-of-00002.gguf", halves[1])
    count = sum(math.prod(shape) for shape in GGUF.values())
    assert reading.inspect(first).parameters == count
    gguf_file(tmp_path / "a-00002-of-00002.gguf")
    with pytest.raises(UnsafeModel, match=r"holds .* again"):
        reading.inspect(first)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        raw(entry(), bytes(16), length=2**63),
        raw(entry(), bytes(15)),
        raw(entry(), bytes(17)),
        raw(entry(span=(8, 24)), bytes(24)),
        raw(entry(span=(0, 12)), bytes(12)),
        raw(entry(span=(16, 0)), bytes(16)),
        raw(entry(span=(0, True)), bytes(1)),
        raw(entry(shape=[-4]), bytes(16)),
        raw(entry(shape=[2.0, 2]), bytes(16)),
        raw(entry(shape=[2**61, 2**61]), bytes(16)),
        raw(entry(shape="4"), bytes(16)),
        raw(entry(dtype="PICKLE"), bytes(16)),
        raw(entry(dtype=["F32"]), bytes(16)),
        raw({"w": None}),
        raw([1]),
        raw(b'{"w":{},"w":{}}'),
        raw(b"[" * 100_000),
        raw({"a\0b": entry()["w"]}, bytes(16)),
        raw({"a": entry()["w"], "b": entry()["w"]}, bytes(16)),
    ],
)
def test_it_believes_no_header_that_does_not_fit(tmp_path: Path, content: bytes) -> None:
    folder = tiny_files.folder(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(UnsafeModel, match="safetensors"):
        reading.inspect(folder)


def _index(shard: str) -> Callable[[Path], object]:
    text = json.dumps({"weight_map": {"w": shard}})
    return lambda folder: (folder / "model.safetensors.index.json").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda f: (f / "out").symlink_to("/etc"), "leaves the folder"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "config.json"),
        (lambda f: (f / "config.json").unlink(), "config.json"),
        (_index("../x.safetensors"), "no file here"),
        (_index("model-2.safetensors"), "is missing"),
    ],
)
def test_it_refuses_a_folder_that_could_harm(
    tmp_path: Path, spoil: Callable[[Path], object], word: str
) -> None:
    folder = tiny_files.folder(tmp_path / "m")
    spoil(folder)
    with pytest.raises(UnsafeModel, match=word):
        reading.inspect(folder)


def test_pickles_beside_safe_weights_are_named_and_left_alone(tmp_path: Path) -> None:
    folder = tiny_files.folder(tmp_path / "m")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    assert "pytorch_model.bin is not used" in reading.inspect(folder).warnings[0]
    (folder / "model.safetensors").unlink()
    with pytest.raises(UnsafeModel, match="is a pickle"):
        reading.inspect(folder)


def test_a_pickle_is_no_ctranslate2_model(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"\x80\x04\x95pickle")
    (tmp_path / "vocabulary.txt").write_text("a")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnsafeModel):
        reading.inspect(tmp_path)


EDITS = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS, cut=st.integers(0, 2000))
@pytest.mark.parametrize("kind", ["gguf", "safetensors"])
def test_no_change_of_a_good_file_raises_anything_but_the_refusal(
    tmp_path: Path, kind: str, edits: list[tuple[int, int]], cut: int
) -> None:
    if kind == "gguf":
        place = file = tmp_path / "a.gguf"
        content = bytearray(gguf_file(file).read_bytes())
    else:
        place = tmp_path / "m"
        place.mkdir(exist_ok=True)
        (place / "config.json").write_bytes(tiny_files.config())
        file = place / "model.safetensors"
        content = bytearray(tiny_files.safetensors())
    for at, value in edits:
        content[at % len(content)] = value
    file.write_bytes(content[: len(content) - cut % (len(content) // 2)])
    assert str(tmp_path) not in _refusal(place)


def _refusal(place: Path) -> str:
    try:
        reading.inspect(place)
    except UnsafeModel as refusal:
        return refusal.message
    return ""
