"""Who waits for what: refusals, position, reason and time left. Pure functions over the scheduler's rows."""

from collections.abc import Iterable

import msgspec

from inference import wire
from inference.errors import DeadlineExceeded, HubError, ModelCrashing, OutOfMemory, QueueFull
from inference.node.effects import Effect, Tell
from inference.node.eviction import Impossible, Resident
from inference.node.pace import Estimate
from inference.node.residents import Model, Ticket

CRASHING = "its engine ended too often: requests are refused for a while"


def progress(model: Model, position: int, now: float) -> wire.Progress:
    instance = model.instance
    if instance and instance.state == "loading":
        left_s = max(0.0, model.expected_load_s() - (now - instance.started_at))
        return wire.Progress(
            state="loading",
            position=position,
            reason=f"{model.name} is loading",
            eta_s=round(left_s, 1),
            loaded_bytes=instance.loaded_bytes,
            total_bytes=instance.total_bytes,
        )
    if instance and instance.state == "ready":
        reason = f"{model.name} is busy with {model.in_flight} requests"
        eta_s = round(queue_eta_s(model, position), 1) or None
        return wire.Progress(state="queued", position=position, reason=reason, eta_s=eta_s)
    reason = model.reason or f"{model.name} is about to be loaded"
    is_next = instance is not None and instance.state == "committed" and not instance.is_held
    eta_s = round(model.expected_load_s(), 1) if is_next else None
    return wire.Progress(state="queued", position=position, reason=reason, eta_s=eta_s)


def rank(ticket: Ticket) -> tuple[float, int]:
    """The lowest is next."""
    return ticket.since, ticket.id


def queue_eta_s(model: Model, place: int) -> float:
    ready = sum(instance.state == "ready" for instance in model.instances)
    return model.service_s * place / max(1, model.spec.max_concurrency) / max(1, ready)


def known_eta_s(model: Model, now: float) -> float:
    """Give the rest of a load whose length is known from before, else 0."""
    instance = model.instance
    load_s = model.known_load_s
    if not load_s or (instance and instance.state == "ready"):
        return 0.0
    if instance and instance.state == "loading":
        return max(0.0, load_s - (now - instance.started_at))
    return load_s


def room_reason(victims: tuple[Resident, ...]) -> str:
    names = ", ".join(victim.name for victim in victims)
    return f"waits until {names} has left the memory" if names else ""


def asked(model: Model) -> str:
    """Say who wants it loaded: an operator waits for no answer."""
    who = "a request" if any(ticket.runs for ticket in model.queue) else "an operator"
    priority = model.spec.priority
    return f"asked for by {who}, priority {priority}" if priority else f"asked for by {who}"


def sacrifice(victim: Resident, now: float) -> str:
    """Say what made this one the least to lose."""
    if victim.spare:
        return f"priority {victim.priority}, and another replica of it stays"
    return (
        f"priority {victim.priority}, idle for {max(0.0, now - victim.last_used_at):.0f} s, "
        f"{victim.chance:.0%} likely to be wanted within a minute, loads in {victim.load_s:.1f} s"
    )


def urgency(model: Model, now: float, ageing_s: float) -> tuple[float, float]:
    """The lowest is loaded first; comparable with that of reservations, which have a priority."""
    since = model.next_ticket.since
    return -((now - since) // ageing_s), since


def refusal(model: Model, ticket: Ticket, now: float) -> HubError | None:
    """Say at once what waiting could not change."""
    if ticket.runs and not model.outlived and model.breaker.wait_s(now, tried=model.busy):
        return crashing(model, now)
    if model.refusal and model.retry_at > now:
        model.refusal.retry_after_s = model.retry_at - now
        return model.refusal
    model.refusal = None
    if ticket.runs and len(model.queue) - model.free_slots >= max(1, model.spec.max_queue):
        wait_s = max(1.0, queue_eta_s(model, len(model.queue)))
        return QueueFull(
            f"{len(model.queue)} requests already wait for {model.name}", retry_after_s=wait_s
        )
    eta_s = known_eta_s(model, now)
    if now + eta_s > ticket.deadline_at:
        return DeadlineExceeded(
            f"{model.name} will need about {eta_s:.0f} s to load, longer than the deadline",
            retry_after_s=eta_s,
        )
    return overdue(model, ticket, now) if ticket.runs else None


def overdue(model: Model, ticket: Ticket, now: float) -> DeadlineExceeded | None:
    """Refuse who would almost surely wait in the queue of a ready model for longer than its deadline."""
    pace, left_s = model.pace.estimate(now), ticket.deadline_at - now
    ready = model.instance is not None and model.instance.state == "ready"
    if pace is None or not ready:
        return None
    slots = max(1, model.spec.max_concurrency) * model.replicas
    before = _before(model, pace, slots, now)
    least_s = pace.least_s(before + 1 - slots, slots, model.pace.sureness)
    model.pace.refuses = least_s > left_s
    if not model.pace.refuses:
        return None
    expected_s = pace.mean_s * (before + 1) / slots
    return DeadlineExceeded(
        f"{before} requests wait before this one for {model.name}, in all about {expected_s:.0f} s, "
        "longer than the deadline",
        retry_after_s=max(1.0, expected_s - left_s),
    )


def _before(model: Model, pace: Estimate, slots: int, now: float) -> int:
    """Count who waits and will be served: running answers may end now, those past their deadline leave."""
    before = 0
    for other in sorted((one for one in model.queue if one.runs), key=rank):
        before += pace.least_s(before + 1 - slots, slots) <= other.deadline_at - now
    return before


def does_not_fit(name: str, never: Impossible) -> OutOfMemory:
    """Tell it in words, and in fields for programs."""
    error = OutOfMemory(f"{name} does not fit: {never.reason}")
    error.details = msgspec.to_builtins(never.shortage)
    return error


def shortage(model: Model) -> dict[str, object] | None:
    """Give in fields why it still waits for memory; None where that is not why."""
    held = model.held
    if held is None or held.shortage is None or held.reason != model.reason:
        return None
    found: dict[str, object] = msgspec.to_builtins(held.shortage)
    return found


def crashing(model: Model, now: float) -> ModelCrashing:
    """The model's breaker is open, or another request tries the model."""
    wait_s = model.breaker.wait_s(now, tried=True)
    last = model.reason or "its engine process ended unexpectedly"
    return ModelCrashing(
        f"{model.name} is not loaded for now, because its engine ended {len(model.breaker.crashes)} times"
        f" ({last}): try again in {wait_s:.0f} s; an operator's load tries it at once",
        retry_after_s=wait_s,
    )


def queue(models: Iterable[Model], now: float, most: int) -> list[wire.Waiting]:
    """Give who waits, the oldest first."""
    ranked = (
        (model, place, ticket)
        for model in models
        for place, ticket in enumerate(sorted(model.queue, key=rank), 1)
    )
    oldest = sorted(ranked, key=lambda one: one[2].since)[:most]
    return [_waiting(model, place, ticket, now) for model, place, ticket in oldest]


def _waiting(model: Model, place: int, ticket: Ticket, now: float) -> wire.Waiting:
    told = progress(model, place, now)
    return wire.Waiting(
        model=model.name,
        position=place,
        age_s=round(now - ticket.since, 1),
        reason=told.reason,
        eta_s=told.eta_s,
    )


def tell_all(model: Model, now: float) -> list[Effect]:
    """Tell everybody in the queue whose wait has changed."""
    ranked = enumerate(sorted(model.queue, key=rank), 1)
    return [told for place, ticket in ranked for told in _tell(model, ticket, place, now)]


def tell_one(model: Model, ticket: Ticket, now: float) -> list[Effect]:
    place = 1 + sum(rank(other) < rank(ticket) for other in model.queue)
    return _tell(model, ticket, place, now)


def _tell(model: Model, ticket: Ticket, place: int, now: float) -> list[Effect]:
    told = progress(model, place, now)
    if told == ticket.told:
        return []
    ticket.told = told
    return [Tell(ticket.id, told)]
