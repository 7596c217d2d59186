"""What model files are, read from their headers before anything is loaded. Called by `entries`."""

import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec

from inference import tensors
from inference.downloads import chunks
from inference.engines.gguf_header import FILE_TYPES
from inference.errors import UnsafeModel
from inference.node import headers

OPEN_CLIP = "open_clip_config.json"
MAX_SHARDS = 1000
CTRANSLATE2_VERSIONS = 15  # Source: CTranslate2 4 writes 6
SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors")
SPLIT = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
FORBIDDEN = re.compile(r".*\.(py|pyc|bin|h5|msgpack|pkl|pickle|pt|pth|ckpt|so|dll|exe|sh)")


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
    attached: bool = False  # an adapter that its resident base takes on, and not a copy of both
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
    found = tensors.Tensors()
    for part in _gguf_parts(file):
        found.add(tensors.gguf(part))
    values = headers.gguf_numbers(file)
    shape = headers.read(str(file))
    kind = values.get("general.file_type")
    return Report(
        kind="llm",
        engine="llm_gguf",
        architecture=str(values.get("general.architecture", ""))[:100],
        quantization=FILE_TYPES.get(kind, "") if isinstance(kind, int) else "",
        parameters=found.parameters,
        context_tokens=shape.context_tokens,
        licence=str(values.get("general.license", ""))[:64],
        size_bytes=shape.weights_bytes,
    )


def _gguf_parts(file: Path) -> list[Path]:
    """A split file names its number and how many there are. Raises: UnsafeModel."""
    split = SPLIT.fullmatch(file.name)
    if split is None:
        return [file]
    count = int(split[3])
    parts = [file.with_name(f"{split[1]}-{n:05}-of-{split[3]}.gguf") for n in range(1, count + 1)]
    if int(split[2]) != 1 or not 1 <= count <= MAX_SHARDS:
        raise UnsafeModel(f"{file.name} is not the first of its parts")
    if missing := [part.name for part in parts if not part.is_file()]:
        raise UnsafeModel(f"{missing[0]} is missing")
    return parts


def _folder(folder: Path) -> Report:
    for file in folder.rglob("*"):
        if file.is_symlink() and not file.resolve().is_relative_to(folder.resolve()):
            raise UnsafeModel(f"{file.name} is a link that leaves the folder")
        if not file.is_file() and not file.is_dir():
            raise UnsafeModel(f"{file.name} is no plain file")
    files = _files(folder)
    if ggufs := [file for file in files if file.suffix == ".gguf" and "mmproj" not in file.name]:
        report = _file(ggufs[0])
        report.path = ggufs[0].relative_to(folder).as_posix()
    else:
        report = _of_config(folder)
        report.size_bytes = sum(file.stat().st_size for file in files)
    report.warnings = _unused([file for file in files if file != _ctranslate2(folder)])
    return report


def _unused(files: list[Path]) -> list[str]:
    """Code and pickles beside safe weights are never opened; say that they are there."""
    bad = [file.name for file in files if FORBIDDEN.fullmatch(file.name.lower())]
    return [f"{name} is not used: code and pickles are never loaded" for name in bad[:20]]


def _of_config(folder: Path) -> Report:
    if (folder / "adapter_config.json").is_file():
        found = tensors.safetensors(_there(folder, "adapter_model.safetensors"))
        return Report(kind="adapter", engine="llm_transformers", parameters=found.parameters)
    if (folder / OPEN_CLIP).is_file() and not (folder / "config.json").is_file():
        return _weighed(folder, Report(kind="clip", engine="embed_clip", architecture="open_clip"))
    config = _config(folder / "config.json")
    if "auto_map" in config:
        raise UnsafeModel("config.json asks for code of its own (auto_map), which is never run")
    if _ctranslate2(folder):
        return Report(kind="asr", engine="asr_whisper", architecture="whisper (CTranslate2)")
    kind, engine = _kind(folder, config)
    names = headers.architectures(config) or [""]
    report = Report(kind=kind, engine=engine, architecture=names[0][:100])
    report.context_tokens = _context(config)
    _weighed(folder, report)
    headers.read(str(folder))  # what the node refuses before each load is refused here
    return report


def _ctranslate2(folder: Path) -> Path | None:
    """CTranslate2's own binary format is no pickle: it begins with a small version number."""
    file = folder / "model.bin"
    if not file.is_file() or not any(folder.glob("vocabulary.*")):
        return None
    with file.open("rb") as stream:
        version = int.from_bytes(stream.read(4), "little")
    return file if 1 <= version <= CTRANSLATE2_VERSIONS else None


def _weighed(folder: Path, report: Report) -> Report:
    """Check every file of weights, and that none is missing. Raises: UnsafeModel."""
    _check_index(folder)
    found = tensors.Tensors()
    for file in sorted(folder.glob("*.safetensors")):
        found.add(tensors.safetensors(file))
    if not found.parameters:
        bad = [file.name for file in folder.iterdir() if FORBIDDEN.fullmatch(file.name.lower())]
        only = f"; {bad[0]} is a pickle, which is never loaded" if bad else ""
        raise UnsafeModel(f"{folder.name} holds no safetensors weights{only}")
    report.parameters, report.quantization = found.parameters, found.main_type
    return report


def _check_index(folder: Path) -> None:
    """The shards that an index names are names, not paths. Raises: UnsafeModel."""
    for index in folder.glob("*.safetensors.index.json"):
        shards = _config(index).get("weight_map")
        if not isinstance(shards, dict):
            raise UnsafeModel(f"{index.name} has no weight_map")
        for name in {str(shard) for shard in shards.values()}:
            if not SHARD.fullmatch(name):
                raise UnsafeModel(f"{index.name} names {name[:100]!a}, which is no file here")
            _there(folder, name)


def _there(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise UnsafeModel(f"{name} is missing")
    return folder / name


def _kind(folder: Path, config: dict[str, Any]) -> tuple[str, str]:
    """Raises: UnsafeModel."""
    names = " ".join(headers.architectures(config))
    if "Whisper" in names:
        raise UnsafeModel(
            "Whisper is served from CTranslate2 files: convert it, or take such a one"
        )
    sees = isinstance(config.get("vision_config"), dict)
    if sees and "ForConditionalGeneration" in names:
        return "vlm", "vlm_transformers"
    both = sees and isinstance(config.get("text_config"), dict)
    if "CLIPModel" in names or (both and names.endswith("Model")):
        return "clip", "embed_clip"
    if "CausalLM" in names:
        return "llm", "llm_transformers"
    if (folder / "modules.json").is_file() or names.endswith("Model"):
        return "embed", "embed_text"
    raise UnsafeModel(
        f"no engine serves the architecture {ascii(names[:100]) if names else 'without a name'}"
    )


def _context(config: dict[str, Any]) -> int:
    inner = config.get("text_config")
    parts = [config, inner if isinstance(inner, dict) else {}]
    keys = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length")
    found = [part.get(key) for part in parts for key in keys]
    return next((n for n in found if type(n) is int and 0 < n < 2**31), 0)


def _config(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            data = stream.read(headers.MAX_CONFIG_BYTES + 1)
        found = headers.bounded_json(data) if len(data) <= headers.MAX_CONFIG_BYTES else None
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise UnsafeModel(f"{file.name} is missing, too large or no JSON object")
    return found
