"""What model files are, read from their headers before anything is loaded. Called by `entries`."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import msgspec

from inference.downloads import chunks
from inference.errors import UnsafeModel
from inference.node import headers

OPEN_CLIP = "open_clip_config.json"
MAX_CONFIG_BYTES = 4 * 2**20
FORBIDDEN = re.compile(r".*\.(py|pyc|pkl|pickle|pt|pth|ckpt|so|dll|exe|sh)")


class Report(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a model is; `engine` serves it."""

    kind: str
    engine: str
    architecture: str = ""
    quantization: str = ""
    context_tokens: int = 0
    parameters: int | None = None
    licence: str = ""
    size_bytes: int = 0
    sha256: str = ""
    path: str = ""  # the spec's path, relative to what was inspected; empty: itself
    warnings: list[str] = []


def inspect(place: Path) -> Report:
    """Read headers only. Raises: UnsafeModel; OSError."""
    try:
        return _file(place) if place.is_file() else _folder(place)
    except headers.UnreadableModel as error:
        raise UnsafeModel(str(error)) from error


def digest(place: Path) -> str:
    """Hash names and contents of all files, so that any change is another model."""
    total = hashlib.sha256()
    for file in _files(place):
        inner = hashlib.sha256()
        for piece in chunks(file):
            inner.update(piece)
        name = file.relative_to(place).as_posix() if place.is_dir() else file.name
        total.update(f"{name}\0{inner.hexdigest()}\n".encode())
    return total.hexdigest()


def as_json(report: Report) -> dict[str, Any]:
    """Give the report as the row keeps it."""
    found: dict[str, Any] = msgspec.to_builtins(report)
    return found


def _files(place: Path) -> list[Path]:
    return [place] if place.is_file() else sorted(f for f in place.rglob("*") if f.is_file())


def _file(file: Path) -> Report:
    if file.suffix != ".gguf":
        raise UnsafeModel(f"{file.name}: a single file must be GGUF; give other models' folder")
    values = headers.gguf_numbers(file)
    shape = headers.read(str(file))
    return Report(
        kind="llm",
        engine="llm_gguf",
        architecture=str(values.get("general.architecture", "")),
        context_tokens=shape.context_tokens,
        licence=str(values.get("general.license", ""))[:64],
        size_bytes=shape.weights_bytes,
    )


def _folder(folder: Path) -> Report:
    files = _files(folder)
    for file in folder.rglob("*"):
        if file.is_symlink() and not file.resolve().is_relative_to(folder.resolve()):
            raise UnsafeModel(f"{file.name} is a link that leaves the folder")
        if FORBIDDEN.fullmatch(file.name.lower()):
            raise UnsafeModel(f"{file.name}: code and pickles are not taken; remove it")
    ggufs = [file for file in files if file.suffix == ".gguf"]
    if ggufs:
        report = _file(ggufs[0])
        report.path = ggufs[0].relative_to(folder).as_posix()
        return report
    return _of_config(folder, sum(file.stat().st_size for file in files))


def _of_config(folder: Path, size: int) -> Report:
    if (folder / "adapter_config.json").is_file():
        return Report(kind="adapter", engine="llm_transformers", size_bytes=size)
    if (folder / OPEN_CLIP).is_file() and not (folder / "config.json").is_file():
        if not any(folder.glob("*.safetensors")):
            raise UnsafeModel(f"{folder.name} holds no safetensors; pickled weights are not taken")
        return Report(kind="clip", engine="embed_clip", architecture="open_clip", size_bytes=size)
    config = _config(folder / "config.json")
    kind, engine = _kind(folder, config)
    shape = headers.read(str(folder))
    names = config.get("architectures") or [""]
    return Report(
        kind=kind,
        engine=engine,
        architecture=str(names[0])[:100],
        context_tokens=shape.context_tokens,
        size_bytes=size,
    )


def _kind(folder: Path, config: dict[str, Any]) -> tuple[str, str]:
    """Raises: UnsafeModel."""
    if "auto_map" in config:
        raise UnsafeModel("config.json asks for code of its own (auto_map), which is never run")
    if (folder / "model.bin").is_file() and any(folder.glob("vocabulary.*")):
        return "asr", "asr_whisper"
    if not any(folder.glob("*.safetensors")):
        raise UnsafeModel(f"{folder.name} holds no safetensors, GGUF or CTranslate2 model")
    names = " ".join(str(name) for name in config.get("architectures") or [])
    if "CausalLM" in names:
        return "llm", "llm_transformers"
    sees = isinstance(config.get("vision_config"), dict)
    if sees and "ForConditionalGeneration" in names:
        return "vlm", "vlm_transformers"
    if sees and isinstance(config.get("text_config"), dict) and names.endswith("Model"):
        return "clip", "embed_clip"
    if (folder / "modules.json").is_file() or "Model" in names:
        return "embed", "embed_text"
    raise UnsafeModel(f"no engine serves the architecture {names[:100] or 'without a name'}")


def _config(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_CONFIG_BYTES + 1)
        found = json.loads(data) if len(data) <= MAX_CONFIG_BYTES else None
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UnsafeModel("config.json is missing, too large or no JSON object")
    return found
