"""Turn Whisper in Hugging Face layout (safetensors) into CTranslate2's, which `asr_whisper` serves.

`python -m inference.engines.convert_whisper SRC_DIR DEST_DIR`: the last line on stdout is `{"done": ...}`
or `{"error": ...}`. DEST_DIR appears whole or not at all. Called by `preparation`.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from inference.engines import bounds, confine
from inference.engines.appearing import appearing

COPIED = ("tokenizer.json", "preprocessor_config.json", "LICENSE", "README.md")
WEIGHTS = "float16"  # as the engine's own models are kept; it computes in what the machine has


class ConversionFailed(Exception):
    """The files cannot be converted; the message says why."""


def convert(source: Path, target: Path) -> None:
    """Raises: ConversionFailed."""
    if not (source / "tokenizer.json").is_file():
        raise ConversionFailed(f"{source.name} has no tokenizer.json, which a transcription needs")
    try:
        with appearing(target) as scratch:
            _write(source, scratch)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise ConversionFailed(f"{source.name} cannot be converted: {error}") from error


def _write(source: Path, folder: Path) -> None:
    from ctranslate2.converters import TransformersConverter  # noqa: PLC0415 (after `confine`)

    class Local(TransformersConverter):  # type: ignore[misc]
        """Reads safetensors of this folder, and nothing else."""

        def load_model(self, model_class: Any, place: str, **kwargs: Any) -> Any:
            return model_class.from_pretrained(
                place,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                **kwargs,
            )

        def load_tokenizer(self, tokenizer_class: Any, place: str, **_kwargs: Any) -> Any:
            return tokenizer_class.from_pretrained(
                place, local_files_only=True, trust_remote_code=False
            )

    copied = [name for name in COPIED if (source / name).is_file()]
    converter = Local(str(source), low_cpu_mem_usage=True)
    converter.convert(str(folder), quantization=WEIGHTS, force=True)
    for name in copied:
        shutil.copyfile(source / name, folder / name)


def main(arguments: list[str]) -> int:
    confine.confine(os.getppid())
    bounds.take()
    source, target = map(Path, arguments)
    try:
        convert(source, target)
    except ConversionFailed as error:
        _say({"error": str(error)})
        return 1
    _say({"done": str(target)})
    return 0


def _say(fields: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
