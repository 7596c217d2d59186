"""One real training, once killed and gone on; one store whose tables are made."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training import jobs
from tests.training.tracking.mlflows import Store, Trackers
from training import contract

Make = pytest.TempPathFactory
STEPS = 18


@pytest.fixture(scope="session")
def trained(tmp_path_factory: Make) -> Path:
    """The folder of a job that told steps twice: it was killed between two checkpoints."""
    root = tmp_path_factory.mktemp("tracked")
    base, output = jobs.tiny_base(root / "tiny-llama"), root / "job-1"
    data = jobs.write_rows(root / "train.jsonl", jobs.chats())
    (root / "report.json").write_text("{}")
    made = jobs.job(
        base,
        data,
        output,
        recipe={"epochs": 3, "batch_size": 2, "save_every_steps": 4, "eval_every_steps": 6},
        validation=str(data),
        evaluate=contract.Evaluate(prompts=["say 1"], answers=2, max_tokens=8),
        tags={"registered_model": "fox", "data_set": "ds-1"},
    )
    first = jobs.Run(made)
    first.until(lambda event: isinstance(event, contract.StepEvent) and event.step >= 7)
    first.kill()
    made.attempt = 2
    jobs.finished(made)
    return output


@pytest.fixture(scope="session")
def trackers() -> Iterator[Trackers]:
    with Trackers() as made:
        yield made


@pytest.fixture(scope="session")
def empty_store(trackers: Trackers, trained: Path, tmp_path_factory: Make) -> Store:
    """Its tables are made by a tracker that finds a job without a word."""
    store = Store(tmp_path_factory.mktemp("mlflow"))
    quiet = tmp_path_factory.mktemp("quiet")
    (quiet / contract.JOB).write_bytes((trained / contract.JOB).read_bytes())
    (quiet / contract.EVENTS).touch()
    assert trackers.run(store, quiet) == 0
    return store
