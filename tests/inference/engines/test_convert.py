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

from inference import wire
from inference.engines.convert import main
from tests import models

from .generating import drive, text_of


def run(source: Path, target: Path) -> tuple[int, list[dict[str, object]]]:
    done = subprocess.run(
        [sys.executable, "-m", "inference.engines.convert", str(source), str(target)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, object]]]:
    """Give a converted starter model, and what was said on the way."""
    target = tmp_path_factory.mktemp("convert") / "made"
    status, lines = run(models.smollm2_gguf(), target)
    assert status == 0, lines
    return target, lines


@pytest.mark.models
def test_it_writes_a_whole_folder_and_tells_its_progress(
    converted: tuple[Path, list[dict[str, object]]],
) -> None:
    target, lines = converted
    assert lines[-1] == {"done": str(target)}
    parts = [float(str(line["progress"])) for line in lines if "progress" in line]
    assert parts == sorted(parts)
    assert {path.name for path in target.parent.iterdir()} == {"made"}
    assert "quantization_config" not in json.loads((target / "config.json").read_text())


@pytest.mark.models
def test_it_makes_a_model_that_answers_as_transformers_does(
    converted: tuple[Path, list[dict[str, object]]],
) -> None:
    target, _ = converted
    questions = ["What is the capital of France?", "Name a colour.", "Count from 1 to 5."]
    expected = [answer_of(target, question) for question in questions]
    assert "Paris" in expected[0]
    driver = drive(target)
    try:
        answers = [driver.start(chat(question)) for question in questions]
        for answer in answers:
            answer.wait()
        assert [text_of(answer) for answer in answers] == expected
    finally:
        driver.engine.close()


def chat(question: str) -> wire.Generate:
    return wire.Generate(
        prompt=wire.ChatPrompt(messages=[wire.ChatMessage("user", question)]),
        sampling=wire.Sampling(max_tokens=24, temperature=0.0),
    )


def answer_of(folder: Path, question: str) -> str:
    """Ask transformers itself, in float32 as the engine is asked."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids: Any = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=False,
    )
    with torch.inference_mode():
        answer = model.generate(ids, max_new_tokens=24, do_sample=False)
    return str(tokenizer.decode(answer[0, ids.shape[1] :], skip_special_tokens=True))


def test_it_leaves_nothing_behind_for_a_broken_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "broken.gguf"
    source.write_bytes(b"GGUF" + bytes(100))
    assert main([str(source), str(tmp_path / "made")]) == 1
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "broken.gguf cannot be converted" in last["error"]
    assert {path.name for path in tmp_path.iterdir()} == {"broken.gguf"}


def test_it_never_overwrites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "made").mkdir()
    assert main([str(tmp_path / "none.gguf"), str(tmp_path / "made")]) == 1
    assert "there already" in json.loads(capsys.readouterr().out)["error"]
