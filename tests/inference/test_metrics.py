"""Metrics: what the node says becomes gauges, labels stay bounded, and every name is documented."""

from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from inference import metrics, wire

DOCUMENT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
MODEL = wire.ModelStatus(
    name="m", version="1", state="ready", kind="llm", engine="fake", running=2, memory_bytes=7
)
DEVICE = wire.DeviceInfo(name="cpu", label="CPU", total_bytes=9, limit_bytes=8, used_bytes=7)


def exposed(snapshot: wire.Snapshot | None) -> dict[tuple[str, ...], float]:
    registry = CollectorRegistry()
    registry.register(metrics.NodeCollector(lambda: snapshot))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    samples = [sample for family in families for sample in family.samples]
    return {(s.name, *sorted(s.labels.values())): s.value for s in samples}


def test_the_node_is_shown_as_it_is() -> None:
    found = exposed(wire.Snapshot(at=1, models=[MODEL], devices=[DEVICE]))
    assert found["hub_node_up",] == 1
    assert found["hub_model_state", "m", "ready"] == 1
    assert found["hub_model_state", "failed", "m"] == 0
    assert found["hub_model_running", "m"] == 2
    assert found["hub_model_memory_bytes", "m"] == 7
    assert found["hub_device_memory_bytes", "cpu", "limit"] == 8


def test_trainings_are_counted_and_not_named() -> None:
    training = wire.ReservationStatus(
        id="j", label="secret", state="granted", device="cpu", claim_bytes=9, memory_bytes=4
    )
    found = exposed(wire.Snapshot(at=1, devices=[DEVICE], reservations=[training]))
    assert found["hub_reservations", "granted"] == 1
    assert found["hub_reservations", "waiting"] == 0
    assert found["hub_reservation_memory_bytes", "claim", "cpu"] == 9
    assert found["hub_reservation_memory_bytes", "cpu", "used"] == 4
    assert not any("secret" in key for key in found)


def test_a_node_that_is_away_is_shown_so() -> None:
    assert exposed(None) == {("hub_node_up",): 0}


def test_usage_is_counted_by_kind() -> None:
    def value(kind: str) -> float:
        labels = {"model": "counted", "kind": kind}
        return REGISTRY.get_sample_value("hub_tokens_total", labels) or 0.0

    metrics.count_usage(
        "counted", wire.Usage(prompt_tokens=3, completion_tokens=2, cached_tokens=1)
    )
    assert [value(kind) for kind in ("prompt", "completion", "cached")] == [3, 2, 1]


def test_every_metric_is_documented() -> None:
    own = {f.name for f in REGISTRY.collect() if f.name.startswith("hub_")}
    node = {name for name, *_ in exposed(wire.Snapshot(at=1, models=[MODEL], devices=[DEVICE]))}
    assert len(own) >= 9
    assert [name for name in sorted(own | node) if f"`{name}" not in DOCUMENT] == []
