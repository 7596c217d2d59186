"""The process as its supervisor sees it: command line, pipes, exit codes, and what it refuses at once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from tests.training import jobs
from training import contract
from training.run import record
from training.run.rendering import Renderer

BARE = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(Path.cwd())}
RECIPE = {"epochs": 2, "batch_size": 2, "save_every_steps": 2, "rank": 4}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return jobs.tiny_base(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return jobs.write_rows(tmp_path / "train.jsonl", jobs.chats())


def _start(made: contract.Job) -> subprocess.Popen[bytes]:
    output = Path(made.output)
    output.mkdir(parents=True, exist_ok=True)
    file = output / contract.JOB
    contract.write_job(made, file)
    command = [sys.executable, "-m", "training.run", str(file)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=BARE, stdin=pipe, stdout=pipe)


def test_two_ranks_train_what_one_process_trains(base: Path, data: Path, tmp_path: Path) -> None:
    """Through torchrun, with events on the pipe, in a bare environment."""
    one = jobs.job(base, data, tmp_path / "one", recipe={**RECIPE, "batch_size": 4})
    two = jobs.job(base, data, tmp_path / "two", recipe=RECIPE, limits=contract.Limits(processes=2))
    with _start(two) as process:
        assert process.stdout
        told = [contract.decode(line) for line in process.stdout]
    assert process.returncode == contract.DONE
    assert isinstance(told[-1], contract.DoneEvent)
    alone = jobs.finished(one)
    steps = {e.step: e for e in told if isinstance(e, contract.StepEvent)}
    for step, loss in jobs.losses(alone).items():
        assert steps[step].loss == pytest.approx(loss, rel=1e-3)
    tokens = [e.tokens for e in alone.events() if isinstance(e, contract.StepEvent)]
    assert steps[max(steps)].tokens == tokens[-1]


def test_a_supervisor_that_goes_pauses_it(base: Path, data: Path, tmp_path: Path) -> None:
    made = jobs.job(base, data, tmp_path / "left", recipe={**RECIPE, "epochs": 500})
    run = jobs.Run(made, supervised=True)
    told = run.told()
    next(event for event in told if isinstance(event, contract.StepEvent))
    run.control.close()
    *_, last = told
    assert run.wait() == contract.PAUSED
    assert isinstance(last, contract.PausedEvent)
    assert last.code == "supervisor_gone"


def test_it_has_a_group_of_its_own_and_no_network(base: Path, data: Path, tmp_path: Path) -> None:
    made = jobs.job(base, data, tmp_path / "alone", recipe={**RECIPE, "epochs": 500})
    run = jobs.Run(made)
    run.until(lambda event: isinstance(event, contract.StepEvent))
    group = os.getpgid(run.pid)
    own, ours = (Path(f"/proc/{who}/ns/net").readlink() for who in (run.pid, "self"))
    run.kill()
    assert group == run.pid
    if os.geteuid() == 0:  # elsewhere the kernel may not allow it
        assert own != ours


def _failed(made: contract.Job) -> tuple[int, contract.FailedEvent]:
    run = jobs.Run(made)
    code, last = run.wait(), run.events()[-1]
    assert isinstance(last, contract.FailedEvent), last
    assert last.exit_code == code
    assert not any(isinstance(event, contract.StepEvent) for event in run.events())
    return code, last


CHAT = jobs.chats(1)[0]
MASKED = {"messages": [{**m, "weight": 0} for m in CHAT["messages"]]}


@pytest.mark.parametrize(
    ("rows", "form", "recipe", "code", "word"),
    [
        ([], "chat", {}, "nothing_to_learn", "no rows"),
        ([{"text": "x"}], "chat", {}, "wrong_format", "line 1"),
        ([MASKED], "chat", {}, "nothing_to_learn", "1 without an answer of weight 1"),
        ([CHAT], "chat", {"max_length": 8}, "nothing_to_learn", "1 too long"),
        ([CHAT], "chat", {"objective": "dpo"}, "wrong_format", "dpo"),
    ],
    ids=["empty", "format", "masked", "too long", "objective"],
)
def test_bad_data_ends_it_before_any_time_is_spent(
    rows: list[dict[str, Any]],
    form: str,
    recipe: dict[str, Any],
    code: str,
    word: str,
    base: Path,
    tmp_path: Path,
) -> None:
    file = jobs.write_rows(tmp_path / "rows.jsonl", rows)
    found, last = _failed(jobs.job(base, file, tmp_path / "out", recipe=recipe, format=form))
    assert (found, last.code) == (contract.BAD_DATA, code)
    assert word in last.message


def test_data_that_changed_since_it_was_checked_is_refused(
    base: Path, data: Path, tmp_path: Path
) -> None:
    made = jobs.job(base, data, tmp_path / "out")
    made.data.sha256 = "0" * 64
    assert _failed(made)[1].code == "data_changed"


def test_a_module_that_the_base_has_not_is_named(base: Path, data: Path, tmp_path: Path) -> None:
    made = jobs.job(base, data, tmp_path / "out", recipe={"target_modules": ["nose_proj"]})
    code, last = _failed(made)
    assert (code, last.code) == (contract.FAILED, "invalid_value")
    assert "nose_proj" in last.message


def test_too_little_memory_is_told_with_changes_that_fit(
    base: Path, data: Path, tmp_path: Path
) -> None:
    """Estimated, before anything is loaded; and measured, by one step."""
    wide = {"tuner": "full", "batch_size": 1024, "max_length": 512, "gradient_checkpointing": True}
    for limit in (10**8, 4 * 10**8):
        limits = contract.Limits(memory_bytes=limit)
        made = jobs.job(base, data, tmp_path / str(limit), recipe=wide, limits=limits)
        code, last = _failed(made)
        assert (code, last.code) == (contract.OUT_OF_MEMORY, "out_of_memory")
        assert last.detail["limit_bytes"] == limit
        assert last.detail["need_bytes"] > limit


def test_a_disk_that_is_too_small_pauses_it_before_the_start(
    base: Path, data: Path, tmp_path: Path
) -> None:
    limits = contract.Limits(disk_bytes=1000)
    run = jobs.Run(jobs.job(base, data, tmp_path / "out", limits=limits))
    assert run.wait() == contract.PAUSED
    last = run.events()[-1]
    assert isinstance(last, contract.PausedEvent)
    assert last.code == "disk_full"


def test_a_job_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text('{"id": "x", "surprise": 1}')
    command = [sys.executable, "-m", "training.run", str(file)]
    done = subprocess.run(command, env=BARE, capture_output=True, check=False)
    assert done.returncode == contract.FAILED
    assert json.loads(done.stdout)["code"] == "bad_job"
    assert "surprise" in json.loads(done.stdout)["message"]


def test_it_records_the_recipe_that_it_went_on_with(base: Path, data: Path, tmp_path: Path) -> None:
    """Memory ran out, and a later attempt takes half the batch: both are kept, each once."""
    first = jobs.job(base, data, tmp_path / "out", recipe=RECIPE)
    Path(first.output).mkdir()
    half = msgspec.structs.replace(first.recipe, batch_size=1, gradient_accumulation=4)
    renderer = Renderer.load(base)
    for attempt, recipe in enumerate((first.recipe, first.recipe, half, half), 1):
        job = msgspec.structs.replace(first, attempt=attempt, recipe=recipe)
        record.write(job, renderer, "order", torch.device("cpu"))
    kept = json.loads((Path(first.output) / contract.RECORD).read_bytes())
    assert kept["recipe"] == msgspec.to_builtins(first.recipe)
    assert kept["changes"] == [{"attempt": 3, "recipe": msgspec.to_builtins(half)}]


def test_it_records_what_made_the_result(base: Path, data: Path, tmp_path: Path) -> None:
    run = jobs.finished(jobs.job(base, data, tmp_path / "out", recipe=RECIPE))
    kept = json.loads((run.output / contract.RECORD).read_bytes())
    assert kept["seed"] == 42
    assert kept["recipe"]["rank"] == 4
    assert {"torch", "trl", "peft", "bitsandbytes"} <= kept["packages"].keys()
    assert len(kept["code_sha256"]) == 64
    assert "changes" not in kept
    assert "model.safetensors" in kept["base"]
    assert len(kept["data"]["order"]) == 64
    plan = json.loads((run.output / contract.PLAN).read_bytes())
    assert plan["peak_bytes"] >= plan["loaded_bytes"]
    assert plan["steps"] == max(jobs.losses(run))
