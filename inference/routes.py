"""A route: which of several models answers, which comes next, what a request gets by default. Pure.

Called by `catalog` (choosing), `aliases` (checking) and the API (defaults).
"""

import hashlib
import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

# A target that fails so has not answered a byte, and the next one may be asked.
PASSED_ON = frozenset(
    {
        "engine_failed",
        "answer_interrupted",
        "out_of_memory",
        "model_crashing",
        "model_load_failed",
        "model_not_found",  # removed while the request waited
        "insufficient_memory",
        "model_loading_timeout",
        "node_unavailable",
        "service_unavailable",
        "queue_full",
        "upstream_loop",
    }
)
SAME_LIMIT = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}


class Target(msgspec.Struct, frozen=True):
    """`weight` 0: asked only after those before it failed."""

    model: str
    weight: float = 1.0


class Route(msgspec.Struct, frozen=True):
    targets: tuple[Target, ...]
    sticky: bool = False
    defaults: Mapping[str, Any] = {}
    system_prompt: str = ""

    @property
    def is_plain(self) -> bool:
        """Tell whether it is only another name for its one target."""
        return len(self.targets) == 1 and not self.defaults and not self.system_prompt


def order(name: str, route: Route, user: int | None, can: Callable[[str], bool]) -> list[str]:
    """Choose by weight among the models that can serve; the others follow in their order.

    A sticky route gives a user the same target as long as weights and targets stay.
    """
    able = [target for target in route.targets if can(target.model)]
    if not able:
        return [target.model for target in route.targets]
    first = _first(able, _point(name, user) if route.sticky and user is not None else None)
    return [first.model, *(target.model for target in able if target is not first)]


def _first(able: list[Target], point: float | None) -> Target:
    total = sum(target.weight for target in able)
    at = (random.random() if point is None else point) * total  # noqa: S311 (no secret)
    for target in able:
        at -= target.weight
        if at < 0:
            return target
    return able[0]


def _point(name: str, user: int | None) -> float:
    digest = hashlib.sha256(f"{name}\0{user}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def applied(route: Route, fields: dict[str, Any]) -> dict[str, Any]:
    """Fill in what a request leaves open: parameters, and a system prompt for a chat without one."""
    if not route.defaults and not route.system_prompt:
        return fields
    filled = dict(fields)
    for name, value in route.defaults.items():
        twin = SAME_LIMIT.get(name, name)
        if fields.get(name) is None and fields.get(twin) is None:
            filled[name] = value
    messages = fields.get("messages")
    if route.system_prompt and isinstance(messages, list) and not _has_system(messages):
        filled["messages"] = [{"role": "system", "content": route.system_prompt}, *messages]
    return filled


def _has_system(messages: list[Any]) -> bool:
    return any(isinstance(m, dict) and m.get("role") in {"system", "developer"} for m in messages)
