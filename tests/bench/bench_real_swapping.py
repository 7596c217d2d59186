"""Two clients swap two real models on a node with its defaults, with SIGKILL of engines and node in between.

`python -m tests.bench.bench_real_swapping FOLDER ROUNDS KILLS NODE_KILLS` tries fewer, and keeps no result.
"""

import sys
from pathlib import Path
from typing import Any

from inference import wire
from tests import models
from tests.bench import report
from tests.bench.bench_swapping import RECOVERY_S, answered, held, row, run, took
from tests.inference.node import bed
from tests.inference.node.swapping import Outcome, Pair, Recovery

ROUNDS, KILLS, NODE_KILLS = 100, 12, 4  # a model is refused after ten deaths in five minutes
PAUSE_S = (0.0, 8.0)  # two switches
TIMED_LOADS = 5
TOKENS = 8
WORDS = "The capital of France is"


def pair(folder: Path, rounds: int, kills: int, node_kills: int) -> Pair:
    specs = {
        "a": _spec("a", "llm_gguf", models.smollm2_gguf()),
        "b": _spec("b", "llm_transformers", models.smollm2_folder()),
    }
    limit_bytes = max(bed.claim(spec, folder) for spec in specs.values())
    sampling = wire.Sampling(max_tokens=TOKENS, temperature=0.0, ignore_eos=True)
    body = wire.Generate(prompt=wire.TextPrompt(text=WORDS), sampling=sampling)
    options = {"memory_limit_bytes": limit_bytes}
    return Pair(specs, options, body, _right, rounds, kills, node_kills, PAUSE_S)


def _spec(name: str, engine: str, path: Path) -> wire.ModelSpec:
    return wire.ModelSpec(name=name, kind="llm", engine=engine, path=str(path))


def _right(heard: list[Any]) -> bool:
    last = heard[-1]
    return isinstance(last, wire.Done) and last.usage.completion_tokens == TOKENS


def rows(made: Pair, outcome: Outcome) -> list[report.Row]:
    kills, load_s = made.kills + made.node_kills, outcome.load_s
    both_s = sum(load_s.values())
    beyond = [one.both_s - both_s for one in outcome.recoveries]
    first = [one.first_s - load_s[one.first] for one in outcome.recoveries]
    return [
        *answered(made, outcome),
        *(row(f"a load of {made.specs[name].engine}, s", f"{load_s[name]:.1f}") for name in load_s),
        took(f"a model answers after each of {kills} kills, beyond its load, s", first, RECOVERY_S),
        took("both models answer again, beyond both loads, s", beyond, RECOVERY_S),
        *held(outcome, made.options["memory_limit_bytes"]),
    ]


def told(recovery: Recovery) -> str:
    return (
        f"{recovery.act}: {recovery.first} {recovery.first_s:.1f} s, both {recovery.both_s:.1f} s\n"
    )


def measured(data: Path, rounds: int, kills: int, node_kills: int) -> tuple[Pair, list[report.Row]]:
    made = pair(data, rounds, kills, node_kills)
    outcome = run(data, made, TIMED_LOADS)
    sys.stderr.writelines(map(told, outcome.recoveries))
    return made, rows(made, outcome)


def main(data: Path) -> None:
    made, found = measured(data, ROUNDS, KILLS, NODE_KILLS)
    notes = [
        f"SmolLM2-135M as GGUF and on transformers, {TOKENS} tokens an answer, {made.rounds} rounds of each client at"
        f" least, memory for the larger one by its claim, settings of the scheduler as they are by default, no spare"
        f" process. Engines were killed {made.kills} times and the node {made.node_kills} times, at random moments. A load"
        f" is the median of {TIMED_LOADS} on the same node before the kills, nothing else asked."
    ]
    title = "Two real models that two clients swap while processes are killed"
    report.save("2f-real-swapping", title, found, notes)


if __name__ == "__main__":
    place, *numbers = sys.argv[1:]
    for line in measured(Path(place).resolve(), *map(int, numbers))[1]:
        sys.stdout.write(f"{line}\n")
