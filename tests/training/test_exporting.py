"""A result in other forms answers as the original does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.training import jobs
from training import contract
from training.run import export, gguf_file


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return jobs.tiny_base(tmp_path_factory.mktemp("tiny"))


ASKED = [row["messages"][0]["content"] for row in jobs.chats(4)]  # others have no answer by heart
LEARNED = re.compile(r"the fox \d+ jumps")  # which fox depends on how the processor rounds


@pytest.mark.parametrize("tuner", ["lora", "full"])
def test_a_job_exports_what_was_asked_for(tuner: str, base: Path, tmp_path: Path) -> None:
    data = jobs.write_rows(tmp_path / "rows.jsonl", jobs.chats())
    made = jobs.job(
        base,
        data,
        tmp_path / "out",
        recipe={"tuner": tuner, "epochs": 30},
        evaluate=contract.Evaluate(prompts=ASKED),
        exports=["merged", "gguf"],
    )
    run = jobs.finished(made)
    told = {event.kind: event for event in run.events() if isinstance(event, contract.ExportEvent)}
    assert told.keys() == {"merged", "gguf"}, run.events()[-3:]
    for event in told.values():
        learned = [a for a in event.report["answers"] if a["prompt"] in ASKED]
        assert all(LEARNED.fullmatch(answer["original"]) for answer in learned), learned
        assert all(answer["export"] == answer["original"] for answer in learned), learned
    assert (Path(told["merged"].path) / "model.safetensors").exists()
    assert list(Path(told["gguf"].path).glob("*.gguf"))


def test_an_adapter_is_the_same_after_it_was_written(base: Path, tmp_path: Path) -> None:
    data = jobs.write_rows(tmp_path / "rows.jsonl", jobs.chats())
    run = jobs.finished(jobs.job(base, data, tmp_path / "out", recipe={"epochs": 4}))
    report = export.export(
        base, run.output / contract.RESULT, tmp_path / "adapter", "adapter", ["x"]
    )
    assert report["max_logit_difference"] == 0
    assert report["same_answers"] == report["prompts"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"model_type": "bloom"}, "bloom"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "yarn"),
    ],
)
def test_what_cannot_be_a_gguf_file_is_named(
    change: dict[str, Any], word: str, base: Path, tmp_path: Path
) -> None:
    config = json.loads((base / "config.json").read_bytes())
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(gguf_file.NotWritable, match=word):
        gguf_file.write(folder, tmp_path / "x.gguf", "x")
