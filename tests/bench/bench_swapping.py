"""A hundred rounds of two clients swapping two models at once, with SIGKILL of engines and node in between."""

import asyncio
import os
import tempfile
from functools import partial
from pathlib import Path

import django
from django.test import override_settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
os.environ.setdefault("AI_HUB_DATA", tempfile.mkdtemp(prefix="hub-bench-"))
django.setup()  # the router reads the settings of a web process

from tests.bench import report  # noqa: E402
from tests.inference.node import nodes, swapping  # noqa: E402
from tests.inference.node.nodes import Node  # noqa: E402
from tests.inference.node.swapping import (  # noqa: E402
    KILLS,
    LIMIT_BYTES,
    NODE_KILLS,
    ROUNDS,
    Outcome,
)

RECOVERY_S, LOAD_S = 5.0, 3.0  # a load takes a new process


def rounds(folder: Path) -> Outcome:
    started: list[Node] = []

    def start(**options: object) -> Node:
        started.append(nodes.start(folder, **options))
        return started[-1]

    try:
        return asyncio.run(swapping.rounds(start))
    finally:
        for node in started:
            nodes.stop(node)


def rows(outcome: Outcome) -> list[report.Row]:
    yes_no = {True: "yes", False: "no"}
    watcher, counts = outcome.watcher, outcome.served.counts
    served, failed = sum(counts.values()), len(outcome.served.failures)
    took, most = sorted(outcome.took_s), watcher.most_bytes
    row = partial(report.Row, peer="", ratio="")
    return [
        row("rounds answered", f"{served}", goal=f"{2 * ROUNDS}", met=yes_no[served == 2 * ROUNDS]),
        row("requests that a kill ended, asked again", f"{failed}", goal="", met=""),
        row(
            f"both models answer again after each of {KILLS + NODE_KILLS} kills, s",
            f"{took[len(took) // 2]:.1f} ({took[0]:.1f} to {took[-1]:.1f})",
            goal=f"<= {LOAD_S + RECOVERY_S:.0f}",
            met=yes_no[took[-1] <= LOAD_S + RECOVERY_S],
        ),
        row(
            "engine processes at once",
            f"{watcher.most_engines}",
            goal="1",
            met=yes_no[watcher.most_engines == 1],
        ),
        row(
            "memory of engines at its most, MB",
            f"{most / 1e6:.0f}",
            goal=f"<= {LIMIT_BYTES / 1e6:.0f}",
            met=yes_no[most <= LIMIT_BYTES],
        ),
        row("all of it, s", f"{outcome.whole_s:.0f}", goal="", met=""),
    ]


def main(data: Path) -> None:
    with override_settings(HUB_NODE_ADDRESS=f"unix:{data / 'n.sock'}"):
        outcome = rounds(data)
    notes = [
        f"Engines were killed {KILLS} times and the node {NODE_KILLS} times, at random moments while two clients asked"
        f" for each other's model, {ROUNDS} rounds each, where one of both has room; fake engines in real processes."
    ]
    report.save(
        "2e-swapping",
        "Two clients that swap two models while processes are killed",
        rows(outcome),
        notes,
    )
