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
from tests.inference.node.swapping import LIMIT_BYTES, Outcome, Pair  # noqa: E402

RECOVERY_S, LOAD_S = 5.0, 3.0  # a load takes a new process
YES_NO = {True: "yes", False: "no"}
row = partial(report.Row, peer="", ratio="")


def run(folder: Path, pair: Pair, timed_loads: int = 0) -> Outcome:
    started: list[Node] = []

    def start(**options: object) -> Node:
        started.append(nodes.start(folder, **options))
        return started[-1]

    try:
        with override_settings(HUB_NODE_ADDRESS=f"unix:{folder / 'n.sock'}"):
            return asyncio.run(swapping.rounds(start, pair, timed_loads=timed_loads))
    finally:
        for node in started:
            nodes.stop(node)


def answered(pair: Pair, outcome: Outcome) -> list[report.Row]:
    served, goal = sum(outcome.served.counts.values()), 2 * pair.rounds
    failed = len(outcome.served.failures)
    return [
        row("rounds answered", f"{served}", goal=f">= {goal}", met=YES_NO[served >= goal]),
        row("requests that a kill ended, asked again", f"{failed}"),
    ]


def held(outcome: Outcome, limit_bytes: float) -> list[report.Row]:
    engines, most = outcome.watcher.most_engines, outcome.watcher.most_bytes
    goal = f"<= {limit_bytes / 1e6:.0f}"
    return [
        row("engine processes at once", f"{engines}", goal="1", met=YES_NO[engines == 1]),
        row(
            "memory of engines at its most, MB",
            f"{most / 1e6:.0f}",
            goal=goal,
            met=YES_NO[most <= limit_bytes],
        ),
        row("all of it, s", f"{outcome.whole_s:.0f}"),
    ]


def took(what: str, seconds: list[float], goal_s: float) -> report.Row:
    goal, met = f"<= {goal_s:.0f}", YES_NO[max(seconds) <= goal_s]
    return row(what, report.spread(seconds), goal=goal, met=met)


def main(data: Path) -> None:
    pair = swapping.fakes()
    outcome = run(data, pair)
    what = f"both models answer again after each of {pair.kills + pair.node_kills} kills, s"
    rows = [
        *answered(pair, outcome),
        took(what, outcome.took_s, LOAD_S + RECOVERY_S),
        *held(outcome, LIMIT_BYTES),
    ]
    notes = [
        f"Engines were killed {pair.kills} times and the node {pair.node_kills} times, at random moments while two clients"
        f" asked for each other's model, {pair.rounds} rounds each, where one of both has room; fake engines in real processes."
    ]
    title = "Two clients that swap two models while processes are killed"
    report.save("2e-swapping", title, rows, notes)
