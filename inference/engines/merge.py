"""Add a LoRA adapter to its base once, into a folder that is served like any other model.

`python -m inference.engines.merge BASE_DIR ADAPTER_DIR DEST_DIR`: the last line on stdout is
`{"done": ...}` or `{"error": ...}`. DEST_DIR appears whole or not at all.
"""

import json
import shutil
import sys
from pathlib import Path

from peft import PeftModel
from safetensors import safe_open
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from inference.engines import lora_file
from inference.engines.appearing import appearing
from inference.engines.convert import SHARD_BYTES

KEPT = ("tokenizer*", "*.jinja", "vocab.*", "merges.txt", "special_tokens_map.json", "*.model")


class MergeFailed(Exception):
    """The adapter does not fit its base; the message says why."""


def merge(base: Path, adapter: Path, target: Path) -> None:
    """Raises: MergeFailed."""
    config = json.loads((adapter / "adapter_config.json").read_bytes())
    if config.get("peft_type") != "LORA":
        raise MergeFailed(f"only LoRA adapters are served, not {config.get('peft_type')!r}")
    try:
        with appearing(target) as folder:
            _write(base, adapter, folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise MergeFailed(f"the adapter does not fit its base: {error}") from error


def _write(base: Path, adapter: Path, folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype="auto", use_safetensors=True, local_files_only=True, trust_remote_code=False
    )
    _check_places(adapter, {name for name, _ in model.named_modules()})
    adapted = PeftModel.from_pretrained(model, str(adapter), is_trainable=False)
    merged = adapted.merge_and_unload(safe_merge=True)
    merged.save_pretrained(folder, max_shard_size=SHARD_BYTES)
    for pattern in KEPT:
        for file in base.glob(pattern):
            shutil.copyfile(file, folder / file.name)


def _check_places(adapter: Path, modules: set[str]) -> None:
    """What its base has no place for would be left out without a word. Raises: MergeFailed."""
    with safe_open(adapter / lora_file.WEIGHTS, framework="pt") as file:
        parts = [lora_file.NAME.fullmatch(name) for name in file.keys()]  # noqa: SIM118 (no dict)
    strange = sorted({part[1] for part in parts if part} - modules)
    if strange:
        raise MergeFailed(f"the adapter does not fit its base, which has no {strange[0]}")


def main(arguments: list[str]) -> int:
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    base, adapter, target = (Path(argument) for argument in arguments)
    try:
        merge(base, adapter, target)
    except (MergeFailed, OSError, ValueError) as error:
        sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
        return 1
    sys.stdout.write(json.dumps({"done": str(target)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
