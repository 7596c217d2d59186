"""The memory map: what fills each device, part by part. The parts add up to the limit.

Every page takes its memory figures from here, so that they agree: used, set aside, free.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from hub.dashboard import states
from hub.dashboard.states import State
from inference import wire

HUES = 6  # colours that take turns


@dataclass(frozen=True, slots=True)
class Share:
    """A piece of a device's bar; `start` and `width` are per cent of its limit."""

    kind: str  # weights, kv, other, reserved, standby, others
    n_bytes: int
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Tenant:
    """One model in a device's memory."""

    name: str
    hue: int
    state: State
    weights_bytes: int
    kv_bytes: int
    other_bytes: int
    reserved_bytes: int
    shares: tuple[Share, ...]

    @property
    def used_bytes(self) -> int:
        return self.weights_bytes + self.kv_bytes + self.other_bytes

    @property
    def total_bytes(self) -> int:
        return self.used_bytes + self.reserved_bytes


@dataclass(frozen=True, slots=True)
class DeviceMap:
    """A device with its tenants, largest first by the node's order.

    Invariant: used + reserved + free is the limit, unless more than the limit is taken.
    """

    device: wire.DeviceInfo
    tenants: tuple[Tenant, ...]
    rest: tuple[Share, ...]  # what spare processes and other programs hold

    @property
    def used_bytes(self) -> int:
        return self.device.standby_bytes + sum(tenant.used_bytes for tenant in self.tenants)

    @property
    def reserved_bytes(self) -> int:
        """What models may still take, and what other programs keep from the hub."""
        return self.device.others_bytes + sum(tenant.reserved_bytes for tenant in self.tenants)

    @property
    def free_bytes(self) -> int:
        return max(0, self.device.limit_bytes - self.used_bytes - self.reserved_bytes)


def maps(snapshot: wire.Snapshot) -> list[DeviceMap]:
    """Draw one map per device; a model without a device is on none."""
    return [_map(device, snapshot.models) for device in snapshot.devices]


def _map(device: wire.DeviceInfo, models: list[wire.ModelStatus]) -> DeviceMap:
    here = [model for model in models if _on(device, model)]
    at = 0
    tenants = []
    for hue, model in enumerate(here):
        tenant = _tenant(model, hue % HUES, at, device.limit_bytes)
        at += tenant.total_bytes
        tenants.append(tenant)
    rest = {"standby": device.standby_bytes, "others": device.others_bytes}
    return DeviceMap(device, tuple(tenants), tuple(_shares(rest, at, device.limit_bytes)))


def _on(device: wire.DeviceInfo, model: wire.ModelStatus) -> bool:
    holds = model.memory_bytes or model.claim_bytes
    same = model.device == device.name or model.device.split(":")[0] == device.name
    return bool(holds) and same


def _tenant(model: wire.ModelStatus, hue: int, at: int, limit: int) -> Tenant:
    measured = model.memory_bytes
    weights = min(model.weights_bytes, measured)
    kv = min(model.kv_bytes, measured - weights)
    other = measured - weights - kv
    reserved = 0 if model.state == "draining" else max(0, model.claim_bytes - measured)
    sizes = {"weights": weights, "kv": kv, "other": other, "reserved": reserved}
    shares = tuple(_shares(sizes, at, limit))
    return Tenant(model.name, hue, states.of(model), weights, kv, other, reserved, shares)


def _shares(sizes: dict[str, int], at: int, limit: int) -> Iterator[Share]:
    for kind, size in sizes.items():
        if size and limit:
            yield Share(kind, size, 100 * at / limit, 100 * size / limit)
        at += size
