"""What an encoder of texts is said to need: its longest text, alone, counts as it is computed."""

import json
from pathlib import Path

import pytest

from inference import wire
from inference.node import memory
from inference.node.devices import Device
from inference.node.headers import Shape
from inference.node.memory import need, placements
from inference.node.peaks import Peaks

CPU = Device("cpu", "2 cores", 10**11, 8 * 10**10, 10**11)
WIDTH = 768 + 1_152


def encoder(**values: object) -> wire.ModelSpec:
    base: dict[str, object] = {"name": "e", "kind": "embed", "engine": "embed_text", "path": ""}
    return wire.ModelSpec(**(base | values))  # type: ignore[arg-type]


def step_bytes(family: str, context: int, asked: int = 0) -> int:
    shape = Shape(0, context_tokens=context, family=family, width=WIDTH)
    return need(encoder(context_tokens=asked), shape, cuda=False).step.bytes


def test_short_windows_are_computed_together() -> None:
    assert step_bytes("bert", 512) == step_bytes("bert", 1_024) == step_bytes("bert", 0)


def test_a_long_text_takes_more_and_so_do_masks_of_its_length_squared() -> None:
    more = (8_192 - 1_024) * WIDTH * memory.ENCODED_BYTES
    assert step_bytes("bert", 8_192) - step_bytes("bert", 512) == more
    masks = step_bytes("modernbert", 8_192) - step_bytes("bert", 8_192)
    assert masks == 8_192**2 * memory.MASK_BYTES


def test_a_shorter_window_that_is_asked_for_takes_less() -> None:
    assert step_bytes("modernbert", 8_192, 2_048) == step_bytes("modernbert", 2_048)


def test_a_long_text_that_was_seen_is_guessed_no_more(tmp_path: Path) -> None:
    header = {"w": {"dtype": "F32", "shape": [250], "data_offsets": [0, 1_000]}}
    text = json.dumps(header).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(1_000))
    config = {"model_type": "modernbert", "max_position_embeddings": 8_192, "hidden_size": 768}
    (tmp_path / "config.json").write_text(json.dumps(config))
    spec = encoder(path=str(tmp_path))
    (place,) = placements(spec, [CPU], Peaks(tmp_path / "none.json"))
    assert place.step.left(wire.Worked(prompt_tokens=8_192)) == 0
    half = place.step.left(wire.Worked(prompt_tokens=4_096))
    assert half == pytest.approx(
        place.step.bytes - place.step.masks / 4 - (place.step.loop + place.step.prompts) / 2
    )
