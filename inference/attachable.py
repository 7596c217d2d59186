"""Whether an adapter can be attached to its base, by the headers of both. Called by `arrivals`.

What cannot is merged into a copy of its base instead; what fits in no way is refused at once.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference import tensors
from inference.engines import lora_file
from inference.engines.lora_file import NotAttachable
from inference.errors import InvalidValue
from inference.models import Model

ENGINES = frozenset({"llm_transformers", "llm_vllm"})
USUAL_RANK = "16"  # of vLLM
FLOATS = frozenset({"F32", "F16", "BF16", "F64"})


def check(adapter: Path, base: Model, own_settings: bool) -> None:
    """Raises: NotAttachable; InvalidValue where it was made for another base; UnsafeModel; OSError."""
    lora_file.rules(adapter)
    found = tensors.shapes(adapter / lora_file.WEIGHTS)
    modules = lora_file.pairs(found)
    weights = _weights(Path(base.path))
    for module, pair in modules.items():
        a, b = found[pair.a][1], found[pair.b][1]
        _compare(module, a, b, weights.get(f"{module}.weight"))
    if base.engine not in ENGINES:
        raise NotAttachable(f"{base.engine} attaches none")
    options = base.settings.get("options", {})
    if options.get("torch_compile"):
        raise NotAttachable("its base is compiled")
    if base.engine == "llm_vllm":
        _check_vllm(max(found[pair.a][1][0] for pair in modules.values()), options)
    if own_settings:
        raise NotAttachable("it has settings of its own")


def _check_vllm(rank: int, options: Mapping[str, Any]) -> None:
    """Raises: NotAttachable."""
    if not options.get("max_loras"):
        raise NotAttachable("its base is served by vLLM with `max_loras` 0")
    most = options.get("max_lora_rank", USUAL_RANK)
    if rank > int(most):
        raise NotAttachable(f"its rank is {rank}, and `max_lora_rank` of its base {most}")


def _weights(folder: Path) -> dict[str, tuple[str, list[int]]]:
    """Give type and shape of every tensor of a base."""
    found: dict[str, tuple[str, list[int]]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= tensors.shapes(file)
    return found


def _compare(module: str, a: list[int], b: list[int], weight: tuple[str, list[int]] | None) -> None:
    """Raises: NotAttachable, InvalidValue."""
    if weight is None or weight[0] not in FLOATS or len(weight[1]) != 2:
        raise NotAttachable(f"its base has no plain weight of {module}")
    outputs, inputs = weight[1]
    try:
        lora_file.rank(module, a, b, inputs, outputs)
    except NotAttachable as error:
        if (a[-1:], b[:1]) != ([outputs], [inputs]):  # some keep their weights turned
            raise InvalidValue(f"the adapter does not fit its base: {error}") from error
        lora_file.rank(module, a, b, outputs, inputs)
