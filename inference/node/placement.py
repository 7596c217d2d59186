"""Where a model can go and what it takes there. Made by `memory`, weighed by `eviction`; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from inference.node.context import NO_CONTEXT, Context
from inference.node.steps import NO_STEP, Step

Bytes = Mapping[str, int]  # device name -> bytes


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model can go and what it takes there.

    `claim` is what is reserved, on every device it touches; `allowance_bytes` is what the engine is
    told that it may take on `device`, `kv_bytes` of it for keys and values. `asleep` is what a sleeping
    engine keeps of each GPU, and what it takes of main memory beside what it took awake.
    """

    device: str
    claim: Bytes
    weights_bytes: int = 0
    allowance_bytes: int = 0
    kv_bytes: int = 0
    kv_min_bytes: int = 0  # to which they may shrink
    step: Step = NO_STEP  # taken only while it computes
    context: Context = NO_CONTEXT  # as it is wanted, on all of its devices together
    model_bytes: int = 0  # what a process without a model has not; 0: not known
    usual_bytes: int = 0  # by the formula, beside keys and values
    variant: str = ""  # of the engine: what decides which libraries it holds
    measured: bool = False  # all but keys and values: by an earlier load
    asleep: Bytes = field(default_factory=dict)  # see below; empty: it cannot sleep
    wakes: int = 0  # the sleeping engine whose process it takes over; 0: it starts one

    @property
    def devices(self) -> tuple[str, ...]:
        """Name where its weights are: one device, or the GPUs that share them."""
        gpus = tuple(sorted(name for name in self.claim if name != "cpu"))
        return gpus if self.device in gpus else (self.device,)

    def with_less(self, size: int) -> "Placement":
        """Take so much of keys and values away, on each device of its weights."""
        less = {device: self.claim[device] - size for device in self.devices}
        kept = self.kv_bytes - size
        allowed = self.allowance_bytes - size
        return replace(self, claim={**self.claim, **less}, kv_bytes=kept, allowance_bytes=allowed)

    @property
    def context_tokens(self) -> int:
        """Give how long one request may be; 0: not known."""
        return self.context.held(self.kv_bytes * len(self.devices))

    @property
    def step_bytes(self) -> int:
        return self.step.bytes
