"""What a model is said to need: exact from headers, then as measured; broken files are said so."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import wire
from inference.errors import LoadFailed
from inference.node import memory
from inference.node.devices import Device
from inference.node.headers import Shape, UnreadableModel, gguf_numbers, read, safetensors_sizes
from inference.node.memory import placements, settled
from inference.node.peaks import Peaks

CPU = Device("cpu", "2 cores", 10**10, 8 * 10**9, 10**10)
GPUS = [
    Device("cuda:0", "small", 10**10, 9 * 10**9, 10**9),
    Device("cuda:1", "large", 10**11, 9 * 10**10, 9 * 10**10),
]
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "num_hidden_layers": 30,
    "max_position_embeddings": 8192,
}


def safetensors(sizes: list[int]) -> bytes:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for number, size in enumerate(sizes):
        offsets = [at, at + size]
        header[f"t{number}"] = {"dtype": "U8", "shape": [size], "data_offsets": offsets}
        at += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(at)


def folder(place: Path, config: dict[str, object] = CONFIG) -> Path:
    (place / "model-1.safetensors").write_bytes(safetensors([1_000, 500]))
    (place / "model-2.safetensors").write_bytes(safetensors([250]))
    (place / "config.json").write_text(json.dumps(config))
    return place


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(**numbers: int) -> bytes:
    """A header as llama.cpp writes it: strings, an array to skip, numbers."""
    entries = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("bc"),
        text("scores") + struct.pack("<IIQ", 9, 6, 2) + struct.pack("<2f", 1, 2),
        *(text(f"llama.{k}") + struct.pack("<II", 4, v) for k, v in numbers.items()),
    ]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries)


SMOL = {
    "block_count": 30,
    "context_length": 8192,
    "embedding_length": 576,
    "attention.head_count": 9,
    "attention.head_count_kv": 3,
}


def spec(path: Path | str = "", **values: object) -> wire.ModelSpec:
    base: dict[str, object] = {"name": "m", "kind": "llm", "engine": "llm_transformers"}
    return wire.ModelSpec(path=str(path), **(base | values))  # type: ignore[arg-type]


@pytest.fixture
def peaks(tmp_path: Path) -> Peaks:
    return Peaks(tmp_path / "peaks.json")


def test_it_sums_the_tensors_of_all_files(tmp_path: Path) -> None:
    assert read(str(folder(tmp_path))) == Shape(1_750, 23_040, 8192, width=576)


@pytest.mark.parametrize(
    "lie",
    [
        {"max_position_embeddings": "x"},
        {"max_position_embeddings": [1]},
        {"max_position_embeddings": -5},
        {"max_position_embeddings": float("inf")},
        {"num_hidden_layers": -(10**9)},
        {"num_hidden_layers": True},
        {"head_dim": "abc", "num_hidden_layers": 10**5, "num_attention_heads": 10**5},
        {"head_dim": [1], "num_hidden_layers": 10**5, "num_attention_heads": 10**5},
        {"num_key_value_heads": -3},
        {"architectures": 5},
        {"architectures": {"a": 1}},
        {"text_config": {"num_hidden_layers": -(10**9)}},
    ],
)
def test_what_is_no_number_in_range_counts_as_absent(
    tmp_path: Path, peaks: Peaks, lie: dict[str, object]
) -> None:
    found = placements(spec(folder(tmp_path, CONFIG | lie)), [CPU], peaks)[0]
    assert found.claim["cpu"] >= memory.BASES_BYTES["llm_transformers"]


def test_a_cache_beyond_reason_is_refused(tmp_path: Path) -> None:
    place = folder(tmp_path, CONFIG | {"num_hidden_layers": 2**24, "head_dim": 2**24})
    with pytest.raises(UnreadableModel, match=r"config\.json claims"):
        read(str(place))


@pytest.mark.parametrize("bomb", ["[" * 100_000, '{"a":' * 100_000, f"[{'[],' * 2_000_000}[]]"])
def test_a_config_that_is_a_bomb_is_not_read(tmp_path: Path, bomb: str) -> None:
    place = folder(tmp_path)
    (place / "config.json").write_text(bomb)
    assert read(str(place)) == Shape(1_750, 0, 0)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -3.0, 0.5])
def test_a_gguf_number_out_of_range_counts_as_absent(tmp_path: Path, value: float) -> None:
    entries = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    entries += text("llama.block_count") + struct.pack("<If", 6, value)
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + entries)
    assert read(str(file)).kv_token_bytes == 0


def test_gguf_arrays_nested_without_end_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    nest = text("x") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 50_000
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + nest)
    with pytest.raises(UnreadableModel, match="nested too deeply"):
        read(str(file))


@pytest.mark.parametrize("span", [[4, 0], [0, 2.5], [0, float("inf")], [-8, 0], ["0", "4"]])
def test_offsets_that_cannot_be_are_refused(tmp_path: Path, span: list[object]) -> None:
    header = json.dumps({"w": {"dtype": "U8", "shape": [4], "data_offsets": span}}).encode()
    file = tmp_path / "m.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(UnreadableModel, match="impossible offsets"):
        safetensors_sizes(file)


def test_an_encoder_has_no_kv_memory(tmp_path: Path) -> None:
    place = folder(tmp_path, CONFIG | {"architectures": ["BertModel"]})
    assert read(str(place)).kv_token_bytes == 0


def test_a_model_that_sees_keeps_keys_and_values_of_its_language_part(tmp_path: Path) -> None:
    text = {name: value for name, value in CONFIG.items() if name != "architectures"}
    whole: dict[str, object] = {
        "architectures": ["LlavaForConditionalGeneration"],
        "text_config": text,
    }
    assert read(str(folder(tmp_path, whole))) == Shape(1_750, 23_040, 8192, width=576)


def test_it_reads_a_gguf_header(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(gguf(**SMOL) + bytes(10_000))
    assert read(str(file)) == Shape(file.stat().st_size, 23_040, 8192, width=576)


def test_a_projector_counts_with_its_model(tmp_path: Path, peaks: Peaks) -> None:
    file, eyes = tmp_path / "m.gguf", tmp_path / "mmproj.gguf"
    file.write_bytes(gguf(**SMOL) + bytes(10_000))
    eyes.write_bytes(bytes(5_000))
    plain = wire.ModelSpec(name="m", kind="llm", engine="llm_gguf", path=str(file))
    sees = wire.ModelSpec(
        name="m", kind="vlm", engine="llm_gguf", path=str(file), projector=str(eyes)
    )
    (less,), (more,) = (placements(spec, [CPU], peaks) for spec in (plain, sees))
    assert more.weights_bytes == less.weights_bytes + 5_000
    assert more.claim["cpu"] == less.claim["cpu"] + 5_000 + memory.PICTURE_BYTES


def test_all_parts_of_a_split_gguf_count(tmp_path: Path) -> None:
    first, second = tmp_path / "m-00001-of-00002.gguf", tmp_path / "m-00002-of-00002.gguf"
    first.write_bytes(gguf(**SMOL))
    second.write_bytes(bytes(5_000))
    assert read(str(first)).weights_bytes == first.stat().st_size + 5_000


@given(st.binary(max_size=200), st.integers(0, 200))
def test_torn_headers_are_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, cut: int
) -> None:
    file = tmp_path_factory.mktemp("torn") / "m.gguf"
    file.write_bytes(gguf(**SMOL)[:cut] + junk)
    for reader in (gguf_numbers, safetensors_sizes):
        try:
            reader(file)
        except UnreadableModel as error:
            assert "m.gguf" in str(error) or "GGUF" in str(error)  # noqa: PT017


def test_a_missing_model_says_where_it_looked(peaks: Peaks) -> None:
    with pytest.raises(LoadFailed, match="/nowhere"):
        placements(spec("/nowhere"), [CPU], peaks)


def test_the_claim_covers_weights_and_planned_kv(tmp_path: Path, peaks: Peaks) -> None:
    (place,) = placements(spec(folder(tmp_path), context_tokens=4096), [CPU], peaks)
    floor = memory.BASES_BYTES["llm_transformers"]
    assert place.claim["cpu"] >= floor + 1_750 + 4096 * 23_040
    assert place.allowance_bytes == place.claim["cpu"]


def test_it_prefers_the_gpu_with_the_most_room(tmp_path: Path, peaks: Peaks) -> None:
    found = placements(spec(folder(tmp_path)), [CPU, *GPUS], peaks)
    assert [place.device for place in found] == ["cuda:1", "cuda:0"]
    assert all(place.claim["cpu"] for place in found)
    (cpu,) = placements(spec(tmp_path, device="cpu"), [CPU, *GPUS], peaks)
    assert cpu.device == "cpu"
    with pytest.raises(LoadFailed, match="cuda:7"):
        placements(spec(tmp_path, device="cuda:7"), [CPU, *GPUS], peaks)


def test_what_was_measured_makes_the_next_claim_and_takes_no_keys_and_values(
    tmp_path: Path,
) -> None:
    model, file = spec(folder(tmp_path)), tmp_path / "peaks.json"
    (before,) = placements(model, [CPU], Peaks(file))
    for measured in (5 * 10**9, 10**8):
        file.unlink(missing_ok=True)
        Peaks(file).remember(model, "cpu", measured)
        (after,) = placements(model, [CPU], Peaks(file))
        assert after.claim["cpu"] == measured + before.kv_bytes
        assert after.kv_bytes == before.kv_bytes


def test_a_process_that_was_measured_counts_for_models_not_seen_yet(tmp_path: Path) -> None:
    model, file = spec(folder(tmp_path)), tmp_path / "peaks.json"
    (before,) = placements(model, [CPU], Peaks(file))
    usual = memory.BASES_BYTES["llm_transformers"]
    Peaks(file).learn_base(before.variant, "cpu", usual + 70_000_000)
    (after,) = placements(model, [CPU], Peaks(file))
    assert after.claim["cpu"] - before.claim["cpu"] == 70_000_000


def test_a_library_that_only_4_bits_need_counts_until_the_process_was_measured(
    tmp_path: Path,
) -> None:
    place, options = folder(tmp_path), {"quantization": "nf4"}
    packed = spec(place, options=options)
    shape = read(str(place))
    first = memory.need(packed, shape, cuda=False)
    known = memory.need(packed, shape, cuda=False, base_bytes=10**9)
    usual = memory.BASES_BYTES["llm_transformers"] + memory.LIBRARY_BYTES["nf4"]
    assert known.fixed_bytes - first.fixed_bytes == 10**9 - usual


def test_the_base_is_what_is_left_without_model_and_cache(tmp_path: Path, peaks: Peaks) -> None:
    (place,) = placements(spec(folder(tmp_path)), [CPU], peaks)
    loaded = wire.Loaded(memory_bytes=400_000_000 + place.model_bytes + 77, kv_bytes=77)
    assert memory.base_of(place, loaded) == 400_000_000


@pytest.mark.parametrize(("dtype", "element"), [("float32", 4), ("bfloat16", 2), ("float16", 2)])
def test_weights_and_cache_count_in_the_format_that_is_computed_with(
    tmp_path: Path, peaks: Peaks, dtype: str, element: int
) -> None:
    header = {"w": {"dtype": "BF16", "shape": [10**6], "data_offsets": [0, 2 * 10**6]}}
    text = json.dumps(header).encode()
    file = folder(tmp_path) / "model-3.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(2 * 10**6))
    (place,) = placements(spec(tmp_path, dtype=dtype), [CPU], peaks)
    assert place.model_bytes == 1_750 + element * 10**6
    assert place.kv_bytes == 2 * 8192 * 23_040 * element // 2


def test_older_families_name_their_sizes_otherwise(tmp_path: Path) -> None:
    config: dict[str, object] = {"architectures": ["GPT2LMHeadModel"], "n_embd": 64, "n_head": 4}
    config |= {"n_layer": 3, "n_positions": 128}
    (tmp_path / "model.safetensors").write_bytes(safetensors([100]))
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read(str(tmp_path)) == Shape(100, 2 * 3 * 64 * 2, 128, width=64)


def test_an_open_clip_folder_names_its_vocabulary_in_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "open_clip_model.safetensors").write_bytes(safetensors([100]))
    told = {"model_cfg": {"text_cfg": {"vocab_size": 49_408}}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(told))
    assert read(str(tmp_path)) == Shape(100, family="open_clip", vocab_tokens=49_408)


def test_a_smaller_peak_or_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "peaks.json"
    file.write_text("[torn")
    peaks = Peaks(file)
    assert peaks.get(spec(), "cpu") == 0
    peaks.remember(spec(), "cpu", 100)
    peaks.remember(spec(), "cpu", 50)
    assert Peaks(file).get(spec(), "cpu") == 100


def test_the_file_of_peaks_holds_no_key_of_another_server(tmp_path: Path) -> None:
    file = tmp_path / "peaks.json"
    options: dict[str, str | int | float | bool] = {"api_key": "sk-of-theirs"}
    fields: dict[str, Any] = {"kind": "llm", "engine": "remote_openai", "path": ""}
    far = wire.ModelSpec(name="far", version="1", options=options, **fields)
    Peaks(file).remember(far, "cpu", 100)
    assert Peaks(file).get(far, "cpu") == 100
    assert "sk-of-theirs" not in file.read_text()


def test_room_to_grow_stays_reserved_after_a_load(tmp_path: Path, peaks: Peaks) -> None:
    (place,) = placements(spec(folder(tmp_path)), [CPU], peaks)
    planned = place.claim["cpu"]
    assert settled(place, wire.Loaded(memory_bytes=1), {}) == {"cpu": planned}
    over = wire.Loaded(memory_bytes=planned + 7)
    assert settled(place, over, {}) == {"cpu": planned + 7}


def test_a_claim_follows_the_measure_down_as_well_as_up(tmp_path: Path, peaks: Peaks) -> None:
    (place,) = placements(spec(folder(tmp_path)), [CPU], peaks)
    for size in (200_000_000, 900_000_000):
        loaded = wire.Loaded(memory_bytes=size, kv_bytes=20_000, kv_limit_bytes=50_000)
        assert settled(place, loaded, {}) == {"cpu": size + 30_000 + place.step_bytes}


def test_an_engine_that_fell_back_to_the_cpu_claims_there(tmp_path: Path, peaks: Peaks) -> None:
    place = placements(spec(folder(tmp_path)), [CPU, *GPUS], peaks)[0]
    loaded = wire.Loaded(memory_bytes=10**10, device="cpu")
    assert settled(place, loaded, {}) == {"cpu": 10**10}


def test_a_context_that_no_engine_holds_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(gguf(**SMOL | {"context_length": 2**32 - 1}))
    with pytest.raises(UnreadableModel, match="impossible length"):
        read(str(file))


@pytest.mark.parametrize("name", ["model-1.safetensors", "config.json"])
def test_a_pipe_in_the_place_of_a_file_holds_up_nobody(tmp_path: Path, name: str) -> None:
    place = folder(tmp_path)
    (place / name).unlink()
    os.mkfifo(place / name)
    if name == "config.json":
        assert read(str(place)).weights_bytes == 1_750
    else:
        with pytest.raises(OSError, match="no plain file"):
            read(str(place))
