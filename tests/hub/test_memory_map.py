"""The memory map fills each device with what is there, and never more."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from hub.dashboard import memory
from inference import wire

SIZES = st.integers(0, 10**12)


MODELS = st.builds(
    wire.ModelStatus,
    name=st.sampled_from("abcdefgh"),
    version=st.just(""),
    state=st.sampled_from(["cold", "loading", "ready", "draining", "asleep", "failed"]),
    kind=st.just("llm"),
    engine=st.just("fake"),
    device=st.sampled_from(["cpu", "cuda:0", ""]),
    memory_bytes=SIZES,
    claim_bytes=SIZES,
    weights_bytes=SIZES,
    kv_bytes=SIZES,
)
LISTS = st.lists(MODELS, max_size=6, unique_by=lambda model: model.name)


def snapshot(found: list[wire.ModelStatus], limit: int) -> wire.Snapshot:
    devices = [
        wire.DeviceInfo(name=name, label=name, total_bytes=limit, limit_bytes=limit, used_bytes=0)
        for name in ("cpu", "cuda:0")
    ]
    return wire.Snapshot(at=0.0, devices=devices, models=found)


@given(LISTS, st.integers(1, 10**12))
def test_it_accounts_for_every_measured_byte(found: list[wire.ModelStatus], limit: int) -> None:
    for shown in memory.maps(snapshot(found, limit)):
        for tenant in shown.tenants:
            known = next(
                m for m in found if m.name == tenant.name and m.device == shown.device.name
            )
            parts = tenant.weights_bytes + tenant.kv_bytes + tenant.other_bytes
            if len([m for m in found if m.name == tenant.name]) == 1:
                assert parts == known.memory_bytes
            assert min(tenant.weights_bytes, tenant.kv_bytes, tenant.other_bytes) >= 0


@given(LISTS, st.integers(1, 10**12))
def test_it_lays_the_pieces_side_by_side(found: list[wire.ModelStatus], limit: int) -> None:
    for shown in memory.maps(snapshot(found, limit)):
        end = 0.0
        for share in (*(share for tenant in shown.tenants for share in tenant.shares), *shown.rest):
            assert share.width > 0
            assert share.start >= end * (1 - 1e-9)
            end = share.start + share.width


def test_it_reserves_room_for_a_model_that_loads() -> None:
    loading = wire.ModelStatus(
        name="m", version="", state="loading", kind="llm", engine="fake", device="cpu",
        memory_bytes=10, claim_bytes=50, weights_bytes=10,
    )  # fmt: skip
    (tenant,) = memory.maps(snapshot([loading], 100))[0].tenants
    assert [(share.kind, share.n_bytes) for share in tenant.shares] == [
        ("weights", 10),
        ("reserved", 40),
    ]


def test_the_parts_add_up_to_the_limit() -> None:
    """Spare processes, and what other programs hold, are parts like the models."""
    ready = wire.ModelStatus(
        name="m", version="", state="ready", kind="llm", engine="fake", device="cpu",
        memory_bytes=10, claim_bytes=15, weights_bytes=10,
    )  # fmt: skip
    cpu = wire.DeviceInfo(
        name="cpu", label="cpu", total_bytes=100, limit_bytes=100, used_bytes=17,
        standby_bytes=7, others_bytes=3,
    )  # fmt: skip
    (shown,) = memory.maps(wire.Snapshot(at=0.0, devices=[cpu], models=[ready]))
    assert (shown.used_bytes, shown.reserved_bytes, shown.free_bytes) == (17, 8, 75)
    assert shown.used_bytes == cpu.used_bytes
    assert [(share.kind, share.start, share.width) for share in shown.rest] == [
        ("standby", 15.0, 7.0),
        ("others", 22.0, 3.0),
    ]


def test_each_engine_of_a_model_has_its_own_place_on_the_map() -> None:
    parts = [
        wire.Part(replica=n, device=f"cuda:{n - 1}", state="ready", memory_bytes=30, claim_bytes=50)
        for n in (1, 2)
    ]
    model = wire.ModelStatus(
        name="m", version="", state="ready", kind="llm", engine="fake",
        device="cuda:0, cuda:1", memory_bytes=60, claim_bytes=100, replicas=2, parts=parts,
    )  # fmt: skip
    devices = [
        wire.DeviceInfo(name=f"cuda:{n}", label="H", total_bytes=100, limit_bytes=90, used_bytes=30)
        for n in (0, 1)
    ]
    shown = memory.maps(wire.Snapshot(at=0.0, devices=devices, models=[model]))
    assert [[tenant.title for tenant in one.tenants] for one in shown] == [
        ["m, replica 1"],
        ["m, replica 2"],
    ]
    assert [(one.used_bytes, one.reserved_bytes, one.free_bytes) for one in shown] == [
        (30, 20, 40)
    ] * 2


def test_it_shows_the_memory_of_a_training() -> None:
    """What it holds is used, what it may still take is set aside; one that waits has none."""
    training = wire.ReservationStatus(
        id="j1", label="mine", state="granted", device="cpu", claim_bytes=60, memory_bytes=25
    )
    waits = wire.ReservationStatus(id="j2", label="next", state="waiting", claim_bytes=70)
    told = msgspec.structs.replace(snapshot([], 100), reservations=[training, waits])
    cpu, gpu = memory.maps(told)
    assert [tenant.title for tenant in cpu.tenants] == ["training: mine"]
    assert (cpu.used_bytes, cpu.reserved_bytes, cpu.free_bytes) == (25, 35, 40)
    assert not gpu.tenants
