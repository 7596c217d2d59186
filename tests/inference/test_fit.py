"""Whether a model fits is said from its headers and the node's state, before anything is loaded."""

from pathlib import Path

import msgspec

from inference import fit, reading, wire
from tests.inference import tiny_files


def test_it_says_that_a_model_is_too_large_before_it_is_loaded(
    tmp_path: Path,
) -> None:
    folder = tiny_files.folder(tmp_path / "giant")
    with (folder / "model.safetensors").open("wb") as file:
        size = 2**42
        header = tiny_files.header(size)
        file.write(header)
        file.truncate(len(header) + size)
    found = reading.inspect(folder)
    spec = wire.ModelSpec(name="giant", kind="llm", engine=found.engine, path=str(folder))
    device = wire.DeviceInfo(
        name="cpu", label="", total_bytes=2**36, limit_bytes=2**35, used_bytes=0
    )
    verdict = fit.of(spec, wire.Snapshot(at=0.0, devices=[device]))
    assert verdict is not None
    assert (verdict["verdict"], verdict["free_bytes"]) == ("does_not_fit", 2**35)
    assert verdict["needed_bytes"] > 2**41  # in 16 bits, at least
    small = msgspec.structs.replace(spec, path=str(tiny_files.folder(tmp_path / "dwarf")))
    other = wire.ModelStatus(
        name="o", version="", state="ready", kind="llm", engine="x", device="cpu", claim_bytes=2**35
    )
    crowded = wire.Snapshot(at=0.0, devices=[device], models=[other])
    after = fit.of(small, crowded)
    assert after is not None
    assert after["verdict"] == "fits_after_unloading"
