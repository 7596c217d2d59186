"""Turn a GGUF file into a folder in Hugging Face layout (safetensors), to serve and to train from.

`python -m inference.engines.convert SRC.gguf DEST_DIR`: progress is JSON lines on stdout, the last
one `{"done": ...}` or `{"error": ...}`. DEST_DIR appears whole or not at all.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from inference.engines.appearing import appearing

Report = Callable[[str, float], None]
SHARD_BYTES = 2 * 1024**3


class ConversionFailed(Exception):
    """The file cannot be converted; the message says why."""


def convert(source: Path, target: Path, report: Report = lambda _stage, _part: None) -> None:
    """Write the model in `source` into the new folder `target` in bfloat16, tokenizer included.

    `report` gets (stage, part done from 0 to 1). Raises: ConversionFailed.
    """
    if target.exists():
        raise ConversionFailed(f"{target} is there already")
    if not source.is_file():
        raise ConversionFailed(f"{source} is not a file")
    try:
        with appearing(target) as scratch:
            _write(source, scratch, report)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, NotImplementedError) as error:
        raise ConversionFailed(f"{source.name} cannot be converted: {error}") from error
    report("done", 1.0)


def _write(source: Path, folder: Path, report: Report) -> None:
    report("read", 0.05)
    loaded = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
        local_files_only=True,
        trust_remote_code=False,
    )
    report("copy", 0.6)
    plain = _without_quantization(loaded)
    del loaded
    report("write", 0.7)
    plain.save_pretrained(folder, max_shard_size=SHARD_BYTES)
    report("tokenizer", 0.85)
    tokenizer = AutoTokenizer.from_pretrained(
        source.parent, gguf_file=source.name, local_files_only=True, trust_remote_code=False
    )
    tokenizer.save_pretrained(folder)
    report("sync", 0.95)


def _without_quantization(loaded: PreTrainedModel) -> PreTrainedModel:
    """Make a model that its config knows as a plain one: a dequantized one still says GGUF."""
    config = type(loaded.config).from_dict(
        {k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"}
    )
    with torch.device("meta"):
        plain: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=torch.bfloat16
        )
    plain.load_state_dict(loaded.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = loaded.generation_config
    return plain


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Convert a GGUF file to safetensors.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    chosen = parser.parse_args(arguments)
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    def report(stage: str, part: float) -> None:
        _say({"stage": stage, "progress": part})

    try:
        convert(chosen.source, chosen.target, report)
    except ConversionFailed as error:
        _say({"error": str(error)})
        return 1
    _say({"done": str(chosen.target)})
    return 0


def _say(fields: dict[str, str | float]) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
