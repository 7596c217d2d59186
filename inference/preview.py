"""What a model would be, before its files are here: from the beginnings of its files alone.

Called by the dashboard. A file is set up at its full size with nothing but its header in it, so the
same readers judge it as after the download, to the same figures.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from inference import (
    chat_templates,
    ctranslate2_file,
    fit,
    hub_protocol,
    hubs,
    inspection,
    places,
    reading,
    wire,
)
from inference.errors import InvalidValue, UnsafeModel
from inference.hub_protocol import HubFile, Listing
from inference.node import headers
from inference.reading import Report

READ_WHOLE = frozenset(
    {
        "config.json",
        "adapter_config.json",
        "modules.json",
        "README.md",
        "vocabulary.json",
        "vocabulary.txt",
        reading.OPEN_CLIP,
        *chat_templates.CONFIGS,
        "chat_template.jinja",
    }
)  # of the small files, those that say what a model is
MAX_SMALL_BYTES = 4 * 2**20
MAX_HEAD_BYTES = 16 * 2**20
MAX_HEADS_BYTES = 128 * 2**20  # of one model together: they are held in memory
GGUF_HEAD_BYTES = 16 * 2**20  # vocabularies are in it; the largest seen takes 9 MB
GGUF_PART_BYTES = 2 * 2**20  # of a split file's later parts, which name tensors only
MAX_PEEKED = 64  # files of weights
AT_ONCE = 6


@dataclass(frozen=True, slots=True)
class Head:
    """A file of `size_bytes` of which only the beginning is known."""

    name: str
    size_bytes: int
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Preview:
    """`fit` is what the node's formula says now; None where nobody can tell."""

    report: Report
    size_bytes: int
    files: int
    commit: str = ""
    licence: str = ""
    fit: dict[str, Any] | None = None
    others: tuple[HubFile, ...] = ()  # weights of the hub's that were not chosen


def of_hub(
    model_id: str, revision: str, patterns: list[str], state: wire.Snapshot | None
) -> Preview:
    """Ask the hub for a listing and for headers. Raises: DownloadFailed, UnsafeModel, OSError."""
    hub = hubs.configured()
    listing = hub.listing(model_id, revision, patterns)
    taken = _Taken()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        heads = [
            *threads.map(lambda file: _peek(hub, model_id, listing, file, taken), _few(listing))
        ]
    found = of_heads(heads, state)
    return Preview(
        found.report,
        listing.size_bytes,
        len(listing.files),
        listing.commit,
        listing.licence,
        found.fit,
        listing.others,
    )


def of_heads(heads: Iterable[Head], state: wire.Snapshot | None) -> Preview:
    """Judge files by their beginnings. Raises: UnsafeModel, InvalidValue, OSError."""
    heads = [*heads]
    with _skeleton(heads) as folder:
        _check_gguf(folder, heads)
        found = of_place(folder, state)
    size = sum(head.size_bytes for head in heads)
    return Preview(found.report, size, len(heads), fit=found.fit)


def of_place(place: Path, state: wire.Snapshot | None) -> Preview:
    """Judge files that are there. Raises: UnsafeModel, OSError."""
    report = inspection.inspect(place)
    path = place / report.path if report.path else place
    files = 1 if place.is_file() else sum(1 for file in place.rglob("*") if file.is_file())
    return Preview(
        report, report.size_bytes, files, licence=report.licence, fit=_fit(report, path, state)
    )


def _fit(report: Report, path: Path, state: wire.Snapshot | None) -> dict[str, Any] | None:
    """An adapter needs what its base needs, which the base's own page tells."""
    if state is None or report.kind == "adapter":
        return None
    spec = wire.ModelSpec(
        name="?",
        kind=cast("wire.Kind", report.kind),
        engine=report.engine,
        path=str(path),
        projector=str(path.with_name(report.projector)) if report.projector else "",
        context_tokens=report.context_tokens,
    )
    return fit.of(spec, state)


def wanted_bytes(name: str, begin: bytes) -> int:
    """Say how much of a file is needed, by its name and first bytes; 8 where these are not there."""
    lower = name.lower()
    if lower.endswith(".safetensors"):
        return (
            min(8 + int.from_bytes(begin[:8], "little"), MAX_HEAD_BYTES) if len(begin) >= 8 else 8
        )
    if lower.endswith(".gguf"):
        part = headers.SPLIT.fullmatch(lower)
        return GGUF_PART_BYTES if part and int(part[2]) > 1 else GGUF_HEAD_BYTES
    if name == hub_protocol.CTRANSLATE2:
        return ctranslate2_file.VERSION_BYTES
    is_telling = name in READ_WHOLE or lower.endswith(".safetensors.index.json")
    return MAX_SMALL_BYTES if is_telling else 0


def _few(listing: Listing) -> list[HubFile]:
    """Raises: InvalidValue."""
    telling = [file for file in listing.files if wanted_bytes(file.name, b"")]
    if len(telling) > MAX_PEEKED:
        raise InvalidValue(
            f"{len(telling)} files are too many to look into; add it, and it is judged once it is here"
        )
    return [*listing.files]


class _Taken:
    """How much of a stranger's headers is held already; what is being read comes on top."""

    def __init__(self) -> None:
        self.n_bytes = 0

    def check(self) -> None:
        """Raises: InvalidValue."""
        if self.n_bytes > MAX_HEADS_BYTES:
            raise InvalidValue(
                "its headers are too large to look into; add it, and it is judged here"
            )


def _peek(
    hub: hub_protocol.Hub, model_id: str, listing: Listing, file: HubFile, taken: _Taken
) -> Head:
    """Raises: InvalidValue, DownloadFailed."""
    if not wanted_bytes(file.name, b""):
        return Head(file.name, file.size_bytes)
    taken.check()

    def more(begin: bytes) -> int:
        return wanted_bytes(file.name, begin)

    data = hub.peek(model_id, listing.commit, file, more)
    taken.n_bytes += len(data)
    return Head(file.name, file.size_bytes, data)


@contextmanager
def _skeleton(heads: list[Head]) -> Iterator[Path]:
    """Raises: InvalidValue for a name that leaves the folder; OSError."""
    with tempfile.TemporaryDirectory(prefix="hub-preview-") as place:
        folder = Path(place) / "model"
        for head in heads:
            file = places.safe_path(folder, head.name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(_begin(head)[: head.size_bytes])
            os.truncate(file, head.size_bytes)
        yield folder


def _begin(head: Head) -> bytes:
    """The table of CTranslate2's file lies between its weights: it is read as one that has none."""
    if head.name == hub_protocol.CTRANSLATE2 and ctranslate2_file.version_in(head.data):
        return ctranslate2_file.WITHOUT_TABLE
    return head.data


def _check_gguf(folder: Path, heads: list[Head]) -> None:
    """What lies behind the beginning reads as zeros, which would be believed. Raises: UnsafeModel."""
    for head in heads:
        if head.name.lower().endswith(".gguf") and head.data and len(head.data) < head.size_bytes:
            try:
                end = headers.gguf_metadata(folder / head.name)[2]
            except headers.UnreadableModel as error:
                raise UnsafeModel(str(error)) from error
            if end > len(head.data):
                raise UnsafeModel(
                    f"the header of {head.name} is too long to be judged before it is here"
                )
