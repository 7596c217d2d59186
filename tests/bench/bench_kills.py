"""SIGKILL at 20 random moments: does the adapter end as the undisturbed one, to the last bit?"""

import random
import tempfile
import time
from pathlib import Path

from tests.bench import report
from tests.training import jobs
from training import contract

KILLS, SEED = 20, 20261126
LONGEST_S = 4.0  # from the start of an attempt to its end by force
RECIPE = {"dropout": 0.1, "epochs": 40, "batch_size": 2, "save_every_steps": 10, "rank": 8}


def killed(made: contract.Job, chance: random.Random) -> int:
    """Give how many attempts were ended by force; those that finish before are not."""
    count = 0
    while count < KILLS:
        run = jobs.Run(made)
        time.sleep(chance.uniform(0.05, LONGEST_S))
        if run.alive:
            run.kill()
            count += 1
        elif isinstance(run.events()[-1], contract.DoneEvent):
            break
    return count


def main(data: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="kills-", dir=data) as made:
        folder = Path(made)
        base = jobs.tiny_base(folder / "base")
        rows = jobs.write_rows(folder / "rows.jsonl", jobs.chats(24))
        undisturbed = jobs.finished(jobs.job(base, rows, folder / "undisturbed", recipe=RECIPE))
        disturbed = jobs.job(base, rows, folder / "disturbed", recipe=RECIPE)
        count = killed(disturbed, random.Random(SEED))
        run = jobs.finished(disturbed)
        same = jobs.weights(run) == jobs.weights(undisturbed)
        told = jobs.losses(undisturbed)
        steps = jobs.losses(run) == told
        left = list((run.output / contract.CHECKPOINTS).glob(".*"))
    row = report.Row(
        f"adapter after {count} kills, beside the undisturbed one",
        "the same to the last bit" if same else "another",
        f"{len(told)} steps",
        "",
        "the same",
        "yes" if same and steps and not left else "no",
    )
    notes = [
        "A tiny llama, LoRA with dropout; each attempt was killed at a random moment of its first "
        f"{LONGEST_S:.0f} s, also while it loaded or wrote a checkpoint. The losses of all steps were equal too, and "
        "nothing half-written was left."
    ]
    report.save("2d-kills", "Training that is killed", [row], notes)
