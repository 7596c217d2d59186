"""Whether a model fits is said from its headers and the node's state, before anything is loaded."""

from pathlib import Path

import msgspec

from inference import fit, reading, wire
from tests.inference import tiny_files


def test_it_says_that_a_model_is_too_large_before_it_is_loaded(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "giant"
    folder.mkdir()
    giant = {"hidden_size": 2**15, "intermediate_size": 2**18, "num_hidden_layers": 64}
    (folder / "config.json").write_bytes(tiny_files.config(**giant))
    (folder / "tokenizer.json").write_bytes(tiny_files.tokenizer("a"))
    tensors = tiny_files.shapes(**giant)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(tiny_files.header(tensors))
        file.truncate(file.tell() + tiny_files.data_bytes(tensors))
    found = reading.inspect(folder)
    spec = wire.ModelSpec(name="giant", kind="llm", engine=found.engine, path=str(folder))
    device = wire.DeviceInfo(
        name="cpu", label="", total_bytes=2**36, limit_bytes=2**35, used_bytes=0
    )
    verdict = fit.of(spec, wire.Snapshot(at=0.0, devices=[device]))
    assert verdict is not None
    assert (verdict["verdict"], verdict["free_bytes"]) == ("does_not_fit", 2**35)
    assert verdict["needed_bytes"] > 2**41  # in 16 bits, at least
    smaller = {one["quantization"]: one["needed_bytes"] for one in verdict["smaller"]}
    assert verdict["needed_bytes"] >= smaller["int8"] >= smaller["nf4"]
    small = msgspec.structs.replace(spec, path=str(tiny_files.folder(tmp_path / "dwarf")))
    spare = msgspec.structs.replace(device, standby_bytes=2**35)  # gives way to a model
    beside = fit.of(small, wire.Snapshot(at=0.0, devices=[spare]))
    assert beside is not None
    assert beside["verdict"] == "fits"
    other = wire.ModelStatus(
        name="o", version="", state="ready", kind="llm", engine="x", device="cpu", claim_bytes=2**35
    )
    crowded = wire.Snapshot(at=0.0, devices=[device], models=[other])
    training = wire.ReservationStatus(
        id="j", label="", state="granted", device="cpu", claim_bytes=2**35
    )
    beside_training = fit.of(
        small, wire.Snapshot(at=0.0, devices=[device], reservations=[training])
    )
    assert beside_training is not None
    assert beside_training["free_bytes"] == 0
    after = fit.of(small, crowded)
    assert after is not None
    assert after["verdict"] == "fits_after_unloading"


def test_it_says_that_four_bits_would_fit_where_sixteen_do_not(tmp_path: Path) -> None:
    folder = tiny_files.folder(tmp_path / "large")
    tensors = {"model.layers.0.mlp.up_proj.weight": [2**29]}
    with (folder / "model.safetensors").open("wb") as file:
        file.write(tiny_files.header(tensors))
        file.truncate(file.tell() + tiny_files.data_bytes(tensors))
    spec = wire.ModelSpec(name="large", kind="llm", engine="llm_transformers", path=str(folder))
    spec = msgspec.structs.replace(spec, dtype="bfloat16")
    device = wire.DeviceInfo(
        name="cpu", label="", total_bytes=2**31, limit_bytes=9 * 10**8, used_bytes=0
    )
    found = fit.of(spec, wire.Snapshot(at=0.0, devices=[device]))
    assert found is not None
    assert found["verdict"] == "does_not_fit"
    assert {one["quantization"]: one["verdict"] for one in found["smaller"]} == {
        "int8": "does_not_fit",
        "nf4": "fits",
    }
    fits = wire.DeviceInfo(name="cpu", label="", total_bytes=2**40, limit_bytes=2**40, used_bytes=0)
    roomy = fit.of(spec, wire.Snapshot(at=0.0, devices=[fits]))
    assert roomy is not None
    assert (roomy["verdict"], roomy["smaller"]) == ("fits", [])
