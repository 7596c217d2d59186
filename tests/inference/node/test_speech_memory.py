"""What a Whisper is said to need: its table tells how its weights are kept and how many heads look."""

import struct
from pathlib import Path

import pytest

from inference import wire
from inference.node import memory
from inference.node.headers import Shape, read
from inference.node.memory import need

HALF = 4  # Source: CTranslate2, DataType
WORDS, WIDTH = 100, 128


def text(value: str) -> bytes:
    data = value.encode() + b"\0"
    return struct.pack("<H", len(data)) + data


def variable(name: str, shape: tuple[int, ...], kind: int, size: int) -> bytes:
    head = struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, kind, size)
    return text(name) + head + bytes(size)


def model(folder: Path, kind: int = HALF, element: int = 2) -> Path:
    """Write a table as CTranslate2 does; one weight in half precision, one setting."""
    weight = variable("decoder/embeddings/weight", (WORDS, WIDTH), kind, WORDS * WIDTH * element)
    setting = variable("decoder/num_heads", (), 2, 2)
    head = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, 2)
    (folder / "model.bin").write_bytes(head + weight + setting + struct.pack("<I", 0))
    return folder


def test_it_reads_the_table(tmp_path: Path) -> None:
    size = (model(tmp_path) / "model.bin").stat().st_size
    floats = WORDS * WIDTH
    assert read(str(tmp_path)) == Shape(
        size, 0, 0, 0, "whisper", WORDS, WIDTH, floats, floats_bytes=2 * floats
    )


@pytest.mark.parametrize("junk", [b"", b"\1\0\0\0", b"\6\0\0\0\xff", b"\6\0\0\0" + bytes(40)])
def test_a_table_that_is_broken_says_nothing(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "model.bin").write_bytes(junk + b"x")
    assert read(str(tmp_path)) == Shape(len(junk) + 1, family="whisper")


def test_a_cut_table_says_nothing(tmp_path: Path) -> None:
    file = model(tmp_path) / "model.bin"
    file.write_bytes(file.read_bytes()[:60])
    assert read(str(tmp_path)) == Shape(60, family="whisper")


@pytest.mark.parametrize(
    ("dtype", "share"), [("auto", 1), ("int8_float32", 1), ("float16", 4), ("float32", 4)]
)
def test_weights_count_as_a_cpu_keeps_them(dtype: str, share: int) -> None:
    shape = Shape(2_000, floats=1_000, floats_bytes=2_000, width=WIDTH, family="whisper")
    spec = wire.ModelSpec(name="s", kind="asr", engine="asr_whisper", path="", dtype=dtype)
    kept = need(spec, shape, cuda=False).fixed_bytes - need(spec, shape, cuda=False).step.bytes
    assert kept == memory.BASES_BYTES["asr_whisper"] + 1_000 * share


def test_attention_counts_by_its_heads() -> None:
    spec = wire.ModelSpec(name="s", kind="asr", engine="asr_whisper", path="")
    two, four = (need(spec, Shape(0, width=64 * n), cuda=False).step.prompts for n in (2, 4))
    assert four - two == 2 * 2 * 4 * 1_500**2


def test_a_table_that_says_nothing_is_taken_for_the_most() -> None:
    spec = wire.ModelSpec(name="s", kind="asr", engine="asr_whisper", path="")
    silent = need(spec, Shape(150_000_000), cuda=False)
    assert silent.step.prompts == 150_000_000
    told = Shape(150_000_000, width=512, floats=75_000_000, floats_bytes=150_000_000)
    assert silent.bytes > need(spec, told, cuda=False).bytes
