"""One model over several GPUs: what it claims on each, which it takes, who leaves for it, what its child sees."""

from pathlib import Path

import pytest

from inference import wire
from inference.engines.base import Setting
from inference.engines.vllm_command import Options, environment, visible
from inference.errors import InvalidValue, LoadFailed
from inference.node.devices import Device
from inference.node.eviction import Fits, Limits, Resident, Target, Wait, plan
from inference.node.memory import placements
from inference.node.peaks import Peaks
from tests.inference.node.test_memory import folder

GB = 10**9
CPU = Device("cpu", "16 cores", 128 * GB, 100 * GB, 90 * GB)
GPUS = [Device(f"cuda:{n}", "H", 80 * GB, 79 * GB, (10 + n) * GB) for n in range(4)]
LIMITS = Limits({device.name: device.limit_bytes for device in (CPU, *GPUS)}, min_residency_s=0.0)


def spec(path: Path, engine: str = "llm_vllm", **fields: object) -> wire.ModelSpec:
    known = {"name": "m", "kind": "llm", "engine": engine, "path": str(path)}
    return wire.ModelSpec(**(known | fields))  # type: ignore[arg-type]


def wide(path: Path, count: int = 2, **fields: object) -> wire.ModelSpec:
    return spec(path, options={"tensor_parallel_size": count}, **fields)  # type: ignore[arg-type]


@pytest.fixture
def peaks(tmp_path: Path) -> Peaks:
    return Peaks(tmp_path / "peaks.json")


def test_it_claims_its_part_on_each_of_them(tmp_path: Path, peaks: Peaks) -> None:
    path = folder(tmp_path)
    (alone, *_) = placements(spec(path), [CPU, *GPUS], peaks)
    (both, *_) = placements(wide(path), [CPU, *GPUS], peaks)
    one, other = (both.claim[device] for device in both.devices)
    assert one == other
    assert both.kv_bytes == alone.kv_bytes // 2
    overhead = 2 * one - alone.claim[alone.device]
    assert 790_000_000 < overhead < 850_000_000  # a second context and step, nothing else
    assert both.claim["cpu"] == 2 * alone.claim["cpu"]


def test_in_its_sleep_it_keeps_a_context_on_each_and_its_weights_in_main_memory(
    tmp_path: Path, peaks: Peaks
) -> None:
    path, options = folder(tmp_path), {"tensor_parallel_size": 2, "enable_sleep_mode": True}
    (both, *_) = placements(spec(path, options=options), [CPU, *GPUS], peaks)
    weights = int(1_750 * 1.05)
    assert both.asleep == {**dict.fromkeys(both.devices, 600 * 1024**2), "cpu": weights}
    (awake, *_) = placements(wide(path), [CPU, *GPUS], peaks)
    assert (awake.asleep, awake.claim) == ({}, both.claim)
    on_cpu = spec(path, options={"enable_sleep_mode": True}, device="cpu")
    assert not placements(on_cpu, [CPU, *GPUS], peaks)[0].asleep


def test_pipelines_count_too_and_the_freest_group_comes_first(tmp_path: Path, peaks: Peaks) -> None:
    options = {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}
    (all_four,) = placements(spec(folder(tmp_path), options=options), [CPU, *GPUS], peaks)
    assert all_four.devices == ("cuda:0", "cuda:1", "cuda:2", "cuda:3")
    groups = [place.devices for place in placements(wide(folder(tmp_path)), [CPU, *GPUS], peaks)]
    assert len(groups) == 6
    assert groups[0] == ("cuda:2", "cuda:3")


@pytest.mark.parametrize(
    ("engine", "count", "device", "why"),
    [
        ("llm_vllm", 8, "auto", "takes 8 GPUs at once; this node has 4 GPUs"),
        ("llm_vllm", 2, "cuda:1", "takes 2 GPUs, and is bound to cuda:1"),
        ("llm_transformers", 2, "auto", "llm_transformers computes on one"),
        ("llm_vllm", 0, "auto", "positive whole number"),
    ],
)
def test_what_cannot_be_spread_is_refused_with_a_reason(
    tmp_path: Path, peaks: Peaks, engine: str, count: int, device: str, why: str
) -> None:
    asked = wide(folder(tmp_path), count, engine=engine, device=device)
    with pytest.raises((InvalidValue, LoadFailed), match=why):
        placements(asked, [CPU, *GPUS], peaks)


def test_it_takes_the_two_that_have_room_and_evicts_on_both_where_none_has(
    tmp_path: Path, peaks: Peaks
) -> None:
    places = placements(wide(folder(tmp_path)), [CPU, *GPUS[:3]], peaks)
    full = [Resident(n, f"r{n}", {f"cuda:{n}": 79 * GB}) for n in range(3)]
    free = dict(LIMITS.bytes)
    one_full = free | {"cuda:1": 0}
    found = plan(Target("m", places), full[1:2], one_full, 100.0, LIMITS)
    assert isinstance(found, Fits)
    assert found.placement.devices == ("cuda:0", "cuda:2")
    assert not found.victims
    all_full = free | dict.fromkeys(("cuda:0", "cuda:1", "cuda:2"), 0)
    found = plan(Target("m", places), full, all_full, 100.0, LIMITS)
    assert isinstance(found, Fits)
    taken = set(found.placement.devices)
    assert {device for victim in found.victims for device in victim.claim} == taken
    busy = [Resident(n, f"r{n}", {f"cuda:{n}": 79 * GB}, running=1) for n in range(3)]
    assert isinstance(plan(Target("m", places), busy, all_full, 100.0, LIMITS), Wait)


def test_its_server_sees_exactly_these_gpus() -> None:
    setting = Setting(2, "cuda:1", 0, lambda _done, _all: None, devices=("cuda:1", "cuda:3"))
    model = spec(Path("/m"))
    found = environment({"PATH": "/bin"}, model, Options(), setting, "k")
    assert found["CUDA_VISIBLE_DEVICES"] == "1,3"
    chosen = {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b,7,GPU-d"}
    assert environment(chosen, model, Options(), setting, "k")["CUDA_VISIBLE_DEVICES"] == (
        "GPU-b,GPU-d"
    )
    assert visible(["cuda:0"], {}) == "0"
