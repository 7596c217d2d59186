"""Whether a model fits is said from its headers and the node's state, before anything is loaded."""

from pathlib import Path
from typing import Any

import msgspec
from pytest_django import Settings

from hub.config import HubConfig, ModelConfig
from inference import fit, reading, wire
from tests.inference import tiny_files

CPU = wire.DeviceInfo(name="cpu", label="", total_bytes=10**9, limit_bytes=10**9, used_bytes=0)
HALF = 9 * 10**8  # more than leaves room for any other


def judged(
    place: Path, *models: wire.ModelStatus, device: wire.DeviceInfo = CPU, **state: Any
) -> dict[str, Any]:
    """Judge a small model beside these."""
    path = str(place if place.exists() else tiny_files.folder(place))
    spec = wire.ModelSpec(name="new", kind="llm", engine="llm_transformers", path=path)
    snapshot = wire.Snapshot(at=0.0, devices=[device], models=[*models], **state)
    found = fit.of(spec, snapshot)
    assert found is not None
    return found


def loaded(name: str, claim_bytes: int, **values: Any) -> wire.ModelStatus:
    told: dict[str, Any] = {"version": "", "state": "ready", "kind": "llm", "engine": "x"}
    return wire.ModelStatus(name=name, device="cpu", claim_bytes=claim_bytes, **told, **values)


def told(found: dict[str, Any]) -> tuple[str, str, list[str]]:
    return found["verdict"], found["reason"], found["would_have_to_go"]


def test_it_names_who_has_to_be_unloaded(tmp_path: Path) -> None:
    """Whoever has been idle for longest goes first, and nobody whose memory is not needed."""
    found = judged(
        tmp_path / "m", loaded("small", 1, idle_s=99.0), loaded("large", HALF), loaded("rock", 1)
    )
    assert told(found) == ("fits_after_unloading", "It fits after unloading large.", ["large"])
    busy = loaded("busy", HALF // 2, running=1, idle_s=0.0)
    idle = loaded("idle", HALF // 2, idle_s=9.0)
    assert told(judged(tmp_path / "m", busy, idle))[2] == ["idle"]


def test_a_pinned_model_is_not_counted_on(tmp_path: Path) -> None:
    rock = loaded("rock", HALF, pinned=True)
    found = judged(tmp_path / "m", rock, loaded("small", 10**6))
    assert told(found) == (
        "does_not_fit",
        "It does not fit, because these hold the memory and stay: rock.",
        ["rock"],
    )
    assert found["needed_bytes"] <= found["limit_bytes"]


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = str(tiny_files.folder(tmp_path / "m"))
    engine = "llm_transformers"
    spec = wire.ModelSpec(name="new", kind="llm", engine=engine, path=path, device="cuda:5")
    found = fit.of(spec, wire.Snapshot(at=0.0, devices=[CPU]))
    assert found is not None
    why = "It does not fit, because the model service has no cuda:5: it has cpu."
    assert told(found) == ("does_not_fit", why, [])


def rules(settings: Settings, rules: ModelConfig) -> None:
    settings.HUB_CONFIG = HubConfig(model_config=rules)


def test_one_that_may_never_be_there_with_it_has_to_go(tmp_path: Path, settings: Settings) -> None:
    """Though both would find room; nobody else leaves where that is enough."""
    rules(settings, ModelConfig(never_together=[["new", "foe"]]))
    found = judged(tmp_path / "m", loaded("foe", 1), loaded("other", 1, idle_s=99.0))
    assert told(found) == ("fits_after_unloading", "It fits after unloading foe.", ["foe"])
    stays = judged(tmp_path / "m", loaded("foe", 1, pinned=True))
    reason = (
        "It does not fit, because it may not be in memory together with these, which stay: foe."
    )
    assert told(stays) == ("does_not_fit", reason, ["foe"])


def test_its_company_goes_with_whoever_has_to_go(tmp_path: Path, settings: Settings) -> None:
    rules(settings, ModelConfig(always_together=[["large", "mate"]]))
    large, mate = loaded("large", HALF, idle_s=9.0), loaded("mate", 1)
    found = judged(tmp_path / "m", large, mate, loaded("other", 1, idle_s=99.0))
    assert told(found)[::2] == ("fits_after_unloading", ["large", "mate"])
    pinned = loaded("mate", 1, pinned=True)
    assert told(judged(tmp_path / "m", large, pinned))[0] == "does_not_fit"


def test_its_own_company_does_not_leave_for_it(tmp_path: Path, settings: Settings) -> None:
    rules(settings, ModelConfig(always_together=[["new", "mate"]]))
    assert told(judged(tmp_path / "m", loaded("mate", HALF)))[::2] == ("does_not_fit", ["mate"])


def test_a_training_that_does_not_yield_is_not_counted_on(tmp_path: Path) -> None:
    one = wire.ReservationStatus(
        id="j1", label="secret", state="granted", device="cpu", claim_bytes=HALF
    )
    held = judged(tmp_path / "m", reservations=[one])
    assert told(held)[::2] == ("does_not_fit", ["training j1"])
    yields = msgspec.structs.replace(one, is_preemptible=True)
    gives = judged(tmp_path / "m", reservations=[yields])
    assert told(gives)[:2] == ("fits_after_unloading", "It fits after unloading training j1.")


def test_other_programs_are_named_where_no_unloading_helps(tmp_path: Path) -> None:
    device = msgspec.structs.replace(CPU, others_bytes=HALF)
    reason = "It does not fit, because these hold the memory and stay: other programs."
    assert told(judged(tmp_path / "m", device=device)) == ("does_not_fit", reason, [])


def test_a_place_is_needed_beside_the_memory(tmp_path: Path) -> None:
    a, b = loaded("a", 1, idle_s=5.0), loaded("b", 1, pinned=True)
    assert judged(tmp_path / "m", a, b)["verdict"] == "fits"
    assert judged(tmp_path / "m", a, b, max_models=3)["verdict"] == "fits"
    assert told(judged(tmp_path / "m", a, b, max_models=2))[2] == ["a"]
    assert told(judged(tmp_path / "m", b, max_models=1)) == (
        "does_not_fit",
        "It does not fit, because pinned models hold all 1 model places: b.",
        ["b"],
    )


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
    assert (after["verdict"], after["reason"]) == (
        "fits_after_unloading",
        "It fits after unloading o.",
    )
    sleeper = msgspec.structs.replace(other, state="asleep")
    undisturbed = fit.of(small, wire.Snapshot(at=0.0, devices=[device], models=[sleeper]))
    assert undisturbed is not None
    assert undisturbed["verdict"] == "fits"


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


def test_a_long_context_fits_beside_what_stays(tmp_path: Path) -> None:
    """With fewer keys and values, as the node would load it."""
    place = tiny_files.folder(tmp_path / "m", max_position_embeddings=2**24)
    alone = judged(place)["needed_bytes"]
    rock = loaded("rock", 10**9 - alone + 2 * 10**7, pinned=True)
    found = judged(place, rock)
    assert told(found) == ("fits", "It fits beside what is loaded now.", [])
    assert found["needed_bytes"] == alone - 2 * 10**7
