"""Prometheus metrics of requests, tokens, waits, models and memory.

Labels are bounded: endpoints are ours, models are names of the catalog (never what a client sent).
"""

from collections.abc import Callable, Iterable

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inference import wire

RESERVATION_STATES: tuple[wire.ReservationState, ...] = ("waiting", "granted", "yielding")
BREAKER_STATES: tuple[wire.BreakerState, ...] = ("closed", "open", "half_open")
STATES: tuple[wire.ModelState, ...] = ("cold", "loading", "ready", "draining", "asleep", "failed")
_WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_STEPS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
NO_MODEL = "none"  # the request was refused before its model was known

REQUESTS = Counter(
    "hub_requests", "Answered requests by HTTP status.", ["endpoint", "model", "status"]
)
PASSED_ON = Counter(
    "hub_requests_passed_on",
    "Requests that another target of their route answered, by the error of this one.",
    ["model", "code"],
)
LEFT = Counter("hub_clients_left", "Requests whose client left early.", ["endpoint", "model"])
TOKENS = Counter("hub_tokens", "Tokens by kind: prompt, cached, completion.", ["model", "kind"])
AUDIO = Counter("hub_audio_seconds", "Seconds of audio transcribed.", ["model"])
RUNNING = Gauge(
    "hub_requests_running",
    "Requests that are being answered.",
    ["endpoint"],
    multiprocess_mode="livesum",
)
DURATION = Histogram(
    "hub_request_seconds", "From the request to its end.", ["endpoint", "model"], buckets=_WAITS
)
FIRST_TOKEN = Histogram(
    "hub_time_to_first_token_seconds",
    "From the request to its first token.",
    ["model"],
    buckets=_WAITS,
)
PER_TOKEN = Histogram(
    "hub_time_per_token_seconds",
    "Mean time between tokens of one answer, after the first.",
    ["model"],
    buckets=_STEPS,
)
QUEUE = Histogram(
    "hub_queue_seconds", "Wait for the engine, load included.", ["model"], buckets=_WAITS
)


def count_usage(model: str, usage: wire.Usage) -> None:
    """Add what an engine says that it used."""
    TOKENS.labels(model, "prompt").inc(usage.prompt_tokens)
    TOKENS.labels(model, "cached").inc(usage.cached_tokens)
    TOKENS.labels(model, "completion").inc(usage.completion_tokens)
    if usage.audio_s:
        AUDIO.labels(model).inc(usage.audio_s)


class NodeCollector(Collector):
    """The node's state, asked for at each scrape; `fetch` gives None while there is no node."""

    def __init__(self, fetch: Callable[[], wire.Snapshot | None]) -> None:
        self._fetch = fetch

    def describe(self) -> Iterable[Metric]:
        """Name nothing, so that registering does not ask the node."""
        return []

    def collect(self) -> Iterable[Metric]:
        snapshot = self._fetch()
        up = GaugeMetricFamily("hub_node_up", "1 when the node answers.")
        up.add_metric([], 0.0 if snapshot is None else 1.0)
        yield up
        if snapshot is not None:
            yield _states(snapshot.models)
            yield _breakers(snapshot.models)
            yield from _gauges(snapshot.models)
            yield from _counters(snapshot.models)
            yield _devices(snapshot.devices)
            yield from _reservations(snapshot)


def _states(models: list[wire.ModelStatus]) -> Metric:
    family = GaugeMetricFamily(
        "hub_model_state", "1 for the state a model is in.", labels=["model", "state"]
    )
    for model in models:
        for state in STATES:
            family.add_metric([model.name, state], float(model.state == state))
    return family


def _breakers(models: list[wire.ModelStatus]) -> Metric:
    text = (
        "1 for the state of a model's breaker: open refuses it, because its engine ended too often."
    )
    family = GaugeMetricFamily("hub_model_breaker", text, labels=["model", "state"])
    for model in models:
        for state in BREAKER_STATES:
            family.add_metric([model.name, state], float(model.breaker == state))
    return family


def _gauges(models: list[wire.ModelStatus]) -> Iterable[Metric]:
    fields = {
        "running": ("hub_model_running", "Requests in the engine."),
        "waiting": ("hub_model_waiting", "Requests waiting for the model."),
        "memory_bytes": ("hub_model_memory_bytes", "Memory measured now."),
        "claim_bytes": ("hub_model_claim_bytes", "Memory reserved."),
        "kv_bytes": ("hub_model_kv_bytes", "Memory of the KV cache."),
        "tokens_per_s": ("hub_model_tokens_per_second", "Tokens generated per second, now."),
    }
    for field, (name, text) in fields.items():
        family = GaugeMetricFamily(name, text, labels=["model"])
        for model in models:
            family.add_metric([model.name], float(getattr(model, field)))
        yield family


def _counters(models: list[wire.ModelStatus]) -> Iterable[Metric]:
    fields = {
        "loads_total": ("hub_model_loads", "Times the model was loaded."),
        "failures_total": ("hub_model_failures", "Requests that failed in the engine."),
        "cancelled_total": ("hub_model_cancelled", "Requests that were cancelled."),
    }
    for field, (name, text) in fields.items():
        family = CounterMetricFamily(name, text, labels=["model"])
        for model in models:
            family.add_metric([model.name], float(getattr(model, field)))
        yield family


def _devices(devices: list[wire.DeviceInfo]) -> Metric:
    family = GaugeMetricFamily(
        "hub_device_memory_bytes",
        "Memory of a device: total, limit (what the hub may use), used.",
        labels=["device", "kind"],
    )
    for device in devices:
        family.add_metric([device.name, "total"], float(device.total_bytes))
        family.add_metric([device.name, "limit"], float(device.limit_bytes))
        family.add_metric([device.name, "used"], float(device.used_bytes))
    return family


def _reservations(snapshot: wire.Snapshot) -> Iterable[Metric]:
    """Trainings are counted, not named."""
    count = GaugeMetricFamily(
        "hub_reservations", "Trainings by the state of their memory.", labels=["state"]
    )
    for state in RESERVATION_STATES:
        count.add_metric([state], float(sum(o.state == state for o in snapshot.reservations)))
    yield count
    memory = GaugeMetricFamily(
        "hub_reservation_memory_bytes",
        "Memory that trainings have: claim (reserved), used (measured now).",
        labels=["device", "kind"],
    )
    for device in snapshot.devices:
        there = [o for o in snapshot.reservations if o.holds(device.name)]
        memory.add_metric([device.name, "claim"], float(sum(o.claim_bytes for o in there)))
        memory.add_metric([device.name, "used"], float(sum(o.memory_bytes for o in there)))
    yield memory
