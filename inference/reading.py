"""What model files are, read from their headers before anything is loaded. Called by `entries`."""

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from inference import (
    agreement,
    config_files,
    ctranslate2_file,
    model_card,
    model_types,
    projectors,
    tensors,
    tokenizer_files,
)
from inference.downloads import sha256_of
from inference.engines.gguf_header import FILE_TYPES
from inference.errors import UnsafeModel
from inference.node import headers
from inference.plain_files import open_plain

OPEN_CLIP = "open_clip_config.json"
MAX_SHARDS = 1000
MAX_SUMS = 2000  # files whose sums the catalog keeps; all of them count in the one of the model
SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors")
VLLM_METHODS = frozenset(
    {"awq", "compressed-tensors", "fbgemm_fp8", "fp8", "gptq", "modelopt", "mxfp4"}
)  # Source: vLLM's own list, of what is packed in safetensors
FORBIDDEN = re.compile(r".*\.(py|pyc|bin|h5|msgpack|pkl|pickle|pt|pth|ckpt|so|dll|exe|sh)")


class FileSum(msgspec.Struct, frozen=True):
    """A file of a model as it was when it came."""

    path: str
    size_bytes: int
    sha256: str


class Report(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a model is; `engine` serves it."""

    kind: str
    engine: str
    architecture: str = ""
    quantization: str = ""
    context_tokens: int = 0
    vocab_tokens: int = 0
    template: Literal["", "fine", "broken"] = (
        ""  # of chats; empty: it has none, or was not looked at
    )
    words_beyond: bool = False  # it has vectors for more tokens than its config says
    converts: bool = False  # its engine serves what is made of these files when they have come
    files: list[FileSum] = []
    parameters: int | None = None
    licence: str = ""
    size_bytes: int = 0
    path: str = ""  # the spec's path, relative to what was inspected; empty: itself
    projector: str = ""  # the name of the file beside it by which it sees
    attached: bool = False  # an adapter that its resident base takes on, and not a copy of both
    warnings: list[str] = []


def inspect(place: Path) -> Report:
    """Read headers only. Raises: UnsafeModel."""
    try:
        return _alone(place) if place.is_file() else _folder(place)
    except headers.UnreadableModel as error:
        raise UnsafeModel(str(error)) from error
    except OSError as error:
        name = Path(str(error.filename or place)).name
        raise UnsafeModel(f"{name} cannot be read: {error.strerror}") from error


def sums(place: Path, note: Callable[[int], None] = lambda _: None) -> list[FileSum]:
    """Hash every file; `note` is told the bytes of each chunk. Raises: OSError."""
    return [
        FileSum(
            file.relative_to(place).as_posix() if place.is_dir() else file.name,
            file.stat().st_size,
            sha256_of(file, note),
        )
        for file in _files(place)
    ]


def fingerprint(files: list[FileSum]) -> str:
    """Hash names and contents of all files, so that any change is another model."""
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.path}\0{file.sha256}\n".encode())
    return total.hexdigest()


def as_json(report: Report) -> dict[str, Any]:
    """Give the report as the row keeps it."""
    found: dict[str, Any] = msgspec.to_builtins(report)
    return found


def _files(place: Path) -> list[Path]:
    return [place] if place.is_file() else sorted(f for f in place.rglob("*") if f.is_file())


def _alone(file: Path) -> Report:
    """A folder may hold many models: which one a projector is for, only a folder of its own says."""
    report = _file(file)
    report.warnings = blindness(file)
    return report


def blindness(file: Path) -> list[str]:
    """Say that a projector lies beside a file that was given alone. Raises: OSError."""
    eyes = projectors.beside(file.name, [other.name for other in file.parent.glob("*.gguf")])
    if eyes is None or projectors.is_one(file.name):
        return []
    return [f"{eyes} beside it is not taken: give a folder of the two, and the model sees"]


def _file(file: Path) -> Report:
    if file.suffix != ".gguf":
        raise UnsafeModel(f"{file.name}: a single file must be GGUF; give other models' folder")
    found = _gguf_tensors(_gguf_parts(file))
    values = headers.gguf_numbers(file)
    if values.get("general.architecture") == "clip":
        raise UnsafeModel(f"{file.name} only lets a language model see; give the folder of both")
    if refusal := model_types.refusal("gguf", values.get("general.architecture")):
        raise UnsafeModel(refusal)
    shape = headers.read(str(file))
    agreement.check_gguf(values, found.shapes, shape.vocab_tokens)
    kind = values.get("general.file_type")
    return Report(
        kind="llm",
        engine="llm_gguf",
        architecture=str(values.get("general.architecture", ""))[:100],
        quantization=FILE_TYPES.get(kind, "") if isinstance(kind, int) else "",
        parameters=found.parameters,
        context_tokens=shape.context_tokens,
        vocab_tokens=shape.vocab_tokens,
        licence=_shown(str(values.get("general.license", "")), 64),
        size_bytes=shape.weights_bytes,
    )


def _gguf_tensors(parts: list[Path]) -> tensors.Tensors:
    """Raises: UnsafeModel."""
    found = tensors.Tensors()
    for part in parts:
        more = tensors.gguf(part)
        if twice := found.shapes.keys() & more.shapes.keys():
            raise UnsafeModel(f"{part.name} holds {min(twice)} again, which another part holds")
        found.add(more)
    return found


def _gguf_parts(file: Path) -> list[Path]:
    """A split file names its number and how many there are. Raises: UnsafeModel."""
    split = headers.SPLIT.fullmatch(file.name)
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
    _check_plain(folder)
    files = _files(folder)
    if ggufs := [file for file in files if file.suffix == ".gguf"]:
        report = _gguf_folder(folder, ggufs)
    else:
        report = _of_config(folder)
        report.size_bytes = sum(file.stat().st_size for file in files)
    report.licence = report.licence or model_card.licence(folder)
    report.warnings = _unused([file for file in files if file != _ctranslate2(folder)])
    return report


def _check_plain(folder: Path) -> None:
    """Raises: UnsafeModel."""
    root = os.path.realpath(folder)
    for file in folder.rglob("*"):
        if not file.name.isprintable():
            raise UnsafeModel(f"{file.name[:100]!a} is no name for a model's file")
        if file.is_symlink() and not Path(os.path.realpath(file)).is_relative_to(root):
            raise UnsafeModel(f"`{file.name}` is a link that leaves the folder")
        if not file.is_file() and not file.is_dir():
            raise UnsafeModel(f"`{file.name}` is no plain file")


def _gguf_folder(folder: Path, ggufs: list[Path]) -> Report:
    """Raises: UnsafeModel; OSError."""
    names = [file.relative_to(folder).as_posix() for file in ggufs]
    own = next((name for name in names if not projectors.is_one(name)), None)
    if own is None:
        raise UnsafeModel(f"{names[0]} only lets a language model see, which is missing beside it")
    report = _file(folder / own)
    report.path = own
    if eyes := projectors.beside(own, names):
        _add_eyes(report, folder / eyes)
    return report


def _add_eyes(report: Report, eyes: Path) -> None:
    """Check the file that makes images into vectors; one for sound only is left out."""
    found = tensors.gguf(eyes)
    values = headers.gguf_numbers(eyes)
    if values.get("general.architecture") != "clip":
        raise UnsafeModel(f"{eyes.name} is named like a projector, but is none")
    if values.get("clip.has_vision_encoder") is True:
        report.kind, report.projector = "vlm", eyes.name
        report.size_bytes += eyes.stat().st_size
        report.parameters = (report.parameters or 0) + found.parameters


def _unused(files: list[Path]) -> list[str]:
    """Code and pickles beside safe weights are never opened; say that they are there."""
    bad = [file.name for file in files if FORBIDDEN.fullmatch(file.name.lower())]
    return [f"{name} is not used: code and pickles are never loaded" for name in bad[:20]]


def _of_config(folder: Path) -> Report:
    if (folder / "adapter_config.json").is_file():
        found = tensors.safetensors(_there(folder, "adapter_model.safetensors"))
        return Report(kind="adapter", engine="llm_transformers", parameters=found.parameters)
    if (folder / OPEN_CLIP).is_file() and not (folder / "config.json").is_file():
        report = Report(kind="clip", engine="embed_clip", architecture="open_clip")
        return _weighed(folder, report, config_files.read(folder / OPEN_CLIP))
    config = config_files.read(folder / "config.json")
    if "auto_map" in config:
        raise UnsafeModel("config.json asks for code of its own (auto_map), which is never run")
    if file := _ctranslate2(folder):
        return _speech(folder, file)
    kind, engine = _kind(folder, config)
    if refusal := model_types.refusal(kind, config.get("model_type")):
        raise UnsafeModel(refusal)
    names = headers.architectures(config) or [""]
    report = Report(kind=kind, engine=engine, architecture=_shown(names[0], 100))
    report.context_tokens = _context(config)
    report.converts = engine == "asr_whisper"
    _weighed(folder, report, config)
    _note_packing(config, report)
    tokenizer_files.check_there(folder)
    for name in config_files.BESIDE:
        if (folder / name).is_file():
            config_files.read(folder / name)
    report.words_beyond = config.get("model_type") in agreement.MORE_WORDS
    # What the node refuses before each load is refused here.
    report.vocab_tokens = headers.read(str(folder)).vocab_tokens
    return report


def _shown(text: str, most: int) -> str:
    """A database takes no character that cannot be printed."""
    return "".join(filter(str.isprintable, text))[:most]


def _ctranslate2(folder: Path) -> Path | None:
    """CTranslate2's own binary format is no pickle: it begins with a small version number."""
    file = folder / "model.bin"
    if not file.is_file() or not any(folder.glob("vocabulary.*")):
        return None
    return file if ctranslate2_file.version(file) else None


def _speech(folder: Path, file: Path) -> Report:
    """Raises: UnsafeModel."""
    found = ctranslate2_file.read(file)
    _there(folder, tokenizer_files.WHOLE)
    words = _words_in(folder)
    if found.shapes:
        listed = (folder / "vocabulary.json").is_file()  # of lines a token may be two
        agreement.check_ctranslate2(found.shapes, words if listed else 0)
    return Report(
        kind="asr",
        engine="asr_whisper",
        architecture="whisper (CTranslate2)",
        parameters=found.parameters or None,
        quantization=found.main_type,
        vocab_tokens=words,
    )


def _words_in(folder: Path) -> int:
    """Count a vocabulary: a JSON list, or a line for each."""
    file = next(folder.glob("vocabulary.*"))
    with open_plain(file) as stream:
        data = stream.read(headers.MAX_CONFIG_BYTES)
    try:
        words = json.loads(data) if file.suffix == ".json" else data.splitlines()
    except (ValueError, RecursionError):
        return 0
    return len(words) if isinstance(words, list) else 0


def _weighed(folder: Path, report: Report, config: dict[str, Any] | None = None) -> Report:
    """Check every file of weights, and that none is missing. Raises: UnsafeModel."""
    named = _index(folder)
    files = {file.name: tensors.safetensors(file) for file in sorted(folder.glob("*.safetensors"))}
    found = tensors.Tensors()
    for file in headers.weight_files(folder):
        found.add(files[file.name])
    if not found.parameters:
        bad = [file.name for file in folder.iterdir() if FORBIDDEN.fullmatch(file.name.lower())]
        only = f"; {bad[0]} is a pickle, which is never loaded" if bad else ""
        raise UnsafeModel(f"`{folder.name}` holds no safetensors weights{only}")
    for name, shard in named.items():
        if name not in files[shard].shapes:
            raise UnsafeModel(f"the index finds {name[:100]!a} in {shard}, which does not hold it")
    if config is not None and report.kind in {"llm", "embed", "vlm"}:
        agreement.check(config, found.shapes, writes=report.kind == "llm")
    elif config is not None:
        agreement.check_towers(report.architecture, config, found.shapes)
    report.parameters, report.quantization = found.parameters, found.main_type
    return report


def _index(folder: Path) -> dict[str, str]:
    """Give the shard of each tensor; shards have names, not paths. Raises: UnsafeModel."""
    found: dict[str, str] = {}
    for index in folder.glob("*.safetensors.index.json"):
        shards = config_files.read(index).get("weight_map")
        if not isinstance(shards, dict):
            raise UnsafeModel(f"{index.name} has no weight_map")
        found |= {name: str(shard) for name, shard in shards.items()}
        for name in {str(shard) for shard in shards.values()}:
            if not SHARD.fullmatch(name):
                raise UnsafeModel(f"{index.name} names {name[:100]!a}, which is no file here")
            _there(folder, name)
    return found


def _note_packing(config: dict[str, Any], report: Report) -> None:
    """Weights that were packed elsewhere need an engine that computes with them. Raises: UnsafeModel."""
    packed = config.get("quantization_config")
    if not packed:
        return
    report.quantization = method = agreement.method(packed)
    if method in agreement.KEEPING:
        return
    if report.engine != "llm_transformers" or method not in VLLM_METHODS:
        raise UnsafeModel(
            f"it is quantized as {method!a}, which no engine here computes; take its plain weights"
        )
    report.engine = "llm_vllm"


def _there(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise UnsafeModel(f"{name} is missing")
    return folder / name


def _kind(folder: Path, config: dict[str, Any]) -> tuple[str, str]:
    """Raises: UnsafeModel."""
    names = " ".join(headers.architectures(config))
    if "WhisperForConditionalGeneration" in names:
        return "asr", "asr_whisper"
    sees = isinstance(config.get("vision_config"), dict)
    if sees and "ForConditionalGeneration" in names:
        return "vlm", "vlm_transformers"
    both = sees and isinstance(config.get("text_config"), dict)
    if "CLIPModel" in names or (both and names.endswith("Model")):
        return "clip", "embed_clip"
    if "CausalLM" in names or "LMHead" in names:
        return "llm", "llm_transformers"
    if (folder / "modules.json").is_file() or names.endswith("Model"):
        return "embed", "embed_text"
    raise UnsafeModel(model_types.unknown("llm", names))


def _context(config: dict[str, Any]) -> int:
    inner = config.get("text_config")
    parts = [config, inner if isinstance(inner, dict) else {}]
    keys = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length")
    found = [part.get(key) for part in parts for key in keys]
    return next((n for n in found if type(n) is int and 0 < n < 2**31), 0)
