"""What is needed to make the same result again: `record.json`, written before the first step."""

import hashlib
import json
import platform
from importlib.metadata import version
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
)
WEIGHTS = ("*.safetensors", "config.json", "tokenizer.json", "generation_config.json")


def write(job: contract.Job, renderer: Renderer, order: str, device: torch.device) -> None:
    """Kept from the first attempt. Raises: OSError."""
    file = Path(job.output) / contract.RECORD
    if not file.exists():
        file.write_text(json.dumps(of(job, renderer, order, device), indent=1))


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
        "packages": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "device": _device(device),
        "threads": job.limits.threads,
        "hub_version": job.hub_version,
    }


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
