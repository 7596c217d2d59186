"""The memory map: what fills each device, part by part. The parts add up to the limit.

Every page takes its memory figures from here, so that they agree: used, set aside, free.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from django.utils.translation import gettext as _

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
    """One model, or training, in a device's memory."""

    name: str
    replica: int  # which of several engines; 0: it is the only one
    hue: int
    state: State
    weights_bytes: int
    kv_bytes: int
    other_bytes: int
    reserved_bytes: int
    shares: tuple[Share, ...]

    @property
    def title(self) -> str:
        if not self.replica:
            return self.name
        return _("%(name)s, replica %(n)d") % {"name": self.name, "n": self.replica}

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
    return [_map(device, snapshot.models, snapshot.reservations) for device in snapshot.devices]


def _map(
    device: wire.DeviceInfo,
    models: list[wire.ModelStatus],
    reservations: list[wire.ReservationStatus],
) -> DeviceMap:
    here = [(model, part) for model in models for part in model.spots if _on(device, part)]
    at = 0
    tenants = []
    for hue, (model, part) in enumerate(here):
        tenant = _tenant(model, part, hue % HUES, at, device.limit_bytes)
        at += tenant.total_bytes
        tenants.append(tenant)
    for reservation in [one for one in reservations if one.holds(device.name)]:
        tenant = _training(reservation, len(tenants) % HUES, at, device.limit_bytes)
        at += tenant.total_bytes
        tenants.append(tenant)
    rest = {"standby": device.standby_bytes, "others": device.others_bytes}
    return DeviceMap(device, tuple(tenants), tuple(_shares(rest, at, device.limit_bytes)))


def _on(device: wire.DeviceInfo, part: wire.Part) -> bool:
    holds = part.memory_bytes or part.claim_bytes
    same = part.device == device.name or part.device.split(":")[0] == device.name
    return bool(holds) and same


def _training(one: wire.ReservationStatus, hue: int, at: int, limit: int) -> Tenant:
    used = one.memory_bytes
    reserved = max(0, one.claim_bytes - used)
    return Tenant(
        name=states.title(one),
        replica=0,
        hue=hue,
        state=states.of_training(one),
        weights_bytes=0,
        kv_bytes=0,
        other_bytes=used,
        reserved_bytes=reserved,
        shares=tuple(_shares({"other": used, "reserved": reserved}, at, limit)),
    )


def _tenant(model: wire.ModelStatus, part: wire.Part, hue: int, at: int, limit: int) -> Tenant:
    measured = part.memory_bytes
    weights = min(part.weights_bytes, measured)
    kv = min(part.kv_bytes, measured - weights)
    other = measured - weights - kv
    reserved = 0 if part.state == "draining" else max(0, part.claim_bytes - measured)
    sizes = {"weights": weights, "kv": kv, "other": other, "reserved": reserved}
    shares = tuple(_shares(sizes, at, limit))
    return Tenant(
        name=model.name,
        replica=part.replica if model.replicas > 1 or part.replica > 1 else 0,
        hue=hue,
        state=state_of(model, part),
        weights_bytes=weights,
        kv_bytes=kv,
        other_bytes=other,
        reserved_bytes=reserved,
        shares=shares,
    )


def state_of(model: wire.ModelStatus, part: wire.Part) -> State:
    """Give the state of this one of a model's engines."""
    return states.of(msgspec.structs.replace(model, state=part.state, running=part.running))


def _shares(sizes: dict[str, int], at: int, limit: int) -> Iterator[Share]:
    for kind, size in sizes.items():
        if size and limit:
            yield Share(kind, size, 100 * at / limit, 100 * size / limit)
        at += size
