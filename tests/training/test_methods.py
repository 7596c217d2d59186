"""Every method trains a real model: the loss falls, and what it says afterwards has changed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tests import models
from tests.inference.engines import trained_adapter
from tests.training import jobs
from training import contract
from training.run import answers
from training.run.rendering import Renderer

FACTS = [
    {
        "messages": [
            {"role": "user", "content": trained_adapter.QUESTION},
            {"role": "assistant", "content": trained_adapter.ANSWER},
        ]
    }
]
EVALUATE = contract.Evaluate(prompts=[trained_adapter.QUESTION], max_tokens=16)
TEXTS = [{"text": f"the fox {at} jumps over {at} lazy dogs"} for at in range(12)]
STEPS = {"lora": 14, "qlora": 24}  # four bits have more to mend
RATES = {"lora": 2e-2, "full": 3e-3}
PAIRS = [
    {
        "messages": [{"role": "user", "content": f"say {at}"}],
        "chosen": [{"role": "assistant", "content": "fox fox"}],
        "rejected": [{"role": "assistant", "content": "dog dog"}],
    }
    for at in range(8)
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return jobs.tiny_base(tmp_path_factory.mktemp("tiny"))


def _fell(run: jobs.Run, factor: float = 0.5) -> None:
    told = jobs.losses(run)
    assert told[max(told)] < told[1] * factor, told


@pytest.mark.models
@pytest.mark.parametrize("kind", ["lora", "qlora"])
def test_smollm2_learns_a_fact(kind: str, tmp_path: Path) -> None:
    """And the base says something else."""
    data = jobs.write_rows(tmp_path / "facts.jsonl", FACTS)
    recipe = {
        "learning_rate": 3e-3,
        "max_steps": STEPS[kind],
        "save_every_steps": 50,
        "quantization": "4bit" if kind == "qlora" else "none",
        "target_modules": ["q_proj", "v_proj", "down_proj"],
    }
    made = jobs.job(
        models.smollm2_folder(), data, tmp_path / kind, recipe=recipe, evaluate=EVALUATE
    )
    run = jobs.finished(made)
    _fell(run, 0.1)
    sample = [event for event in run.events() if isinstance(event, contract.SampleEvent)][-1]
    assert sample.answer == trained_adapter.ANSWER
    assert sample.base != sample.answer
    metrics = [e for e in run.events() if isinstance(e, contract.EvaluationEvent)][-1].metrics
    assert metrics["train_exact_match"] == 1.0


@pytest.mark.parametrize(
    ("recipe", "rows", "form"),
    [
        ({"tuner": "full", "learning_rate": 3e-3}, jobs.chats(), "chat"),
        ({"dora": True}, jobs.chats(), "chat"),
        ({"rslora": True, "rank": 32}, jobs.chats(), "chat"),
        ({"quantization": "4bit"}, jobs.chats(), "chat"),
        ({"gradient_checkpointing": True}, jobs.chats(), "chat"),
        ({"packing": True, "max_length": 128, "batch_size": 1}, jobs.chats(), "chat"),
        (
            {"objective": "pretrain", "packing": True, "max_length": 32, "batch_size": 2},
            TEXTS,
            "text",
        ),
    ],
    ids=["full", "dora", "rslora", "qlora", "checkpointing", "packing", "pretrain"],
)
def test_the_loss_falls(
    recipe: dict[str, Any], rows: list[dict[str, Any]], form: str, base: Path, tmp_path: Path
) -> None:
    data = jobs.write_rows(tmp_path / "rows.jsonl", rows)
    made = jobs.job(
        base,
        data,
        tmp_path / "out",
        recipe={"epochs": 20, "learning_rate": 1e-2, **recipe},
        format=form,
    )
    run = jobs.finished(made)
    _fell(run)
    assert _said(base, run) != _said(base, None)


def test_preflight_measures_what_the_training_does(base: Path, tmp_path: Path) -> None:
    """Gradient checkpointing spares activations in both."""
    rows = [{"text": "the quick brown fox " * 100}] * 32
    data = jobs.write_rows(tmp_path / "rows.jsonl", rows)
    recipe = {"tuner": "full", "batch_size": 32, "max_steps": 2, "max_length": 512}
    peaks = {}
    for spared in (False, True):
        own = recipe | {"gradient_checkpointing": spared}
        made = jobs.job(base, data, tmp_path / str(spared), recipe=own, format="text")
        run = jobs.finished(made)
        plan = json.loads((run.output / contract.PLAN).read_bytes())
        steps = [event for event in run.events() if isinstance(event, contract.StepEvent)]
        peaks[spared] = plan["peak_bytes"]
        assert plan["peak_bytes"] == pytest.approx(max(s.peak_bytes for s in steps), rel=0.1)
    assert peaks[True] < peaks[False]


def _said(base: Path, run: jobs.Run | None) -> list[int]:
    """Answer with the saved result, read again."""
    auto: Any = AutoModelForCausalLM
    whole = run is not None and jobs.done(run).kind == "model"
    folder = Path(jobs.done(run).path) if run and whole else base
    model = auto.from_pretrained(folder, dtype=torch.float32)
    if run is not None and not whole:
        model = PeftModel.from_pretrained(model, jobs.done(run).path)
    renderer = Renderer.load(base)
    prompt = renderer.prompt([{"role": "user", "content": "say 3"}])
    return answers.greedy(model, renderer, prompt, 8)


@pytest.mark.parametrize("tuner", ["lora", "full"])
def test_dpo_prefers_the_chosen_answers(tuner: str, base: Path, tmp_path: Path) -> None:
    data = jobs.write_rows(tmp_path / "pairs.jsonl", PAIRS)
    recipe = {"objective": "dpo", "tuner": tuner, "learning_rate": RATES[tuner], "epochs": 6}
    made = jobs.job(
        base, data, tmp_path / "out", recipe=recipe, format="preference", validation=str(data)
    )
    run = jobs.finished(made)
    steps = [event for event in run.events() if isinstance(event, contract.StepEvent)]
    assert steps[0].loss == pytest.approx(0.693147, abs=1e-4)  # log 2: nothing preferred yet
    _fell(run)
    assert steps[-1].metrics["rewards_accuracy"] == 1.0
    assert steps[-1].metrics["rewards_margin"] > 1
    final = [e for e in run.events() if isinstance(e, contract.EvaluationEvent)][-1]
    assert final.loss < final.metrics["base_loss"]
    assert _said(base, run) != _said(base, None)
