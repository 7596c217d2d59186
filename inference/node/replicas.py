"""Several engines of one model: which of them takes a request, where another goes, who is too many. Pure.

A replica takes the device that has the fewest of its model; on GPUs each has one of its own. The first is
loaded like any model; the others come into free memory, or when all that are there are full.
"""

import hashlib
from collections.abc import Iterator, Sequence

from inference import wire
from inference.node.eviction import Resident
from inference.node.placement import Placement
from inference.node.residents import Instance, Model, Ticket

TOO_MANY = "fewer replicas are wanted"
CHUNK_CHARS, CHUNK_TOKENS = 512, 128  # of a prompt that has no messages
MOST_LINKS = 64  # of a conversation that are compared


def choose(model: Model, ticket: Ticket) -> Instance | None:
    """Give the least busy one that has room; among equals the one that knows the conversation."""
    able = [instance for instance in model.instances if instance.free_slots]
    return min(able, key=lambda i: (i.in_flight, -known(i, ticket), i.id), default=None)


def known(instance: Instance, ticket: Ticket) -> int:
    """Count the links of a conversation that this engine has computed lately."""
    links = enumerate(ticket.lineage, 1)
    return max((count for count, link in links if link in instance.lineage), default=0)


def lineage_of(question: wire.Submit | wire.Load) -> tuple[int, ...]:
    """Name a prompt's beginnings where there is a choice of engines."""
    if isinstance(question, wire.Submit) and question.spec.replicas > 1:
        return lineage(question.body)
    return ()


def lineage(body: wire.Body) -> tuple[int, ...]:
    """Name the beginnings of a prompt, shortest first: equal names have equal beginnings."""
    if not isinstance(body, wire.Generate):
        return ()
    begun = hashlib.blake2b(digest_size=8)
    begun.update((body.adapter.key if body.adapter else "").encode())
    found = []
    for piece in _pieces(body.prompt):
        begun.update(len(piece).to_bytes(8, "little") + piece)
        found.append(int.from_bytes(begun.digest(), "little"))
        if len(found) == MOST_LINKS:
            break
    return tuple(found)


def _pieces(prompt: wire.Prompt) -> Iterator[bytes]:
    """Cut a prompt where others may go on otherwise; what is left of a piece at its end counts not."""
    if isinstance(prompt, wire.ChatPrompt):
        for message in prompt.messages:
            images = b"".join(hashlib.blake2b(i.data).digest() for i in message.images)
            yield f"{message.role}\0{message.content}\0".encode("utf-8", "surrogatepass") + images
    elif isinstance(prompt, wire.TextPrompt):
        for at in range(0, len(prompt.text) - CHUNK_CHARS + 1, CHUNK_CHARS):
            yield prompt.text[at : at + CHUNK_CHARS].encode("utf-8", "surrogatepass")
    else:
        for at in range(0, len(prompt.tokens) - CHUNK_TOKENS + 1, CHUNK_TOKENS):
            yield repr(prompt.tokens[at : at + CHUNK_TOKENS]).encode()


def wants_another(model: Model, now: float) -> bool:
    """One at a time, beside one that serves, and not while another try would fail again."""
    if not 0 < len(model.instances) < model.replicas or model.retry_at > now:
        return False
    quiet = not model.breaker.wait_s(now, tried=False)
    return quiet and all(instance.state == "ready" for instance in model.instances)


def is_full(model: Model) -> bool:
    """Tell whether somebody waits though all that are there work: others may have to leave."""
    return bool(model.queue) and not any(i.free_slots for i in model.instances)


def may_take(victims: Sequence[Resident], model: Model) -> bool:
    """Others leave for a replica only while requests wait; no training pauses for it."""
    return not victims or (is_full(model) and not any(victim.leased for victim in victims))


def places(model: Model) -> Sequence[Placement]:
    """Give where another may go: a GPU holds one of a model, main memory as many as fit."""
    taken = [device for i in model.instances for device in i.placement.devices]
    free = [p for p in model.placements if not _gpus(p) & set(taken)]
    return sorted(free, key=lambda p: sum(taken.count(device) for device in p.devices))


def _gpus(placement: Placement) -> set[str]:
    return {device for device in placement.devices if device != "cpu"}


def surplus(model: Model) -> list[Instance]:
    """Give whom to unload first: those that still load, then the idlest."""
    most = max(0, len(model.instances) - model.replicas)
    order = sorted(model.instances, key=lambda i: (not i.starts, i.in_flight, i.last_used_at))
    return order[:most]


def spares(model: Model) -> set[int]:
    """Give the instances without which the model is still served: all that are ready but one."""
    ready = [i for i in model.instances if i.state == "ready"]
    stays = max(ready, key=lambda i: (i.in_flight, i.last_used_at, -i.id), default=None)
    return {i.id for i in ready if i is not stays}
