"""The protocol of the Hugging Face hub, as far as a download needs it; any server that speaks it.

Only files that can be served are taken: safetensors, GGUF, CTranslate2, tokenizers and configurations.
"""

import fnmatch
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from inference import bounded, downloads, projectors
from inference.downloads import DownloadFailed, Refused, Source
from inference.node import headers
from inference.safe_address import public_addresses

TAKEN = re.compile(
    r"(.*/)?([^/]+\.(safetensors|gguf|jinja|model|spm|tiktoken)|[^/]*\.json|merges\.txt|vocab\.txt"
    r"|vocabulary\.txt|LICENSE[^/]*|README\.md)",
    re.IGNORECASE,
)
MAX_FILES = 2000
PEEK_S = 60.0  # 16 MiB at most
MAX_FILE_BYTES = 2**43
COMMIT = re.compile(r"[0-9a-f]{40}")
CTRANSLATE2 = "model.bin"  # as pickles are called too: what it is, the inspection finds out
QUANTIZED_FIRST = ("Q4_K_M", "Q4_0", "Q5_K_M", "Q8_0", "Q4_1")  # of a hub's many GGUF files, one


class _Lfs(msgspec.Struct):
    sha256: str = ""
    size: int = 0


class _Sibling(msgspec.Struct):
    rfilename: str
    size: int | None = None
    blobId: str = ""  # noqa: N815 (the protocol's name)
    lfs: _Lfs | None = None


class _Answer(msgspec.Struct):
    sha: str
    siblings: list[_Sibling] = []
    cardData: dict[str, Any] | None = None  # noqa: N815 (the protocol's name)


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file as the hub describes it: large ones by SHA-256, small ones by their git blob."""

    name: str
    size_bytes: int
    sha256: str
    blob: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A model at one commit."""

    commit: str
    licence: str
    files: tuple[HubFile, ...]
    others: tuple[HubFile, ...] = ()  # weights that were not chosen

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class Hub:
    """Where it is, and with which token it is asked."""

    endpoint: str
    token: str
    private_allowed: bool

    def listing(
        self,
        model_id: str,
        revision: str,
        patterns: Sequence[str],
        check: bounded.Check = bounded.nothing,
    ) -> Listing:
        """Pin the revision to a commit and choose the files; `check` may end it by what it raises.

        Raises: DownloadFailed, Refused.
        """
        place = f"{self.endpoint}/api/models/{quote(model_id)}/revision/{quote(revision, safe='')}"
        with downloads.open_client(self.door) as client:
            found = _asked(client, place, self.headers, model_id, check)
        if not COMMIT.fullmatch(found.sha):
            raise DownloadFailed(f"{model_id}: the hub names no commit")
        there = [_file(sibling) for sibling in found.siblings[:MAX_FILES]]
        files = chosen(there, patterns, self._shards(model_id, found.sha, there, check))
        if not files:
            raise DownloadFailed(
                f"{model_id} holds no safetensors or GGUF file"
                + (f" that matches {', '.join(patterns)}" if patterns else "")
            )
        licence = str((found.cardData or {}).get("license") or "")[:64]
        others = [f for f in there if _is_weights(f) and TAKEN.fullmatch(f.name) and f not in files]
        return Listing(found.sha, licence, tuple(files), tuple(others))

    def _shards(
        self, model_id: str, commit: str, there: list[HubFile], check: bounded.Check
    ) -> frozenset[str]:
        """Give the files that the index names; none without one. Raises: DownloadFailed."""
        index = next((file for file in there if file.name == headers.INDEX), None)
        if index is None:
            return frozenset()
        data = self.peek(model_id, commit, index, lambda _: headers.MAX_CONFIG_BYTES + 1, check)
        return headers.shards(headers.object_in(data))

    def fetch(
        self, model_id: str, commit: str, file: HubFile, target: Path, progress: downloads.Progress
    ) -> None:
        """Download one file, or find that it is there. Raises: DownloadFailed, OSError."""
        if target.is_file() and _is_whole(file, target):
            return
        url = self._place(model_id, commit, file)
        source = Source(url, file.sha256, self.headers, self.door, file.size_bytes)
        downloads.download(source, target, progress)
        _check(file, target)

    def peek(
        self,
        model_id: str,
        commit: str,
        file: HubFile,
        more: Callable[[bytes], int],
        check: bounded.Check = bounded.nothing,
    ) -> bytes:
        """Give a file's beginning, as long as `more` wants by what has come. Raises: DownloadFailed."""
        url = self._place(model_id, commit, file)
        # A compressed body would not begin with the file's own bytes.
        asked = {**self.headers, "accept-encoding": "identity"}
        begin = b""
        try:
            with (
                downloads.open_client(self.door) as client,
                bounded.hung_up_after(PEEK_S) as watch,
                client.stream("GET", url, headers=asked, extensions=watch) as answer,
            ):
                if answer.status_code != httpx.codes.OK:
                    raise DownloadFailed(f"{file.name}: the hub answers {answer.status_code}")
                for chunk in bounded.pieces(answer, PEEK_S, check):
                    begin += chunk
                    if len(begin) >= (wanted := more(begin)):
                        return begin[:wanted]
        except httpx.HTTPError as error:
            raise DownloadFailed(f"{file.name}: {downloads.plain(error)}") from error
        return begin

    def _place(self, model_id: str, commit: str, file: HubFile) -> str:
        return f"{self.endpoint}/{quote(model_id)}/resolve/{commit}/{quote(file.name)}"

    def door(self, host: str) -> str | None:
        """The operator chose the hub's own host; a redirect leads to public addresses only."""
        if self.private_allowed or host == urlsplit(self.endpoint).hostname:
            return None
        if addresses := public_addresses(host):
            return str(addresses[0])
        raise Refused(f"the hub redirects to {host}, which is no public address")

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"} if self.token else {}


def chosen(
    files: list[HubFile], patterns: Sequence[str], shards: frozenset[str] = frozenset()
) -> list[HubFile]:
    """Take what is served, each weight once; of several GGUF models one. `patterns` say which instead.

    `shards`: the files that the index names.
    """
    usable = [file for file in files if TAKEN.fullmatch(file.name)] + _ctranslate2(files)
    if patterns:
        weights = [file for file in usable if _is_weights(file)]
        wanted = [f for f in weights if any(fnmatch.fnmatchcase(f.name, p) for p in patterns)]
    else:
        wanted = _usual_weights(usable, shards)
    if not wanted:
        return []
    wanted += _projectors(wanted, usable)
    return wanted + _beside(wanted, usable)


def _ctranslate2(files: list[HubFile]) -> list[HubFile]:
    """Give CTranslate2's weights, which it keeps beside a config and a vocabulary."""
    names = {file.name for file in files}
    if "config.json" not in names or not fnmatch.filter(names, "vocabulary.*"):
        return []
    return [file for file in files if file.name == CTRANSLATE2]


def _beside(wanted: list[HubFile], usable: list[HubFile]) -> list[HubFile]:
    """Give what is no weights, without the index of weights that are not taken."""
    left = any(_is_tensors(file) and file not in wanted for file in usable)
    rest = [file for file in usable if not _is_weights(file)]
    return [file for file in rest if not (left and _is_other_index(file))]


def _projectors(wanted: list[HubFile], usable: list[HubFile]) -> list[HubFile]:
    """A language model in GGUF brings along the file by which it sees, unless one is taken already."""
    models = [file.name for file in wanted if file.name.lower().endswith(".gguf")]
    if not models or any(projectors.is_one(name) for name in models):
        return []
    chosen = projectors.beside(models[0], [file.name for file in usable])
    return [file for file in usable if file.name == chosen]


def _usual_weights(files: list[HubFile], shards: frozenset[str]) -> list[HubFile]:
    if tensors := [file for file in files if _is_tensors(file)]:
        return _loaded(tensors, {file.name for file in files}, shards)
    ggufs = [file for file in files if file.name.lower().endswith(".gguf")]
    ggufs = [file for file in ggufs if not projectors.is_one(file.name)]
    for kind in QUANTIZED_FIRST:
        if found := [file for file in ggufs if kind in file.name.upper()]:
            return _first_model(found)
    return _first_model(ggufs) or [file for file in files if file.name == CTRANSLATE2]


def _loaded(tensors: list[HubFile], names: set[str], shards: frozenset[str]) -> list[HubFile]:
    """Choose as the engines do. What an index names and is not there, the inspection tells."""
    counted = headers.loaded([f.name for f in tensors], shards, plain="config.json" in names)
    return [file for file in tensors if file.name in counted] or tensors


def _first_model(ggufs: list[HubFile]) -> list[HubFile]:
    """Give one file, or all parts of it."""
    first = min((file.name for file in ggufs), default="")
    split = headers.SPLIT.fullmatch(first)
    if split is None:
        return [file for file in ggufs if file.name == first]
    found = [(file, headers.SPLIT.fullmatch(file.name)) for file in ggufs]
    return [file for file, part in found if part and part.group(1, 3) == split.group(1, 3)]


def _is_tensors(file: HubFile) -> bool:
    return "/" not in file.name and file.name.lower().endswith(".safetensors")


def _is_other_index(file: HubFile) -> bool:
    return file.name.endswith(".safetensors.index.json") and file.name != headers.INDEX


def _is_weights(file: HubFile) -> bool:
    return file.name.lower().endswith((".safetensors", ".gguf")) or file.name == CTRANSLATE2


def _asked(
    client: httpx.Client, place: str, headers: dict[str, str], model_id: str, check: bounded.Check
) -> _Answer:
    """Raises: Refused, DownloadFailed."""
    params = httpx.QueryParams({"blobs": "true"})
    try:
        status, body = bounded.get(client, place, params=params, headers=headers, check=check)
    except httpx.HTTPError as error:
        hub = place.partition("/api/models/")[0]
        raise DownloadFailed(silent(hub, error)) from error
    if status in downloads.REFUSED:
        raise Refused(_why(status, model_id))
    if status != httpx.codes.OK:
        raise DownloadFailed(f"{model_id}: the model hub answers {status}")
    try:
        return msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DownloadFailed(f"{model_id}: the model hub's answer is not its protocol's") from error


def silent(endpoint: str, error: Exception) -> str:
    return (
        f"the model hub {endpoint} does not answer: {downloads.plain(error)}; check that this"
        " machine reaches it, or set AI_HUB_HF_ENDPOINT to another one"
    )


def _why(status: int, model_id: str) -> str:
    if status in {401, 403}:
        return (
            f"{model_id} is private, gated or not there: the hub wants a token that may read it"
            " (python3 manage.py set_secret huggingface_token)"
        )
    return f"the hub knows no {model_id} at this revision"


def _file(sibling: _Sibling) -> HubFile:
    """Raises: DownloadFailed."""
    lfs = sibling.lfs or _Lfs()
    size = lfs.size or sibling.size or 0
    if not 0 <= size <= MAX_FILE_BYTES:
        raise DownloadFailed(f"{sibling.rfilename[:100]}: the hub says that it has {size:,} bytes")
    return HubFile(sibling.rfilename, size, lfs.sha256, "" if lfs.sha256 else sibling.blobId)


def _is_whole(file: HubFile, target: Path) -> bool:
    """A file with a SHA-256 got its name only after that was right."""
    same = target.stat().st_size == file.size_bytes
    return same and (not file.blob or _blob(target) == file.blob)


def _check(file: HubFile, target: Path) -> None:
    """A small file has no SHA-256 on the hub, but its git blob's SHA-1."""
    problem = ""
    if target.stat().st_size != file.size_bytes:
        problem = f"it has {target.stat().st_size} bytes, not {file.size_bytes}"
    elif file.blob and _blob(target) != file.blob:
        problem = "its content is not the hub's"
    if problem:
        target.unlink()
        raise downloads.WrongDigest(f"{file.name}: {problem}; it was removed")


def _blob(target: Path) -> str:
    content = target.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
