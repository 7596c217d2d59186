"""What the files of a sentence-encoder folder say about its use: pooling, normalising, window.

Read by `sentence_encoder`; pure, no torch. Layout: sentence-transformers, or a bare transformers folder.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.errors import LoadFailed

POOLING_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
KNOWN_MODULES = {"Transformer", "Pooling", "Normalize"}


@dataclass(frozen=True, slots=True)
class EncoderFolder:
    """`window_tokens` counts special tokens too; 0 when the folder does not say."""

    path: Path
    pooling: tuple[str, ...]  # more than one: their vectors are joined end to end
    normalize: bool
    window_tokens: int
    prefix: str  # the default prompt, put before every text


def read(path: str) -> EncoderFolder:
    """Raises: LoadFailed where the folder is no encoder that we can serve truthfully."""
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise LoadFailed(f"{folder.name} has no config.json: it is not a model folder")
    if not list(folder.glob("*.safetensors")):
        raise LoadFailed(
            f"{folder.name} has no safetensors weights; pickled weights are not loaded"
        )
    modules = _modules(folder)
    return EncoderFolder(
        path=folder,
        pooling=_pooling(folder, modules),
        normalize="Normalize" in modules,
        window_tokens=int(_json(folder / "sentence_bert_config.json").get("max_seq_length") or 0),
        prefix=_prefix(folder),
    )


def _json(path: Path) -> Any:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LoadFailed(f"{path.name} is not valid JSON: {error}") from error


def _modules(folder: Path) -> dict[str, str]:
    """Map the pipeline's module names to their sub-folders."""
    listed = {
        item["type"].rsplit(".", 1)[-1]: item["path"] for item in _json(folder / "modules.json")
    }
    unknown = set(listed) - KNOWN_MODULES
    if unknown:
        raise LoadFailed(f"{folder.name} needs modules that are not served: {sorted(unknown)}")
    return listed


def _pooling(folder: Path, modules: dict[str, str]) -> tuple[str, ...]:
    settings = _json(folder / modules.get("Pooling", "1_Pooling") / "config.json")
    asked = [key for key, on in settings.items() if key.startswith("pooling_mode_") and on is True]
    unknown = set(asked) - set(POOLING_MODES)
    if unknown:
        raise LoadFailed(f"{folder.name} needs pooling that is not served: {sorted(unknown)}")
    return tuple(POOLING_MODES[key] for key in POOLING_MODES if key in asked) or ("mean",)


def _prefix(folder: Path) -> str:
    settings = _json(folder / "config_sentence_transformers.json")
    name = settings.get("default_prompt_name")
    return str(settings.get("prompts", {}).get(name, "")) if name else ""
