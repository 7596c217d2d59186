"""What is needed to make the same result again: `record.json`, written before the first step."""

import hashlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import torch

from training import contract
from training.run import checkpoints
from training.run.rendering import Renderer

PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "safetensors",
    "tokenizers",
    "bitsandbytes",
)
CODE = Path(__file__).resolve().parents[1]  # training/
WEIGHTS = ("*.safetensors", "config.json", "tokenizer.json", "generation_config.json")


def write(job: contract.Job, renderer: Renderer, order: str, device: torch.device) -> None:
    """Kept from the first attempt; a later one adds the recipe that it goes on with. Raises: OSError."""
    file = Path(job.output) / contract.RECORD
    if not file.exists():
        _keep(file, of(job, renderer, order, device))
        return
    kept = json.loads(file.read_bytes())
    changes, recipe = kept.setdefault("changes", []), msgspec.to_builtins(job.recipe)
    if (changes[-1] if changes else kept)["recipe"] != recipe:
        changes.append({"attempt": job.attempt, "recipe": recipe})
        _keep(file, kept)


def _keep(file: Path, record: dict[str, Any]) -> None:
    """Whole or not at all."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1))
    part.replace(file)


def of(job: contract.Job, renderer: Renderer, order: str, device: torch.device) -> dict[str, Any]:
    template = "" if renderer.template is None else renderer.template.source
    return {
        "job": job.id,
        "seed": job.seed,
        "recipe": msgspec.to_builtins(job.recipe),
        "data": {
            "format": job.data.format,
            "sha256": job.data.sha256 or checkpoints.sha256_of(Path(job.data.train)),
            "order": order,
        },
        "base": {
            file.name: checkpoints.sha256_of(file)
            for pattern in WEIGHTS
            for file in sorted(Path(job.base).glob(pattern))
        },
        "template_sha256": hashlib.sha256(template.encode()).hexdigest(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "python": platform.python_version(),
        "device": _device(device),
        "threads": job.limits.threads,
        "hub_version": job.hub_version,
        "code_sha256": _code(),
    }


def _version(package: str) -> str:
    """Some are there on some machines only."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _code() -> str:
    """Name the trainer itself: the digest of its source."""
    digest = hashlib.sha256()
    for file in sorted(file for room in ("run", "recipes") for file in (CODE / room).rglob("*.py")):
        digest.update(str(file.relative_to(CODE)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
