"""Over which GPUs a model is spread: vLLM's tensor and pipeline parallel. Pure; asked by `memory` and `fit`."""

from collections.abc import Sequence
from itertools import combinations, islice

from inference import wire
from inference.errors import InvalidValue, LoadFailed
from inference.node.devices import Device

SIZES = ("tensor_parallel_size", "pipeline_parallel_size")
ABLE = frozenset({"llm_vllm"})
MOST_GROUPS = 128  # that are weighed

Group = tuple[Device, ...]


def width(spec: wire.ModelSpec) -> int:
    """Count the GPUs that share one engine of this model. Raises: InvalidValue."""
    sizes = [spec.options.get(name, 1) for name in SIZES]
    found = 1
    for name, size in zip(SIZES, sizes, strict=True):
        if not isinstance(size, int) or size < 1:
            raise InvalidValue(f"{name} must be a positive whole number", param=f"options.{name}")
        found *= size
    if found > 1 and spec.engine not in ABLE:
        raise InvalidValue(
            f"{spec.name} asks for {found} GPUs at once, and {spec.engine} computes on one: take the"
            " engine llm_vllm, or quantize the model",
            param="engine",
        )
    return found


def groups(spec: wire.ModelSpec, gpus: Sequence[Device]) -> list[Group]:
    """List the sets of GPUs it may take, those with the most free memory first. Raises: LoadFailed."""
    count = width(spec)
    if count == 1:
        return [(gpu,) for gpu in gpus]
    if spec.device not in {"auto", "cuda"}:
        raise LoadFailed(f"{spec.name} takes {count} GPUs, and is bound to {spec.device}")
    if count > len(gpus):
        there = f"{len(gpus)} GPU" if len(gpus) == 1 else f"{len(gpus)} GPUs"
        raise LoadFailed(f"{spec.name} takes {count} GPUs at once; this node has {there}")
    return [*islice(combinations(gpus, count), MOST_GROUPS)]
