"""A check with a base does without torch, and counts and renders as a process that has it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.inference.engines import small_tokenizers
from training.datasets import validation
from training.datasets.measuring import Measurer
from training.datasets.report import Report

MOST_MIB = 300
MAX_LENGTH = 60
FORGETFUL = (
    "{% for m in messages %}{% if loop.last or m['role'] != 'assistant' %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] | trim }}<|im_end|>\n{% endif %}{% endfor %}"
)
WITH_TOOLS = "{{ bos_token }}{{ 'Tools: ' ~ (tools | tojson) if tools }}" + small_tokenizers.CHATML
KINDS = {
    "chatml": (small_tokenizers.byte_level, small_tokenizers.CHATML),
    "forgets earlier turns": (small_tokenizers.byte_level, FORGETFUL),
    "names its tools": (small_tokenizers.byte_level, WITH_TOOLS),
    "no template": (small_tokenizers.byte_level, None),
    "byte fallback": (small_tokenizers.byte_fallback, small_tokenizers.CHATML),
}


def rows() -> list[dict[str, Any]]:
    """Of one turn and of several, short and too long, with a special token and letters of other scripts."""
    made = []
    for at in range(12):
        asked = f"nói {at} <|im_end|> {'word ' * (at * 4)}"
        turns = [("user", asked), ("assistant", f"con cáo {at} nhảy"), ("user", "again")]
        turns = [*turns, ("assistant", f"the fox {at}")][: 2 + 2 * (at % 2)]
        made.append({"messages": [{"role": role, "content": text} for role, text in turns]})
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_it_counts_as_a_process_with_torch_does(kind: str, tmp_path: Path) -> None:
    make, template = KINDS[kind]
    base, file = tmp_path / "base", tmp_path / "rows.jsonl"
    make(template).save_pretrained(base)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    options = validation.Options(
        file=file, name=file.name, output=tmp_path / "lean", base=base, max_length=MAX_LENGTH
    )
    place = tmp_path / "options.json"
    place.write_bytes(msgspec.json.encode(options, enc_hook=str))
    command = [sys.executable, "-m", "tests.bench.bench_rows", str(place)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)
    peak_mib = int(shown.stdout) / 1024
    lean = msgspec.json.decode((tmp_path / "lean" / validation.REPORT).read_bytes(), type=Report)
    measure = Measurer(base, MAX_LENGTH)  # here torch is imported
    full = validation.run(msgspec.structs.replace(options, output=tmp_path / "full"), measure)
    full.lengths = measure.lengths()
    full.rendered = [measure.coloured(row) for row in full.samples]
    assert lean == full
    assert lean.lengths is not None
    assert lean.lengths.over
    assert peak_mib < MOST_MIB
