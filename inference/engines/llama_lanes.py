"""How the KV cache of a GGUF model is laid out: which requests are computed together. Pure.

On a CPU a shared cache makes every token look at the cells of all requests (64 streams: twice the
time per token), a cache in equal slots does not, but no request can be longer than a slot. So: many
short slots, and beside them one shared cache that takes the few long requests.
"""

from dataclasses import dataclass

from inference.errors import OutOfMemory

SHORT_TOKENS = 1_024  # a slot, where the whole context does not fit into each
LONG_SLOTS = 4
SPARE_SLOTS = 1  # so that the slot of a choice that goes step by step is not the next one taken
GRAIN_TOKENS = 256  # llama.cpp rounds the size of a slot to this


@dataclass(frozen=True, slots=True)
class Lane:
    """One cache: `running` requests of at most `room_tokens` each, `kv_tokens` in all."""

    room_tokens: int
    kv_tokens: int
    running: int
    shared: bool
    spare_slots: int = SPARE_SLOTS

    @property
    def slots(self) -> int:
        return self.running + self.spare_slots

    @property
    def allocated_tokens(self) -> int:
        """What llama.cpp is asked for: in equal slots, the spare one and one token more in each."""
        if self.shared:
            return _up(self.kv_tokens)
        return self.slots * _up(self.room_tokens + 1)


def plan(
    context_tokens: int, running: int, fits_tokens: int, gpu: bool, *, sees: bool = False
) -> list[Lane]:
    """Lay out at most `fits_tokens`; lanes are in the order of their room, the last one's is the context.

    Raises: OutOfMemory.
    """
    if fits_tokens < 2 * GRAIN_TOKENS:
        raise OutOfMemory(f"there is room for a context of {max(0, fits_tokens)} tokens only")
    context = min(context_tokens, fits_tokens - GRAIN_TOKENS)
    if sees:
        return [_in_slots(context, running, fits_tokens)]
    if gpu:
        kv = min(2 * context, fits_tokens)
        return [Lane(context, kv, running, shared=True)]
    equal = Lane(context, running * context, running, shared=False)
    if equal.allocated_tokens <= fits_tokens:
        return [equal]
    return _short_and_long(context, running, fits_tokens)


def _in_slots(context: int, running: int, fits_tokens: int) -> Lane:
    """As many whole contexts as there is room for: llama.cpp makes no room for images in a shared cache."""
    slots = fits_tokens // _up(context + 1)
    if slots <= SPARE_SLOTS:
        room = min(context, fits_tokens // GRAIN_TOKENS * GRAIN_TOKENS - 1)
        return Lane(room, room, 1, shared=False, spare_slots=0)
    running = min(running, slots - SPARE_SLOTS)
    return Lane(context, running * context, running, shared=False)


def _short_and_long(context: int, running: int, fits_tokens: int) -> list[Lane]:
    """The context comes first; where it leaves too little for slots, all share one cache."""
    long = Lane(context, context, LONG_SLOTS, shared=True)
    left = fits_tokens - long.allocated_tokens
    size = min(SHORT_TOKENS, left // (running + SPARE_SLOTS)) // GRAIN_TOKENS * GRAIN_TOKENS
    size = max(size, GRAIN_TOKENS)
    slots = min(running, left // size - SPARE_SLOTS)
    if slots <= LONG_SLOTS or size > context:
        kv = min(2 * context, fits_tokens - GRAIN_TOKENS)
        return [Lane(context, max(context, kv), running, shared=True)]
    return [Lane(size - 1, slots * (size - 1), slots, shared=False), long]


def _up(tokens: int) -> int:
    return -(-tokens // GRAIN_TOKENS) * GRAIN_TOKENS
