"""Search in a model hub: what is found, and by its size whether it could fit. Called by the dashboard.

Source: `GET /api/models` of the Hugging Face hub. A hub that knows less leaves the fields empty.
"""

from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from inference import bounded, downloads, fit, hub_protocol, wire
from inference.downloads import DownloadFailed
from inference.hub_protocol import Hub
from inference.node import memory
from inference.node.headers import Shape
from inference.tensors import SAFETENSORS_BITS

LIMIT = 20
MAX_CHARS = 100
EXPANDED = ("downloads", "likes", "tags", "gated", "pipeline_tag", "safetensors", "gguf")
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


class _Weights(msgspec.Struct):
    parameters: dict[str, int] = {}
    total: int = 0


class _Entry(msgspec.Struct):
    id: str
    downloads: int = 0
    likes: int = 0
    tags: list[Any] = []
    gated: Any = False
    pipeline_tag: str | None = None
    safetensors: _Weights | None = None
    gguf: _Weights | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A model of the hub; sizes are 0 where it does not tell them, `fit` is then None."""

    model_id: str
    downloads: int
    likes: int
    licence: str
    task: str
    is_gated: bool
    parameters: int
    size_bytes: int
    fit: dict[str, Any] | None


def search(hub: Hub, text: str, state: wire.Snapshot | None) -> list[Hit]:
    """Give the most downloaded models whose names hold the text. Raises: DownloadFailed."""
    params = {"search": text[:MAX_CHARS], "limit": str(LIMIT), "sort": "downloads"}
    answer = _asked(hub, {**params, "direction": "-1", "expand": [*EXPANDED]})
    try:
        entries = msgspec.json.decode(answer, type=list[_Entry])
    except (msgspec.DecodeError, RecursionError) as error:
        raise DownloadFailed("the model hub's answer is not its protocol's") from error
    return [_hit(entry, state) for entry in entries[:LIMIT]]


def _asked(hub: Hub, params: dict[str, str | list[str]]) -> bytes:
    """Raises: DownloadFailed."""
    try:
        with downloads.open_client(hub.door) as client:
            status, body = bounded.get(
                client,
                f"{hub.endpoint}/api/models",
                params=httpx.QueryParams(params),
                headers=hub.headers,
            )
    except httpx.HTTPError as error:
        raise DownloadFailed(hub_protocol.silent(hub.endpoint, error)) from error
    if status != httpx.codes.OK:
        raise DownloadFailed(f"the model hub cannot be searched: it answers {status}")
    return body


def _hit(entry: _Entry, state: wire.Snapshot | None) -> Hit:
    weights = entry.safetensors or _Weights()
    size = sum(_bytes(kind, n) for kind, n in weights.parameters.items())
    return Hit(
        model_id=entry.id[:200],
        downloads=max(0, entry.downloads),
        likes=max(0, entry.likes),
        licence=_tagged(entry.tags, "license:"),
        task=(entry.pipeline_tag or "")[:64],
        is_gated=bool(entry.gated),
        parameters=weights.total or (entry.gguf.total if entry.gguf else 0),
        size_bytes=size,
        fit=_fit(entry, size, state),
    )


def _bytes(kind: str, count: int) -> int:
    return max(0, count) * SAFETENSORS_BITS.get(kind, 0) // 8


def _tagged(tags: list[Any], prefix: str) -> str:
    found = (tag for tag in tags if isinstance(tag, str) and tag.startswith(prefix))
    return next(found, "").removeprefix(prefix)[:64]


def _fit(entry: _Entry, size: int, state: wire.Snapshot | None) -> dict[str, Any] | None:
    """Without its config nobody knows the KV cache: this is the least that it takes."""
    if not size or state is None or entry.safetensors is None:
        return None
    kinds = entry.safetensors.parameters
    floats = {kind: count for kind, count in kinds.items() if kind in FLOATS}
    floats_bytes = sum(_bytes(kind, count) for kind, count in floats.items())
    family = next((tag for tag in map(str, entry.tags) if tag in memory.PACKED_WHILE_READ), "")
    shape = Shape(size, family=family, floats=sum(floats.values()), floats_bytes=floats_bytes)
    spec = wire.ModelSpec(name="?", kind="llm", engine=fit.QUANTIZING, path="")
    return fit.of_shape(spec, shape, state)
