"""What an answer is judged by."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.training import jobs
from training import contract
from training.run import answers

TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "parameters": {
            "type": "object",
            "properties": {"at": {"type": "integer"}, "how": {"type": "string"}},
            "required": ["at"],
        },
    },
}


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        ('<tool_call>{"name": "look", "arguments": {"at": 1}}</tool_call>', True),
        ('<tool_call>\n{"name": "look", "arguments": {"at": 1, "how": "far"}}\n</tool_call>', True),
        ('{"name": "look", "arguments": {"at": 1}}', True),
        ('```json\n{"name": "look", "arguments": "{\\"at\\": 1}"}\n```', True),
        ('<tool_call>{"name": "look", "arguments": {}}</tool_call>', False),
        ('<tool_call>{"name": "look", "arguments": {"at": 1, "when": 2}}</tool_call>', False),
        ('<tool_call>{"name": "jump", "arguments": {"at": 1}}</tool_call>', False),
        ('<tool_call>{"name": "look", "arguments": {"at": 1}</tool_call>', False),
        ('{"arguments": {"at": 1}}', False),
        ("I will look.", False),
        ("", False),
    ],
)
def test_a_tool_call_names_a_known_tool_with_its_arguments(answer: str, valid: bool) -> None:
    assert answers.are_calls_valid(answer, [TOOL]) is valid


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        ('{"a": 1}', True),
        ("[1]", True),
        ('```json\n{"a": 1}\n```', True),
        ('{"a": 1', False),
        ("7", False),
    ],
)
def test_json_is_an_object_or_a_list(answer: str, valid: bool) -> None:
    assert answers.is_json(answer) is valid


def _row(asked: str, said: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    return {"messages": turns}


def test_a_job_is_judged_beside_its_base(tmp_path: Path) -> None:
    """Held-out loss, exact answers, JSON and the guard set; again at each evaluation."""
    base = jobs.tiny_base(tmp_path / "base")
    rows = [_row(f"json {at}", f'{{"fox": {at}}}') for at in range(4)]
    data = jobs.write_rows(tmp_path / "rows.jsonl", rows)
    guard = jobs.write_rows(tmp_path / "guard.jsonl", jobs.chats(4))
    made = jobs.job(
        base,
        data,
        tmp_path / "out",
        recipe={"epochs": 120, "eval_every_steps": 40},
        validation=str(data),
        evaluate=contract.Evaluate(prompts=["json 1"], guard=str(guard)),
    )
    run = jobs.finished(made)
    told = [event for event in run.events() if isinstance(event, contract.EvaluationEvent)]
    assert [event.step for event in told] == [40, 80, 120]
    assert told[-1].final
    metrics = told[-1].metrics
    assert told[-1].loss < told[0].loss < metrics["base_loss"]
    assert metrics["exact_match"] >= 0.5  # how many by heart depends on how the processor rounds
    assert metrics["json_valid"] >= metrics["exact_match"]
    assert metrics["guard_loss"] != metrics["guard_base_loss"]
    report = json.loads((run.output / contract.EVALUATION).read_bytes())
    assert report["samples"].keys() == {"json 1"}
    assert report["samples"]["json 1"].startswith('{"fox": ')
    assert report["base"]["samples"] != ['{"fox": 1}']
    _the_next_is_judged_beside_it(made, run.output, told[-1].loss, report["metrics"])


def _the_next_is_judged_beside_it(
    before: contract.Job, champion: Path, loss: float, metrics: dict[str, float]
) -> None:
    """An adapter that answers now is measured again, on the rows of the next; one that is torn is told."""
    torn = champion.parent / "torn"
    torn.mkdir()
    champions = {"now": str(champion / contract.RESULT), "torn": str(torn)}
    evaluate = msgspec.structs.replace(before.evaluate, champions=champions)
    recipe = msgspec.structs.replace(before.recipe, epochs=1, eval_every_steps=0)
    output = str(champion.parent / "next")
    run = jobs.finished(
        msgspec.structs.replace(before, output=output, recipe=recipe, evaluate=evaluate)
    )
    report = json.loads((run.output / contract.EVALUATION).read_bytes())
    assert report["champions"].keys() == {"now"}
    found = report["champions"]["now"]
    assert found["loss"] == pytest.approx(loss, rel=1e-3)
    assert found["guard_loss"] == pytest.approx(metrics["guard_loss"], rel=1e-3)
    assert found["exact_match"] == metrics["exact_match"]
    assert report["loss"] > loss
    codes = [event.code for event in run.events() if isinstance(event, contract.WarningEvent)]
    assert "champion_unmeasured" in codes
