"""The job that the benchmarks of training measure: chats, a recipe, and a run of it in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from training import contract
from training.recipes.recipe import Recipe

THREADS = 1
TEXT = "the keeper of the old lighthouse lights its lamp when fog comes over the northern sea"
WORDS = TEXT.split()
PLAIN: dict[str, Any] = {
    "target_modules": ["q_proj", "v_proj"],
    "learning_rate": 2e-4,
    "save_every_steps": 10_000,
}


def rows(count: int) -> list[dict[str, Any]]:
    """Chats as support teams have them: a question of some 60 words, an answer of some 30."""
    made = []
    for at in range(count):
        asked = " ".join(WORDS[(at + word) % len(WORDS)] for word in range(50 + at % 20))
        said = " ".join(WORDS[(3 * at + word) % len(WORDS)] for word in range(25 + at % 10))
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
        made.append({"messages": turns})
    return made


def job(base: Path, folder: Path, name: str, count: int, recipe: dict[str, Any]) -> contract.Job:
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(count)))
    return contract.Job(
        id=name,
        base=str(base),
        output=str(folder / name),
        data=contract.Data(format="chat", train=str(data)),
        recipe=msgspec.convert(PLAIN | recipe, Recipe),
        limits=contract.Limits(threads=THREADS),
        evaluate=contract.Evaluate(answers=0),
    )


def run(made: contract.Job) -> dict[str, Any]:
    """Train in a process of its own, as jobs run, and give its plan. Raises: CalledProcessError."""
    output = Path(made.output)
    output.mkdir(parents=True)
    contract.write_job(made, output / contract.JOB)
    command = [sys.executable, "-m", "training.run", str(output / contract.JOB)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    plan: dict[str, Any] = json.loads((output / contract.PLAN).read_bytes())
    return plan


def steps(output: Path) -> list[contract.StepEvent]:
    return [
        event for event in contract.read_events(output) if isinstance(event, contract.StepEvent)
    ]
