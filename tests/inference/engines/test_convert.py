"""A GGUF file becomes a safetensors folder, whole or not at all."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests import models


def run(source: Path, target: Path) -> tuple[int, list[dict[str, object]]]:
    done = subprocess.run(
        [sys.executable, "-m", "inference.engines.convert", str(source), str(target)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.models
def test_it_writes_a_folder_that_answers_sensibly(tmp_path: Path) -> None:
    target = tmp_path / "made"
    status, lines = run(models.smollm2_gguf(), target)
    assert status == 0
    assert lines[-1] == {"done": str(target)}
    parts = [line["progress"] for line in lines if "progress" in line]
    assert parts == sorted(parts, key=lambda part: float(str(part)))
    assert {path.name for path in tmp_path.iterdir()} == {"made"}
    assert "quantization_config" not in json.loads((target / "config.json").read_text())
    model: Any = AutoModelForCausalLM.from_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(target)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    ids: Any = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    with torch.inference_mode():
        answer = model.generate(ids, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, ids.shape[1] :])


def test_it_leaves_nothing_behind_for_a_broken_file(tmp_path: Path) -> None:
    source = tmp_path / "broken.gguf"
    source.write_bytes(b"GGUF" + bytes(100))
    status, lines = run(source, tmp_path / "made")
    assert status == 1
    assert "broken.gguf cannot be converted" in str(lines[-1]["error"])
    assert {path.name for path in tmp_path.iterdir()} == {"broken.gguf"}


def test_it_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    status, lines = run(tmp_path / "none.gguf", tmp_path / "made")
    assert status == 1
    assert "there already" in str(lines[-1]["error"])
